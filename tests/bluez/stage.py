"""Our own code on real BlueZ: recorders on the virtual air, our radio on the kernel's adapter, and the truth."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from guest import Daemon, adapter

from lsemvae_edge.device import backend, enrolment
from lsemvae_edge.device.drivers import open6l as profile
from lsemvae_edge.device.enrolment import Enrolled
from lsemvae_edge.device.radio import Radio
from lsemvae_edge.device.virtual.air import VirtualAir
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.host import Host
from lsemvae_edge.device.virtual.open6l import NV_PER_LSB, VirtualOpen6L
from lsemvae_edge.device.virtual.recorder import Message
from lsemvae_edge.errors import DeviceError
from lsemvae_edge.record import Record

if TYPE_CHECKING:
    from lsemvae_edge.device.live import LiveRecording

FS_HZ = 500.0
MV_PER_LSB = NV_PER_LSB / 1e6
ADDRESS = "C0:11:22:33:44:55"
TRUTH_S = 600.0


class Logged(VirtualOpen6L):
    """A recorder that remembers the index of every packet it made."""

    sent: list[int]

    def __init__(self, feed: Feed, serial: str = "SIM00042") -> None:
        self.sent = []
        super().__init__(feed, FS_HZ, serial=serial)

    def advance(self, seconds: float) -> Sequence[Message]:
        messages = super().advance(seconds)
        for uuid, data in messages:
            if uuid == profile.DATA:
                self.sent.append(profile.DATA_HEADER.unpack_from(data)[2])
        return messages


def noise(
    leads: Sequence[str] = ("I", "II"), fs_hz: float = FS_HZ, seconds: float = TRUTH_S, scale_mv: float = 1.0
) -> Record:
    """Return a recording of which no stretch is like another."""
    rng = np.random.default_rng(1)
    signal_mv = rng.normal(0.0, scale_mv, (len(leads), int(seconds * fs_hz))).astype(np.float32)
    return Record(signal_mv, fs_hz, tuple(leads), origin="simulated")


def open_recorder(serial: str = "SIM00042") -> tuple[Logged, Feed]:
    """Return a recorder of the open profile, and what its electrodes see."""
    feed = Feed(noise(), ("I", "II"), FS_HZ, MV_PER_LSB, 24)
    return Logged(feed, serial), feed


@dataclass
class Stage:
    """What is there in a scenario."""

    air: VirtualAir
    daemon: Daemon
    radio: Radio


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Set up the air, the adapter, bluetoothd and a radio."""
    os.environ[enrolment.VARIABLE] = "/tmp/recorders.json"
    Path("/tmp/recorders.json").unlink(missing_ok=True)
    async with AsyncExitStack() as stack:
        air = await stack.enter_async_context(VirtualAir())
        controller = await adapter(air.medium)
        daemon = Daemon()
        await daemon.start()
        radio = await stack.enter_async_context(Radio(backend.system()))
        _log(radio)
        yield Stage(air, daemon, radio)
        del controller


def _log(radio: Radio) -> None:
    """Write what becomes of every attempt to connect, and of every reset, to the log."""
    connect, recover = radio.connect, radio._recover

    async def connecting(*arguments: Any, **options: Any) -> Any:
        began_s = time.monotonic()
        outcome = "connected"
        try:
            return await connect(*arguments, **options)
        except BaseException as error:
            outcome = repr(error)
            raise
        finally:
            print(
                f"{time.monotonic():.1f}: after {time.monotonic() - began_s:.1f} s: {outcome}",
                file=sys.stderr,
                flush=True,
            )

    async def recovering() -> bool:
        began_s = time.monotonic()
        done = await recover()
        print(
            f"{time.monotonic():.1f}: reset in {time.monotonic() - began_s:.1f} s: {done}", file=sys.stderr, flush=True
        )
        return done

    radio.connect, radio._recover = connecting, recovering


async def enrolled(on: Stage, recorder: VirtualOpen6L, address: str = ADDRESS) -> tuple[Host, Enrolled]:
    """Put a recorder on the air and enrol it; from then on its pairing button is not pressed."""
    host = await on.air.add(recorder, address)
    known = await enrolment.enrol(on.radio, address)
    host.pairing = False
    return host, known


async def recorded(live: "LiveRecording", states: list[str] | None = None) -> str:
    """Follow a recording to its end; return "done", or the error."""
    try:
        async for progress in live:
            if states is not None and (not states or states[-1] != progress.state):
                states.append(progress.state)
            if progress.state == "same_person":
                live.confirm(True)
    except DeviceError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


async def until(live: "LiveRecording", task: "asyncio.Task[str]", seconds: float) -> None:
    """Wait until so much is recorded; an error if it ends before."""
    while live.progress().seconds < seconds:
        if task.done():
            raise AssertionError(f"it ended after {live.progress().seconds:.1f} s: {task.result()}")
        await asyncio.sleep(0.1)


def held(record: Record, feed: Feed, firsts: Sequence[int], mv_per_lsb: float = MV_PER_LSB) -> dict[str, Any]:
    """Hold a recording against what the electrodes saw.

    Parameters
    ----------
    record : Record
    feed : Feed
    firsts : sequence of int
        Indices at which it may begin; the one that fits best is taken.
    mv_per_lsb : float

    Returns
    -------
    dict
        ``n_samples``, ``n_gap``, ``n_wrong`` (of one lead), ``first``, and ``late``: packets before its first one.
    """
    gaps = record.gaps.any(axis=0)
    steps = np.rint(record.signal_mv.astype(np.float64) / mv_per_lsb)
    rows = [feed.leads.index(lead) for lead in record.leads]
    found: dict[str, Any] = {}
    for late, first in enumerate(firsts):
        truth = feed.steps(first, record.n_samples)[rows]
        wrong = int(((truth != steps).any(axis=0) & ~gaps).sum())
        if not found or wrong < found["n_wrong"]:
            found = {
                "n_samples": record.n_samples,
                "n_gap": int(gaps.sum()),
                "n_wrong": wrong,
                "first": first,
                "late": late,
            }
        if wrong == 0:
            break
    return found


def gap_runs(record: Record) -> list[tuple[int, int]]:
    """Return begin and end of every gap, in samples."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], record.gaps.any(axis=0).astype(np.int8), [0]])))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
