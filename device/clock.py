"""A recorder's sampling clock against the host's: its true rate, its drift, and how unsteadily samples arrive.

What arrives was taken at least so long ago as the way takes, and often longer; so of every second only the earliest
arrival counts, and a line through those (Theil-Sen: the median of the slopes between them) is the clock. Memory is
constant: when there are too many points, every second one goes.
"""

from typing import Any

import numpy as np

from lsemvae_edge.statistics import median

MAX_POINTS = 240
SURE_S = 20.0
"""Seconds of signal from which the fit is believed."""
NOMINAL_WITHIN = 0.002
"""A measured rate that differs by less from the nominal one is drift, and the nominal rate stays."""
ROUNDED_HZ = 0.1


class RateFit:
    """Fits arrival times against sample positions.

    Parameters
    ----------
    nominal_hz : float
    """

    def __init__(self, nominal_hz: float) -> None:
        self.nominal_hz = nominal_hz
        self._points: list[tuple[float, float]] = []
        self._spacing = round(nominal_hz)
        self._bin: int | None = None
        self._best: tuple[float, float] | None = None
        self._marks: list[tuple[int, float]] = []
        self._late_s = 0.0
        self._measured: float | None = None
        self._at_n_points = 0

    def arrived(self, end: int, at_s: float) -> None:
        """Take notice that sample ``end`` (exclusive) had been taken at ``at_s``."""
        lateness_s = at_s - end / self.nominal_hz
        which = end // self._spacing
        if which != self._bin:
            if self._best is not None:
                self._keep(self._best)
            self._bin, self._best = which, (end, lateness_s)
        elif self._best is None or lateness_s < self._best[1]:
            self._best = (end, lateness_s)
        else:
            self._late_s = max(self._late_s, lateness_s - self._best[1])

    def mark(self, index: int, device_time_s: float) -> None:
        """Take notice of the recorder's own clock at a sample."""
        self._marks = [*self._marks[:1], (index, device_time_s)]

    def pause(self) -> None:
        """Leave the second under way out, for the link was lost in it."""
        self._bin = self._best = None

    @property
    def fs_hz(self) -> float:
        """The rate to go by: nominal, unless the fit is sure that it is another."""
        measured = self.measured_hz
        if measured is None or abs(measured / self.nominal_hz - 1) <= NOMINAL_WITHIN:
            return self.nominal_hz
        return round(measured / ROUNDED_HZ) * ROUNDED_HZ

    @property
    def measured_hz(self) -> float | None:
        """The rate by the host's clock; None before it is sure."""
        if len(self._points) < 4 or (self._points[-1][0] - self._points[0][0]) < SURE_S * self.nominal_hz:
            return None
        if self._at_n_points != len(self._points):
            self._measured, self._at_n_points = self._fitted(), len(self._points)
        return self._measured

    def facts(self) -> dict[str, Any]:
        """Return nominal and measured rate, drift in parts a million, and the longest delay; plain JSON values."""
        measured = self.measured_hz
        drift_ppm = None if measured is None else round(1e6 * (measured / self.nominal_hz - 1), 1)
        facts = {
            "nominal_hz": self.nominal_hz,
            "measured_hz": None if measured is None else round(measured, 4),
            "drift_ppm": drift_ppm,
            "jitter_ms": round(1e3 * self._late_s, 1),
        }
        if len(self._marks) == 2 and self._marks[1][1] - self._marks[0][1] > SURE_S:
            (first, begun_s), (last, ended_s) = self._marks
            facts["by_its_own_clock_hz"] = round((last - first) / (ended_s - begun_s), 4)
        return facts

    def _keep(self, point: tuple[float, float]) -> None:
        self._points.append(point)
        if len(self._points) > MAX_POINTS:
            self._points = self._points[::2]
            self._spacing *= 2
            self._bin = None

    def _fitted(self) -> float:
        """Slope of lateness over position; the rate is what makes it flat."""
        points = np.asarray(self._points)
        half = len(points) // 2
        # Pairs half the recording apart: as robust, and not a million of them.
        step = points[half : 2 * half] - points[:half]
        slope = float(median(step[:, 1] / step[:, 0]))
        return self.nominal_hz / (1 + slope * self.nominal_hz)
