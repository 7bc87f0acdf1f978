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
_AT_ONCE = 1 << 15
_LIMIT = 1e12


def places(content: bytes, stretch: Array) -> list[str]:
    """Return how a stretch can be read from some bytes; empty if it cannot.

    Parameters
    ----------
    content : bytes
    stretch : array (N_SAMPLES,)
        Not constant.
    """
    wanted = stretch - stretch.mean()
    wanted /= np.linalg.norm(wanted)
    found = []
    for name, values, strides in _readings(content):
        for stride in strides:
            if any(_holds(values[phase::stride], wanted) for phase in range(stride)):
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
        for order, called in ((slice(None), ""), (slice(None, None, -1), " big-endian")):
            low, middle, high = parts[:, order].T
            yield f"int24{called}", ((low | middle << 8 | high << 16) << 8 >> 8).astype(np.float64), _STRIDES
    yield "text", np.array([float(word) for word in _NUMBER.findall(content)]), _TEXT_STRIDES


def _holds(values: Array, wanted: Array) -> bool:
    """Whether some neighbours among the values rise and fall as is wanted."""
    if len(values) < len(wanted):
        return False
    values = np.where(np.abs(values) < _LIMIT, values, 0.0)
    for begin in range(0, len(values) - len(wanted) + 1, _AT_ONCE):
        windows = np.lib.stride_tricks.sliding_window_view(
            values[begin : begin + _AT_ONCE + len(wanted) - 1], len(wanted)
        )
        # Shifted by a value of its own, so that little is lost where values are large.
        near = windows - windows[:, :1]
        spread = np.einsum("ij,ij->i", near, near) - near.sum(axis=1) ** 2 / len(wanted)
        with np.errstate(divide="ignore", invalid="ignore"):
            alike = np.abs(near @ wanted) / np.sqrt(spread)
        if np.any(alike[spread > 0] > SURE):
            return True
    return False
