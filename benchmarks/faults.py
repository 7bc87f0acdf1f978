"""The fault table: what becomes of every sample when something goes wrong between recorder and record.

Real bleak, our transport, drivers and assembler run against virtual recorders on a virtual medium, in real time. The
recorder plays a signal in which every sample names itself, so that a sample that was never sent, or that
stands in a wrong place, is found by looking at it.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from bumble import hci
from numpy.typing import NDArray

from lsemvae_edge.device import drivers, enrolment
from lsemvae_edge.device.backend import virtual
from lsemvae_edge.device.journal import JournalWriter
from lsemvae_edge.device.link import BACKLOG
from lsemvae_edge.device.live import LiveRecording
from lsemvae_edge.device.progress import Progress
from lsemvae_edge.device.radio import Radio
from lsemvae_edge.device.virtual import shelf
from lsemvae_edge.device.virtual.air import VirtualAir
from lsemvae_edge.device.virtual.host import Host
from lsemvae_edge.device.virtual.medium import Faults
from lsemvae_edge.errors import LsemvaeError, UnusableRecordingError
from lsemvae_edge.record import Record

DRIVERS = ("open-6l", "lepu-6l", "polar-h10", "kardia-6l")
"""One of each kind: index and encrypted link, index and checksum, device time alone, nothing."""

ADDRESS = "C0:11:22:33:44:55"
BEFORE_S, AFTER_S = 4.0, 8.0
MODULI = (30011, 30013)
"""Two primes: a sample k shows k in the first lead and a multiple of it in the second, both within 16 bits."""
FACTOR = 7919
LONE_FACTOR = 37
"""With one lead, sample k shows this multiple of k."""
GIVE_UP_S = 90.0
AT_ONCE = 6
"""Scenarios that run beside each other; more would make the processor itself a fault."""
MISPLACED_SAMPLES = 1

Act = Callable[["Stage"], Awaitable[None]]


@dataclass
class Stage:
    """What a scenario may touch."""

    driver: str
    air: VirtualAir
    host: Host
    live: LiveRecording
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """One fault.

    Parameters
    ----------
    name : str
    faults : Faults
        On the way, from `BEFORE_S` on.
    act : callable, optional
        What happens at `BEFORE_S`.
    lasts_s : float
        How long that takes, before `AFTER_S` more seconds are recorded.
    clock : float
        Of the recorder.
    max_mtu, backlog : int
        See `VirtualAir.add` and `Radio`.
    alone : bool
        It holds up the whole process, so it runs when nothing else does.
    """

    name: str
    faults: Faults = field(default_factory=Faults)
    act: Act | None = None
    lasts_s: float = 8.0
    clock: float = 1.0
    max_mtu: int = 247
    backlog: int = BACKLOG
    alone: bool = False


@dataclass
class Row:
    """What came of a scenario with one driver; counts are samples of one lead."""

    scenario: str
    driver: str
    sent: int = 0
    received: int = 0
    missing: int = 0
    false: int = 0
    misplaced: int = 0
    recovery_s: float | None = None
    parts: int = 0
    operator: list[str] = field(default_factory=list)
    error: str | None = None


def scenarios() -> tuple[Scenario, ...]:
    """List the faults."""
    return (
        Scenario("none"),
        Scenario("loss 1 %", Faults(loss=0.01)),
        Scenario("loss 5 %", Faults(loss=0.05)),
        Scenario("loss 20 %", Faults(loss=0.2)),
        Scenario("loss in bursts of 10", Faults(loss=0.02, burst=10)),
        Scenario("duplicates", Faults(duplicate=0.1)),
        Scenario("reordering", Faults(swap=0.1)),
        Scenario("corrupted bytes", Faults(corrupt=0.05), act=_on_the_air),
        Scenario("half frames", Faults(cut=0.05)),
        Scenario("connection interval 195 ms", Faults(interval_s=0.195)),
        Scenario("black-out 2 s", act=_black_out(2.0), lasts_s=2.0),
        Scenario("black-out 10 s", act=_black_out(10.0), lasts_s=10.0),
        Scenario("black-out 60 s", act=_black_out(60.0), lasts_s=60.0),
        Scenario("silent link 3 s", act=_silent(3.0), lasts_s=3.0),
        Scenario("supervision time-out", act=_supervision),
        Scenario("recorder restarts", act=_restart),
        Scenario("clock +500 ppm", clock=1.0005),
        Scenario("clock -500 ppm", clock=0.9995),
        Scenario("rate 2 % high", clock=1.02),
        Scenario("MTU 23", max_mtu=23),
        Scenario("battery dead", act=_dead, lasts_s=2.0),
        Scenario("slow consumer 3 s", act=_slow(3.0), lasts_s=3.0, backlog=20, alone=True),
        Scenario("another recorder with its name", act=_impostor),
    )


def measure(
    names: tuple[str, ...], seed: int, say: Callable[[str], None], begins: tuple[str, ...] = ("",)
) -> dict[str, Any]:
    """Run every scenario with every driver named, and count what came of each sample.

    Parameters
    ----------
    names : tuple of str
        Of drivers with a virtual recorder.
    seed : int
        Of the faults.
    say : callable
        Told after each row.
    begins : tuple of str
        Only scenarios whose name begins with one of these.

    Returns
    -------
    dict
        ``rows``, and ``broken``: rows of indexed drivers with integrity in which a sample was false or misplaced.
    """
    from lsemvae_edge.device.drivers.kardia import START_VARIABLE
    from lsemvae_edge.device.virtual.kardia import STAND_IN_COMMAND

    os.environ.setdefault(START_VARIABLE, STAND_IN_COMMAND.hex())
    rows = asyncio.run(_all([one for one in scenarios() if one.name.startswith(begins)], names, seed, say))
    broken = [
        row
        for row in rows
        if (row.false or row.misplaced) and _promises(row.driver)
    ]  # fmt: skip
    return {"seed": seed, "rows": [asdict(row) for row in rows], "broken": [asdict(row) for row in broken]}


def table(figures: dict[str, Any]) -> str:
    """Lay the rows out as text."""
    lines = [
        f"{'fault':31} {'driver':10} {'sent':>7} {'received':>8} {'missing':>7} {'false':>5} {'misplaced':>9} "
        f"{'back after':>10}  what the operator saw"
    ]
    for row in figures["rows"]:
        back = "" if row["recovery_s"] is None else f"{row['recovery_s']:.2f} s"
        seen = " / ".join([*row["operator"], *([row["error"]] if row["error"] else [])])
        lines.append(
            f"{row['scenario']:31} {row['driver']:10} {row['sent']:7} {row['received']:8} {row['missing']:7} "
            f"{row['false']:5} {row['misplaced']:9} {back:>10}  {seen}"
        )
    return "\n".join(lines)


def _promises(name: str) -> bool:
    description = drivers.get(name).description
    return description.indexed and description.integrity


async def _all(chosen: list[Scenario], names: tuple[str, ...], seed: int, say: Callable[[str], None]) -> list[Row]:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(scenario: Scenario, name: str) -> Row:
        async with turn:
            row = await _run(scenario, name, seed)
        say(
            f"{row.driver}, {row.scenario}: sent {row.sent}, received {row.received}, missing {row.missing}, "
            f"false {row.false}, misplaced {row.misplaced}{'' if row.error is None else '; ' + row.error}"
        )
        return row

    together = [(scenario, name) for scenario in chosen if not scenario.alone for name in names]
    rows = list(await asyncio.gather(*(one(*pair) for pair in together)))
    for scenario in chosen:
        if scenario.alone:
            rows += [await one(scenario, name) for name in names]
    return rows


async def _run(scenario: Scenario, name: str, seed: int) -> Row:
    row = Row(scenario.name, name)
    recorder = shelf.make(name, named_samples(name))
    total_s = BEFORE_S + scenario.lasts_s + AFTER_S
    with tempfile.TemporaryDirectory() as folder:
        async with (
            VirtualAir(seed) as air,
            Radio(virtual(await air.adapter(), "virtual"), backlog=scenario.backlog) as radio,
        ):
            host = await air.add(recorder, ADDRESS, clock=scenario.clock, max_mtu=scenario.max_mtu)
            loop = asyncio.get_running_loop()
            records: list[Record] = []
            try:
                known = await _enrolled(radio, name)
                journal = JournalWriter(Path(folder, "journal.lsej"))
                async with LiveRecording(radio, known, journal=journal, give_up_s=GIVE_UP_S) as live:
                    stage = Stage(name, air, host, live)
                    begun_s, acted_s, acting = loop.time(), None, None
                    try:
                        async for progress in live:
                            _noted(row, progress, live)
                            now_s = loop.time() - begun_s
                            if acting is None and now_s >= BEFORE_S:
                                air.medium.faults = replace(scenario.faults)
                                acted_s = loop.time()
                                acting = asyncio.ensure_future(
                                    scenario.act(stage) if scenario.act else asyncio.sleep(0)
                                )
                            if acted_s is not None and row.recovery_s is None and _recovered(progress, stage):
                                row.recovery_s = round(loop.time() - acted_s, 2)
                            if now_s >= total_s:
                                break
                    finally:
                        records += live.parts
                        with suppress(UnusableRecordingError):
                            records.append(live.record())
            except LsemvaeError as error:
                row.error = error.message
    _count(row, records)
    return row


def named_samples(name: str, duration_s: float = 300.0) -> Record:
    """Make a recording in which every sample names itself, see `MODULI`, on the scale of a driver's recorder."""
    stream = shelf.stream(name)
    k = np.arange(round(duration_s * stream.fs_hz), dtype=np.int64)
    rows = [k * LONE_FACTOR] if len(stream.leads) == 1 else [k % MODULI[0], k * FACTOR % MODULI[1]]
    return Record(np.stack(rows) * stream.mv_per_lsb, stream.fs_hz, stream.leads)


def identified(record: Record, mv_per_lsb: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return for each position which sample stands there (-1: none that was ever sent), and where one stands."""
    present: NDArray[np.bool_] = np.logical_not(record.gaps.any(axis=0))
    steps = np.rint(np.where(record.gaps, 0, record.signal_mv.astype(np.float64)) / mv_per_lsb).astype(np.int64)
    found = np.full(record.n_samples, -1, dtype=np.int64)
    if len(record.leads) == 1:
        fits = (steps[0] >= 0) & (steps[0] % LONE_FACTOR == 0)
        found[fits] = steps[0][fits] // LONE_FACTOR
        return found, present
    for turn in range(8):
        k = steps[0] + turn * MODULI[0]
        fits = (found < 0) & (steps[0] >= 0) & (steps[0] < MODULI[0]) & (k * FACTOR % MODULI[1] == steps[1])
        found[fits] = k[fits]
    return found, present


def _count(row: Row, records: list[Record]) -> None:
    """Add up over parts; each part has its own origin."""
    stream = shelf.stream(row.driver)
    for record in records:
        if record.n_samples == 0:
            continue
        found, present = identified(record, stream.mv_per_lsb)
        # With a small MTU a recorder takes fewer samples: every second one, say.
        found //= max(round(stream.fs_hz / record.fs_hz), 1)
        true = present & (found >= 0)
        if not true.any():
            row.false += int(present.sum())
            continue
        offset = found - np.arange(record.n_samples)
        values, counts = np.unique(offset[true], return_counts=True)
        usual = values[np.argmax(counts)]
        row.parts += 1
        row.sent += int(found[true].max() - found[true].min()) + 1
        row.received += int(true.sum())
        row.missing += int((~present).sum())
        row.false += int((present & (found < 0)).sum())
        row.misplaced += int((np.abs(offset[true] - usual) > MISPLACED_SAMPLES).sum())


def _noted(row: Row, progress: Progress, live: LiveRecording) -> None:
    if progress.state == "same_person":
        live.confirm(True)
    if progress.state not in ("connecting", "ended") and progress.message not in row.operator:
        row.operator.append(progress.message)


def _recovered(progress: Progress, stage: Stage) -> bool:
    """Whether samples flow again after they had stopped."""
    stopped = stage.notes.setdefault("stopped", False)
    if progress.state in ("no_signal", "reconnecting", "same_person"):
        stage.notes["stopped"] = True
    return bool(stopped and progress.state == "recording")


async def _enrolled(radio: Radio, name: str) -> enrolment.Enrolled:
    """Enrol for this run alone, without the operator's file and without a self-test, which is shown elsewhere."""
    driver = drivers.get(name)
    sighting = await radio.find(ADDRESS)
    async with await radio.meet(sighting, driver) as link:
        return enrolment.Enrolled(
            ADDRESS, name, sighting.name or name, link.serial, link.bonded, "2026-01-01T00:00:00+00:00", True
        )


# What happens ----------------------------------------------------------------------------------------


async def _nothing(stage: Stage) -> None:
    return


async def _on_the_air(stage: Stage) -> None:
    """Corrupt an encrypted link as the air does: its integrity check fails, and that ends the link."""
    description = drivers.get(stage.driver).description
    if not (description.needs_bond and description.integrity):
        return
    stage.air.medium.faults.corrupt = 0.0
    for _ in range(4):
        stage.air.medium.drop_links(hci.HCI_ErrorCode.CONNECTION_TERMINATED_DUE_TO_MIC_FAILURE_ERROR)
        await asyncio.sleep(2.0)


def _black_out(seconds: float) -> Act:
    async def act(stage: Stage) -> None:
        stage.air.medium.black_out(seconds)

    return act


def _silent(seconds: float) -> Act:
    async def act(stage: Stage) -> None:
        stage.air.medium.faults = replace(stage.air.medium.faults, silent=True)
        await asyncio.sleep(seconds)
        stage.air.medium.faults = replace(stage.air.medium.faults, silent=False)

    return act


async def _supervision(stage: Stage) -> None:
    stage.air.medium.drop_links()


async def _restart(stage: Stage) -> None:
    await stage.host.reboot()


async def _dead(stage: Stage) -> None:
    stage.host.switch(False)


def _slow(seconds: float) -> Act:
    async def act(stage: Stage) -> None:
        # Nothing in this process gets a turn; then everything arrives at once, more than the queue holds.
        time.sleep(seconds)

    return act


async def _impostor(stage: Stage) -> None:
    """Lose the recorder, and put another one with its name and address in its place."""
    stage.host.switch(False)
    await asyncio.sleep(0.2)
    await stage.air.add(shelf.make(stage.driver, named_samples(stage.driver), serial="OTHER001"), ADDRESS)
