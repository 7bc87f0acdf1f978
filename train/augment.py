"""What portable recorders and hands do to a signal, in batches of conditioned leads (batch, n_leads, n_samples)."""

import torch
from torch import Tensor


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
    # What is shorter than a period of wander, as an average beat is, holds none.
    wander = wander / wander.std(dim=2, keepdim=True).clamp(min=1e-6) * (0.6 * length > fs_hz)
    level = _uniform(batch, 0.0, 0.15, generator) * _coin(batch, 0.7, generator)
    sway = _uniform(batch, 0.0, 0.4, generator) * _coin(batch, 0.7, generator)
    filtered = torch.where(_coin(batch, 0.5, generator) > 0, torch.fft.irfft(spectrum * band, n=length), pairs)
    noisy: Tensor = filtered + rms * (level * noise + sway * wander)
    return noisy


def _uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(batch, 1, 1, generator=generator)


def _coin(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(batch, 1, 1, generator=generator) < probability).float()
