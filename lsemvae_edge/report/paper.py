"""ECG paper: what is drawn of a recording and where, in millimetres from the paper's top left corner.

Pure geometry. `lsemvae_edge.report.pdf` puts it on a page; tests can read it without one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.leads import LIMB_LEADS, LIMB_MATRIX, solve_i_ii
from lsemvae_edge.record import Record

MM_PER_S = 25.0
MM_PER_MV = 10.0
PULSE_MM = (5.0, 10.0)
"""Calibration pulse: 200 ms wide, 1 mV high."""

_MAX_POINTS_PER_MM = 20.0
_LANE_MARGIN_MM = 3.0
_MIN_LANE_MM = 10.0


@dataclass(frozen=True)
class Lane:
    """One lead on the paper.

    ``lines`` are unbroken stretches of (x, y); a gap ends one and the next begins after it. ``clipped`` are the
    (x, y) on the lane's edge above or below stretches that leave it.
    """

    lead: str
    top_mm: float
    height_mm: float
    lines: tuple[tuple[tuple[float, float], ...], ...]
    clipped: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Strip:
    """What the paper shows of a recording.

    ``mm_per_unit`` is `MM_PER_MV` for a calibrated recording; for any other it is one factor, chosen to fit.
    """

    start_s: float
    stop_s: float
    mm_per_unit: float
    lanes: tuple[Lane, ...]


def lay_out(record: Record, start_s: float, width_s: float, height_mm: float) -> Strip:
    """Lay six limb leads out below each other.

    Each lead is drawn as it was recorded, without any filter, its median over the strip on the lane's rest line;
    leads that were not measured are computed from those that were. A lane is as high as its lead needs.

    Parameters
    ----------
    record : Record
    start_s, width_s : float
        The stretch drawn.
    height_mm : float
        Height of all lanes together.
    """
    begin = min(max(round(start_s * record.fs_hz), 0), max(record.n_samples - 1, 0))
    end = min(begin + round(width_s * record.fs_hz) + 1, record.n_samples)
    six = _six_leads(record)[:, begin:end]
    six = six - np.array([[np.median(lead[np.isfinite(lead)]) if np.isfinite(lead).any() else 0.0] for lead in six])
    low, high = _whole_range(six)
    if record.amplitude == "calibrated":
        scale = MM_PER_MV
        if _needed_mm(high - low, scale).sum() > height_mm:
            low, high = _usual_range(six)
    else:
        scale = _fitting_scale(high - low, height_mm)
    heights = _heights(_needed_mm(high - low, scale), height_mm)
    tops = np.concatenate([[0.0], np.cumsum(heights)[:-1]])
    lanes = tuple(
        _lane(name, top, height, lead * scale, (lo + hi) / 2 * scale, record.fs_hz)
        for name, top, height, lead, lo, hi in zip(LIMB_LEADS, tops, heights, six, low, high, strict=True)
    )
    return Strip(begin / record.fs_hz, end / record.fs_hz, scale, lanes)


def _six_leads(record: Record) -> NDArray[np.float64]:
    limb = record.limb()
    pair = solve_i_ii(limb)
    six = np.full((6, record.n_samples), np.nan)
    if pair is not None:
        six[:] = LIMB_MATRIX @ pair.astype(np.float64)
    for name, lead in limb.items():
        six[LIMB_LEADS.index(name)] = lead
    return six


def _whole_range(six: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest value of each lead; zero for a lead without signal."""
    low, high = np.zeros(len(six)), np.zeros(len(six))
    for row, lead in enumerate(six):
        if np.isfinite(lead).any():
            low[row], high[row] = np.nanmin(lead), np.nanmax(lead)
    return low, high


def _usual_range(six: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what four quarters of the strip agree on, so that one artefact does not push every lead off its lane."""
    quarters = [_whole_range(part) for part in np.array_split(six, 4, axis=1)]
    return np.median([low for low, _ in quarters], axis=0), np.median([high for _, high in quarters], axis=0)


def _needed_mm(span: NDArray[np.float64], mm_per_unit: float) -> NDArray[np.float64]:
    return np.maximum(span * mm_per_unit + _LANE_MARGIN_MM, _MIN_LANE_MM)


def _fitting_scale(span: NDArray[np.float64], height_mm: float) -> float:
    """Find the largest scale at which every lane fits, by bisection."""
    low, high = 0.0, height_mm / max(float(span.max()), 1e-12)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _needed_mm(span, middle).sum() <= height_mm else (low, middle)
    return low


def _heights(needed_mm: NDArray[np.float64], total_mm: float) -> NDArray[np.float64]:
    """Give each lane what it needs; share out what is left, or cap the highest ones at a common height."""
    spare_mm = total_mm - needed_mm.sum()
    if spare_mm >= 0:
        return np.asarray(needed_mm + spare_mm / needed_mm.size)
    fixed = np.zeros(needed_mm.size, dtype=bool)
    while True:
        cap_mm = (total_mm - needed_mm[fixed].sum()) / np.count_nonzero(~fixed)
        fits = ~fixed & (needed_mm <= cap_mm)
        if not fits.any():
            return np.where(fixed, needed_mm, cap_mm)
        fixed |= fits


def _lane(
    name: str, top_mm: float, height_mm: float, lead_mm: NDArray[np.float64], middle_mm: float, fs_hz: float
) -> Lane:
    bottom_mm = top_mm + height_mm
    centre_mm = top_mm + height_mm / 2
    # Where a lead needs more than its lane, the rest line stays inside it.
    slack_mm = height_mm / 2 - _LANE_MARGIN_MM
    middle_mm = min(max(middle_mm, -slack_mm), slack_mm)
    # The page clips what leaves the lane; coordinates far outside it would only confuse a printer.
    y = np.clip(centre_mm - (lead_mm - middle_mm), top_mm - height_mm, bottom_mm + height_mm)
    x = np.arange(y.size) / fs_hz * MM_PER_S
    lines = tuple(
        tuple(zip(x[run].tolist(), y[run].tolist(), strict=True))
        for run in (_thin(run, y, fs_hz) for run in _runs(np.isfinite(y)))
    )
    clipped = []
    for outside, edge_mm in ((y < top_mm, top_mm), (y > bottom_mm, bottom_mm)):
        clipped += [(float(x[run].mean()), edge_mm) for run in _runs(outside)]
    return Lane(name, float(top_mm), float(height_mm), lines, tuple(clipped))


def _runs(mask: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Return the indices of each unbroken stretch of true values."""
    indices = np.flatnonzero(mask)
    if not indices.size:
        return []
    return np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1)


def _thin(run: NDArray[np.intp], y: NDArray[np.float64], fs_hz: float) -> NDArray[np.intp]:
    """Keep the lowest and highest sample of each twentieth of a millimetre or so, which no eye can tell apart."""
    per_bin = int(2 * fs_hz / (_MAX_POINTS_PER_MM * MM_PER_S))
    if per_bin <= 2 or run.size < 2 * per_bin:
        return run
    whole = run[: run.size // per_bin * per_bin].reshape(-1, per_bin)
    values = y[whole]
    rows = np.arange(whole.shape[0])
    kept = np.concatenate([whole[rows, values.argmin(axis=1)], whole[rows, values.argmax(axis=1)], run[[0, -1]]])
    return np.unique(kept)
