"""Whether a recorder's test signal is the square wave it should be."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.statistics import runs

JUDGED_S = 1.0
"""Shortest stretch without a gap that can be judged."""
AMPLITUDE_TOLERANCE = 0.1
PERIOD_TOLERANCE = 0.1
EDGES_APART_S = 0.02
"""Leads may cross the middle this far apart, by filters and noise."""
_NOISE_SHARE = 0.1
"""A level may spread over this share of the peak to peak, as the middle 80 % of its samples do."""


def complaint(
    signal_mv: NDArray[np.float32], leads: Sequence[str], fs_hz: float, peak_to_peak_mv: float, frequency_hz: float
) -> str | None:
    """Compare a recorded test signal with what was announced.

    Parameters
    ----------
    signal_mv : array (n_leads, n)
        NaN where nothing arrived; the longest stretch that is whole is judged.
    leads : sequence of str
        Names of the rows.
    fs_hz : float
    peak_to_peak_mv, frequency_hz : float
        What was announced, the same for every lead, all in phase.

    Returns
    -------
    str or None
        What is wrong, as part of a sentence; None if nothing is.
    """
    whole = _longest_whole(np.asarray(signal_mv, dtype=np.float64))
    if whole.shape[1] < round(JUDGED_S * fs_hz):
        return "less than a second of the test signal arrived whole"
    states: list[NDArray[np.bool_]] = []
    for lead, row in zip(leads, whole, strict=True):
        wrong, is_high = _judge(row, fs_hz, peak_to_peak_mv, frequency_hz)
        if wrong is not None:
            return f"lead {lead} {wrong}"
        states.append(is_high)
    apart = round(EDGES_APART_S * fs_hz)
    for lead, is_high in zip(leads[1:], states[1:], strict=True):
        if not (_follows(states[0], is_high, apart) and _follows(is_high, states[0], apart)):
            return f"leads {leads[0]} and {lead} are not in phase"
    return None


def _judge(
    row: NDArray[np.float64], fs_hz: float, peak_to_peak_mv: float, frequency_hz: float
) -> tuple[str | None, NDArray[np.bool_]]:
    low, high = np.percentile(row, (5, 95))
    is_high = row > (low + high) / 2
    if not 0 < np.count_nonzero(is_high) < row.size:
        return "is flat", is_high
    levels = [row[~is_high], row[is_high]]
    found_mv = float(np.median(levels[1]) - np.median(levels[0]))
    if abs(found_mv - peak_to_peak_mv) > AMPLITUDE_TOLERANCE * peak_to_peak_mv:
        return f"shows {found_mv:.2f} mV peak to peak instead of {peak_to_peak_mv:.2f}", is_high
    spread = max(float(np.subtract(*np.percentile(level, (90, 10)))) for level in levels)
    if spread > _NOISE_SHARE * peak_to_peak_mv:
        return "shows no square wave", is_high
    half = fs_hz / (2 * frequency_hz)
    edges = np.flatnonzero(np.diff(is_high)) + 1
    stays = np.diff(np.concatenate([[0], edges, [row.size]]))
    # One sample either way is no fault of the recorder.
    tolerance = PERIOD_TOLERANCE * half + 1
    if np.any(stays > half + tolerance) or np.any(stays[1:-1] < half - tolerance):
        return f"does not alternate at {frequency_hz:.2f} Hz", is_high
    return None, is_high


def _follows(one: NDArray[np.bool_], other: NDArray[np.bool_], apart: int) -> bool:
    """Whether ``other`` changes as ``one`` does, ``apart`` samples sooner or later at most."""
    edges = np.flatnonzero(np.diff(one)) + 1
    return all(
        other[edge - apart - 1] == one[edge - 1] and other[edge + apart] == one[edge]
        for edge in edges
        if apart < edge < one.size - apart
    )


def _longest_whole(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    stretches = runs(np.all(np.isfinite(signal), axis=0))
    if stretches.size == 0:
        return signal[:, :0]
    begin, end = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    return signal[:, begin:end]
