"""Live traces made of characters: a sweep with an erase bar, as a monitor draws it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lsemvae_edge.device.progress import Traces

Cells = Literal["braille", "blocks"]
DOTS: dict[Cells, tuple[int, int]] = {"braille": (2, 4), "blocks": (1, 2)}
"""Dots in one character, across and down."""
SWEEP_S = 3.0
"""Time from the left edge to the right."""
ERASED_S = 0.15
"""Width of the bar that goes ahead of what is new."""
SCALES_MV = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 16.0)
"""Half heights of a strip; one for all leads, so that they can be compared."""
_BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_BLOCKS = np.array([[2], [1]])

Array = NDArray[np.float32]


@dataclass
class Sweep:
    """What is on the strips now: the least and the greatest of each column of dots, not a number where nothing is.

    Parameters
    ----------
    columns : int
        Of dots.
    """

    columns: int
    leads: tuple[str, ...] = ()
    low: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    high: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    next: int = 0
    """Sample that is awaited."""
    _part: object = None
    _place: int = -1
    _scale: int = 0
    _middle: Array = field(default_factory=lambda: np.zeros(0, np.float32))

    def clear(self) -> None:
        """Wipe the strips and begin with sample 0."""
        self.leads, self.next, self._part, self._place, self._scale = (), 0, None, -1, 0
        self.low = self.high = np.zeros((0, 0), np.float32)

    def add(self, recording: str | None, traces: "Traces", leads: tuple[str, ...], signal_mv: Array) -> bool:
        """Draw what is new; return whether anything was.

        Parameters
        ----------
        recording : str or None
            Of another one, or of another part of it, nothing stays on the strips.
        traces : Traces
            Where the stretch stands.
        leads : tuple of str
        signal_mv : ndarray, (n_leads, n)
        """
        part = (recording, traces.part, traces.fs_hz, leads)
        if part != self._part:
            self.clear()
            self.leads, self._part, self.next = leads, part, traces.first
            self.low = np.full((len(leads), self.columns), np.nan, np.float32)
            self.high = self.low.copy()
            self._middle = np.zeros(len(leads), np.float32)
        skip = max(self.next - traces.first, 0)
        fresh = signal_mv[:, skip:]
        if not fresh.shape[1]:
            return False
        # Of more than one sweep only the newest part can be seen.
        fresh = fresh[:, -int((SWEEP_S - ERASED_S) * traces.fs_hz) :]
        end = traces.first + signal_mv.shape[1]
        per_column = SWEEP_S * traces.fs_hz / self.columns
        places = (np.arange(end - fresh.shape[1], end) / per_column).astype(np.int64)
        for place in np.unique(places):
            self._put(int(place) % self.columns, fresh[:, places == place], keeps=place == self._place)
        self._place = int(places[-1])
        ahead = (places[-1] + 1 + np.arange(max(int(ERASED_S / SWEEP_S * self.columns), 2))) % self.columns
        self.low[:, ahead] = self.high[:, ahead] = np.nan
        self.next = end
        self._fit()
        return True

    def scale_mv(self) -> float:
        """Return half the height of a strip, the same for all leads."""
        return SCALES_MV[self._scale]

    def draw(self, lead: int, rows: int, cells: Cells) -> list[str]:
        """Return one lead's strip as lines of characters."""
        down = DOTS[cells][1]
        height = rows * down
        scale, middle = self.scale_mv(), self._middle[lead]
        unit = (height - 1) / (2 * scale)
        top = np.round((height - 1) / 2 - (self.high[lead] - middle) * unit)
        bottom = np.round((height - 1) / 2 - (self.low[lead] - middle) * unit)
        dots = np.zeros((height, self.columns), dtype=bool)
        before: tuple[int, int] | None = None
        for column in range(self.columns):
            if np.isnan(top[column]):
                before = None
                continue
            first = int(np.clip(top[column], 0, height - 1))
            last = int(np.clip(bottom[column], 0, height - 1))
            if before is not None:
                # Without a gap between neighbours a steep beat would fall apart into dots.
                first, last = min(first, before[1] + 1), max(last, before[0] - 1)
            before = (int(np.clip(top[column], 0, height - 1)), int(np.clip(bottom[column], 0, height - 1)))
            dots[max(first, 0) : min(last, height - 1) + 1, column] = True
        return _characters(dots, cells)

    def _put(self, column: int, stretch: Array, *, keeps: bool) -> None:
        with np.errstate(invalid="ignore"):
            empty = np.isnan(stretch).all(axis=1)
            low = np.where(empty, np.nan, np.nanmin(np.where(np.isnan(stretch), np.inf, stretch), axis=1))
            high = np.where(empty, np.nan, np.nanmax(np.where(np.isnan(stretch), -np.inf, stretch), axis=1))
        if keeps:
            low, high = np.fmin(low, self.low[:, column]), np.fmax(high, self.high[:, column])
        self.low[:, column], self.high[:, column] = low, high

    def _fit(self) -> None:
        """Choose scale and levels for what is on the strips: at once when something leaves them, else seldom."""
        known = ~np.isnan(self.low).all(axis=1)
        if not known.any():
            return
        top, bottom = np.nanmax(self.high[known], axis=1), np.nanmin(self.low[known], axis=1)
        fitting = min(int(np.searchsorted(SCALES_MV, float((top - bottom).max()) / 2)), len(SCALES_MV) - 1)
        if fitting > self._scale or fitting < self._scale - 2:
            self._scale = fitting
        scale, middle = SCALES_MV[self._scale], self._middle[known]
        is_out = (top > middle + scale) | (bottom < middle - scale) | (np.abs((top + bottom) / 2 - middle) > scale / 2)
        self._middle[known] = np.where(is_out, (top + bottom) / 2, middle)


def _characters(dots: NDArray[np.bool_], cells: Cells) -> list[str]:
    across, down = DOTS[cells]
    weights = _BRAILLE if cells == "braille" else _BLOCKS
    height, width = dots.shape
    padded = np.zeros((height, -(-width // across) * across), dtype=bool)
    padded[:, :width] = dots
    blocks = padded.reshape(height // down, down, -1, across)
    codes = np.einsum("rdca,da->rc", blocks.astype(np.int64), weights)
    if cells == "braille":
        return ["".join(" " if code == 0 else chr(0x2800 + code) for code in row) for row in codes]
    return ["".join(" ▄▀█"[code] for code in row) for row in codes]
