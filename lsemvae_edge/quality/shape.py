"""What makes a signal an ECG, as numbers measured on one conditioned window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.beats import QRS_HALF_S, Beats, speed_envelope
from lsemvae_edge.statistics import median, quantile

Array = NDArray[np.float64]

_AFTER_S = 0.46
_GAP_S = 0.13
_ALIGNED_S = 0.024
_NEAR_S = 0.06


@dataclass(frozen=True)
class Shape:
    """Measures of one window; each says what an ECG has and other signals lack.

    All are free of the signal's scale. ``nan`` where too few beats were found to tell.
    """

    n_beats: int
    """Whole QRS complexes found."""
    alike: float
    """Share of beats that resemble the most typical one."""
    interval_spread: float
    """Robust relative spread of beat intervals: (90th - 10th percentile) / median."""
    doubt: float
    """See `Beats`."""
    quiet: float
    """Share of time in which the frontal vector moves at less than a fifth of its speed in a QRS."""
    contrast: float
    """Median speed between beats over the typical speed at a beat."""
    qrs_s: float
    """Time the average beat spends at more than 30 % of its peak speed."""
    residual: float
    """Beat-to-beat deviation from the average beat, over the average beat, within the QRS."""
    after: float
    """Size of what follows the average QRS (the T wave), over its QRS."""
    after_snr: float
    """The same over what chance leaves after averaging."""
    coherence: float
    """Average QRS in lead I or II, whichever is less, over what chance leaves after averaging."""
    roundness: float
    """Second over first singular value of the average QRS in the frontal plane: 0 on a straight line."""
    rank_one: float
    """Share of the whole window's power off its main axis, square root."""
    alignment: float
    """Common motion of leads I and II at no delay, over the largest at any other delay."""
    line: float
    """Share of the power in the strongest single spectral line."""
    fast: float
    """Share of the power above 15 Hz."""
    slow: float
    """Share of the power below 1.5 Hz."""
    peakedness: float
    """99.5th over 50th percentile of the frontal vector's length."""
    asymmetry: float
    """Distance of the average QRS from its own mirror images in time, 0 for a symmetric pulse."""


def measure(vector: Array, beats: Beats, fs_hz: float, min_correlation: float) -> Shape:
    """Measure a window's shape.

    Parameters
    ----------
    vector : array (2, n_samples)
        Frontal vector of the window.
    beats : Beats
        Its beats.
    fs_hz : float
        Its sampling rate.
    min_correlation : float
        Correlation from which two QRS complexes count as alike.

    Returns
    -------
    Shape
    """
    spectrum = (np.abs(np.fft.rfft(vector * np.hanning(vector.shape[1]), axis=1)) ** 2).sum(axis=0)
    frequency_hz = np.fft.rfftfreq(vector.shape[1], 1 / fs_hz)
    power = max(float(spectrum.sum()), 1e-30)
    # A Hann window spreads a pure tone over three to five bins.
    line = float(np.convolve(spectrum, np.ones(5), mode="same").max()) / power
    singular = np.linalg.svd(vector @ vector.T, compute_uv=False)
    length = np.sqrt((vector**2).sum(axis=0))
    dominant = beats.dominant(min_correlation)
    alike = dominant.size / beats.at.size if beats.at.size else 0.0
    intervals = np.diff(beats.at)
    low, middle, high = (quantile(intervals, q) if intervals.size else np.nan for q in (0.1, 0.5, 0.9))
    relative_speed = beats.envelope / max(beats.height, 1e-12)
    average = _average_beat(vector, beats, dominant, fs_hz)
    return Shape(
        n_beats=int(beats.at.size),
        alike=alike,
        interval_spread=float((high - low) / middle),
        doubt=beats.doubt,
        quiet=float(np.mean(relative_speed < 0.2)),
        contrast=float(median(relative_speed)),
        qrs_s=average.qrs_s,
        residual=average.residual,
        after=average.after,
        after_snr=average.after_snr,
        coherence=average.coherence,
        roundness=average.roundness,
        rank_one=float(np.sqrt(singular[1] / max(singular[0], 1e-30))),
        alignment=_alignment(vector, fs_hz),
        line=line,
        fast=float(spectrum[frequency_hz > 15].sum()) / power,
        slow=float(spectrum[frequency_hz < 1.5].sum()) / power,
        peakedness=float(quantile(length, 0.995) / max(float(median(length)), 1e-12)),
        asymmetry=average.asymmetry,
    )


@dataclass(frozen=True)
class _Average:
    qrs_s: float = np.nan
    residual: float = np.nan
    after: float = np.nan
    after_snr: float = np.nan
    coherence: float = np.nan
    roundness: float = np.nan
    asymmetry: float = np.nan


def _average_beat(vector: Array, beats: Beats, dominant: NDArray[np.intp], fs_hz: float) -> _Average:
    half, gap = round(QRS_HALF_S * fs_hz), round(_GAP_S * fs_hz)
    before, after = half, round(_AFTER_S * fs_hz)
    intervals = np.diff(beats.at)
    if intervals.size:
        # The next beat must not enter the average of a fast rhythm.
        room = float(quantile(intervals, 0.25)) - half
        after = max(gap + round(0.064 * fs_hz), min(after, round(0.75 * room)))
    at = beats.at[dominant]
    at = at[(at >= before) & (at < vector.shape[1] - after - 1)]
    if at.size < 2:
        return _Average()
    cuts = _aligned(vector, at, before, after, half)
    mean = cuts.mean(axis=0)
    spread = cuts - mean
    noise_power = (spread**2).sum(axis=0).sum(axis=0) / (at.size - 1)
    qrs = slice(before - half, before + half + 1)
    centred = mean[:, qrs] - mean[:, qrs].mean(axis=1, keepdims=True)
    qrs_rms = max(float(np.sqrt((centred**2).sum(axis=0).mean())), 1e-12)
    values = np.linalg.svd(centred, compute_uv=False)
    later = slice(before + gap, mean.shape[1])
    curved = _without_trend(mean[:, later])
    chance = np.sqrt(noise_power[later].mean() / at.size)
    after_rms = float(np.sqrt((curved**2).sum(axis=0).mean()))
    speed = _speed(mean)
    core = speed[qrs]
    return _Average(
        qrs_s=float(np.sum(core > 0.3 * core.max())) / fs_hz,
        residual=float(np.sqrt(noise_power[qrs].mean())) / qrs_rms,
        after=after_rms / qrs_rms,
        after_snr=after_rms / max(float(chance), 1e-12),
        coherence=_coherence(cuts[:, :, qrs]),
        roundness=float(values[1] / max(values[0], 1e-12)),
        asymmetry=_asymmetry(mean, before, half),
    )


def _aligned(vector: Array, at: NDArray[np.intp], before: int, after: int, half: int) -> Array:
    """Cut beats (n, 2, samples), each moved by up to three samples to fit the first guess of their mean."""
    offsets = np.arange(-half, half + 1)
    first = median(vector[:, at[:, None] + offsets], axis=1)
    shifts = np.arange(-3, 4)
    inside = np.clip(at[None, :, None] + offsets + shifts[:, None, None], 0, vector.shape[1] - 1)
    fit = np.einsum("dsno,do->sn", vector[:, inside], first)
    moved = np.clip(at + shifts[np.argmax(fit, axis=0)], before, vector.shape[1] - after - 1)
    return vector[:, moved[:, None] + np.arange(-before, after + 1)].transpose(1, 0, 2)


def _without_trend(part: Array) -> Array:
    x = np.arange(part.shape[1]) - (part.shape[1] - 1) / 2
    slope = part @ x / max(float(x @ x), 1e-12)
    return np.asarray(part - part.mean(axis=1, keepdims=True) - slope[:, None] * x)


def _speed(mean: Array) -> Array:
    """Speed of the average beat without smoothing."""
    speed = np.zeros(mean.shape[1])
    speed[1:-1] = np.sqrt(((mean[:, 2:] - mean[:, :-2]) ** 2).sum(axis=0))
    return speed


def _coherence(cuts: Array) -> float:
    """Smaller of leads I and II: average of the beats over its own standard error."""
    leads = np.stack([cuts[:, 0], (np.sqrt(3) * cuts[:, 1] + cuts[:, 0]) / 2])
    leads = leads - leads.mean(axis=2, keepdims=True)
    mean = leads.mean(axis=1)
    count = cuts.shape[0]
    chance = ((leads - mean[:, None]) ** 2).sum(axis=1).mean(axis=1) / ((count - 1) * count)
    return float(np.sqrt((mean**2).mean(axis=1) / np.maximum(chance, 1e-30)).min())


def _asymmetry(mean: Array, before: int, half: int) -> float:
    """Smallest relative difference between the QRS and its even or odd mirror image about any nearby centre."""
    best = np.inf
    for centre in range(before - half // 2, before + half // 2 + 1):
        reach = min(half, centre, mean.shape[1] - 1 - centre)
        cut = mean[:, centre - reach : centre + reach + 1]
        cut = cut - cut.mean(axis=1, keepdims=True)
        size = float((cut**2).sum())
        if size > 0:
            mirrored = cut[:, ::-1]
            best = min(best, ((cut - mirrored) ** 2).sum() / size, ((cut + mirrored) ** 2).sum() / size)
    return float(np.sqrt(best))


def _alignment(vector: Array, fs_hz: float) -> float:
    lead_i, lead_ii = vector[0], (np.sqrt(3) * vector[1] + vector[0]) / 2
    first, second = (speed_envelope(np.stack([lead, lead]), fs_hz) for lead in (lead_i, lead_ii))
    size = 2 * vector.shape[1]
    spectra = [np.fft.rfft(part - part.mean(), size) for part in (first, second)]
    common = np.fft.irfft(spectra[0] * np.conj(spectra[1]), size)
    aligned, near = round(_ALIGNED_S * fs_hz), round(_NEAR_S * fs_hz)
    at_zero = max(common[: aligned + 1].max(), common[-aligned:].max())
    elsewhere = common[near + 1 : -near]
    return float(at_zero / max(float(elsewhere.max()), 1e-30))
