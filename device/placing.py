"""Where a frame belongs on the recording's time line, by the best that the recorder offers.

With a sample index the place is known. With a clock alone it follows from the time since the frame before, at the
rate that the clock itself shows. With neither, samples are taken to follow each other, until their arrival says that
some are missing: where in the uncertain stretch they were is then unknown, and the stretch is given up.
"""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from lsemvae_edge.device.driver import Stream
from lsemvae_edge.device.events import Frame
from lsemvae_edge.statistics import median

AHEAD_S = 5.0
"""A frame may be so much further on than the time passed since the last one; further is damage, or a new count."""
BEHIND_S = 5.0
"""A frame this far back is no straggler: the recorder counts anew."""
LAG_S = 0.25
"""Samples that are late by more than this, against the earliest arrivals before, were lost on the way."""
N_STEPS = 31


@dataclass(frozen=True, slots=True)
class Place:
    """A frame's first sample stands here."""

    at: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The frame stands at ``at``; something between ``uncertain_from`` and there was lost, nobody knows where."""

    at: int
    uncertain_from: int


@dataclass(frozen=True, slots=True)
class Wild:
    """The frame says something impossible and is not believed."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The recorder counts from the beginning again."""


class Placer(ABC):
    """Places the frames of one time line."""

    @abstractmethod
    def place(self, frame: Frame, arrived_s: float) -> Place | Lost | Wild | Restarted:
        """Find the place of a frame."""

    def resume(self, end: int) -> None:  # noqa: B027 - nothing to do where frames say where they belong
        """Take notice of a new link; ``end`` is where the samples of the one before ended."""


def placer(stream: Stream, indexed: bool) -> Placer:
    """Choose by what the stream offers."""
    if indexed and stream.index_modulus is not None:
        return _ByIndex(stream)
    if stream.clock_modulus_s is not None:
        return _ByClock(stream)
    return _ByArrival(stream)


def _unwrapped(value: float, near: float, modulus: float) -> float:
    """Return the number that is ``value`` modulo ``modulus`` and lies closest to ``near``."""
    return near + (value - near + modulus / 2) % modulus - modulus / 2


class _Believer:
    """Tells damage from a true jump: an impossible step is believed only when the next frame repeats it."""

    def __init__(self, fs_hz: float) -> None:
        self._ahead, self._behind = AHEAD_S * fs_hz, BEHIND_S * fs_hz
        self._doubtful: float | None = None

    def judge(self, step: float, elapsed: float, at: float, n: int) -> type[Wild] | type[Restarted] | None:
        """Judge a frame that begins ``step`` samples after the newest, when ``elapsed`` have passed since that."""
        if -self._behind <= step <= elapsed + self._ahead:
            self._doubtful = None
            return None
        agrees = self._doubtful is not None and 0 <= at - self._doubtful <= self._ahead
        self._doubtful = at + n
        return Restarted if agrees else Wild


class _ByIndex(Placer):
    def __init__(self, stream: Stream) -> None:
        assert stream.index_modulus is not None
        self._modulus, self._fs_hz = stream.index_modulus, stream.fs_hz
        self._believer = _Believer(stream.fs_hz)
        self._end: int | None = None
        self._arrived_s = 0.0

    def place(self, frame: Frame, arrived_s: float) -> Place | Lost | Wild | Restarted:
        if frame.index is None:
            return Wild()
        n = frame.signal_mv.shape[1]
        if self._end is None:
            self._end, self._arrived_s = frame.index + n, arrived_s
            return Place(frame.index)
        at = int(_unwrapped(frame.index, self._end, self._modulus))
        elapsed = (arrived_s - self._arrived_s) * self._fs_hz
        if (verdict := self._believer.judge(at - self._end, elapsed, at, n)) is not None:
            return verdict()
        if at + n > self._end:
            self._end, self._arrived_s = at + n, arrived_s
        return Place(at)


class _ByClock(Placer):
    """The clock tells how much time passed; how many samples that is, its own steps between whole frames tell."""

    def __init__(self, stream: Stream) -> None:
        assert stream.clock_modulus_s is not None
        self._modulus_s, self._fs_hz = stream.clock_modulus_s, stream.fs_hz
        self._believer = _Believer(stream.fs_hz)
        self._periods_s: deque[float] = deque(maxlen=N_STEPS)
        self._time_s: float | None = None
        self._at, self._n, self._arrived_s = 0, 0, 0.0

    def place(self, frame: Frame, arrived_s: float) -> Place | Lost | Wild | Restarted:
        if frame.device_time_s is None:
            return Wild()
        n = frame.signal_mv.shape[1]
        if self._time_s is None:
            self._take(frame.device_time_s, 0, n, arrived_s)
            return Place(0)
        time_s = _unwrapped(frame.device_time_s, self._time_s, self._modulus_s)
        passed_s = time_s - self._time_s
        fs_hz = 1 / median(self._periods_s) if len(self._periods_s) >= N_STEPS // 4 else self._fs_hz
        step = round(passed_s * fs_hz)
        # Before the rate is known, what is about one frame is one frame.
        if abs(step - self._n) <= max(1, round(0.03 * self._n)):
            step = self._n
            self._periods_s.append(passed_s / self._n)
        at = self._at + step
        elapsed = (arrived_s - self._arrived_s) * self._fs_hz
        if (verdict := self._believer.judge(step - self._n, elapsed, at, n)) is not None:
            return verdict()
        if step > 0:
            self._take(time_s, at, n, arrived_s)
        return Place(at)

    def _take(self, time_s: float, at: int, n: int, arrived_s: float) -> None:
        self._time_s, self._at, self._n, self._arrived_s = time_s, at, n, arrived_s


class _ByArrival(Placer):
    """The earliest arrivals show when samples were taken; who falls behind them for good has lost some."""

    def __init__(self, stream: Stream) -> None:
        self._fs_hz = stream.fs_hz
        self._end = 0
        self._lags_s: deque[tuple[int, float]] = deque(maxlen=200)
        self._origin_s: float | None = None
        self._sure = 0
        self._resumed = False

    def place(self, frame: Frame, arrived_s: float) -> Place | Lost | Wild | Restarted:
        n = frame.signal_mv.shape[1]
        at = self._end
        if self._origin_s is None:
            self._origin_s = arrived_s - n / self._fs_hz
        expected = round((arrived_s - self._origin_s) * self._fs_hz) - n
        if self._resumed:
            self._resumed = False
            at = max(at, expected)
            return self._lost(at, n, arrived_s)
        lag_s = (expected - at) / self._fs_hz
        self._lags_s.append((at, lag_s))
        # The smallest lag of the last frames: a burst that was only held up comes back to none.
        lasting_s = min(lag for place, lag in self._lags_s if place > at - self._fs_hz) if at > self._sure else 0.0
        if frame.dropped or lasting_s > LAG_S:
            return self._lost(at + round(max(lasting_s, 0.0) * self._fs_hz), n, arrived_s)
        self._end = at + n
        return Place(at)

    def resume(self, end: int) -> None:
        self._end, self._resumed = end, True

    def _lost(self, at: int, n: int, arrived_s: float) -> Lost:
        uncertain_from = max((place for place, lag in self._lags_s if lag <= LAG_S / 4), default=self._sure)
        self._lags_s.clear()
        self._end = self._sure = at + n
        return Lost(at, min(uncertain_from, at))
