"""From events to a `Record`: every sample where it belongs, every missing one known.

A frame's place is found by its index, else by the recorder's clock (`lsemvae_edge.device.placing`), else by when it
arrived (`lsemvae_edge.device.arrival`). Memory does not grow with the recording; what has no sample is NaN and a gap.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.arrival import ByArrival
from lsemvae_edge.device.clock import RateFit
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.device.events import HANDS_AND_FOOT, Battery, ClockMark, Contact, Damaged, Event, Frame
from lsemvae_edge.device.placing import ByClock, ByIndex, Doubted, Placed, Placer, Repeated, Restarted
from lsemvae_edge.device.samples import Samples, Written
from lsemvae_edge.record import Origin, Record

BARRIER_S = 0.1
"""At a reconnect at least so much is a gap, longer than what preprocessing bridges: no window spans it."""
CONTACT_S = 2.0
"""A contact lost for longer is a gap from its beginning."""
BEHIND_S = 1.0
"""When for so long nothing but old places is filled, the recorder counts anew."""
LONGEST_SILENCE_S = 600.0
"""After a longer one a new time line begins, so that nothing that arrives can ask for much memory at once."""


class Assembler:
    """One time line of one recorder.

    Parameters
    ----------
    stream : Stream
    recording : int, optional
        Frames of recordings with another number are dropped; None takes all.
    keep_s : float, optional
        Seconds kept; None keeps everything.
    indexed : bool
        See `Description.indexed`.

    Attributes
    ----------
    counts : Counter
        Of samples: ``samples`` placed, ``blanked`` of those (contact lost, next to a lost link, or loss suspected among
        them), ``missing`` (never placed), ``duplicate``, ``contradictory`` (others stand in their place), ``late``
        (their place is no longer kept, was blanked, or lies before the first). Of frames: ``damaged`` (also those
        not believed), ``foreign`` (another recording's), ``dropped`` (the recorder says that it lost some before).
        Of bytes: ``damaged_bytes``. ``reconnects``.
    off : frozenset of str
        Electrodes without contact, as last told.
    battery : int or None
    began_s : float or None
        When the first sample was taken, on the host's monotonic clock, as far as its arrival tells.
    rate : RateFit
        The recorder's clock against the host's.
    """

    def __init__(
        self, stream: Stream, *, recording: int | None = None, keep_s: float | None = 120.0, indexed: bool = True
    ) -> None:
        self.stream, self.recording = stream, recording
        self.counts: Counter[str] = Counter()
        self.off: frozenset[str] = frozenset()
        self.battery: int | None = None
        self.began_s: float | None = None
        self.rate = RateFit(stream.fs_hz)
        self._placer = _placer(stream, indexed)
        self._capacity = None if keep_s is None else max(round(keep_s * stream.fs_hz), 1)
        self._samples: Samples | None = None
        self._was_lost = self._barrier = False
        self._off_from: int | None = None
        self._blanked_to = 0
        self._contradicted_to: int | None = None
        self._behind_since_s: float | None = None
        self._arrived_s = 0.0

    @property
    def seconds(self) -> float:
        """Length from the first sample to the newest, gaps included."""
        return 0.0 if self._samples is None else (self._samples.end - self._samples.first) / self.stream.fs_hz

    @property
    def no_contact_s(self) -> float:
        """How long an electrode that is needed has been without contact, in the recorder's time."""
        if self._samples is None or self._off_from is None:
            return 0.0
        return (self._samples.end - self._off_from) / self.stream.fs_hz

    def silent_s(self, now_s: float) -> float:
        """Seconds since the newest samples arrived; 0 before the first."""
        return 0.0 if self._samples is None else max(now_s - self._arrived_s, 0.0)

    def link_up(self, stream: Stream, at_s: float) -> bool:
        """Take notice of a connection.

        Returns
        -------
        bool
            False: the recorder has started anew, is another, or was away for too long, and what comes cannot be placed
            on this time line.
        """
        if not _continues(self.stream, stream) or self.silent_s(at_s) > LONGEST_SILENCE_S:
            return False
        if self._was_lost and self._samples is not None:
            self.counts["reconnects"] += 1
            self._barrier = True
            self._placer.resume()
        self._was_lost = False
        return True

    def link_lost(self, at_s: float) -> None:
        """Take notice that the connection is gone."""
        self._was_lost = True
        self.rate.pause()

    def add(self, event: Event, arrived_s: float) -> bool:
        """Take an event.

        Parameters
        ----------
        event : Event
        arrived_s : float
            When it arrived, on the host's monotonic clock.

        Returns
        -------
        bool
            False: the recorder has started anew without a new link; this time line ends, the event was not taken.
        """
        if isinstance(event, Frame):
            return self._frame(event, arrived_s)
        match event:
            case Damaged():
                self.counts["damaged"] += 1
                self.counts["damaged_bytes"] += event.n_bytes
                self._placer.damaged()
            case Contact():
                self.off = event.off
                if self._samples is not None:
                    self._contact(event.off, self._samples.end, self._samples.end)
            case Battery():
                self.battery = event.percent
            case ClockMark():
                self.rate.mark(event.index, event.device_time_s)
        return True

    def record(
        self,
        last_s: float | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        started_at: datetime | None = None,
        origin: Origin = "live",
    ) -> Record:
        """Return the newest seconds, or all that is kept.

        Parameters
        ----------
        last_s : float, optional
        meta : mapping, optional
            Added to what the assembler says itself: ``clock``, the recorder's clock against the host's.
        started_at : datetime, optional
            When the first sample of the record was taken.
        origin : str
        """
        fs_hz = self.rate.fs_hz
        signal_mv = np.zeros((len(self.stream.leads), 0), np.float32)
        if self._samples is not None:
            n = None if last_s is None else round(last_s * self.stream.fs_hz)
            first, signal_mv = self._samples.newest(n)
            if self._placer.sure is not None:
                # Whether something was lost among the newest is not known yet.
                signal_mv[:, max(self._placer.sure - first, 0) :] = np.nan
        return Record(
            signal_mv,
            fs_hz,
            self.stream.leads,
            started_at=started_at,
            meta={**(meta or {}), "clock": self.rate.facts()},
            amplitude=self.stream.amplitude,
            origin=origin,
        )

    def since(self, at: int) -> tuple[int, NDArray[np.float32]]:
        """Return what is kept from the sample number ``at`` on, for drawing: numbers count from the first sample.

        Returns
        -------
        int
            Number of the first sample that is returned.
        array (n_leads, n_samples), float32
            Millivolts; NaN where nothing was received. What may still turn out to stand elsewhere is held back.
        """
        if self._samples is None:
            return at, np.zeros((len(self.stream.leads), 0), np.float32)
        first, signal_mv = self._samples.newest(max(self._samples.end - self._samples.first - at, 0))
        if self._placer.sure is not None:
            signal_mv = signal_mv[:, : max(self._placer.sure - first, 0)]
        return first - self._samples.first, signal_mv

    def _frame(self, frame: Frame, arrived_s: float) -> bool:
        if self.recording is not None and frame.recording is not None and frame.recording != self.recording:
            self.counts["foreign"] += 1
            return True
        if frame.signal_mv.shape[1] == 0:
            return True
        if self._samples is not None and arrived_s - self._arrived_s > LONGEST_SILENCE_S:
            return False
        if frame.dropped:
            self.counts["dropped"] += 1
        place = self._placer.place(frame, arrived_s)
        if isinstance(place, int):
            return self._put(place, frame, arrived_s)
        match place:
            case Placed():
                return self._put_all(place, arrived_s)
            case Doubted():
                self.counts["damaged"] += place.n_wild
            case Repeated():
                self.counts["duplicate"] += frame.signal_mv.shape[1]
            case Restarted():
                return False
        return True

    def _put_all(self, placed: Placed, arrived_s: float) -> bool:
        if not all(self._put(at, frame, arrived_s) for at, frame in placed.frames):
            return False
        if placed.uncertain_from is not None:
            # Where the loss lay within the stretch is not known, so the whole of it is no signal.
            at = placed.frames[0][0]
            self._make_gap(min(placed.uncertain_from, at - round(BARRIER_S * self.stream.fs_hz)), at)
        return True

    def _put(self, at: int, frame: Frame, arrived_s: float) -> bool:
        signal_mv = frame.signal_mv
        n = signal_mv.shape[1]
        if self._samples is None:
            self._samples = Samples(signal_mv.shape[0], self._capacity, at)
            self._blanked_to = at
            self.began_s = arrived_s - n / self.stream.fs_hz
        samples = self._samples
        if at < samples.end:
            return self._fill(at, frame, samples.put(at, signal_mv), arrived_s)
        self.counts["samples"] += n
        if at != samples.end:
            self.counts["missing"] += at - samples.end
        samples.append(at, signal_mv)
        if self._barrier:
            self._barrier = False
            self._make_gap(at - round(BARRIER_S * self.stream.fs_hz), at)
        self._newest(at, frame, arrived_s)
        return True

    def _fill(self, at: int, frame: Frame, written: Written, arrived_s: float) -> bool:
        """Take notice of a frame that did not begin at or after the end; see `add`."""
        assert self._samples is not None
        n = frame.signal_mv.shape[1]
        reaches_on = self._samples.end == at + n and written.new > 0
        self.counts["samples"] += written.new
        self.counts["duplicate"] += written.same
        self.counts["contradictory"] += written.other
        self.counts["late"] += written.refused if not written.other else 0
        self.counts["missing"] = self._samples.end - self._samples.first - self.counts["samples"]
        if reaches_on:
            self._newest(at, frame, arrived_s)
            return True
        if self._behind_since_s is None:
            self._behind_since_s = arrived_s
        restarted = arrived_s - self._behind_since_s >= BEHIND_S
        if written.other or written.refused:
            # One such frame is damaged or very late; one after the other they are a new count over the old places.
            restarted |= self._contradicted_to == at
            self._contradicted_to = at + n
        return not restarted

    def _newest(self, at: int, frame: Frame, arrived_s: float) -> None:
        """Take notice of the frame with the newest samples."""
        end = at + frame.signal_mv.shape[1]
        self._contradicted_to = self._behind_since_s = None
        self._arrived_s = arrived_s
        if frame.off is not None:
            self.off = frame.off
        if self.off or self._off_from is not None:
            self._contact(self.off, at, end)
        self.rate.arrived(end, arrived_s)

    def _contact(self, off: frozenset[str], at: int, end: int) -> None:
        """Blank a stretch without contact once it has lasted too long; samples from ``at`` to ``end`` have ``off``."""
        until = end if off & HANDS_AND_FOOT else at
        if off & HANDS_AND_FOOT and self._off_from is None:
            self._off_from = at
        if self._off_from is None:
            return
        if until - self._off_from > CONTACT_S * self.stream.fs_hz:
            self._make_gap(max(self._off_from, self._blanked_to), until)
            self._blanked_to = until
        if not off & HANDS_AND_FOOT:
            self._off_from = None

    def _make_gap(self, begin: int, end: int) -> None:
        assert self._samples is not None
        self.counts["blanked"] += self._samples.blank(begin, end)


def _placer(stream: Stream, indexed: bool) -> Placer:
    """Choose by what the stream offers."""
    if indexed and stream.index_modulus is not None:
        return ByIndex(stream.fs_hz, stream.index_modulus)
    if stream.clock_modulus_s is not None:
        return ByClock(stream.fs_hz, stream.clock_modulus_s)
    return ByArrival(stream.fs_hz, stream.frame_s)


def _continues(before: Stream, now: Stream) -> bool:
    """Whether samples of both can stand on one time line."""
    same = ("fs_hz", "leads", "mv_per_lsb", "amplitude", "index_modulus", "clock_modulus_s")
    if any(getattr(before, name) != getattr(now, name) for name in same):
        return False
    # What a recorder does not tell cannot differ.
    told = [(getattr(before, name), getattr(now, name)) for name in ("boot", "serial")]
    return all(one == other for one, other in told if one is not None and other is not None)
