"""A recording at another rate, for formats that admit only some: numpy alone, nothing invented in gaps."""

from datetime import timedelta
from math import ceil

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import preprocess
from lsemvae_edge.errors import UsageError
from lsemvae_edge.record import Record
from lsemvae_edge.spec import ResamplerSpec

HALF_WIDTH_S = 0.064
"""Reach of the filter to both sides; so much is lost at the ends and around each gap."""
KAISER_BETA = 8.0


def within(record: Record, lowest_hz: float, highest_hz: float) -> Record:
    """Return a recording whose rate lies between two bounds: itself if it can be.

    The new rate is the old one times, or over, the smallest whole number that will do. A sample whose filter touches a
    gap is one.

    Raises
    ------
    UsageError
        If no such rate exists, or the recording is shorter than the filter.
    """
    fs_hz = record.fs_hz
    if fs_hz < lowest_hz:
        fs_hz *= ceil(lowest_hz / record.fs_hz)
    elif fs_hz > highest_hz:
        fs_hz /= ceil(record.fs_hz / highest_hz)
    if fs_hz == record.fs_hz:
        return record
    if not lowest_hz <= fs_hz <= highest_hz:
        raise UsageError(f"A rate of {record.fs_hz:g} Hz cannot be expressed here.", "Export the record as EDF.")
    spec = ResamplerSpec(fs_hz=fs_hz, half_width_s=HALF_WIDTH_S, kaiser_beta=KAISER_BETA, min_input_hz=0.0)
    leads, gaps, first = [], [], 0
    for samples, missing in zip(record.signal_mv.astype(np.float64), record.gaps, strict=True):
        filled = np.zeros((1, samples.size))
        if not missing.all():
            filled, _ = preprocess.bridge_gaps(samples[None], missing, 0)
        made, first = preprocess.resample(filled, record.fs_hz, spec)
        leads.append(made[0])
        gaps.append(_touched(missing, record.fs_hz, first, made.shape[1], fs_hz))
    if not leads or leads[0].size == 0:
        raise UsageError("The recording is too short to be resampled.", "Export the record as EDF.")
    return Record(
        signal_mv=np.stack(leads).astype(np.float32),
        fs_hz=fs_hz,
        leads=record.leads,
        gaps=np.stack(gaps),
        started_at=record.started_at and record.started_at + timedelta(seconds=first / fs_hz),
        meta={**record.meta, "resampled_from_hz": record.fs_hz, "resampled_after_s": first / fs_hz},
        amplitude=record.amplitude,
        origin=record.origin,
    )


def _touched(missing: NDArray[np.bool_], fs_in_hz: float, first: int, n_out: int, fs_hz: float) -> NDArray[np.bool_]:
    """Return which new samples rest on a missing one."""
    at_s = (first + np.arange(n_out)) / fs_hz
    before = np.concatenate([[0], np.cumsum(missing)])
    begin = np.clip(np.ceil((at_s - HALF_WIDTH_S) * fs_in_hz).astype(int), 0, missing.size)
    end = np.clip(np.floor((at_s + HALF_WIDTH_S) * fs_in_hz).astype(int) + 1, 0, missing.size)
    return np.asarray(before[end] > before[begin])
