"""Batches of average beats: what other bodies, recorders and hands do to them, and what is no heartbeat at all."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.leads import LIMB_LEADS, LIMB_MATRIX
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.faults import SWAPS
from lsemvae_edge.synthetic.not_ecg import HELD_OUT_KINDS, NOT_ECG
from lsemvae_edge.train.recipes import recipe
from lsemvae_edge.train.windows import SMALLEST_RMS

CLIP = 8.0
N_LIMB = len(LIMB_LEADS)
_SWAPS = np.stack(list(SWAPS.values()))


@dataclass(frozen=True, eq=False)
class Batch:
    """Model inputs of real recordings, then of their swapped copies, then of inputs that are no ECG.

    Parameters
    ----------
    x : Tensor (batch, n_leads, 1, n_samples)
    mask : Tensor (batch, n_leads)
    n_real, n_swapped : int
    """

    x: Tensor
    mask: Tensor
    n_real: int
    n_swapped: int


def strange_beats(count: int, seed: int) -> Tensor:
    """Draw average beats (count, 2, n_samples) of recordings that are no ECG, of every kind but the held-out ones.

    A kind whose recordings have no beats that resemble each other never reaches the model, and is drawn less often.
    """
    rng = np.random.default_rng(seed)
    kinds = sorted(set(NOT_ECG) - set(HELD_OUT_KINDS))
    beat = recipe("beat")
    found: list[NDArray[np.float32]] = []
    for attempt in range(20 * count):
        samples = NOT_ECG[kinds[attempt % len(kinds)]](rng, 5000, 500.0)
        # A trace of noise keeps flat kinds from being all zeros.
        samples = samples + 1e-4 * rng.standard_normal(samples.shape)
        try:
            found.append(beat.apply(Record(samples.astype(np.float32), 500.0, ("I", "II")))[0][:2])
        except LsemvaeError:
            continue
        if len(found) == count:
            break
    return torch.from_numpy(np.stack(found))


def compose(
    signals: Tensor,
    present: Tensor,
    strange: Tensor,
    *,
    leads: tuple[int, ...],
    fs_hz: float,
    swapped: int,
    n_strange: int,
    alone: float,
    generator: torch.Generator,
) -> Batch:
    """Put real recordings, electrode-swapped copies of some of them, and inputs that are no ECG into one batch.

    Parameters
    ----------
    signals, present : Tensor (n, 12, n_samples), (n, 12)
        Average beats of the twelve standard leads.
    strange : Tensor (m, 2, n_samples)
        See `strange_beats`.
    leads : tuple of int
        Positions of the leads that the model reads.
    fs_hz : float
    swapped, n_strange : int
        How many of each; they can only be shown to a model of the six limb leads.
    alone : float
        Share of the real recordings of which one of the leads I, II and III is all that is seen, as with a loose
        electrode.
    generator : Generator
    """
    n_real, n_swapped = len(signals), min(swapped, len(signals))
    eight = torch.cat([signals[:, :2], signals[:, N_LIMB:]], dim=1)
    eight = turn(eight, generator)
    parts = [eight]
    if n_swapped:
        maps = torch.tensor(_SWAPS, dtype=eight.dtype)
        drawn = torch.randint(0, len(maps), (n_swapped,), generator=generator)
        parts.append(_widened(maps[drawn] @ eight[:n_swapped, :2], eight.shape[1]))
    if n_strange:
        drawn = torch.randint(0, len(strange), (n_strange,), generator=generator)
        made = strange[drawn]
        half = n_strange // 2
        made[:half] = scramble(eight[torch.randint(0, n_real, (half,), generator=generator), :2], generator)
        parts.append(_widened(made, eight.shape[1]))
    eight = disturb(torch.cat(parts), fs_hz, generator)
    twelve = torch.cat([torch.tensor(LIMB_MATRIX, dtype=eight.dtype) @ eight[:, :2], eight[:, 2:]], dim=1)
    mask = torch.ones(len(twelve), twelve.shape[1])
    mask[:n_real] = present.float()
    hidden = torch.rand(n_real, generator=generator) < alone
    kept = torch.randint(0, 3, (n_real,), generator=generator)
    mask[:n_real][hidden] = torch.nn.functional.one_hot(kept[hidden], twelve.shape[1]).float()
    chosen = list(leads)
    x, mask = twelve[:, chosen], mask[:, chosen]
    return Batch(to_input(x, mask), mask, n_real, n_swapped)


def to_input(x: Tensor, mask: Tensor) -> Tensor:
    """Scale and clip as `lsemvae_edge.preprocess.cut` does, over the limb leads that are there.

    Parameters
    ----------
    x : Tensor (batch, n_leads, n_samples)
        The limb leads first.
    mask : Tensor (batch, n_leads)

    Returns
    -------
    Tensor (batch, n_leads, 1, n_samples)
        Absent leads are zero.
    """
    x = x * mask[:, :, None]
    power = x[:, :N_LIMB].square().mean(dim=2).sum(dim=1) / mask[:, :N_LIMB].sum(dim=1).clamp(min=1.0)
    rms = power.sqrt().clamp(min=SMALLEST_RMS)
    return (x / rms[:, None, None]).clamp(-CLIP, CLIP)[:, :, None]


def turn(eight: Tensor, generator: torch.Generator, amount: float = 0.06) -> Tensor:
    """Turn and stretch the frontal plane a little, and each chest lead, as another body or placement does."""
    n = len(eight)
    pair = (torch.eye(2) + amount * torch.randn(n, 2, 2, generator=generator)) @ eight[:, :2]
    chest = eight[:, 2:] * (1 + amount * torch.randn(n, eight.shape[1] - 2, 1, generator=generator))
    return torch.cat([pair, chest], dim=1)


def disturb(eight: Tensor, fs_hz: float, generator: torch.Generator, jitter_s: float = 0.02) -> Tensor:
    """Move beats in time, and add what averaging leaves of noise, wander and another recorder's upper band edge."""
    n, _, n_samples = eight.shape
    most = round(jitter_s * fs_hz)
    shift = torch.randint(-most, most + 1, (n, 1), generator=generator)
    place = (torch.arange(n_samples) + shift) % n_samples
    eight = eight.gather(2, place[:, None].expand(-1, eight.shape[1], -1))
    frequency = torch.fft.rfftfreq(n_samples, 1 / fs_hz)
    edge = _uniform(n, 20.0, 60.0, generator)
    smooth = torch.fft.irfft(torch.fft.rfft(eight) / (1 + (frequency / edge).pow(4)), n=n_samples)
    eight = torch.where(_coin(n, 0.5, generator), smooth, eight)
    rms = eight[:, :2].square().mean(dim=(1, 2), keepdim=True).sqrt()
    noise = _uniform(n, 0.0, 0.08, generator) * torch.randn(eight.shape, generator=generator)
    slope = torch.linspace(-1, 1, n_samples) * torch.randn(n, eight.shape[1], 1, generator=generator)
    wander = _uniform(n, 0.0, 0.15, generator) * slope
    return eight + rms * (noise + wander)


def scramble(pair: Tensor, generator: torch.Generator) -> Tensor:
    """Keep the spectrum of beats and draw their phases anew: of a heart's frequencies, and no heartbeat."""
    spectrum = torch.fft.rfft(pair)
    phase = 2 * torch.pi * torch.rand(spectrum.shape, generator=generator)
    made: Tensor = torch.fft.irfft(torch.polar(spectrum.abs(), phase), n=pair.shape[2])
    return made


def _widened(pair: Tensor, n_leads: int) -> Tensor:
    return torch.cat([pair, pair.new_zeros(len(pair), n_leads - 2, pair.shape[2])], dim=1)


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, 1, 1, generator=generator)


def _coin(n: int, probability: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, 1, 1, generator=generator) < probability
