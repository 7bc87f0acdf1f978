"""Whether a stretch of a signal lies in some bytes, in whatever units, with whatever values between its samples.

The bytes are read as numbers of every usual kind, and as decimal text; what rises and falls exactly as the stretch does
is the stretch.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
N_SAMPLES = 32
"""Length of a stretch; fewer samples would be found by chance."""
SURE = 0.9995
"""Correlation from which on it is the stretch: roundings to a few hundred steps stay above."""
_STRIDES = (1, 2, 3, 6, 8, 12)
_TEXT_STRIDES = (1, 2, 3, 4, 6, 7, 8, 9, 12, 13)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_LIMIT = 1e12
_N_CHECKS = 5
_NEAR = 0.06
"""Of the stretch's whole range: how near a few of its samples must be before all are looked at."""


def places(content: bytes, stretch: Array) -> list[str]:
    """Return how a stretch can be read from some bytes; empty if it cannot.

    Parameters
    ----------
    content : bytes
    stretch : array (N_SAMPLES,)
        Not constant.
    """
    found = []
    for name, values, strides in _readings(content):
        for stride in strides:
            if any(_holds(values[phase::stride], stretch) for phase in range(stride)):
                found.append(f"{name}, every {stride}." if stride > 1 else name)
    return found


def _readings(content: bytes) -> Iterator[tuple[str, Array, tuple[int, ...]]]:
    """Yield bytes as numbers."""
    raw = np.frombuffer(content, np.uint8)
    for kind in ("i2", "i4", "f4", "f8"):
        for order, called in (("<", ""), (">", " big-endian")):
            dtype = np.dtype(order + kind)
            for offset in range(dtype.itemsize):
                whole = len(raw[offset:]) // dtype.itemsize * dtype.itemsize
                with np.errstate(invalid="ignore", over="ignore"):
                    values = np.frombuffer(raw[offset : offset + whole].tobytes(), dtype).astype(np.float64)
                yield f"{dtype.name}{called}", values, _STRIDES
    for offset in range(3):
        whole = len(raw[offset:]) // 3 * 3
        parts = raw[offset : offset + whole].reshape(-1, 3).astype(np.int32)
        for triples, called in ((parts, ""), (parts[:, ::-1], " big-endian")):
            low, middle, high = triples.T
            yield f"int24{called}", ((low | middle << 8 | high << 16) << 8 >> 8).astype(np.float64), _STRIDES
    yield "text", np.array([float(word) for word in _NUMBER.findall(content)]), _TEXT_STRIDES


def _holds(values: Array, stretch: Array) -> bool:
    """Whether some neighbours among the values rise and fall as the stretch does."""
    n_begins = len(values) - len(stretch) + 1
    if n_begins < 1:
        return False
    values = np.where(np.abs(values) < _LIMIT, values, 0.0)
    high, low = int(np.argmax(stretch)), int(np.argmin(stretch))
    lowest = values[low : low + n_begins]
    span = values[high : high + n_begins] - lowest
    likely = span != 0
    for check in np.linspace(0, len(stretch) - 1, _N_CHECKS).astype(int):
        share = (stretch[check] - stretch[low]) / (stretch[high] - stretch[low])
        likely &= np.abs(values[check : check + n_begins] - lowest - share * span) <= _NEAR * np.abs(span)
    wanted = (stretch - stretch.mean()) / np.linalg.norm(stretch - stretch.mean())
    for begin in np.flatnonzero(likely):
        window = values[begin : begin + len(stretch)]
        # Some readings are numbers so small that their squares are none.
        window = window / np.abs(window).max()
        window = window - window.mean()
        if abs(window @ wanted) > SURE * np.linalg.norm(window):
            return True
    return False
