"""Samples by their position on a time line: what was received, what is missing, and what was taken away again."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSING, RECEIVED, BLANKED = 0, 1, 2

_SPARE = 4096
"""Columns beyond the double capacity, so that moving the kept samples to the front stays rare."""


class Written(NamedTuple):
    """What became of samples: new, already there with the same values, already there with others, not to be kept."""

    new: int = 0
    same: int = 0
    other: int = 0
    refused: int = 0


class Samples:
    """The newest samples of a time line.

    Parameters
    ----------
    n_leads : int
    capacity : int, optional
        How many of the newest are kept; None keeps all.
    first : int
        Position of the first sample; nothing is ever placed before it.

    Attributes
    ----------
    first, end : int
        Of all samples, also those no longer kept.
    """

    def __init__(self, n_leads: int, capacity: int | None, first: int) -> None:
        self.first = self.end = self._base = first
        self._capacity = capacity
        columns = (2 * capacity if capacity is not None else 0) + _SPARE
        self._kept = np.full((n_leads, columns), np.nan, np.float32)
        self._state = np.zeros(columns, np.uint8)

    @property
    def oldest(self) -> int:
        """First position that is kept."""
        if self._capacity is None:
            return self.first
        return max(self.first, self.end - self._capacity)

    def append(self, at: int, signal_mv: NDArray[np.float32]) -> None:
        """Put samples at or after the end; what lies between is missing."""
        end = at + signal_mv.shape[1]
        if end - self._base > self._state.size:
            self._make_room(end)
            if at < self._base:
                signal_mv, at = signal_mv[:, self._base - at :], self._base
        begin, stop = at - self._base, end - self._base
        self._kept[:, begin:stop] = signal_mv
        self._state[begin:stop] = RECEIVED
        self.end = end

    def put(self, at: int, signal_mv: NDArray[np.float32]) -> Written:
        """Put samples that begin before the end where nothing stands yet.

        Those that contradict what stands there are not kept, not even where there would be room for them.
        """
        n = signal_mv.shape[1]
        begin, stop = max(at, self.oldest), min(at + n, self.end)
        if stop <= begin:
            return Written(refused=n)
        columns = slice(begin - self._base, stop - self._base)
        state, kept = self._state[columns], self._kept[:, columns]
        signal_in = signal_mv[:, begin - at : stop - at]
        there = state == RECEIVED
        other = int((there & (kept != signal_in).any(axis=0)).sum())
        same = int(there.sum()) - other
        if other:
            return Written(same=same, other=other, refused=n - same - other)
        free = state == MISSING
        new = int(free.sum())
        if new:
            kept[:, free] = signal_in[:, free]
            state[free] = RECEIVED
        tail = at + n - stop
        if tail:
            self.append(stop, signal_mv[:, n - tail :])
        return Written(new + tail, same, 0, n - new - same - tail)

    def blank(self, begin: int, end: int) -> int:
        """Take samples away for good, and let none be put there; return how many were."""
        columns = slice(max(begin, self.oldest) - self._base, max(min(end, self.end) - self._base, 0))
        state = self._state[columns]
        taken = int((state == RECEIVED).sum())
        state[:] = BLANKED
        self._kept[:, columns] = np.nan
        return taken

    def newest(self, n: int | None = None) -> tuple[int, NDArray[np.float32]]:
        """Return the position of the first, and a copy of up to ``n`` of the newest samples, NaN where none is."""
        begin = self.oldest if n is None else max(self.oldest, self.end - n)
        return begin, self._kept[:, begin - self._base : self.end - self._base].copy()

    def _make_room(self, end: int) -> None:
        """Let the columns reach to ``end``."""
        if self._capacity is None:
            columns, base = max(2 * self._state.size, end - self._base), self._base
        else:
            columns, base = self._state.size, max(end - self._capacity, self._base)
        moved = slice(min(base, self.end) - self._base, self.end - self._base)
        kept, state = self._kept[:, moved].copy(), self._state[moved].copy()
        if columns > self._state.size:
            self._kept = np.full((kept.shape[0], columns), np.nan, np.float32)
            self._state = np.zeros(columns, np.uint8)
        self._kept[:, : state.size], self._state[: state.size] = kept, state
        self._kept[:, state.size :], self._state[state.size :] = np.nan, MISSING
        self._base = base
