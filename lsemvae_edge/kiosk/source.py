"""Where recordings come from: enrolled recorders over Bluetooth, or an invented person for a demonstration."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

from lsemvae_edge.device.progress import Progress, State, Traces, message
from lsemvae_edge.record import Record

if TYPE_CHECKING:
    from lsemvae_edge.device.journal import JournalWriter
    from lsemvae_edge.device.radio import Radio

LOOK_S = 3.0
PROGRESS_S = 0.2


@dataclass(frozen=True)
class Choice:
    """A recorder that may be chosen.

    Parameters
    ----------
    address, name : str
    in_range : bool or None
        None: nobody looked.
    simulated : bool
    """

    address: str
    name: str
    in_range: bool | None
    simulated: bool


class Recording(Protocol):
    """What the kiosk needs of a live recording."""

    @property
    def id(self) -> str:
        """Random, unique."""

    def __aiter__(self) -> AsyncIterator[Progress]: ...

    def record(self, last_s: float | None = None) -> Record:
        """Return the newest seconds."""

    def traces(self, after: int) -> Traces | None:
        """Return what came from a sample on."""

    def confirm(self, same_person: bool) -> None:
        """Answer whether it is the same person."""

    def stop(self) -> None:
        """End it in order."""


class Source(Protocol):
    """Owner of recorders, as an async context manager.

    Attributes
    ----------
    journals : bool
        Its bytes are worth a journal.
    """

    journals: bool

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def look(self, *, near: bool) -> Sequence[Choice]:
        """List the recorders that may be chosen; with ``near``, find out which are in range."""

    def record(self, address: str, journal: "JournalWriter | None") -> AbstractAsyncContextManager[Recording]:
        """Record from one of them."""


class Bluetooth:
    """Enrolled recorders, over one adapter that is owned as long as the kiosk runs.

    Parameters
    ----------
    adapter : str, optional
        See `lsemvae_edge.device.backend.open_backend`.
    fs_hz : float, optional
        Rate to ask for.
    """

    journals = True

    def __init__(self, adapter: str | None = None, fs_hz: float | None = None) -> None:
        self._adapter, self._fs_hz = adapter, fs_hz
        self._radio: Radio | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._let_go()

    async def look(self, *, near: bool) -> Sequence[Choice]:
        """List the enrolled recorders; with ``near``, find out which are in range.

        Raises
        ------
        DeviceError
            If the list is damaged, or the adapter cannot be used.
        """
        from lsemvae_edge.device import enrolment

        enrolled = enrolment.read().recorders
        heard: set[str] = set()
        if near and enrolled:
            async with self._owned() as radio:
                heard = {sighting.address for sighting in await radio.scan(LOOK_S, enrolled)}
        return [
            Choice(one.address, one.name, one.address in heard if near else None, one.simulated) for one in enrolled
        ]

    @asynccontextmanager
    async def record(self, address: str, journal: "JournalWriter | None") -> AsyncIterator[Recording]:
        """Record from an enrolled recorder.

        Raises
        ------
        DeviceError
            If it is not enrolled, not in range, or gives up.
        """
        from lsemvae_edge.device import enrolment
        from lsemvae_edge.device.live import LiveRecording

        recorder = enrolment.read().get(address)
        async with (
            self._owned() as radio,
            LiveRecording(radio, recorder, journal=journal, fs_hz=self._fs_hz) as live,
        ):
            yield live

    @asynccontextmanager
    async def _owned(self) -> "AsyncIterator[Radio]":
        """Use the adapter; one that failed is let go, so that the next use opens it anew."""
        from lsemvae_edge.device import enrolment
        from lsemvae_edge.device.backend import open_backend
        from lsemvae_edge.device.errors import BluetoothUnavailableError
        from lsemvae_edge.device.radio import Radio

        async with self._opening:
            if self._radio is None:
                radio = Radio(await open_backend(self._adapter, bonds=enrolment.bonds_path()))
                self._radio = await radio.__aenter__()
        try:
            yield self._radio
        except BluetoothUnavailableError:
            await self._let_go()
            raise

    async def _let_go(self) -> None:
        radio, self._radio = self._radio, None
        if radio is not None:
            await radio.__aexit__()


class Demonstration:
    """An invented person for every recording, in real time; no radio, nobody's heart.

    Parameters
    ----------
    seed : int
        Of the first person.
    """

    journals = False

    def __init__(self, seed: int = 0) -> None:
        self._seeds = itertools.count(seed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def look(self, *, near: bool) -> Sequence[Choice]:
        """List the one recorder that there is."""
        from lsemvae_edge.device.simulator import DEVICE_NAME

        return [Choice("demonstration", DEVICE_NAME, True if near else None, True)]

    @asynccontextmanager
    async def record(self, address: str, journal: "JournalWriter | None") -> AsyncIterator[Recording]:
        """Record the next invented person."""
        yield await asyncio.to_thread(DemonstrationRecording, next(self._seeds))


class DemonstrationRecording:
    """A virtual recorder joined to its driver in memory, played in real time."""

    LONGEST_S = 120.0
    STEP_S = 0.04

    def __init__(self, seed: int) -> None:
        from lsemvae_edge.device.assembler import Assembler
        from lsemvae_edge.device.drivers.open6l import Open6L
        from lsemvae_edge.device.simulator import DEVICE_NAME
        from lsemvae_edge.device.virtual import shelf
        from lsemvae_edge.device.virtual.wire import Wire

        self.id = f"demo-{time.time_ns():x}-{seed}"
        self._name = DEVICE_NAME
        self._wire = Wire(shelf.make("open-6l", seed=seed), Open6L())
        self._assembler = Assembler(self._wire.stream, keep_s=None)
        self._arrivals = self._wire.record(self.LONGEST_S, tick_s=self.STEP_S)
        self._began_s = time.monotonic()
        self._is_over = False

    def __aiter__(self) -> AsyncIterator[Progress]:
        return self._played()

    async def _played(self) -> AsyncIterator[Progress]:
        waiting = next(self._arrivals, None)
        told_s = 0.0
        while waiting is not None and not self._is_over:
            passed_s = time.monotonic() - self._began_s
            while waiting is not None and waiting.at_s <= passed_s:
                for event in self._wire.decoder.feed(waiting.uuid, waiting.data):
                    self._assembler.add(event, waiting.at_s)
                waiting = next(self._arrivals, None)
            if passed_s - told_s >= PROGRESS_S:
                told_s = passed_s
                yield self._progress("recording")
            await asyncio.sleep(self.STEP_S)
        yield self._progress("ended")

    def record(self, last_s: float | None = None) -> Record:
        """Return the newest seconds."""
        meta = {"device": self._name, "id": self.id, "clock_set": False}
        return self._assembler.record(last_s, meta=meta, origin="demo")

    def traces(self, after: int) -> Traces | None:
        """Return what came from a sample on."""
        if not self._assembler.seconds:
            return None
        first, signal_mv = self._assembler.since(after)
        stream = self._wire.stream
        return Traces(0, first, stream.fs_hz, stream.leads, signal_mv, stream.amplitude)

    def confirm(self, same_person: bool) -> None:
        """Nobody ever asks."""

    def stop(self) -> None:
        """End it."""
        self._is_over = True

    def _progress(self, state: State) -> Progress:
        assembler = self._assembler
        progress = Progress(
            state, assembler.seconds, off=assembler.off, battery=assembler.battery, counts=dict(assembler.counts)
        )
        return replace(progress, message=message(progress, self._name))
