"""Losses of LS-EMVAE (arXiv:2503.13470)."""

import torch
from torch import Tensor

RECONSTRUCTION_WEIGHT = 1e-3


def pretraining_loss(
    recon: Tensor,
    target: Tensor,
    mu: Tensor,
    logvar: Tensor,
    *,
    kl_weight: float,
    alignment_weight: float = 0.1,
    fused: tuple[Tensor, Tensor] | None = None,
    mask: Tensor | None = None,
    visible: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the loss of pre-training and its terms.

    ``total = reconstruction + kl_weight * kl + alignment_weight * alignment``; the published weight 1e-3 of the
    squared error is inside ``reconstruction``.

    Parameters
    ----------
    recon : Tensor (batch, n_samples) or (batch, n_leads, n_samples)
        One waveform for all leads, or one each.
    target : Tensor (batch, n_leads, n_samples)
    mu, logvar : Tensor (n_leads, batch, latent_dim)
        The leads' experts.
    kl_weight, alignment_weight : float
    fused : (mu, logvar), each (batch, latent_dim), optional
        The posterior that was sampled. If given, its divergence from N(0, I) counts, and the leads align to its
        mean, through which no gradient flows. If not, both terms look at the plain mean over leads, as published.
    mask : Tensor (batch, n_leads) of bool, optional
        Leads that the target has; a squared error on others does not count.
    visible : Tensor (batch, n_leads) of bool, optional
        Leads whose experts took part; ``mask`` if not given.

    Returns
    -------
    dict
        Scalars ``total``, ``reconstruction``, ``kl``, ``alignment``.
    """
    if recon.dim() == 2:
        recon = recon[:, None]
    squared = (recon - target).float().pow(2).sum(-1)
    if mask is not None:
        squared = squared * mask
    reconstruction = RECONSTRUCTION_WEIGHT * squared.sum() / len(target)
    centre_mu, centre_logvar = (mu.mean(0), logvar.mean(0)) if fused is None else fused
    anchor = centre_mu if fused is None else centre_mu.detach()
    kl = _divergence(centre_mu.float(), centre_logvar.float())
    distance = (mu - anchor).float().pow(2).mean(-1)
    seen = mask if visible is None else visible
    if seen is None:
        alignment = distance.mean()
    else:
        counted = seen.T.to(distance.dtype)
        alignment = (distance * counted).sum() / counted.sum().clamp(min=1)
    total = reconstruction + kl_weight * kl + alignment_weight * alignment
    return {"total": total, "reconstruction": reconstruction, "kl": kl, "alignment": alignment}


def _divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu.pow(2) + torch.exp(logvar) - 1 - logvar).sum(-1).mean()
