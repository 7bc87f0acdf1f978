"""Which windows of a recording to judge first, by signal quality alone."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lsemvae_edge.statistics import median, quantile

Array = NDArray[np.float64]

_BIN_S = 1.0


def rank_windows(vector: Array, excluded: NDArray[np.bool_], window: int, step: int, fs_hz: float) -> NDArray[np.intp]:
    """Order the starts of admissible windows from the cleanest to the worst.

    A window's badness is how far its seconds stand out of the recording: louder or quieter than
    most, or with more fast noise. Ties go to the earlier window.

    Parameters
    ----------
    vector : array (2, n_samples)
        Frontal vector of the whole conditioned recording.
    excluded : array (n_samples,) of bool
        Samples no window may touch.
    window, step : int
        Length of a window and distance of candidates, in samples.
    fs_hz : float
        Sampling rate.

    Returns
    -------
    array of int
        Empty when no window is admissible.
    """
    n_samples = vector.shape[1]
    if n_samples < window:
        return np.empty(0, dtype=np.intp)
    last = n_samples - window
    # Not numpy.unique: like numpy.median, it imports numpy.ma.
    starts = np.array([*range(0, last, step), last])
    blocked = np.concatenate([[0], np.cumsum(excluded)])
    starts = starts[blocked[starts + window] == blocked[starts]]
    if starts.size < 2:
        return np.asarray(starts)
    bad = np.concatenate([[0.0], np.cumsum(_badness(vector, excluded, round(_BIN_S * fs_hz)))])
    badness = (bad[starts + window] - bad[starts]) / window
    return np.asarray(starts[np.argsort(np.round(badness, 6), kind="stable")])


def _badness(vector: Array, excluded: NDArray[np.bool_], width: int) -> Array:
    """How far the second around each sample stands out, squared and summed over measures."""
    length = np.sqrt((vector**2).sum(axis=0))
    third = np.zeros_like(length)
    third[3:] = np.abs(np.diff(vector, 3, axis=1)).sum(axis=0)
    hop = max(1, width // 8)
    loudest = sliding_window_view(length, width)[::hop].max(axis=1)
    noise = median(sliding_window_view(third, width)[::hop], axis=1)
    allowed = ~sliding_window_view(excluded, width)[::hop].any(axis=1)
    centres = np.arange(loudest.size) * hop + width // 2
    total = np.zeros(loudest.size)
    for measure, tolerance in ((loudest, 0.5), (noise, 0.3)):
        level = np.log(measure + 1e-9 * float(measure.max()) + 1e-30)
        usual = float(quantile(level[allowed] if allowed.any() else level, 0.3))
        total += np.maximum(np.abs(level - usual) - tolerance, 0.0) ** 2 + 0.01 * np.maximum(level - usual, 0.0)
    return np.interp(np.arange(length.size), centres, total)
