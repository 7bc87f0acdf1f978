"""A live recording: from an enrolled recorder to a `Record` that grows, through lost links and silent ones.

The bytes go to the journal first; then they are decoded and assembled. Nothing is filled in: what did not arrive is a
gap. What came before ten seconds without contact or signal belongs to the next samples only if the operator says that
it is the same person.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from lsemvae_edge.device import drivers
from lsemvae_edge.device.driver import Write
from lsemvae_edge.device.errors import (
    BatteryEmptyError,
    BluetoothUnavailableError,
    ConnectionFailedError,
    LinkLostError,
    NotInRangeError,
    RefusedError,
)
from lsemvae_edge.device.intake import NUMBERS, Intake
from lsemvae_edge.device.journal import JournalWriter
from lsemvae_edge.device.link import Link, surely
from lsemvae_edge.device.progress import Progress, State, Traces, message
from lsemvae_edge.errors import DeviceError
from lsemvae_edge.record import Record

if TYPE_CHECKING:
    from lsemvae_edge.device.enrolment import Enrolled
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
"""So long a reconnect may take: the first one, straight to where the recorder was; later ones, which look for it."""
EMPTY_PERCENT = 5


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
        Whether this machine's clock can be trusted; by default as `lsemvae_edge.store.clock` knows.

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
        journal: JournalWriter | None = None,
        fs_hz: float | None = None,
        duration_s: float | None = None,
        keep_s: float = KEEP_S,
        give_up_s: float = GIVE_UP_S,
        clock_set: bool | None = None,
    ) -> None:
        self._radio, self._recorder = radio, recorder
        self._driver = drivers.get(recorder.driver)
        self._fs_hz, self._duration_s, self._give_up_s = fs_hz, duration_s, give_up_s
        self._intake = Intake(self._driver, recorder, secrets.randbelow(NUMBERS), journal, keep_s, clock_set)
        self._state: State = "connecting"
        self._link: Link | None = None
        self._first_s = self._begun_s = 0.0
        self._is_started = self._is_stopping = self._told_end = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """Random, unique; also ``meta["id"]`` of every record."""
        return self._intake.id

    @property
    def parts(self) -> deque[Record]:
        """Earlier parts, which belong to another person, or to the recorder before it counted anew."""
        return self._intake.parts

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
        self._is_stopping = True
        # Woken by itself where it listens; not where it waits for a recorder.
        if self._task is not None and self._state in ("connecting", "reconnecting"):
            self._task.cancel()

    def confirm(self, same_person: bool) -> None:
        """Answer the question of the state ``same_person``; without it the answer has no meaning and is ignored."""
        self._intake.confirm(same_person)

    def progress(self) -> Progress:
        """Return how it stands now."""
        intake, since_s = self._intake, self._heard_s()
        progress = Progress(
            self._state,
            intake.seconds,
            max(time.monotonic() - since_s, 0.0) if since_s and self._state != "ended" else 0.0,
            intake.off,
            self._charge(),
            intake.all_counts(),
            part=max(intake.part, 0),
        )
        return replace(progress, message=message(progress, str(self._recorder)))

    def record(self, last_s: float | None = None) -> Record:
        """Return the newest seconds of the current part, or all that is kept of it.

        Raises
        ------
        UnusableRecordingError
            If nothing was received yet.
        """
        return self._intake.record(last_s)

    def traces(self, after: int) -> Traces | None:
        """Return what came from sample number ``after`` of the current part on, for drawing; None before the first."""
        return self._intake.traces(after)

    async def _run(self) -> None:
        link: Link | None = None
        try:
            link = await self._radio.connect(self._recorder, fs_hz=self._fs_hz)
            if link.battery is not None and link.battery < EMPTY_PERCENT:
                raise BatteryEmptyError(link.name, link.battery)
            self._first_s = time.monotonic()
            while not await self._is_over(link):
                await link.close()
                link = await self._reconnect()
        finally:
            await surely(self._finish(link))

    async def _is_over(self, link: Link) -> bool:
        """Record over one link; return whether the recording is over, and not just the link."""
        self._link = link
        self._intake.link_up(link, self._fs_hz)
        with suppress(LinkLostError):
            await self._start(link)
            self._set("recording")
            await self._listen(link)
        self._intake.counts["overflow"] += link.overflow
        if self._is_stopping or self._is_long_enough():
            return True
        self._intake.link_lost()
        self._set("reconnecting")
        return False

    async def _start(self, link: Link) -> None:
        """Start the recorder; once more after a stop, if it is still running for an earlier link."""
        self._intake.starting()
        self._is_started = True
        # What came before the start is nobody's.
        self._drain(link)
        number = self._intake.number
        refusal = await self._command(link, self._driver.start(link.stream, number))
        if refusal is not None:
            await self._command(link, self._driver.stop(link.stream))
            refusal = await self._command(link, self._driver.start(link.stream, number))
        if refusal is None:
            self._intake.running()
        elif "BATTERY" in refusal:
            raise BatteryEmptyError(link.name, self._charge() or 0)
        else:
            raise RefusedError(link.name, "start recording", refusal)

    async def _command(self, link: Link, writes: Sequence[Write]) -> str | None:
        """Write, wait for each answer, and return why the recorder refused; None if it obeyed."""
        for write in writes:
            self._intake.awaiting(write.request)
            await link.write(write)
            if write.request is None:
                continue
            end_s = time.monotonic() + REPLY_S
            while (reply := self._intake.reply()) is None:
                received = await link.next(max(end_s - time.monotonic(), 0.0))
                if received is not None:
                    self._intake.take(received)
                elif link.lost.is_set() or time.monotonic() >= end_s:
                    raise LinkLostError(link.name, REPLY_S)
            self._intake.awaiting(None)
            if reply.error is not None:
                return reply.error
        return None

    async def _listen(self, link: Link) -> None:
        """Take what comes until the recording is over or the link is."""
        poll_s, polled_s = self._driver.description.poll_s, 0.0
        self._begun_s = time.monotonic()
        while not (self._is_stopping or self._is_long_enough() or link.lost.is_set()):
            if poll_s is not None and time.monotonic() >= polled_s:
                polled_s = time.monotonic() + poll_s
                await self._poll(link)
            received = await link.next(min(link.stream.frame_s, PROGRESS_S / 2))
            if received is not None:
                self._intake.take(received)
                if poll_s is not None:
                    await self._poll(link)
            if self._intake.cut is not None:
                await self._start(link)
            # By arrival, so that a reader who is behind does not take his own slowness for silence.
            now_s = time.monotonic() if received is None else received.at_ns / 1e9
            if not await self._attend(link, now_s):
                break
        self._drain(link)

    def _drain(self, link: Link) -> None:
        """Take what had arrived before the end."""
        while not link.notifications.empty():
            received = link.notifications.get_nowait()
            if received is not None:
                self._intake.take(received)

    async def _poll(self, link: Link) -> None:
        for write in self._intake.due():
            await link.write(write)

    async def _attend(self, link: Link, now_s: float) -> bool:
        """Judge silence, contact and answers; return False if the link is dead."""
        # What was silent before this link was the search for it.
        silent_s = now_s - max(self._heard_s(), self._begun_s)
        no_signal_s = max(SILENT_FRAMES * link.stream.frame_s, NO_SIGNAL_S)
        if silent_s >= max(DEAD_S, 2 * no_signal_s):
            return False
        self._intake.doubt(now_s)
        if self._intake.is_another_person(now_s):
            self._intake.halting()
            await self._command(link, self._driver.stop(link.stream))
            self._intake.begin_part()
            await self._start(link)
        if self._intake.is_in_question:
            self._set("same_person")
        else:
            self._set("no_signal" if silent_s >= no_signal_s else "recording")
        return True

    async def _reconnect(self) -> Link:
        """Find the recorder again, or give up."""
        attempt = 0
        while True:
            silent_s = time.monotonic() - self._heard_s()
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
        try:
            if link is not None:
                with suppress(DeviceError, TimeoutError):
                    async with asyncio.timeout(STOP_S):
                        if self._is_started and not link.lost.is_set():
                            await self._command(link, self._driver.stop(link.stream))
                self._drain(link)
        finally:
            if link is not None:
                await link.close()
            self._set("ended")
            self._intake.end()

    async def _wound_up(self) -> None:
        self.stop()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _set(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._changed.set()

    def _heard_s(self) -> float:
        """Monotonic time of the newest frame; before the first, of the first link."""
        return self._intake.heard_s or self._first_s

    def _charge(self) -> int | None:
        """Percent of charge, by the recorder's own protocol or else by the battery service."""
        if self._intake.battery is None and self._link is not None:
            return self._link.battery
        return self._intake.battery

    def _is_long_enough(self) -> bool:
        return self._duration_s is not None and self._intake.seconds >= self._duration_s
