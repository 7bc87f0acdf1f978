"""Where the QRS complexes are, what the beats have in common, and their average.

Works on the frontal vector (x, y) that leads I and II define: an electrode swap only turns or mirrors it, so
that neither detection nor shape depends on which lead happens to be tall.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.spec import BeatSpec
from lsemvae_edge.statistics import median, quantile

Array = NDArray[np.float64]

QRS_HALF_S = 0.1
"""Half width of the segment by which beats are compared."""

_ENVELOPE_S = 0.088
_REFRACTORY_S = 0.2
_T_WAVE_S = 0.36
_BLOCK_S = 2.0
_PRIMARY = 0.35
_SECONDARY = 0.18
_ALIGN_SAMPLES = 3


@dataclass(frozen=True, eq=False)
class Beats:
    """QRS complexes of one window.

    Parameters
    ----------
    at : array (n_beats,) of int
        Sample of each complex (its centre of steepness).
    envelope : array (n_samples,)
        Smoothed speed of the frontal vector.
    height : float
        Typical peak of the envelope at a beat.
    doubt : float
        Highest envelope peak that was *not* taken for a beat (and is not the T wave after one), over the
        lower quartile of those that were: near 0 when beats are unmistakable, near 1 in noise.
    similarity : array (n_beats, n_beats)
        Largest correlation of each two QRS complexes over small shifts, in both leads at once.
    """

    at: NDArray[np.intp]
    envelope: Array
    height: float
    doubt: float
    similarity: Array

    def dominant(self, min_correlation: float) -> NDArray[np.intp]:
        """Return indices of the largest group of beats that resemble one of them."""
        if self.at.size == 0:
            return np.empty(0, dtype=np.intp)
        alike = self.similarity >= min_correlation
        return np.asarray(np.flatnonzero(alike[int(np.argmax(alike.sum(axis=1)))]))


def frontal_vector(pair: Array) -> Array:
    """Turn leads I and II into orthogonal components (2, n): x along I, y along aVF."""
    return np.stack([pair[0], (2 * pair[1] - pair[0]) / np.sqrt(3)])


def find_beats(vector: Array, fs_hz: float) -> Beats:
    """Find QRS complexes as peaks of the frontal vector's speed.

    Parameters
    ----------
    vector : array (2, n_samples)
        Frontal vector, band-passed.
    fs_hz : float
        Its sampling rate.

    Returns
    -------
    Beats
    """
    envelope = speed_envelope(vector, fs_hz)
    height = _typical_height(envelope, round(_BLOCK_S * fs_hz))
    peaks = _local_peaks(envelope, round(_REFRACTORY_S * fs_hz))
    peaks = peaks[envelope[peaks] > 0.05 * height] if height > 0 else peaks[:0]
    taken = _drop_t_waves(peaks[envelope[peaks] >= _PRIMARY * height], envelope, fs_hz)
    taken = _search_back(taken, peaks, envelope, height, fs_hz)
    # A complex cut by the window's edge has no shape to compare.
    reach = round(QRS_HALF_S * fs_hz) + _ALIGN_SAMPLES
    whole = taken[(taken >= reach) & (taken < envelope.size - reach)]
    return Beats(whole, envelope, height, _doubt(taken, peaks, envelope, fs_hz), _similarity(vector, whole, fs_hz))


def typical_beats(beats: Beats, fs_hz: float, spec: BeatSpec) -> NDArray[np.intp] | None:
    """Choose the beats of one window that are averaged: whole ones that resemble the dominant one.

    Parameters
    ----------
    beats : Beats
    fs_hz : float
    spec : BeatSpec

    Returns
    -------
    array (n_beats,) of int or None
        Their places as found; None if there are fewer than ``spec.min_beats``.
    """
    at = beats.at[beats.dominant(spec.min_correlation)]
    half = round(QRS_HALF_S * fs_hz)
    before, after = max(spec.before_samples, half), max(spec.after_samples, half)
    whole = (at >= before + spec.align_samples) & (at + after + spec.align_samples <= beats.envelope.size)
    return at[whole] if np.count_nonzero(whole) >= spec.min_beats else None


def align_beats(pair: Array, fs_hz: float, spec: BeatSpec) -> NDArray[np.intp] | None:
    """Place the beats of one window that resemble each other so that their QRS complexes lie on each other.

    As in `find_beats`, all is decided on the frontal vector: swapped electrodes or another gain give the same places.

    Parameters
    ----------
    pair : array (2, n_samples)
        Leads I and II of the window, band-passed.
    fs_hz : float
    spec : BeatSpec

    Returns
    -------
    array (n_beats,) of int or None
        Centre of each whole beat; None if there are fewer than ``spec.min_beats``.
    """
    vector = frontal_vector(pair)
    at = typical_beats(find_beats(vector, fs_hz), fs_hz, spec)
    if at is None:
        return None
    half = round(QRS_HALF_S * fs_hz)
    shifts = np.arange(-spec.align_samples, spec.align_samples + 1)
    places = (at + shifts[:, None])[:, :, None] + np.arange(-half, half)
    complexes = np.ascontiguousarray(vector[:, places].swapaxes(0, 1))
    best = np.full(at.size, spec.align_samples)
    for _ in range(2):
        template = complexes[best, :, np.arange(at.size)].mean(axis=0)
        best = np.argmax((complexes * template[:, None]).sum(axis=(1, 3)), axis=0)
    return np.asarray(at + shifts[best])


def average_beat(signal: Array, at: NDArray[np.intp], spec: BeatSpec) -> Array:
    """Average aligned beats: what repeats stays, the rest falls with the square root of their number.

    Parameters
    ----------
    signal : array (n_leads, n_samples)
    at : array (n_beats,) of int
        From `align_beats` of the same recording.
    spec : BeatSpec

    Returns
    -------
    array (n_leads, spec.n_samples)
        Without each lead's median, which lies near the isoelectric line. Leads that follow from others are derived
        after this, so that they still do.
    """
    mean = signal[:, at[:, None] + np.arange(-spec.before_samples, spec.after_samples)].mean(axis=1)
    return np.asarray(mean - median(mean, axis=1)[:, None])


def speed_envelope(vector: Array, fs_hz: float) -> Array:
    """Root mean square speed of the vector over about one QRS, per 16 ms."""
    step = max(1, round(0.008 * fs_hz))
    speed = np.zeros(vector.shape[1])
    speed[step:-step] = ((vector[:, 2 * step :] - vector[:, : -2 * step]) ** 2).sum(axis=0)
    width = round(_ENVELOPE_S * fs_hz) | 1
    return np.sqrt(np.convolve(speed, np.ones(width) / width, mode="same"))


def _typical_height(envelope: Array, block: int) -> float:
    starts = range(0, max(1, envelope.size - block // 2), max(1, block // 2))
    return float(median([envelope[start : start + block].max() for start in starts]))


def _local_peaks(envelope: Array, distance: int) -> NDArray[np.intp]:
    """Local maxima, the higher one kept of any two closer than ``distance``."""
    inner = np.flatnonzero((envelope[1:-1] > envelope[:-2]) & (envelope[1:-1] >= envelope[2:])) + 1
    free = np.ones(envelope.size, dtype=bool)
    kept = []
    for index in inner[np.argsort(-envelope[inner], kind="stable")]:
        if free[index]:
            kept.append(index)
            free[max(0, index - distance + 1) : index + distance] = False
    return np.sort(np.array(kept, dtype=np.intp))


def _drop_t_waves(peaks: NDArray[np.intp], envelope: Array, fs_hz: float) -> NDArray[np.intp]:
    """Drop a peak that closely follows a much steeper one."""
    kept: list[int] = []
    for index in peaks:
        follows = bool(kept) and index - kept[-1] < _T_WAVE_S * fs_hz
        if not (follows and envelope[index] < 0.6 * envelope[kept[-1]]):
            kept.append(int(index))
    return np.array(kept, dtype=np.intp)


def _search_back(
    taken: NDArray[np.intp], peaks: NDArray[np.intp], envelope: Array, height: float, fs_hz: float
) -> NDArray[np.intp]:
    """Take a lower peak where an interval is so long that a beat was probably missed."""
    if taken.size < 3:
        return taken
    typical = float(median(np.diff(taken)))
    found = []
    for before, after in pairwise(taken):
        if after - before > 1.6 * typical:
            between = peaks[(peaks > before + _T_WAVE_S * fs_hz) & (peaks < after - _REFRACTORY_S * fs_hz)]
            between = between[envelope[between] > _SECONDARY * height]
            if between.size:
                found.append(between[np.argmax(envelope[between])])
    return np.sort(np.concatenate([taken, np.array(found, dtype=np.intp)]))


def _doubt(taken: NDArray[np.intp], peaks: NDArray[np.intp], envelope: Array, fs_hz: float) -> float:
    if taken.size == 0:
        return 1.0
    since = peaks[:, None] - taken[None, :]
    near = ((since >= -_REFRACTORY_S * fs_hz) & (since < 0.45 * fs_hz)).any(axis=1)
    rest = peaks[~near]
    if rest.size == 0:
        return 0.0
    return float(envelope[rest].max() / max(float(quantile(envelope[taken], 0.25)), 1e-12))


def _similarity(vector: Array, at: NDArray[np.intp], fs_hz: float) -> Array:
    if at.size == 0:
        return np.empty((0, 0))
    half = round(QRS_HALF_S * fs_hz)
    shifts = np.arange(-_ALIGN_SAMPLES, _ALIGN_SAMPLES + 1)
    # One step for all shifts: the beats of a window are few, and each call of numpy costs more than its arithmetic.
    cut = vector[:, (at + shifts[:, None])[:, :, None] + np.arange(-half, half + 1)]
    cut = (cut - cut.mean(axis=3, keepdims=True)).transpose(1, 2, 0, 3).reshape(shifts.size, at.size, -1)
    shifted = cut / np.maximum(np.linalg.norm(cut, axis=2, keepdims=True), 1e-12)
    best = (shifted @ shifted[_ALIGN_SAMPLES].T).max(axis=0)
    return np.asarray(np.maximum(best, best.T))
