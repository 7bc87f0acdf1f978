"""A recorder's sampling clock against the host's: its true rate, its drift, and how unsteadily samples arrive.

What arrives was taken at least so long ago as the way takes, and often longer; so of every second only the earliest
arrival counts, and a line through those (Theil-Sen: the median of the slopes between them) is the clock. Memory is
constant.
"""

from typing import Any, NamedTuple

import numpy as np

from lsemvae_edge.statistics import median, quantile

MAX_POINTS = 240
SURE_S = 20.0
"""Seconds of signal from which the fit is believed."""
NOMINAL_WITHIN = 0.002
"""A measured rate that differs by less from the nominal one is drift, and the nominal rate stays."""
SURE_SIGMAS = 4.0
"""So many standard errors of the fit must the difference have, too."""
RATE_DECIMALS = 1
BIN_S = 1.0

_MAD_TO_SIGMA = 1.4826


class Line(NamedTuple):
    """Lateness over time: offset (s), slope (s/s), its standard error, and what nine in ten bins are within (s)."""

    offset_s: float
    slope: float
    slope_error: float
    within_s: float


class Envelope:
    """The line below lateness: when samples arrive if nothing holds them up.

    Parameters
    ----------
    bin_s : float
        Of each bin only the least lateness counts.
    max_points : int
        Bins kept.
    forgets : bool
        With too many bins the oldest goes; otherwise every second one, and from then on two share a place, so that
        they always span the whole recording.
    """

    def __init__(self, bin_s: float, max_points: int, forgets: bool) -> None:
        self._bin_s, self._max_points, self._forgets = bin_s, max_points, forgets
        self._point_s = bin_s
        self._points: list[tuple[float, float]] = []
        self._bin: int | None = None
        self._least = (0.0, 0.0)
        self._sum_s, self._n = 0.0, 0
        self._delay_s, self._n_delays = 0.0, 0
        self._line: Line | None = None

    @property
    def span_s(self) -> float:
        """From the first bin to the newest that is full."""
        return self._points[-1][0] - self._points[0][0] if self._points else 0.0

    @property
    def n_points(self) -> int:
        """Bins that are full."""
        return len(self._points)

    @property
    def mean_delay_s(self) -> float:
        """Mean lateness beyond the least of each bin."""
        return float(self._delay_s / self._n_delays) if self._n_delays else 0.0

    def add(self, at_s: float, late_s: float) -> None:
        """Take an arrival.

        Parameters
        ----------
        at_s : float
            Time by the samples' own count; grows from call to call.
        late_s : float
            How much later than that it arrived.
        """
        which = int(at_s / self._bin_s)
        if which != self._bin:
            self._close()
            self._bin, self._least = which, (at_s, late_s)
        elif late_s < self._least[1]:
            self._least = (at_s, late_s)
        self._sum_s += late_s
        self._n += 1

    def pause(self) -> None:
        """Leave out the bin under way."""
        self._bin, self._sum_s, self._n = None, 0.0, 0

    def line(self) -> Line | None:
        """Return the line; None with fewer than two full bins."""
        if self._line is None and len(self._points) >= 2:
            at_s, late_s = np.asarray(self._points).T
            half = at_s.size // 2
            # Pairs half the recording apart: as robust as all pairs, and never a hundred thousand of them.
            slope = float(median((late_s[-half:] - late_s[:half]) / (at_s[-half:] - at_s[:half])))
            rest = late_s - slope * at_s
            offset = float(median(rest))
            off_s = np.abs(rest - offset)
            slope_error = _MAD_TO_SIGMA * float(median(off_s)) / (float(np.std(at_s)) * at_s.size**0.5)
            self._line = Line(offset, slope, slope_error, float(quantile(off_s, 0.9)))
        return self._line

    def _close(self) -> None:
        if self._bin is None:
            return
        self._delay_s += self._sum_s - self._n * self._least[1]
        self._n_delays += self._n
        self._sum_s, self._n = 0.0, 0
        self._line = None
        if self._points and int(self._points[-1][0] / self._point_s) == int(self._least[0] / self._point_s):
            self._points[-1] = min(self._points[-1], self._least, key=lambda point: point[1])
            return
        self._points.append(self._least)
        if len(self._points) > self._max_points:
            if self._forgets:
                del self._points[0]
            else:
                self._points = self._points[::2]
                self._point_s *= 2


class RateFit:
    """Fits arrival times against sample positions.

    Parameters
    ----------
    nominal_hz : float
    """

    def __init__(self, nominal_hz: float) -> None:
        self.nominal_hz = nominal_hz
        self._envelope = Envelope(BIN_S, MAX_POINTS, forgets=False)
        self._origin: tuple[int, float] | None = None
        self._marks: list[tuple[int, float]] = []

    def arrived(self, end: int, at_s: float) -> None:
        """Take notice that sample ``end`` (exclusive) had been taken at ``at_s``; ``end`` grows from call to call."""
        if self._origin is None:
            self._origin = end, at_s
        sample_s = (end - self._origin[0]) / self.nominal_hz
        self._envelope.add(sample_s, at_s - self._origin[1] - sample_s)

    def mark(self, index: int, device_time_s: float) -> None:
        """Take notice of the recorder's own clock at a sample."""
        if self._marks and (index < self._marks[-1][0] or device_time_s < self._marks[-1][1]):
            self._marks.clear()  # the index wrapped
        self._marks = [*self._marks[:1], (index, device_time_s)]

    def pause(self) -> None:
        """Leave the second under way out, for the link was lost in it."""
        self._envelope.pause()

    @property
    def fs_hz(self) -> float:
        """The rate to go by: nominal, unless the fit is sure that it is another."""
        measured, line = self.measured_hz, self._envelope.line()
        if measured is None or line is None:
            return self.nominal_hz
        is_drift = abs(measured / self.nominal_hz - 1) <= NOMINAL_WITHIN
        if is_drift or abs(line.slope) <= SURE_SIGMAS * line.slope_error:
            return self.nominal_hz
        return round(measured, RATE_DECIMALS)

    @property
    def measured_hz(self) -> float | None:
        """The rate by the host's clock; None before it is sure."""
        if self._envelope.span_s < SURE_S:
            return None
        line = self._envelope.line()
        if line is None or line.slope <= -0.5:
            return None
        return self.nominal_hz / (1 + line.slope)

    def facts(self) -> dict[str, Any]:
        """Return nominal and measured rate, drift in parts a million, and the mean delay; plain JSON values."""
        measured = self.measured_hz
        facts = {
            "nominal_hz": self.nominal_hz,
            "measured_hz": None if measured is None else round(measured, 4),
            "drift_ppm": None if measured is None else round(1e6 * (measured / self.nominal_hz - 1), 1),
            "jitter_ms": round(1e3 * self._envelope.mean_delay_s, 1),
        }
        if len(self._marks) == 2 and self._marks[1][1] - self._marks[0][1] > SURE_S:
            (first, begun_s), (last, ended_s) = self._marks
            facts["by_its_own_clock_hz"] = round((last - first) / (ended_s - begun_s), 4)
        return facts
