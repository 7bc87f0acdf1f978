"""What comes from a recorder during one recording: journalled, decoded, and laid on the time line of one person.

Knows no radio: it is told when links come and go. Times are seconds of the monotonic clock.
"""

import time
import uuid
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lsemvae_edge.codecs.journal import Counting
from lsemvae_edge.device.assembler import Assembler
from lsemvae_edge.device.driver import Decoder, Driver, Write
from lsemvae_edge.device.events import Battery, Contact, Event, Frame, Reply
from lsemvae_edge.device.journal import JournalWriter
from lsemvae_edge.device.presence import Presence
from lsemvae_edge.device.progress import Traces
from lsemvae_edge.errors import UnusableRecordingError
from lsemvae_edge.record import Origin, Record
from lsemvae_edge.store import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lsemvae_edge.device.enrolment import Enrolled
    from lsemvae_edge.device.link import Link, Notification

KEPT_PARTS = 16
NUMBERS = 255
"""Recording numbers in use; the one above is for test signals."""


class Intake:
    """One recording's samples, in parts: a part is of one person, and of one count of the recorder.

    Parameters
    ----------
    driver : Driver
    recorder : Enrolled
    number : int
        What the recorder shall call the first part, below `NUMBERS`.
    journal : JournalWriter, optional
    keep_s : float
        Newest samples of a part kept in memory.
    clock_set : bool, optional
        Whether this machine's clock can be trusted; by default as `lsemvae_edge.store.clock` knows.

    Attributes
    ----------
    id : str
        Random, unique.
    parts : deque of Record
        Earlier parts, the newest `KEPT_PARTS`.
    part, number : int
        The current part, from 0, and what the recorder calls it.
    counts : Counter of str
        What did not reach the time line.
    off : frozenset of str
        Electrodes without contact, as last told.
    battery : int or None
        Percent, where the recorder's own protocol tells.
    heard_s : float
        When the newest frame came, 0 before the first.
    cut : str or None
        Why the recorder ended its stream by itself.
    """

    def __init__(
        self,
        driver: Driver,
        recorder: "Enrolled",
        number: int,
        journal: JournalWriter | None,
        keep_s: float,
        clock_set: bool | None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.parts: deque[Record] = deque(maxlen=KEPT_PARTS)
        self.part, self.number = -1, (number - 1) % NUMBERS
        self.counts: Counter[str] = Counter()
        self.off: frozenset[str] = frozenset()
        self.battery: int | None = None
        self.heard_s = 0.0
        self.cut: str | None = None
        self._driver, self._recorder, self._journal, self._keep_s = driver, recorder, journal, keep_s
        self._clock_set_by = clock.state().by if clock_set is None else None
        self._clock_set = self._clock_set_by is not None if clock_set is None else clock_set
        self._origin: Origin = "live"
        self._link: Link | None = None
        self._assembler: Assembler | None = None
        self._decoder: Decoder | None = None
        self._presence = Presence()
        self._started_at: datetime | None = None
        self._running = False
        self._awaited: int | None = None
        self._reply: Reply | None = None

    @property
    def seconds(self) -> float:
        """Length of the current part, gaps included."""
        return self._assembler.seconds if self._assembler is not None else 0.0

    @property
    def is_in_question(self) -> bool:
        """Whether samples do not count until the operator said whose they are."""
        return self._presence.is_in_question

    def all_counts(self) -> dict[str, int]:
        """Return what was received, lost and refused: of the current part, and of what reached none."""
        return {**(self._assembler.counts if self._assembler is not None else {}), **self.counts}

    def record(self, last_s: float | None = None) -> Record:
        """Return the newest seconds of the current part, or all that is kept of it.

        Raises
        ------
        UnusableRecordingError
            If nothing was received yet.
        """
        seconds = self.seconds
        if self._assembler is None or not seconds:
            raise UnusableRecordingError("Nothing was received from the recorder.", "Record again.")
        skipped = timedelta(seconds=seconds - min(seconds, self._keep_s, seconds if last_s is None else last_s))
        return self._assembler.record(
            last_s,
            meta={**self._facts(), "part": self.part, "received": self.all_counts()},
            started_at=None if self._started_at is None else self._started_at + skipped,
            origin=self._origin,
        )

    def traces(self, after: int) -> Traces | None:
        """Return what came from sample number ``after`` of the current part on, for drawing; None before the first."""
        if self._assembler is None or not self.seconds:
            return None
        first, signal_mv = self._assembler.since(after)
        stream = self._assembler.stream
        return Traces(self.part, first, stream.fs_hz, stream.leads, signal_mv, stream.amplitude)

    def link_up(self, link: "Link", fs_hz: float | None) -> None:
        """Take notice of a link; ``fs_hz`` is the rate that was asked for."""
        if link.simulated or self._recorder.simulated:
            self._origin = "simulated"
        if self._journal is not None:
            if self._link is None:
                facts = {"driver": self._recorder.driver, "origin": self._origin, **self._facts()}
                self._journal.header({**facts, "started_at": datetime.now(UTC).isoformat()})
            self._journal.up(link.stream, link.reads, link.mtu, fs_hz)
        self._link = link
        if self._assembler is None or not self._assembler.link_up(link.stream, time.monotonic()):
            self.begin_part()

    def link_lost(self) -> None:
        """Take notice that the link is gone."""
        self._running = False
        if self._assembler is not None:
            self._assembler.link_lost(time.monotonic())
        if self._journal is not None:
            self._journal.lost()

    def begin_part(self) -> None:
        """Begin anew: nothing of before belongs to what comes."""
        assert self._link is not None
        with suppress(UnusableRecordingError):
            self.parts.append(self.record())
        self.part += 1
        self.number = (self.number + 1) % NUMBERS
        stream, indexed = self._link.stream, self._driver.description.indexed
        self._assembler = Assembler(stream, recording=self.number, keep_s=self._keep_s, indexed=indexed)
        self._assembler.link_up(stream, time.monotonic())
        self._started_at, self._presence = None, Presence()
        if self._journal is not None:
            self._journal.part(self.number)

    def starting(self) -> None:
        """Take notice that the recorder is being started: until `running`, what comes is nobody's."""
        assert self._link is not None
        self._decoder = self._driver.decoder(self._link.stream)
        self._running, self.cut = False, None
        self._mark("starting")

    def running(self) -> None:
        """Take notice that the recorder runs: samples count, unless it is in question whose they are."""
        self._running = True
        self._mark("held" if self.is_in_question else "counts")

    def halting(self) -> None:
        """Take notice that the recorder is being stopped in the middle: what still comes is nobody's."""
        self._running = False

    def awaiting(self, request: int | None) -> None:
        """Take notice of a command whose reply is awaited."""
        self._awaited, self._reply = request, None

    def reply(self) -> Reply | None:
        """Return the reply that is awaited, if it came."""
        return self._reply

    def due(self) -> "Sequence[Write]":
        """Return what the decoder wants to ask."""
        if self._decoder is None:
            return ()
        if self._journal is not None:
            self._journal.polled()
        return self._decoder.due()

    def take(self, received: "Notification") -> None:
        """Take a notification: journal first, then decode, for a decoder's mistake must not cost the bytes."""
        at_s = received.at_ns / 1e9
        if self._running:
            self.doubt(at_s)
        if self._journal is not None:
            self._journal.write(received.at_ns, received.uuid, received.data)
        for event in self._decoder.feed(received.uuid, received.data) if self._decoder is not None else ():
            self._on(event, at_s)

    def doubt(self, now_s: float) -> None:
        """Ask for the person once nobody touched the electrodes, or nothing came, for too long."""
        if self._presence.is_doubted(now_s):
            if self._assembler is not None:
                self._assembler.link_lost(now_s)
            self._mark("held")

    def confirm(self, same_person: bool) -> None:
        """Take the operator's answer."""
        self._presence.confirm(same_person)

    def is_another_person(self, now_s: float) -> bool:
        """Act on an answer; return whether the recorder must be started anew, for somebody else."""
        same = self._presence.decided(now_s)
        if same is None:
            return False
        if not same or self._assembler is None or self._link is None:
            return True
        if not self._assembler.link_up(self._link.stream, now_s):
            return True
        self._mark("counts")
        return False

    def end(self) -> None:
        """End the journal."""
        self._running = False
        if self._journal is not None:
            self._journal.end()

    def _on(self, event: Event, at_s: float) -> None:
        match event:
            case Reply() if event.request == self._awaited:
                self._reply = event
            case Reply():
                # Nobody asked: the recorder ended the stream by itself, and says why.
                self.cut = event.error if self._running else None
            case Battery():
                self.battery = event.percent
            case Frame():
                self._on_frame(event, at_s)
            case Contact():
                self.off = event.off
                self._add(event, at_s)
            case _:
                self._add(event, at_s)

    def _on_frame(self, frame: Frame, at_s: float) -> None:
        if not self._running or frame.recording not in (None, self.number):
            self.counts["stray"] += 1
            return
        self.heard_s = at_s
        if frame.off is not None:
            self.off = frame.off
        self._presence.felt(at_s, self.off)
        if self.is_in_question:
            self.counts["held"] += 1
            return
        self._add(frame, at_s)
        if self._started_at is None:
            self._started_at = datetime.now(UTC) - timedelta(seconds=self.seconds)

    def _add(self, event: Event, at_s: float) -> None:
        if self._assembler is None or self.is_in_question:
            return
        if not self._assembler.add(event, at_s):
            # The recorder counts anew, and goes on under the same number.
            self.number = (self.number - 1) % NUMBERS
            self.begin_part()
            self._mark("counts")

    def _mark(self, whether: Counting) -> None:
        if self._journal is not None:
            self._journal.counting(whether)

    def _facts(self) -> dict[str, Any]:
        device = f"{self._driver.description.title} {self._recorder.serial or self._recorder.name}"
        told = {"device": device, "id": self.id, "clock_set": self._clock_set, "clock_set_by": self._clock_set_by}
        return {name: value for name, value in told.items() if value is not None}
