"""What portable recorders and hands do to a signal, in batches of conditioned leads I and II.

All functions take and return tensors (batch, 2, n_samples) at the model's rate.
"""

import numpy as np
import torch
from torch import Tensor

from lsemvae_edge.leads import LIMB_MATRIX
from lsemvae_edge.synthetic.faults import SWAPS

SWAP_KINDS = tuple(SWAPS)


def crop(pairs: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Cut a window at a random place of each recording."""
    slack = pairs.shape[-1] - length
    starts = torch.randint(0, slack + 1, (len(pairs), 1), generator=generator)
    index = (starts + torch.arange(length))[:, None, :].expand(-1, pairs.shape[1], -1)
    return pairs.gather(2, index)


def degrade(pairs: Tensor, fs_hz: float, generator: torch.Generator) -> Tensor:
    """Add noise, wander and another recorder's band edges to a random part of a batch."""
    batch, _, length = pairs.shape
    rms = pairs.pow(2).mean(dim=(1, 2), keepdim=True).sqrt()
    spectrum = torch.fft.rfft(pairs)
    frequency = torch.fft.rfftfreq(length, 1 / fs_hz)
    low = _uniform(batch, 0.1, 0.7, generator)
    high = _uniform(batch, 20.0, 60.0, generator)
    band = 1 / (1 + (low / frequency.clamp(min=1e-3)).pow(4)) / (1 + (frequency / high).pow(4))
    noise = torch.randn(pairs.shape, generator=generator)
    wander = torch.fft.irfft(
        torch.fft.rfft(torch.randn(pairs.shape, generator=generator)) * (frequency < 0.6), n=length
    )
    wander = wander / wander.std(dim=2, keepdim=True).clamp(min=1e-6)
    level = _uniform(batch, 0.0, 0.15, generator) * _coin(batch, 0.7, generator)
    sway = _uniform(batch, 0.0, 0.4, generator) * _coin(batch, 0.7, generator)
    filtered = torch.where(_coin(batch, 0.5, generator) > 0, torch.fft.irfft(spectrum * band, n=length), pairs)
    noisy: Tensor = filtered + rms * (level * noise + sway * wander)
    return noisy


def perturb(pairs: Tensor, generator: torch.Generator) -> Tensor:
    """Turn and stretch the frontal plane a little, as another body or electrode placement does."""
    jitter = 0.06 * torch.randn(len(pairs), 2, 2, generator=generator)
    turned: Tensor = (torch.eye(2) + jitter) @ pairs
    return turned


def swap(pairs: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a random electrode permutation or inversion to each recording."""
    maps = torch.tensor(np.stack([SWAPS[kind] for kind in SWAP_KINDS]), dtype=pairs.dtype)
    chosen = torch.randint(0, len(SWAP_KINDS), (len(pairs),), generator=generator)
    return maps[chosen] @ pairs


def to_input(pairs: Tensor, clip: float) -> Tensor:
    """Derive, scale and clip as `lsemvae_edge.preprocess.cut` does: (batch, 6, 1, n_samples)."""
    six = torch.tensor(LIMB_MATRIX, dtype=pairs.dtype) @ pairs
    scale = six.pow(2).mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-9)
    return (six / scale).clamp(-clip, clip)[:, :, None, :]


def _uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(batch, 1, 1, generator=generator)


def _coin(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(batch, 1, 1, generator=generator) < probability).float()
