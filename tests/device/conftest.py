"""A small recorder and its driver, for tests of what lies between; and an air to put recorders on."""

import asyncio
import gc
import struct
from contextlib import asynccontextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from lsemvae_edge.device import drivers
from lsemvae_edge.device.driver import Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.enrolment import Enrolled
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Battery, Damaged, Frame, Reply
from lsemvae_edge.device.virtual.recorder import Characteristic, Service, VirtualRecorder

SERVICE, DATA, CONTROL, INFO = (f"7d1e000{k}-5a1b-4f0e-9c52-0123456789ab" for k in range(4))
START, STOP, BLINK, TEST = 1, 2, 3, 4
REFUSALS = {1: "BUSY", 2: "BROKEN"}
FS_HZ, PER_FRAME = 500.0, 10


class TinyDecoder(Decoder):
    def feed(self, uuid, data):
        if uuid == CONTROL and len(data) == 2:
            return [Reply(data[0], REFUSALS.get(data[1]))]
        if uuid != DATA or len(data) < 6 or (len(data) - 6) % 4:
            return [Damaged("length", len(data))]
        index, recording, off = struct.unpack_from("<IBB", data)
        steps = np.frombuffer(data, "<i2", offset=6).reshape(-1, 2).T
        contact = frozenset({"RA"}) if off else frozenset()
        events = [Frame((steps * 0.001).astype(np.float32), index, recording=recording, off=contact)]
        return [*events, Battery(3)] if off == 2 else events


class Tiny(Driver):
    description = Description(
        name="tiny",
        title="Tiny recorder",
        services=(SERVICE,),
        notifies=(DATA, CONTROL),
        reads=(INFO,),
        leads=("I", "II"),
        fs_hz=(FS_HZ,),
        indexed=True,
        integrity=True,
        can_identify=True,
        can_test=True,
    )

    def stream(self, reads, mtu, fs_hz=None):
        if INFO not in reads or len(reads[INFO]) != 5:
            raise UnsupportedRecorderError("no information")
        boot, serial = struct.unpack("<B4s", reads[INFO])
        return Stream(
            fs_hz or FS_HZ,
            ("I", "II"),
            0.001,
            PER_FRAME / FS_HZ,
            index_modulus=2**32,
            boot=boot,
            serial=serial.decode(),
        )

    def decoder(self, stream):
        return TinyDecoder()

    def start(self, stream, recording):
        return [Write(CONTROL, bytes([START, 11, recording]), request=11)]

    def stop(self, stream):
        return [Write(CONTROL, bytes([STOP, 12, 0]), request=12)]

    def identify(self):
        return [Write(CONTROL, bytes([BLINK, 13, 0]), request=13)]

    def test(self, stream, recording):
        return [Write(CONTROL, bytes([TEST, 14, recording]), request=14)]

    def judge_test(self, stream, signal_mv):
        return None if np.ptp(signal_mv) > 0.5 else "the test signal is too small"


class TinyBonded(Tiny):
    description = Description(**{**vars(Tiny.description), "name": "tiny-bonded", "needs_bond": True})


class TinyRecorder(VirtualRecorder):
    """Counts: sample k of lead I is k mod 1000 steps, lead II its negative."""

    def __init__(self, serial="T001", name="Tiny 1", encrypted=False):
        self.local_name, self.serial, self.advertised = name, serial, (SERVICE,)
        self.services = (
            Service(
                SERVICE,
                (
                    Characteristic(DATA, frozenset({"notify"}), encrypted),
                    Characteristic(CONTROL, frozenset({"write", "indicate"}), encrypted),
                    Characteristic(INFO, frozenset({"read"}), encrypted),
                ),
            ),
        )
        self.boot, self.mtu, self.blinked, self.refuse, self.off, self.broken_test = 1, 0, 0, 0, 0, False
        self.reboot()

    def reboot(self):
        self.boot, self.index, self.due, self.running, self.recording, self.testing = (
            self.boot + 1,
            0,
            0.0,
            False,
            0,
            False,
        )

    def connected(self, mtu):
        self.mtu = mtu

    def disconnected(self):
        self.running = False

    def read(self, uuid):
        return struct.pack("<B4s", self.boot % 256, self.serial.encode())

    def write(self, uuid, data):
        opcode, request, recording = data
        if opcode in (START, TEST):
            if self.refuse:
                return [(CONTROL, bytes([request, self.refuse]))]
            self.running, self.recording, self.testing = True, recording, opcode == TEST
        elif opcode == STOP:
            self.running = False
        elif opcode == BLINK:
            self.blinked += 1
        return [(CONTROL, bytes([request, 0]))]

    def advance(self, seconds):
        self.due += seconds * FS_HZ
        sent = []
        while self.due >= PER_FRAME:
            self.due -= PER_FRAME
            if self.running:
                sent.append((DATA, self.frame()))
            self.index += PER_FRAME
        return sent

    def frame(self):
        k = (self.index + np.arange(PER_FRAME)) % 1000
        if self.testing and self.broken_test:
            k[:] = 0
        return struct.pack("<IBB", self.index, self.recording, self.off) + np.stack([k, -k], 1).astype("<i2").tobytes()


def known(address="C0:11:22:33:44:55", serial="T001", driver="tiny", bonded=False):
    return Enrolled(address, driver, "Tiny", serial, bonded, "2026-01-01T00:00:00+00:00", True)


def positions(record):
    """Index modulo 1000 of every sample of the tiny recorder, -1 where there is none."""
    return np.where(record.gaps[0], -1, np.nan_to_num(np.rint(record.signal_mv[0] * 1000), nan=-1)).astype(int)


def counts_on(record):
    """Whether every sample that was received stands where the recorder counted it."""
    found = positions(record)
    got = np.flatnonzero(found >= 0)
    return bool(np.all((found[got] - found[got[0]] - (got - got[0])) % 1000 == 0))


@pytest.fixture
def until():
    """Function that waits until something holds."""

    async def wait(condition, limit_s=30.0):
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def watched():
    """Function that reads a recording's progress to its end, and keeps one of each state in the order they came."""

    async def read(recording, seen):
        async for progress in recording:
            if not seen or seen[-1].state != progress.state:
                seen.append(progress)

    return read


@pytest.fixture
def tiny(monkeypatch):
    """The tiny recorder: ``tiny.Recorder``, its drivers known by name, and its numbers."""
    kinds = {"tiny": Tiny, "tiny-bonded": TinyBonded}
    monkeypatch.setattr(drivers, "names", lambda: tuple(kinds))
    monkeypatch.setattr(drivers, "get", lambda name: kinds[name]())
    return SimpleNamespace(
        known=known,
        positions=positions,
        counts_on=counts_on,
        Recorder=TinyRecorder,
        Driver=Tiny,
        service=SERVICE,
        data=DATA,
        control=CONTROL,
        fs_hz=FS_HZ,
        only=only_driver(kinds),
    )


def only_driver(kinds):
    """Function that leaves one driver, so that advertisements fit it alone."""

    def leave(name):
        for other in [kind for kind in kinds if kind != name]:
            del kinds[other]

    return leave


@pytest.fixture
def enrolment_file(monkeypatch, tmp_path):
    """Place of an empty list of recorders."""
    path = tmp_path / "recorders.json"
    monkeypatch.setenv("LSEMVAE_EDGE_RECORDERS", str(path))
    return path


@pytest.fixture
def radio_on():
    """Function that opens a radio on an air, for ``async with``."""
    from lsemvae_edge.device import backend
    from lsemvae_edge.device.radio import Radio

    @asynccontextmanager
    async def opened(air, **options):
        async with Radio(backend.virtual(await air.adapter(), "virtual"), **options) as radio:
            yield radio

    return opened


@pytest.fixture
def run():
    """Function that runs a coroutine, and fails if it leaves a task behind."""

    def checked(coroutine, timeout_s=8.0):
        async def watched():
            async with asyncio.timeout(timeout_s):
                result = await coroutine
            for _ in range(5):
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left
            return result

        result = asyncio.run(watched())
        gc.collect()
        return result

    return checked
