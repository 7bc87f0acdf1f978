"""Where a frame belongs on the recording's time line, by the best that the recorder offers.

With a sample index the place is known. With a clock alone it follows from the time since the frame before, at the
rate that the clock itself shows; a gap is believed when the next frame agrees. With neither, samples are taken to
follow each other until their arrival says that some are missing (`lsemvae_edge.device.arrival`).
"""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass

from lsemvae_edge.device.events import Frame

AHEAD_S = 5.0
"""A frame may be so much further on than the time passed since the last one; further is damage, or a new count."""
BEHIND_S = 5.0
"""A frame this far back is no straggler: the recorder counts anew."""
OFF_BY = 0.05
"""No recorder's rate differs by more from the nominal one."""
RESUME_S = 2.0
"""After a lost link the recorder's count has gone on as time has, to within this and `OFF_BY`; else it is a new one."""

CONTIGUOUS_SAMPLES = 1.5
"""A clock that is off by no more tells of no gap: stamps are rounded, and unsteady."""
CONTIGUOUS_SHARE = 0.03
"""Before the rate is known, a step off by no more of a frame is one frame."""
N_STEPS, N_STEPS_KNOWN = 64, 8
N_STAMPS = 64


@dataclass(frozen=True, slots=True)
class Placed:
    """Frames stand here, in this order; what lies from ``uncertain_from`` on before the first of them is no signal."""

    frames: tuple[tuple[int, Frame], ...]
    uncertain_from: int | None = None


@dataclass(frozen=True, slots=True)
class Doubted:
    """The frame is not believed, or not yet; ``n_wild`` frames now never will be."""

    n_wild: int


class Repeated:
    """The frame is the one before, delivered again."""


class Restarted:
    """The recorder counts from the beginning again."""


Place = int | Placed | Doubted | Repeated | Restarted
"""Where the frame's first sample stands, or what else is to be done."""


class Placer(ABC):
    """Places the frames of one time line, whose first sample is at `first`."""

    sure: int | None = None
    """Before this position nothing can have been lost unnoticed; None where nothing ever can."""

    @abstractmethod
    def place(self, frame: Frame, arrived_s: float) -> Place:
        """Find the place of a frame."""

    @abstractmethod
    def resume(self) -> None:
        """Take notice of a new link."""

    def damaged(self) -> None:  # noqa: B027 - nothing to do where frames say where they belong
        """Take notice of bytes that were no message, of which a frame may have been made."""


class ByIndex(Placer):
    """The frames' own index."""

    def __init__(self, fs_hz: float, modulus: int) -> None:
        self._fs_hz, self._modulus = fs_hz, modulus
        self._bounds = _Bounds(fs_hz)
        self._end: int | None = None
        self._arrived_s = 0.0

    def place(self, frame: Frame, arrived_s: float) -> Place:
        """Unwrap the index."""
        if frame.index is None:
            return Doubted(1)
        n = frame.signal_mv.shape[1]
        if self._end is None:
            self._end, self._arrived_s = frame.index + n, arrived_s
            return frame.index
        elapsed = (arrived_s - self._arrived_s) * self._fs_hz
        # After a long silence a short index may have wrapped more than once: what passed by the host's clock decides.
        near = self._end + (elapsed if elapsed > self._modulus / 4 else 0.0)
        at = frame.index + self._modulus * round((near - frame.index) / self._modulus)
        if (doubt := self._bounds.doubt(at - self._end, elapsed, at, n)) is not None:
            return doubt
        if at + n > self._end:
            self._end, self._arrived_s = at + n, arrived_s
        return at

    def resume(self) -> None:
        """Expect the index to have gone on as time has."""
        self._bounds.resumed = True


class ByClock(Placer):
    """The clock tells how much time passed; how many samples that is, its own steps between whole frames tell."""

    def __init__(self, fs_hz: float, modulus_s: float) -> None:
        self._fs_hz, self._modulus_s = fs_hz, modulus_s
        self._bounds = _Bounds(fs_hz)
        self._steps: deque[tuple[int, float]] = deque(maxlen=N_STEPS)
        self._placed: deque[tuple[float, int]] = deque(maxlen=N_STAMPS)
        self._time_s: float | None = None
        self._at, self._n, self._arrived_s = 0, 0, 0.0
        self._held: tuple[float, Frame] | None = None

    def place(self, frame: Frame, arrived_s: float) -> Place:
        """Count the samples that fit into the time since the frame before."""
        if frame.device_time_s is None:
            return Doubted(1)
        if self._time_s is None:
            self._take(frame.device_time_s, 0, frame, arrived_s)
            return 0
        time_s = _unwrapped(frame.device_time_s, self._time_s, self._modulus_s)
        step = (time_s - self._time_s) * self._rate_hz()
        if self._follows(step, self._n) and not self._bounds.resumed:
            return self._contiguous(time_s, frame, arrived_s)
        elapsed = (arrived_s - self._arrived_s) * self._fs_hz
        n = frame.signal_mv.shape[1]
        at = self._at + round(step)
        if (doubt := self._bounds.doubt(at - self._at - self._n, elapsed, at, n)) is not None:
            return doubt
        if step <= 0 or time_s < self._time_s:
            return next((known for stamp, known in self._placed if stamp == time_s), at)
        return self._ahead(time_s, frame, arrived_s)

    def resume(self) -> None:
        """Expect the clock to have gone on as time has."""
        self._bounds.resumed = True
        self._held = None

    def _contiguous(self, time_s: float, frame: Frame, arrived_s: float) -> Place:
        assert self._time_s is not None
        self._steps.append((self._n, time_s - self._time_s))
        at = self._at + self._n
        self._bounds.believe()
        self._take(time_s, at, frame, arrived_s)
        if self._held is None:
            return at
        held_s, held = self._held
        if self._follows((held_s - time_s) * self._rate_hz(), self._n):
            # It had overtaken the frame that was missing.
            self._held = None
            self._take(held_s, at + self._n, held, arrived_s)
            return Placed(((at, frame), (at + frame.signal_mv.shape[1], held)))
        if held_s > time_s:
            return at
        self._held = None
        return Placed(((at, frame),))

    def _ahead(self, time_s: float, frame: Frame, arrived_s: float) -> Place:
        """Believe a gap when two frames, one after the other, come from behind it."""
        assert self._time_s is not None
        held, self._held = self._held, (time_s, frame)
        if held is None:
            return Doubted(0)
        held_s, before = held
        rate_hz, n = self._rate_hz(), before.signal_mv.shape[1]
        beyond = (time_s - held_s) * rate_hz
        if not self._follows(beyond, n) and not n <= beyond <= n + AHEAD_S * self._fs_hz:
            return Doubted(1)
        self._held = None
        first = self._at + max(round((held_s - self._time_s) * rate_hz), self._n)
        second = first + (n if self._follows(beyond, n) else round(beyond))
        self._take(held_s, first, before, arrived_s)
        self._take(time_s, second, frame, arrived_s)
        return Placed(((first, before), (second, frame)))

    def _take(self, time_s: float, at: int, frame: Frame, arrived_s: float) -> None:
        self._time_s, self._at, self._n, self._arrived_s = time_s, at, frame.signal_mv.shape[1], arrived_s
        self._placed.append((time_s, at))

    def _follows(self, step: float, n: int) -> bool:
        share = CONTIGUOUS_SHARE if len(self._steps) < N_STEPS_KNOWN else 0.0
        return abs(step - n) <= max(CONTIGUOUS_SAMPLES, share * n)

    def _rate_hz(self) -> float:
        if len(self._steps) < N_STEPS_KNOWN:
            return self._fs_hz
        return sum(n for n, _ in self._steps) / sum(passed_s for _, passed_s in self._steps)


class _Bounds:
    """Tells damage from a new count: an impossible step is believed to be one only when the next frame repeats it."""

    def __init__(self, fs_hz: float) -> None:
        self._fs_hz = fs_hz
        self._doubtful: float | None = None
        self.resumed = False
        """No frame of the new link was believed yet."""

    def doubt(self, step: float, elapsed: float, at: float, n: int) -> Doubted | Restarted | None:
        """Judge a frame that begins ``step`` samples after the newest, when ``elapsed`` have passed since that."""
        ahead, behind = AHEAD_S * self._fs_hz, BEHIND_S * self._fs_hz
        if self.resumed:
            slack = RESUME_S * self._fs_hz + OFF_BY * elapsed
            possible = max(elapsed - slack, 0) <= step <= elapsed + slack
        else:
            possible = -behind <= step <= (1 + OFF_BY) * elapsed + ahead
        if possible:
            self.believe()
            return None
        agrees = self._doubtful is not None and 0 <= at - self._doubtful <= ahead
        self._doubtful = at + n
        return Restarted() if agrees else Doubted(1)

    def believe(self) -> None:
        """Take notice of a frame that is where it can be."""
        self._doubtful, self.resumed = None, False


def _unwrapped(value: float, near: float, modulus: float) -> float:
    """Return the number that is ``value`` modulo ``modulus`` and lies closest to ``near``."""
    return value + modulus * round((near - value) / modulus)
