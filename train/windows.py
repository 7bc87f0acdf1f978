"""Windows of recordings, and the one scale of a window."""

import torch
from torch import Tensor

from lsemvae_edge.leads import LIMB_LEADS

SMALLEST_RMS = 1e-6
"""Below this a window is silence, which no scale turns into signal."""


def crop(signals: Tensor, starts: Tensor, length: int) -> Tensor:
    """Cut one window out of each recording.

    Parameters
    ----------
    signals : Tensor (batch, n_leads, n_samples)
    starts : Tensor (batch,) of int64
        First sample of each window; ``0 <= start <= n_samples - length``.
    length : int
        Samples of a window.

    Returns
    -------
    Tensor (batch, n_leads, length)
    """
    if length == signals.shape[2]:
        return signals
    samples = starts[:, None] + torch.arange(length, device=signals.device)
    return signals.gather(2, samples[:, None, :].expand(-1, signals.shape[1], -1))


def centre(n_samples: int, length: int) -> int:
    """Return the first sample of the middle window."""
    return (n_samples - length) // 2


def rescale(signals: Tensor, clip: float = 8.0) -> Tensor:
    """Divide each window by the root mean square over its six limb leads, and clip.

    One factor for all leads keeps their relation, hence the electrical axis. An absent lead, all zero, stays zero.

    Parameters
    ----------
    signals : Tensor (batch, n_leads, n_samples)
        The first six leads are `lsemvae_edge.leads.LIMB_LEADS`.
    clip : float
        Largest magnitude returned.
    """
    rms = signals[:, : len(LIMB_LEADS)].square().mean(dim=(1, 2), keepdim=True).sqrt()
    return (signals / rms.clamp(min=SMALLEST_RMS)).clamp(-clip, clip)
