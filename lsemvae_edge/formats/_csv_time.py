"""The sampling rate of a table, from its column of times and from what is stated."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError

_TIME_NAMES = frozenset(("t", "time", "times", "seconds", "sec"))
_INDEX_NAMES = frozenset(("sample", "samples", "sample_index", "index", "n"))
_SECONDS_PER_UNIT = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6}
_LATEST_S = 1e11
"""Beyond any clock; seconds since 1970 are 1.7e9."""

_MAX_RATE_ERROR = 5e-3
_MAX_JITTER = 0.2
"""Departure from a regular grid that is still regular, in sample intervals."""


def column(names: Sequence[str]) -> int | None:
    """Return which column holds times or sample numbers, or None."""
    for index, name in enumerate(names):
        if name.strip().lower() in _TIME_NAMES | _INDEX_NAMES:
            return index
    return None


def sampling_rate(
    times: NDArray[np.float64] | None, column_name: str, unit: str | None, stated_hz: float | None
) -> float:
    """Find the sampling rate.

    Parameters
    ----------
    times : array (n_samples,) or None
        Times, or sample numbers, as in the file.
    column_name : str
        What that column is called.
    unit : str or None
        Its unit; seconds when none is stated.
    stated_hz : float or None
        The rate that a comment or the reader states.

    Returns
    -------
    float
        Hertz: the stated rate if there is one, else the simplest number that the times allow.

    Raises
    ------
    BadInputError
        If there is neither, they contradict each other, or the times are not regular.
    """
    is_index = column_name.strip().lower() in _INDEX_NAMES
    if times is None or is_index:
        if times is not None and times.size > 1 and not np.all(np.diff(times) == 1.0):
            raise _irregular(int(np.argmax(np.diff(times) != 1.0)))
        if stated_hz is None:
            raise BadInputError("The CSV file does not state its sampling rate.", "Give it in hertz, such as --fs 500.")
        return stated_hz
    seconds = times * _seconds_per(unit)
    if stated_hz is not None and times.size < 2:
        return stated_hz
    estimate_hz, error_hz = _estimate(seconds)
    if stated_hz is None:
        return _simplest(estimate_hz, error_hz)
    if abs(stated_hz - estimate_hz) > max(error_hz, 1e-3 * stated_hz):
        raise BadInputError(
            f"The CSV file's times make {estimate_hz:.6g} Hz, but {stated_hz:g} Hz is stated.",
            "Correct the times or the stated rate.",
        )
    return stated_hz


def _seconds_per(unit: str | None) -> float:
    if unit is None:
        return 1.0
    seconds = _SECONDS_PER_UNIT.get(unit.strip().lower().replace("\u03bc", "\u00b5"))
    if seconds is None:
        raise BadInputError(f"The CSV file gives times in {unit!r}.", "Give them in s, ms or us.")
    return seconds


def _estimate(seconds: NDArray[np.float64]) -> tuple[float, float]:
    """Rate and the most it may be wrong by, from times that may have been rounded."""
    if seconds.size < 2 or not (np.abs(seconds) < _LATEST_S).all():
        raise BadInputError(
            "The CSV file's times are incomplete, or no times.",
            "Give every row a time, or leave the column out and use --fs.",
        )
    intervals = seconds.size - 1
    span_s = float(seconds[-1] - seconds[0])
    if not 0 < span_s < math.inf:
        raise BadInputError("The CSV file's times do not increase.", "Sort the rows by time.")
    rate_hz = intervals / span_s
    resolution_s = _resolution(seconds)
    steps = np.diff(seconds)
    bad = np.abs(steps - 1 / rate_hz) > _MAX_JITTER / rate_hz + 1.01 * resolution_s
    if bad.any():
        raise _irregular(int(np.argmax(bad)))
    if steps.size > 1 and np.ptp(steps) <= 1e-6 * steps.mean():
        resolution_s = 0.0  # times that were rounded would not be evenly spaced to the last digit
    error_hz = rate_hz * (resolution_s / span_s + 1e-9)
    if error_hz > _MAX_RATE_ERROR * rate_hz:
        raise BadInputError(
            "The CSV file's times are too coarse to tell the sampling rate.",
            "Leave the time column out and give the rate with --fs.",
        )
    return rate_hz, error_hz


def _resolution(seconds: NDArray[np.float64]) -> float:
    """Smallest power of ten, down to a nanosecond, of which all times are multiples."""
    sample = seconds[:: max(1, seconds.size // 1000)]
    precision_s = 2 * float(np.spacing(np.abs(sample).max()))  # what float64 leaves of times since 1970
    for digits in range(10):
        scaled = sample * 10.0**digits
        if np.abs(scaled - np.rint(scaled)).max() < 1e-4 + precision_s * 10.0**digits:
            return 10.0**-digits
    return precision_s


def _simplest(estimate_hz: float, error_hz: float) -> float:
    """Return the number of fewest decimals within the error: 299.9999 +- 0.0003 is 300."""
    for digits in range(8):
        candidate = round(estimate_hz, digits)
        if candidate > 0 and abs(candidate - estimate_hz) <= error_hz:
            return candidate
    return estimate_hz


def _irregular(step: int) -> BadInputError:
    return BadInputError(
        f"The CSV file's times are not regular: see data rows {step + 1} and {step + 2}.",
        "Add the missing rows with empty cells.",
    )
