"""A day of recording in minutes, and how much faster than the recorder each driver is read.

Virtual recorders and drivers are joined without a radio, and time is simulated; what arrives goes the way of a live
recording from there on: journal, decoder, assembler.
"""

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lsemvae_edge.codecs import journal as codec
from lsemvae_edge.device import drivers
from lsemvae_edge.device.assembler import Assembler
from lsemvae_edge.device.driver import Write
from lsemvae_edge.device.drivers.kardia import START_VARIABLE
from lsemvae_edge.device.enrolment import Enrolled
from lsemvae_edge.device.intake import Intake
from lsemvae_edge.device.journal import JournalWriter, opened
from lsemvae_edge.device.link import Notification
from lsemvae_edge.device.virtual import shelf
from lsemvae_edge.device.virtual.kardia import STAND_IN_COMMAND
from lsemvae_edge.device.virtual.recorder import Message
from lsemvae_edge.record import Record

PERIOD = 30_011
"""Samples after which the signal repeats: sample k is k modulo this, in steps of the converter."""
KEEP_S = 600.0
MTU = 247
TICK_S = 0.02
THROUGHPUT_S = 120.0
DAY_DRIVER = "open-6l"


@dataclass(frozen=True)
class Day:
    """How a long recording is made: hours, what the recorder's clock is off by, and whether there is a journal."""

    hours: float
    ppm: float
    journal: bool


DAYS = (Day(24.0, 500.0, journal=True), Day(24.0, -500.0, journal=False))


class Session:
    """A virtual recorder read by its driver, on simulated time that begins now.

    Parameters
    ----------
    name : str
        Of the driver.
    record : Record, optional
        What the recorder measures; by default a simulated heart.
    journal : JournalWriter, optional
    ppm : float
        What the recorder's clock is fast by.
    keep_s : float
        Newest samples kept in memory.
    """

    def __init__(
        self,
        name: str,
        record: Record | None = None,
        *,
        journal: JournalWriter | None = None,
        ppm: float = 0.0,
        keep_s: float = KEEP_S,
    ) -> None:
        self.recorder = shelf.make(name, record)
        self.driver = drivers.get(name)
        self.restarts = 0
        self.elapsed_s = 0.0
        self._rate = 1 + ppm / 1e6
        self._begun_s = time.monotonic()
        self._polled_s = 0.0
        enrolled = Enrolled("C0:00:00:00:00:01", name, name, self.recorder.serial, False, "2026-01-01T00:00:00", True)
        self.intake = Intake(self.driver, enrolled, 1, journal, keep_s, True)
        self.link_up()

    def link_up(self) -> None:
        """Connect, and start the recorder."""
        self.recorder.connected(MTU)
        has = {row.uuid for service in self.recorder.services for row in service.characteristics}
        reads = {uuid: self.recorder.read(uuid) for uuid in self.driver.description.reads if uuid in has}
        self.stream = self.driver.stream(reads, MTU)
        link: Any = SimpleNamespace(stream=self.stream, reads=reads, mtu=MTU, simulated=True)
        self.intake.link_up(link, None)
        self._start()

    def link_lost(self) -> None:
        """Lose the link."""
        self.recorder.disconnected()
        self.intake.link_lost()

    def run(self, seconds: float) -> None:
        """Let time pass, and take what arrives."""
        poll_s = self.driver.description.poll_s
        for _ in range(round(seconds / TICK_S)):
            self.elapsed_s += TICK_S
            arrived = deque(self.recorder.advance(TICK_S * self._rate))
            if poll_s is not None and self.elapsed_s >= self._polled_s:
                self._polled_s = self.elapsed_s + poll_s
                arrived += self._written(self.intake.due())
            while arrived:
                self._take(arrived.popleft())
                if poll_s is not None:
                    arrived += self._written(self.intake.due())
            if self.intake.cut is not None:
                self.restarts += 1
                self._start()

    def pass_by(self, seconds: float) -> None:
        """Let time pass while nothing is connected."""
        self.elapsed_s += seconds
        self.recorder.advance(seconds * self._rate)

    def end(self) -> Record:
        """Stop the recorder, and return what is kept."""
        self._command(self.driver.stop(self.stream))
        self.intake.end()
        return self.intake.record()

    def _start(self) -> None:
        self.intake.starting()
        with _start_command():
            self._command(self.driver.start(self.stream, self.intake.number))
        self.intake.running()

    def _command(self, writes: Sequence[Write]) -> None:
        for write in writes:
            self.intake.awaiting(write.request)
            for message in self._written((write,)):
                self._take(message)
            self.intake.awaiting(None)

    def _written(self, writes: Sequence[Write]) -> list[Message]:
        return [message for write in writes for message in self.recorder.write(write.uuid, write.data)]

    def _take(self, message: Message) -> None:
        self.intake.take(Notification(round(1e9 * (self._begun_s + self.elapsed_s)), *message))


def measure(days: tuple[Day, ...] = DAYS, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Make the long recordings, and measure the throughput of every driver.

    Parameters
    ----------
    days : tuple of Day
    say : callable
        Told after each step.

    Returns
    -------
    dict
        ``days``, ``throughput``, and ``broken``: what must not be, in words; empty when all is well.
    """
    rows = [long_recording(day, say) for day in days]
    speeds = [throughput(name) for name in shelf.MADE]
    for speed in speeds:
        say(f"{speed['driver']}: {speed['times_real_time']:.0f} times real time, {speed['us_a_message']} us a message")
    return {"days": rows, "throughput": speeds, "broken": [text for row in rows for text in row["broken"]]}


def long_recording(day: Day, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Record for many hours from the open profile's recorder, whose samples are numbered.

    Returns
    -------
    dict
        Samples received, missing, misplaced; drift measured and its error; memory; ``broken``.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "day.lsej")
        session = Session(
            DAY_DRIVER, numbered(DAY_DRIVER), journal=JournalWriter(path) if day.journal else None, ppm=day.ppm
        )
        begun_s = time.perf_counter()
        checks = _Checks(session)
        resident: list[int | None] = []
        whole, rest = divmod(day.hours, 1.0)
        for hour in [1.0] * int(whole) + ([rest] if rest else []):
            for _ in range(6):
                session.run(hour * 600.0)
                checks.look()
            resident.append(resident_bytes())
            say(f"{session.elapsed_s / 3600:.1f} h recorded in {time.perf_counter() - begun_s:.0f} s")
        took_s = time.perf_counter() - begun_s
        record = session.end()
        row = {
            "hours": day.hours,
            "ppm": day.ppm,
            "took_s": round(took_s, 1),
            "journal": _journal_facts(path) if day.journal else None,
            "samples_looked_at": checks.n,
            "misplaced": checks.misplaced,
            "received": dict(session.intake.all_counts()),
            "restarts_after_the_recorders_time_limit": session.restarts,
            "parts": len(session.intake.parts) + 1,
            "clock": dict(record.meta["clock"]),
            "drift_error_ppm": _drift_error(record, day.ppm),
            "resident_mb": [None if size is None else round(size / 1e6, 1) for size in resident],
        }
    return {**row, "broken": _broken(row)}


def throughput(name: str, seconds: float = THROUGHPUT_S, times: int = 3) -> dict[str, Any]:
    """Decode and assemble what a recorder sent, as fast as it goes; the least processor time of several times.

    Returns
    -------
    dict
        ``driver``, ``messages``, ``us_a_message`` and ``times_real_time``.
    """
    sent = script(name, seconds)
    best = min((played(sent) for _ in range(times)), key=lambda one: one.took_s)
    return {
        "driver": name,
        "messages": best.messages,
        "us_a_message": round(1e6 * best.took_s / best.messages, 2),
        "times_real_time": round(best.signal_s / best.took_s, 1),
    }


@dataclass(frozen=True)
class Script:
    """What a recorder sent: when it came, where from, and the bytes; None where the driver asked for more."""

    session: Session
    messages: "tuple[tuple[float, str, bytes] | None, ...]"


@dataclass(frozen=True)
class Played:
    """What decoding and assembling once took: messages, the processor's seconds, and seconds of signal."""

    messages: int
    took_s: float
    signal_s: float


def script(name: str, seconds: float) -> Script:
    """Have a recorder send for so long, on simulated time.

    Parameters
    ----------
    name : str
        Of the driver.
    seconds : float
    """
    with tempfile.TemporaryDirectory() as folder:
        session = Session(name, journal=JournalWriter(Path(folder, "script.lsej")))
        session.run(seconds)
        session.end()
        entries = [
            one for one in codec.decode(Path(folder, "script.lsej").read_bytes()) if isinstance(one, codec.Entry)
        ]
    sources = {one.content[0]: one.content[1:].decode() for one in entries if one.kind == "source"}
    return Script(
        session,
        tuple(
            (one.at_ns / 1e9, sources[one.content[0]], one.content[1:]) if one.kind == "data" else None
            for one in entries
            if one.kind in ("data", "polled")
        ),
    )


def played(sent: Script) -> Played:
    """Decode and assemble what was sent, once."""
    driver, stream = sent.session.driver, sent.session.stream
    decoder = driver.decoder(stream)
    assembler = Assembler(stream, keep_s=KEEP_S, indexed=driver.description.indexed)
    assembler.link_up(stream, 0.0)
    # Processor time: what other processes take of a shared machine is none of the driver's.
    begun_s = time.process_time()
    for one in sent.messages:
        if one is None:
            decoder.due()
            continue
        at_s, uuid, data = one
        for event in decoder.feed(uuid, data):
            assembler.add(event, at_s)
    took_s = time.process_time() - begun_s
    return Played(sum(one is not None for one in sent.messages), took_s, assembler.seconds)


def numbered(name: str) -> Record:
    """Make a recording whose every sample is its own number modulo `PERIOD`, in steps of a driver's converter."""
    stream = shelf.stream(name)
    steps = np.arange(PERIOD)
    return Record(np.stack([steps, -steps]) * stream.mv_per_lsb, stream.fs_hz, stream.leads)


def resident_bytes() -> int | None:
    """Memory of this process; None where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


class _Checks:
    """Holds the newest samples against their numbers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._offset: int | None = None
        self.n = self.misplaced = 0

    def look(self) -> None:
        intake = self._session.intake
        record = intake.record()
        position = round(intake.seconds * record.fs_hz) - record.n_samples
        there = np.flatnonzero(~record.gaps[0])
        steps = np.rint(record.signal_mv[0][there].astype(np.float64) / self._session.stream.mv_per_lsb)
        offsets = (steps.astype(np.int64) - there - position) % PERIOD
        if self._offset is None and offsets.size:
            self._offset = int(offsets[0])
        self.n += int(there.size)
        self.misplaced += int((offsets != self._offset).sum())


@contextmanager
def _start_command() -> Iterator[None]:
    """Let the one driver that ships no start command find the virtual recorder's."""
    before = os.environ.get(START_VARIABLE)
    os.environ[START_VARIABLE] = STAND_IN_COMMAND.hex()
    try:
        yield
    finally:
        if before is None:
            del os.environ[START_VARIABLE]
        else:
            os.environ[START_VARIABLE] = before


def _journal_facts(path: Path) -> dict[str, Any]:
    """Read a journal through, and say how large it is and how fast that went."""
    before, begun_s = resident_bytes(), time.perf_counter()
    with opened(path) as entries:
        kinds = [0, 0]
        for one in entries:
            kinds[isinstance(one, codec.Torn)] += 1
    after = resident_bytes()
    return {
        "bytes": path.stat().st_size,
        "entries": kinds[0],
        "torn": kinds[1],
        "read_in_s": round(time.perf_counter() - begun_s, 1),
        "resident_growth_mb": None if before is None or after is None else round((after - before) / 1e6, 1),
    }


def _drift_error(record: Record, ppm: float) -> float | None:
    measured = record.meta["clock"]["drift_ppm"]
    return None if measured is None else round(abs(measured - ppm), 2)


def _broken(row: dict[str, Any]) -> list[str]:
    """Say what must not be."""
    counts = row["received"]
    wrong = [f"{counts[kind]} {kind}" for kind in ("damaged", "contradictory", "late", "duplicate") if counts.get(kind)]
    if row["misplaced"]:
        wrong.append(f"{row['misplaced']} samples misplaced")
    if row["parts"] != 1:
        wrong.append(f"{row['parts']} parts")
    if row["journal"] and row["journal"]["torn"]:
        wrong.append("the journal is torn")
    return wrong
