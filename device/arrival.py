"""Places for the frames of a recorder that says nothing about when they were taken.

Samples are taken to follow each other. What arrives ever later, against a line below all arrivals that follows the
recorder's own rate, has lost some on the way; where in the stretch since the last timely arrival is not known, so the
whole of it is given up.
"""

import math
from collections import deque

import numpy as np

from lsemvae_edge.device.clock import Envelope
from lsemvae_edge.device.events import Frame
from lsemvae_edge.device.placing import OFF_BY, Place, Placed, Placer, Repeated

LAG_S = 0.05
LAG_FRAMES = 0.5
LAG_TIMES = 2.0
FIRST_LAG_S = 0.1
"""Late are samples by more than `LAG_S` (a connection interval comes and goes by itself) or so much of a frame, and so
many times what the most timely ones are usually within; at first, when that is not known, by more than `FIRST_LAG_S`.
A loss of less cannot be told."""
LASTING_S = 3.0
"""Samples that stay late for so long are not held up: others before them were lost."""
BIN_S = 1.0
N_BINS, N_BINS_KNOWN = 60, 4
"""Bins of the line; the nominal rate is used before there are so many."""
N_RECENT = 4


class ByArrival(Placer):
    """Arrival times.

    Parameters
    ----------
    fs_hz : float
    frame_s : float
        Usual length of a frame.
    """

    sure: int = 0

    def __init__(self, fs_hz: float, frame_s: float) -> None:
        self._fs_hz = fs_hz
        self._least_lag_s = max(LAG_S, LAG_FRAMES * frame_s)
        self._end = 0
        self._late_since_s: float | None = None
        self._least_s = 0.0
        self._resumed = False
        self._n_damaged = 0
        self._last: Frame | None = None
        self._recent: deque[bytes] = deque(maxlen=N_RECENT)
        self._line = Envelope(BIN_S, N_BINS, forgets=True)
        self._earliest_s = math.inf

    def place(self, frame: Frame, arrived_s: float) -> Place:
        """Place a frame at the end, or behind what was lost before it."""
        n: int = frame.signal_mv.shape[1]
        if self._is_repetition(frame):
            return Repeated()
        self._last = frame
        end_s = (self._end + n) / self._fs_hz
        late_s = arrived_s - end_s
        usual_s, bound_s = self._usual(end_s, late_s)
        lag_s = late_s - usual_s
        if self._resumed or frame.dropped or self._n_damaged:
            damaged_s = self._n_damaged * n / self._fs_hz
            # What was damaged were whole frames, unless much more is missing.
            is_whole = self._n_damaged and not self._resumed and lag_s <= damaged_s + bound_s
            return self._lost(damaged_s if is_whole else lag_s, n, self._end)
        if lag_s <= bound_s:
            if lag_s < -bound_s:
                self._begin_line()  # earlier than possible: a loss was thought too long
            self._line.add(end_s, late_s)
            self._earliest_s = min(self._earliest_s, late_s)
            self._late_since_s = None
            self._end += n
            self.sure = self._end
            return self._end - n
        if self._late_since_s is None:
            self._late_since_s, self._least_s = arrived_s, lag_s
        self._least_s = min(self._least_s, lag_s)
        if arrived_s - self._late_since_s >= LASTING_S:
            return self._lost(self._least_s, n, self.sure)
        self._end += n
        return self._end - n

    def resume(self) -> None:
        """Take notice of a new link: how much was lost is known by the time that passed, roughly."""
        self._resumed = True

    def damaged(self) -> None:
        """Take notice that a frame may have been lost."""
        self._n_damaged += 1

    def _lost(self, lost_s: float, n: int, uncertain_from: int) -> Place:
        uncertain_from = min(uncertain_from, self.sure)
        at = self._end + max(round(lost_s * self._fs_hz), 0)
        self._end = self.sure = at + n
        self._late_since_s, self._resumed, self._n_damaged = None, False, 0
        assert self._last is not None
        return Placed(((at, self._last),), uncertain_from)

    def _usual(self, end_s: float, late_s: float) -> tuple[float, float]:
        """Lateness of a sample that nothing holds up, and by how much more it may be late."""
        line = self._line.line() if self._line.n_points >= N_BINS_KNOWN else None
        if line is None:
            return min(self._earliest_s, late_s), max(FIRST_LAG_S, self._least_lag_s)
        slope = min(max(line.slope, -OFF_BY), OFF_BY)
        return line.offset_s + slope * end_s, self._least_lag_s + LAG_TIMES * line.within_s

    def _begin_line(self) -> None:
        self._line = Envelope(BIN_S, N_BINS, forgets=True)
        self._earliest_s = math.inf

    def _is_repetition(self, frame: Frame) -> bool:
        """Whether it is a frame of just before once more: the same noise does not come twice, a flat line does."""
        content = frame.signal_mv.tobytes()
        if content in self._recent and np.ptp(frame.signal_mv, axis=1).all():
            return True
        self._recent.append(content)
        return False
