"""From events to a `Record`: every sample where it belongs, every missing one known.

A frame's place is found by its index, else by the recorder's clock, else by when it arrived
(`lsemvae_edge.device.placing`). Samples lie in a ring, so that memory does not grow with the recording; what has no
sample is NaN and a gap.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.clock import RateFit
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.device.events import Battery, ClockMark, Contact, Damaged, Event, Frame
from lsemvae_edge.device.placing import Lost, Place, Restarted, Wild, placer
from lsemvae_edge.record import Origin, Record

BARRIER_S = 0.1
"""At a reconnect at least so much is a gap, longer than what preprocessing bridges: no window spans it."""
CONTACT_S = 2.0
"""A contact lost for longer is a gap from its beginning."""
NEEDED = frozenset({"RA", "LA", "LL"})
"""Electrodes without which leads I and II are not measured."""


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
        Of samples: ``samples`` placed, ``blanked`` of those, ``missing``, ``duplicate``, ``late`` (too old to be
        placed). Of frames: ``damaged``, ``foreign`` (another recording's), ``dropped`` (the recorder says it lost some
        before). ``reconnects``.
    off : frozenset of str
        Electrodes without contact, as last told.
    battery : int or None
    """

    def __init__(
        self, stream: Stream, *, recording: int | None = None, keep_s: float | None = 120.0, indexed: bool = True
    ) -> None:
        self.stream, self.recording = stream, recording
        self.counts: Counter[str] = Counter()
        self.off: frozenset[str] = frozenset()
        self.battery: int | None = None
        self.rate = RateFit(stream.fs_hz)
        self._placer = placer(stream, indexed)
        capacity = max(round((60.0 if keep_s is None else keep_s) * stream.fs_hz), 1)
        self._ring = _Ring(len(stream.leads), capacity, grows=keep_s is None)
        self._begun = self._was_lost = False
        self._barrier = range(0)
        self._off_from: int | None = None

    @property
    def seconds(self) -> float:
        """Length from the first sample to the newest, gaps included."""
        return self._ring.length / self.stream.fs_hz

    def link_up(self, stream: Stream, at_s: float) -> bool:
        """Take notice of a connection.

        Returns
        -------
        bool
            False: the recorder has started anew, or is another stream, and what comes cannot be placed on this time
            line.
        """
        if (stream.fs_hz, stream.leads, stream.mv_per_lsb) != (
            self.stream.fs_hz,
            self.stream.leads,
            self.stream.mv_per_lsb,
        ) or (self.stream.boot is not None and stream.boot != self.stream.boot):
            return False
        if self._was_lost and self._ring.length:
            self.counts["reconnects"] += 1
            self._barrier = range(self._ring.end, self._ring.end + round(BARRIER_S * self.stream.fs_hz))
            self._placer.resume(self._ring.end)
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
        match event:
            case Frame():
                return self._frame(event, arrived_s)
            case Damaged():
                self.counts["damaged"] += 1
            case Contact():
                self._contact(event.off, self._ring.end)
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
            When the first sample of all was taken.
        origin : str
        """
        signal_mv = self._ring.newest(None if last_s is None else round(last_s * self.stream.fs_hz))
        fs_hz = self.rate.fs_hz
        return Record(
            signal_mv,
            fs_hz,
            self.stream.leads,
            started_at=started_at,
            meta={**(meta or {}), "clock": self.rate.facts()},
            amplitude=self.stream.amplitude,
            origin=origin,
        )

    def _frame(self, frame: Frame, arrived_s: float) -> bool:
        if self.recording is not None and frame.recording is not None and frame.recording != self.recording:
            self.counts["foreign"] += 1
            return True
        n = frame.signal_mv.shape[1]
        if frame.dropped:
            self.counts["dropped"] += 1
        place = self._placer.place(frame, arrived_s)
        match place:
            case Restarted():
                return False
            case Wild():
                self.counts["damaged"] += 1
                return True
            case Lost():
                # Where the loss lay within the stretch is not known, so the whole of it is no signal.
                self.counts["blanked"] += self._ring.blank(place.uncertain_from, place.at)
                place = Place(place.at)
        at: int = place.at
        if not self._begun:
            self._begun = True
            self._ring.begin(at)
        written, duplicate, late = self._ring.write(at, frame.signal_mv)
        self.counts["samples"] += written
        self.counts["duplicate"] += duplicate
        self.counts["late"] += late
        # Also where a recorder sends again what was lost: a window never spans a reconnect.
        self.counts["blanked"] += self._ring.blank(max(at, self._barrier.start), min(at + n, self._barrier.stop))
        if frame.off is not None:
            self._contact(frame.off, at, at + n)
        self.counts["missing"] = self._ring.length - self.counts["samples"] + self.counts["blanked"]
        self.rate.arrived(at + n, arrived_s)
        return True

    def _contact(self, off: frozenset[str], at: int, end: int | None = None) -> None:
        """Blank a stretch without contact once it has lasted too long."""
        self.off = off
        if not off & NEEDED:
            self._off_from = None
            return
        if self._off_from is None:
            self._off_from = at
        if end is not None and end - self._off_from > CONTACT_S * self.stream.fs_hz:
            self.counts["blanked"] += self._ring.blank(self._off_from, end)
            self._off_from = max(self._off_from, end - round(CONTACT_S * self.stream.fs_hz) - 1)


class _Ring:
    """Samples by absolute position; the newest ``capacity`` of them, or all when it grows."""

    def __init__(self, n_leads: int, capacity: int, grows: bool) -> None:
        self._kept = np.full((n_leads, capacity), np.nan, np.float32)
        self._grows = grows
        self.first = self.end = 0

    @property
    def capacity(self) -> int:
        return int(self._kept.shape[1])

    @property
    def length(self) -> int:
        """Samples from the first ever to the newest, also those no longer kept."""
        return self.end - self.first

    @property
    def oldest(self) -> int:
        return max(self.first, self.end - self.capacity)

    def begin(self, at: int) -> None:
        self.first = self.end = at

    def write(self, at: int, samples: NDArray[np.float32]) -> tuple[int, int, int]:
        """Write where nothing stands yet; return samples written, doubled, and too late."""
        end = at + samples.shape[1]
        if end > self.end:
            self._reach(end)
        late = min(max(self.oldest - at, 0), samples.shape[1])
        written = doubled = 0
        for kept, span in self._spans(at + late, end):
            part = samples[:, span.start - at : span.stop - at]
            free = np.isnan(kept[0])
            if free.all():
                kept[:] = part
            else:
                doubled += int(free.size - free.sum())
                kept[:, free] = part[:, free]
            written += int(np.isfinite(part[0, free]).sum())
        return written, doubled, late

    def blank(self, begin: int, end: int) -> int:
        """Take samples away; return how many there were."""
        taken = 0
        for kept, _ in self._spans(max(begin, self.oldest), min(end, self.end)):
            taken += int((~np.isnan(kept[0])).sum())
            kept[:] = np.nan
        return taken

    def newest(self, n: int | None) -> NDArray[np.float32]:
        begin = self.oldest if n is None else max(self.oldest, self.end - n)
        parts = [kept for kept, _ in self._spans(begin, self.end)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((self._kept.shape[0], 0), np.float32)

    def _reach(self, end: int) -> None:
        if self._grows and end - self.first > self.capacity:
            bigger = np.full((self._kept.shape[0], max(2 * self.capacity, end - self.first)), np.nan, np.float32)
            old = self.newest(None)
            places = np.arange(self.oldest, self.end) % bigger.shape[1]
            bigger[:, places] = old
            self._kept = bigger
        before, self.end = self.end, end
        for kept, _ in self._spans(max(before, self.oldest), end):
            kept[:] = np.nan

    def _spans(self, begin: int, end: int) -> "list[tuple[NDArray[np.float32], slice]]":
        if end <= begin:
            return []
        capacity = self.capacity
        at = begin % capacity
        until = at + end - begin
        if until <= capacity:
            return [(self._kept[:, at:until], slice(begin, end))]
        middle = begin + capacity - at
        return [
            (self._kept[:, at:], slice(begin, middle)),
            (self._kept[:, : until - capacity], slice(middle, end)),
        ]
