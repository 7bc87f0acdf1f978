"""A live recording: from an enrolled recorder to a `Record` that grows, through lost links and silent ones.

The bytes go to the journal first; then they are decoded and assembled. Nothing is filled in: what did not arrive is a
gap. What came before ten seconds without contact or signal belongs to the next samples only if the operator says that
it is the same person.
"""

import asyncio
import secrets
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from lsemvae_edge.device import drivers
from lsemvae_edge.device.assembler import Assembler
from lsemvae_edge.device.driver import Decoder, Write
from lsemvae_edge.device.errors import (
    BatteryEmptyError,
    BluetoothUnavailableError,
    ConnectionFailedError,
    LinkLostError,
    NotInRangeError,
    RefusedError,
)
from lsemvae_edge.device.events import Battery, Contact, Event, Frame, Reply
from lsemvae_edge.device.link import Link, Notification, surely
from lsemvae_edge.device.presence import Presence
from lsemvae_edge.device.progress import Progress, State, message
from lsemvae_edge.errors import DeviceError, UnusableRecordingError
from lsemvae_edge.record import Record

if TYPE_CHECKING:
    from lsemvae_edge.codecs.journal import Counting
    from lsemvae_edge.device.enrolment import Enrolled
    from lsemvae_edge.device.journal import JournalWriter
    from lsemvae_edge.device.radio import Radio

KEEP_S = 600.0
"""Newest samples kept in memory; all of them are in the journal."""
GIVE_UP_S = 60.0
SILENT_FRAMES = 5
NO_SIGNAL_S = 0.5
DEAD_S = 2.0
"""A link is silent after `SILENT_FRAMES` frames' time but at least `NO_SIGNAL_S`, and dead after at least `DEAD_S`."""
REPLY_S = 3.0
STOP_S = 2.0
PROGRESS_S = 0.2
BACK_OFF_S = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
QUICK_S, LOOK_S = 4.0, 10.0
EMPTY_PERCENT = 5
KEPT_PARTS = 16
NUMBERS = 255
"""Recording numbers to draw from; the one above is for test signals."""
CLOCK_SET_AFTER = datetime(2025, 1, 1, tzinfo=UTC)
"""A machine without a battery for its clock starts in the past."""


class LiveRecording:
    """A recording under way: an async context manager, and an async iterator of `Progress`.

    Errors come out of the iteration, or at the end of the context; what was received is kept.

    Parameters
    ----------
    radio : Radio
    recorder : Enrolled
        Who is recorded from.
    journal : JournalWriter, optional
        Where the raw bytes go; ended with the recording.
    fs_hz : float, optional
        Rate wanted.
    duration_s : float, optional
        Ends by itself after so much of one part.
    keep_s : float
        See `KEEP_S`.
    give_up_s : float
        How long a lost recorder is looked for.
    clock_set : bool, optional
        Whether this machine's clock can be trusted; by default whether it shows a plausible year.

    Examples
    --------
    >>> async with LiveRecording(radio, recorder) as live:  # doctest: +SKIP
    ...     async for progress in live:
    ...         print(progress.message)
    >>> record = live.record()  # doctest: +SKIP
    """

    def __init__(
        self,
        radio: "Radio",
        recorder: "Enrolled",
        *,
        journal: "JournalWriter | None" = None,
        fs_hz: float | None = None,
        duration_s: float | None = None,
        keep_s: float = KEEP_S,
        give_up_s: float = GIVE_UP_S,
        clock_set: bool | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.parts: deque[Record] = deque(maxlen=KEPT_PARTS)
        """Earlier parts, which belong to another person, or to the recorder before it restarted."""
        self._radio, self._recorder, self._journal = radio, recorder, journal
        self._driver = drivers.get(recorder.driver)
        self._fs_hz, self._duration_s, self._keep_s, self._give_up_s = fs_hz, duration_s, keep_s, give_up_s
        self._clock_set = datetime.now(UTC) > CLOCK_SET_AFTER if clock_set is None else clock_set
        self._number = secrets.randbelow(NUMBERS)
        self._part = -1
        self._assembler: Assembler | None = None
        self._decoder: Decoder | None = None
        self._started_at: datetime | None = None
        self._simulated = recorder.simulated
        self._state: State = "connecting"
        self._off: frozenset[str] = frozenset()
        self._battery: int | None = None
        self._link: Link | None = None
        self._counts: Counter[str] = Counter()
        self._awaited: int | None = None
        self._reply: Reply | None = None
        self._cut: str | None = None
        self._begun = self._running = False
        self._frame_s = NO_SIGNAL_S / SILENT_FRAMES
        self._last_s = 0.0
        self._presence = Presence()
        self._stopping = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._told_end = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        self._changed.set()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await surely(self._wound_up())
        error = None if self._task is None or self._task.cancelled() else self._task.exception()
        if kind is None and error is not None and not self._told_end:
            raise error

    def __aiter__(self) -> AsyncIterator[Progress]:
        return self

    async def __anext__(self) -> Progress:
        if self._told_end or self._task is None:
            raise StopAsyncIteration
        if not self._task.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_S):
                    await self._changed.wait()
            self._changed.clear()
        if self._task.done():
            self._told_end = True
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                raise error
        return self.progress()

    def stop(self) -> None:
        """End the recording in order; the iteration ends with it."""
        self._stopping = True
        # Woken by itself where it listens; not where it waits for a recorder.
        if self._task is not None and self._state in ("connecting", "reconnecting"):
            self._task.cancel()

    def confirm(self, same_person: bool) -> None:
        """Answer the question of the state ``same_person``; without it the answer has no meaning and is ignored."""
        self._presence.confirm(same_person)

    def progress(self) -> Progress:
        """Return how it stands now."""
        silent_s = max(time.monotonic() - self._last_s, 0.0) if self._last_s and self._state != "ended" else 0.0
        progress = Progress(
            self._state,
            self._seconds(),
            silent_s,
            self._off,
            self._charge(),
            self._all_counts(),
            part=max(self._part, 0),
        )
        return replace(progress, message=message(progress, str(self._recorder)))

    def record(self, last_s: float | None = None) -> Record:
        """Return the newest seconds of the current part, or all that is kept of it.

        Raises
        ------
        UnusableRecordingError
            If nothing was received yet.
        """
        seconds = self._seconds()
        if self._assembler is None or not seconds:
            raise UnusableRecordingError("Nothing was received from the recorder.", "Record again.")
        skipped = timedelta(seconds=seconds - min(seconds, self._keep_s, seconds if last_s is None else last_s))
        return self._assembler.record(
            last_s,
            meta={
                "device": self._device,
                "id": self.id,
                "part": self._part,
                "clock_set": self._clock_set,
                "received": self._all_counts(),
            },
            started_at=None if self._started_at is None else self._started_at + skipped,
            origin="simulated" if self._simulated else "live",
        )

    @property
    def _device(self) -> str:
        return f"{self._driver.description.title} {self._recorder.serial or self._recorder.name}"

    def _facts(self, link: Link) -> dict[str, Any]:
        return {
            "driver": self._recorder.driver,
            "device": self._device,
            "id": self.id,
            "origin": "simulated" if self._recorder.simulated or link.simulated else "live",
            "clock_set": self._clock_set,
            "started_at": datetime.now(UTC).isoformat(),
        }

    async def _run(self) -> None:
        link: Link | None = None
        try:
            link = await self._radio.connect(self._recorder, fs_hz=self._fs_hz)
            if link.battery is not None and link.battery < EMPTY_PERCENT:
                raise BatteryEmptyError(link.name, link.battery)
            if self._journal is not None:
                self._journal.header(self._facts(link))
            while not await self._record_over(link):
                await link.close()
                link = await self._reconnect()
        finally:
            await surely(self._finish(link))

    async def _record_over(self, link: Link) -> bool:
        """Record over one link; return whether the recording is over, and not just the link."""
        now_s = time.monotonic()
        self._simulated = self._simulated or link.simulated
        self._link = link
        self._frame_s = link.stream.frame_s
        self._last_s = self._last_s or now_s
        if self._journal is not None:
            self._journal.up(link.stream, link.reads, link.mtu, self._fs_hz)
        if self._assembler is None or not self._assembler.link_up(link.stream, now_s):
            self._new_part(link)
        try:
            await self._start(link)
            self._set("recording")
            await self._listen(link)
        except LinkLostError:
            pass
        self._counts["overflow"] += link.overflow
        if self._stopping or self._is_long_enough():
            return True
        if self._assembler is not None:
            self._assembler.link_lost(time.monotonic())
        if self._journal is not None:
            self._journal.lost()
        self._set("reconnecting")
        return False

    async def _start(self, link: Link) -> None:
        """Start the recorder; once more after a stop, if it is still running for an earlier link."""
        self._decoder = self._driver.decoder(link.stream)
        self._begun, self._running, self._cut = True, False, None
        self._mark("starting")
        # What came before the start is nobody's.
        self._drain(link)
        refusal = await self._command(link, self._driver.start(link.stream, self._number))
        if refusal is not None:
            await self._command(link, self._driver.stop(link.stream))
            refusal = await self._command(link, self._driver.start(link.stream, self._number))
        if refusal is None:
            self._running = True
            self._mark("counts")
        elif "BATTERY" in refusal:
            raise BatteryEmptyError(link.name, self._charge() or 0)
        else:
            raise RefusedError(link.name, "start recording", refusal)

    async def _command(self, link: Link, writes: Sequence[Write]) -> str | None:
        """Write, wait for each answer, and return why the recorder refused; None if it obeyed."""
        for write in writes:
            self._awaited, self._reply = write.request, None
            await link.write(write)
            if write.request is None:
                continue
            end_s = time.monotonic() + REPLY_S
            while self._reply is None:
                received = await link.next(max(end_s - time.monotonic(), 0.0))
                if received is not None:
                    self._take(received)
                elif link.lost.is_set() or time.monotonic() >= end_s:
                    raise LinkLostError(link.name, REPLY_S)
            refusal, self._awaited = self._reply.error, None
            if refusal is not None:
                return refusal
        return None

    async def _listen(self, link: Link) -> None:
        """Take what comes until the recording is over or the link is."""
        poll_s, polled_s = self._driver.description.poll_s, 0.0
        began_s = time.monotonic()
        while not (self._stopping or self._is_long_enough() or link.lost.is_set()):
            if poll_s is not None and time.monotonic() >= polled_s:
                polled_s = time.monotonic() + poll_s
                await self._poll(link)
            received = await link.next(min(self._frame_s, PROGRESS_S / 2))
            if received is not None:
                self._take(received)
                if poll_s is not None:
                    await self._poll(link)
            if self._cut is not None:
                await self._start(link)
            # By arrival, so that a reader who is behind does not take his own slowness for silence. What was silent
            # before this link was the search for it.
            now_s = time.monotonic() if received is None else received.at_ns / 1e9
            if not await self._attend(link, now_s, now_s - max(self._last_s, began_s)):
                break
        self._drain(link)

    def _drain(self, link: Link) -> None:
        """Take what had arrived before the end."""
        while not link.notifications.empty():
            received = link.notifications.get_nowait()
            if received is not None:
                self._take(received)

    async def _poll(self, link: Link) -> None:
        for write in self._decoder.due() if self._decoder else ():
            await link.write(write)

    async def _attend(self, link: Link, now_s: float, silent_s: float) -> bool:
        """Judge silence, contact and answers; return False if the link is dead."""
        no_signal_s = max(SILENT_FRAMES * self._frame_s, NO_SIGNAL_S)
        if silent_s >= max(DEAD_S, 2 * no_signal_s):
            return False
        self._doubt(now_s)
        same = self._presence.decided(now_s)
        if same:
            self._mark("counts")
        if same is not None and not (same and self._assembler and self._assembler.link_up(link.stream, now_s)):
            self._running = False
            await self._command(link, self._driver.stop(link.stream))
            self._new_part(link)
            await self._start(link)
        if self._presence.is_in_question:
            self._set("same_person")
        else:
            self._set("no_signal" if silent_s >= no_signal_s else "recording")
        return True

    def _doubt(self, now_s: float) -> None:
        """Ask for the person once nobody touched the electrodes, or nothing came, for too long."""
        if self._presence.is_doubted(now_s):
            if self._assembler is not None:
                self._assembler.link_lost(now_s)
            self._mark("held")
            self._set("same_person")

    def _mark(self, whether: "Counting") -> None:
        """Journal from where on samples count."""
        if self._journal is not None:
            self._journal.counting(whether)

    def _take(self, received: Notification) -> None:
        """Journal first, then decode: a decoder's mistake must not cost the bytes."""
        if self._journal is not None:
            self._journal.write(received.at_ns, received.uuid, received.data)
        for event in self._decoder.feed(received.uuid, received.data) if self._decoder else ():
            self._on(event, received.at_ns / 1e9)

    def _on(self, event: Event, at_s: float) -> None:
        match event:
            case Reply() if event.request == self._awaited:
                self._reply = event
            case Reply():
                # Nobody asked: the recorder ended the stream by itself, and says why.
                self._cut = event.error if self._running else None
            case Battery():
                self._battery = event.percent
            case Contact():
                self._off = event.off
                self._add(event, at_s)
            case Frame():
                self._on_frame(event, at_s)
            case _:
                self._add(event, at_s)

    def _on_frame(self, frame: Frame, at_s: float) -> None:
        if not self._running or frame.recording not in (None, self._number):
            self._counts["stray"] += 1
            return
        self._last_s = at_s
        self._doubt(at_s)
        if frame.off is not None:
            self._off = frame.off
        self._presence.felt(at_s, self._off)
        if self._presence.is_in_question:
            self._counts["held"] += 1
            return
        self._add(frame, at_s)
        if self._started_at is None:
            self._started_at = datetime.now(UTC) - timedelta(seconds=self._seconds())

    def _add(self, event: Event, at_s: float) -> None:
        if self._assembler is None or self._link is None or self._presence.is_in_question:
            return
        if not self._assembler.add(event, at_s):
            # It counts anew, and goes on under the same number.
            self._number -= 1
            self._new_part(self._link)
            self._assembler.add(event, at_s)

    def _new_part(self, link: Link) -> None:
        """Begin anew: nothing of before belongs to what comes."""
        if self._assembler is not None:
            with suppress(UnusableRecordingError):
                self.parts.append(self.record())
        self._part += 1
        self._number = (self._number + 1) % NUMBERS
        if self._journal is not None:
            self._journal.part(self._number)
        self._assembler = Assembler(
            link.stream,
            recording=self._number,
            keep_s=self._keep_s,
            indexed=self._driver.description.indexed,
        )
        self._assembler.link_up(link.stream, time.monotonic())
        self._started_at, self._presence = None, Presence()

    async def _reconnect(self) -> Link:
        """Find the recorder again, or give up."""
        attempt = 0
        while True:
            silent_s = time.monotonic() - self._last_s
            left_s = self._give_up_s - silent_s
            if left_s <= 0:
                raise LinkLostError(str(self._recorder), silent_s)
            await asyncio.sleep(min(BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)], left_s))
            try:
                return await self._radio.connect(
                    self._recorder,
                    fs_hz=self._fs_hz,
                    within_s=min(LOOK_S if attempt else QUICK_S, max(left_s, 1.0)),
                    attempts=1,
                    rescan=attempt > 0,
                )
            except (NotInRangeError, ConnectionFailedError, BluetoothUnavailableError, LinkLostError):
                attempt += 1

    async def _finish(self, link: Link | None) -> None:
        """Stop the recorder, take what is still under way, and let go of everything."""
        if link is not None:
            with suppress(DeviceError, TimeoutError):
                async with asyncio.timeout(STOP_S):
                    if self._begun and not link.lost.is_set():
                        await self._command(link, self._driver.stop(link.stream))
            self._drain(link)
            await link.close()
        self._running = False
        if self._journal is not None:
            self._journal.end()
        self._set("ended")

    async def _wound_up(self) -> None:
        self.stop()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _set(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._changed.set()

    def _charge(self) -> int | None:
        """Percent of charge, by the recorder's own protocol or else by the battery service."""
        if self._battery is None and self._link is not None:
            return self._link.battery
        return self._battery

    def _seconds(self) -> float:
        return self._assembler.seconds if self._assembler is not None else 0.0

    def _is_long_enough(self) -> bool:
        return self._duration_s is not None and self._seconds() >= self._duration_s

    def _all_counts(self) -> dict[str, int]:
        kept = self._assembler.counts if self._assembler is not None else {}
        return {**dict(kept), **self._counts}
