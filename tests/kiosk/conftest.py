"""A kiosk with everything real but the recorder, which plays a recording as fast as it is read."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge.device.progress import Progress, Traces
from lsemvae_edge.kiosk.settings import Settings
from lsemvae_edge.kiosk.source import Choice
from lsemvae_edge.record import Record


class Played:
    """A live recording of a file, one second a step; ends with an error if there is one."""

    def __init__(self, record, error=None, pause_s=0.0, off=frozenset()):
        self.whole, self.error, self.pause_s, self.off = record, error, pause_s, off
        self.id, self.at_s, self.stopped = f"played-{id(self):x}", 0.0, False
        self.answers = []

    async def __aiter__(self):
        while self.at_s < self.whole.duration_s and not self.stopped:
            self.at_s += 1.0
            yield Progress("recording", min(self.at_s, self.whole.duration_s), off=self.off, message="Recording.")
            await asyncio.sleep(self.pause_s)
        if self.error is not None:
            raise self.error

    def record(self, last_s=None):
        end = min(round(self.at_s * self.whole.fs_hz), self.whole.n_samples)
        begin = 0 if last_s is None else max(end - round(last_s * self.whole.fs_hz), 0)
        meta = {**self.whole.meta, "id": self.id, "device": "played"}
        return Record(
            self.whole.signal_mv[:, begin:end], self.whole.fs_hz, self.whole.leads, meta=meta, origin=self.whole.origin
        )

    def traces(self, after):
        whole = self.record()
        first = min(after, whole.n_samples)
        return Traces(0, first, whole.fs_hz, whole.leads, np.array(whole.signal_mv[:, first:]), "calibrated")

    def confirm(self, same_person):
        self.answers.append(same_person)

    def stop(self):
        self.stopped = True


class Player:
    """Source of recordings, in the order in which they were put."""

    journals = False

    def __init__(self, *recordings, simulated=False):
        self.recordings, self.simulated = list(recordings), simulated
        self.choices = [Choice("AA:AA", "Recorder A", True, simulated)]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None

    async def look(self, *, near):
        return [replace(choice, in_range=True if near else None) for choice in self.choices]

    @asynccontextmanager
    async def record(self, address, journal):
        now = self.recordings.pop(0)
        if isinstance(now, Exception):
            raise now
        yield now


@pytest.fixture
def played():
    """`Played`: a live recording of a file."""
    return Played


@pytest.fixture
def player():
    """`Player`: a source of such recordings."""
    return Player


@pytest.fixture
def stores(tmp_path):
    """Stores of a clinic and of demonstrations, by kind, with one key."""
    from lsemvae_edge.store import Store, StoreKey

    key = StoreKey.create(tmp_path / "store.key")
    made = {kind: Store.create(tmp_path / "stores" / kind, key, kind=kind) for kind in ("clinic", "demo")}
    made["reopen"] = lambda kind: Store.open(tmp_path / "stores" / kind, key)
    yield made
    for kind in ("clinic", "demo"):
        made[kind].close()


@pytest.fixture
def station_of(stores, small_bundle):
    """Function that makes a station of a source."""
    from lsemvae_edge.kiosk.station import Station

    def make(source, *, operators=None, band=None, kind="clinic", bundle=None, **settings):
        chosen = replace(Settings(), check_character=False, **settings)
        return Station(
            bundle or small_bundle,
            stores[kind],
            source,
            chosen,
            apart=lambda: stores["reopen"]("demo"),
            operators=operators,
            band=band,
        )

    return make


@pytest.fixture
def live_heart(heart_record):
    """Function that records a simulated heart as a person's recorder would."""

    def make(duration_s=20.0, **heart):
        return replace(heart_record(duration_s=duration_s, **heart), origin="live")

    return make


@pytest.fixture
def visit_to():
    """Function that goes from the waiting screen to ``hold``."""

    async def go(station, study_id="ABCD1"):
        await station.act("start")
        await station.act("identify", text=study_id)
        if station.flow.screen == "repeat_or_other":
            await station.act("repeat")
        if station.flow.screen == "about":
            await station.act("about", consent=True, age_band="40-64", pacemaker="no")
        await until(station, "hold")

    return go


async def until(station, *screens, within_s=20.0):
    async with asyncio.timeout(within_s):
        while station.state()["screen"] not in screens:
            await station.wait(station.version, 0.5)
    return station.state()


@pytest.fixture(name="until")
def until_fixture():
    """Wait until a station shows one of the screens, and return its state."""
    return until
