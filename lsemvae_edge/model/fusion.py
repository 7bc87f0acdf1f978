"""Joint posteriors of many leads: how the experts of the leads become one Gaussian.

Every function takes ``mu`` and ``logvar``, each (n_leads, batch, latent_dim), and returns the fused pair, each
(batch, latent_dim). The student has its own list form of the same rules (`lsemvae_edge.model.experts`), made of the
operations that embedded runtimes lower.

Sources: HiME, arXiv:2503.13470; MVAE, Wu and Goodman, arXiv:1802.05335; MMVAE, Shi et al., arXiv:1911.03393; MoPoE,
Sutter et al., arXiv:2105.02470.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Fusion = Literal["reference", "hime", "masked", "average", "poe", "moe", "mopoe"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

EPSILON = 1e-8
"""Added to variances, as in the published model."""
LOGVAR_BOUND = 8.0
"""Bound of log-variances in every fusion but the published one."""
MAX_GROUPS = 4


def reference_groups(n_leads: int) -> tuple[tuple[int, ...], ...]:
    """Group the experts as the published model does.

    The experts are the leads in order and then the prior; they are cut into ``min(4, experts)`` groups of
    ``experts // groups``, and what is left over is not used. For 12 leads these are the four groups of three leads,
    and the prior falls out.

    Returns
    -------
    tuple of tuple of int
        Index ``n_leads`` stands for the prior.
    """
    experts = n_leads + 1
    count = min(MAX_GROUPS, experts)
    size = experts // count
    return tuple(tuple(range(i * size, (i + 1) * size)) for i in range(count))


def lead_groups(n_leads: int) -> tuple[tuple[int, ...], ...]:
    """Group leads in threes: {I, II, III}, {aVR, aVL, aVF}, {V1-V3}, {V4-V6} for the 12 standard leads."""
    return tuple(tuple(range(i, min(i + 3, n_leads))) for i in range(0, n_leads, 3))


def reference(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """Fuse as the published model does: products in `reference_groups`, parameters averaged over the groups."""
    prior = torch.zeros_like(mu[:1])
    mu, logvar = torch.cat([mu, prior]), torch.cat([logvar, prior])
    fused = [_published_product(mu[list(group)], logvar[list(group)]) for group in reference_groups(len(mu) - 1)]
    return torch.stack([m for m, _ in fused]).mean(0), torch.stack([v for _, v in fused]).mean(0)


def hime(
    mu: Tensor, logvar: Tensor, mask: Tensor | None = None, groups: Sequence[Sequence[int]] | None = None
) -> tuple[Tensor, Tensor]:
    """Fuse hierarchically, with the prior as an expert of every group.

    Parameters
    ----------
    mu, logvar : Tensor (n_leads, batch, latent_dim)
    mask : Tensor (batch, n_leads) of bool, optional
        False where a lead is absent. It then contributes nothing: it adds no precision to its group, and a group
        without leads does not enter the mixture. With no lead at all the result is the prior.
    groups : sequence of index groups, optional
        Leads by position; in threes if not given.

    Returns
    -------
    mu, logvar : Tensor (batch, latent_dim)
    """
    present = _present(mu, mask)
    total_mu, total_logvar, count = torch.zeros_like(mu[0]), torch.zeros_like(mu[0]), torch.zeros_like(mu[0, :, :1])
    for group in groups or lead_groups(len(mu)):
        chosen = list(group)
        group_mu, group_logvar = product(mu[chosen], logvar[chosen], present[chosen])
        any_present = present[chosen].amax(0)
        total_mu = total_mu + any_present * group_mu
        total_logvar = total_logvar + any_present * group_logvar
        count = count + any_present
    count = count.clamp(min=1)
    return total_mu / count, total_logvar / count


def product(mu: Tensor, logvar: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply the experts that are present and the N(0, I) prior.

    ``present`` (n_leads, batch, 1) holds 0 and 1.
    """
    precision = present * torch.exp(-logvar)
    total = 1 + precision.sum(0)
    return (present * mu * precision).sum(0) / total, -torch.log(total)


def mixture(mu: Tensor, logvar: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Average the parameters of the leads that are present."""
    present = _present(mu, mask)
    count = present.sum(0).clamp(min=1)
    return (present * mu).sum(0) / count, (present * logvar).sum(0) / count


def one_expert(mu: Tensor, logvar: Tensor, uniform: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Take one present lead for each record: a draw from MMVAE's mixture posterior.

    ``uniform`` (batch, n_leads) in (0, 1) decides: the present lead with the largest number is taken.
    """
    present = _present(mu, mask)[:, :, 0].T
    chosen = (uniform * present).argmax(1)
    rows = torch.arange(len(chosen), device=mu.device)
    return mu[chosen, rows], logvar[chosen, rows]


def random_product(mu: Tensor, logvar: Tensor, uniform: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Multiply a random subset of the present leads: a draw from MoPoE's mixture over subsets.

    Each lead joins with probability one half; an empty draw becomes all present leads.
    """
    present = _present(mu, mask)
    drawn = present * (uniform < 0.5).T[:, :, None]
    empty = drawn.amax(0, keepdim=True) == 0
    return product(mu, logvar, torch.where(empty, present, drawn))


def _present(mu: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.ones_like(mu[:, :, :1])
    return mask.T[:, :, None].to(mu.dtype)


def _published_product(mu: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    precision = 1 / (torch.exp(logvar) + EPSILON)
    total = precision.sum(0)
    return (mu * precision).sum(0) / total, torch.log(1 / total + EPSILON)
