"""The conformance kit: every built-in driver passes it, and it finds what a driver can do wrong."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge.device import conformance, drivers
from lsemvae_edge.device._nonsense import kept_bytes, nonsense
from lsemvae_edge.device.driver import Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.drivers import kardia
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Battery, ClockMark, Contact, Damaged, Frame, Reply
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.ghs import VirtualGhs
from lsemvae_edge.device.virtual.kardia import STAND_IN_COMMAND, VirtualKardia6L
from lsemvae_edge.device.virtual.lepu import VirtualEr1, VirtualEr3
from lsemvae_edge.device.virtual.movesense import VirtualMovesense
from lsemvae_edge.device.virtual.open6l import ADC_BITS, NV_PER_LSB, VirtualOpen6L
from lsemvae_edge.device.virtual.polar import VirtualPolarH10
from lsemvae_edge.device.virtual.recorder import Characteristic, Service, VirtualRecorder
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate

HOSTILE = 10_000
"""Fewer than `devices check-driver` feeds, for time's sake."""
SERVICE, DATA, CONTROL = (f"5f1c000{k}-7a33-4b1f-a0de-3c9b6e2d8f41" for k in range(3))
STEP_MV = 0.002


def open6l(record):
    return VirtualOpen6L(Feed(record, ("I", "II"), 500.0, NV_PER_LSB / 1e6, ADC_BITS))


VIRTUAL = {
    "open-6l": open6l,
    "lepu-6l": VirtualEr3,
    "lepu-1l": VirtualEr1,
    "ghs": VirtualGhs,
    "kardia-6l": VirtualKardia6L,
    "polar-h10": VirtualPolarH10,
    "movesense": VirtualMovesense,
}


@pytest.fixture(scope="module")
def heart():
    return simulate(Heart(), 12.0, 500.0, 3, ("I", "II"))


@pytest.mark.parametrize("name", drivers.BUILT_IN)
def test_a_built_in_driver_passes(name, heart, monkeypatch):
    monkeypatch.setenv(kardia.START_VARIABLE, STAND_IN_COMMAND.hex())
    feed = Feed(heart, ("I", "II"), 500.0, NV_PER_LSB / 1e6, ADC_BITS) if name == "open-6l" else None
    found = conformance.check(drivers.get(name), VIRTUAL[name](heart), feed=feed, hostile=HOSTILE)
    assert list(map(str, found)) == []


@pytest.mark.parametrize("name", ["open-6l", "lepu-6l", "polar-h10", "kardia-6l"])
def test_another_mtu_passes_too(name, heart, monkeypatch):
    monkeypatch.setenv(kardia.START_VARIABLE, STAND_IN_COMMAND.hex())
    driver = drivers.get(name)
    found = conformance.check(driver, VIRTUAL[name](heart), mtu=driver.description.min_mtu, hostile=1000)
    assert list(map(str, found)) == []


def test_what_could_not_be_checked_is_a_finding(heart, monkeypatch):
    monkeypatch.delenv(kardia.START_VARIABLE, raising=False)
    found = conformance.check(drivers.get("kardia-6l"), VirtualKardia6L(heart), hostile=1000)
    assert {finding.rule for finding in found} == {"start", "streaming"}
    assert all("was not checked" in finding.what and kardia.START_VARIABLE in finding.what for finding in found)
    (finding,) = conformance.check(drivers.get("open-6l"), hostile=1000)
    assert str(finding).startswith("stream: nothing more was checked, for want of a recorder's answers")


class PlainDecoder(Decoder):
    """Index of 16 bits, then pairs of 16-bit steps."""

    def feed(self, uuid, data):
        if uuid == CONTROL and len(data) == 1:
            return [Reply(data[0])]
        n, rest = divmod(len(data) - 2, 4)
        if uuid != DATA or n < 1 or rest:
            return [Damaged("length", len(data))]
        return [self.frame(struct.unpack_from("<H", data)[0], np.frombuffer(data, "<i2", offset=2).reshape(n, 2).T)]

    def frame(self, index, steps):
        return Frame((steps * STEP_MV).astype(np.float32), index)


class Plain(Driver):
    """A driver that does nothing wrong."""

    description = Description(
        name="plain", title="Plain", services=(SERVICE,), notifies=(CONTROL, DATA), leads=("I", "II"), fs_hz=(250.0,),
        indexed=True, integrity=False,
    )  # fmt: skip
    made = PlainDecoder

    def stream(self, reads, mtu, fs_hz=None):
        if fs_hz not in (None, 250.0):
            raise UnsupportedRecorderError("another rate")
        return Stream(250.0, ("I", "II"), STEP_MV, 0.04, index_modulus=2**16)

    def decoder(self, stream):
        return self.made()

    def start(self, stream, recording):
        return [Write(CONTROL, b"\x01", request=1)]

    def stop(self, stream):
        return [Write(CONTROL, b"\x02", request=2)]


class PlainRecorder(VirtualRecorder):
    def __init__(self, fs_hz=250.0, answers=True):
        row = Characteristic(CONTROL, frozenset({"write", "indicate"})), Characteristic(DATA, frozenset({"notify"}))
        self.services, self.advertised, self.serial, self.local_name = (
            (Service(SERVICE, row),),
            (SERVICE,),
            "1",
            "Plain",
        )
        noise = np.random.default_rng(0).normal(size=(2, 700)).astype(np.float32)
        self.feed = Feed(Record(noise, 250.0, ("I", "II")), ("I", "II"), 250.0, STEP_MV, 16)
        self.fs_hz, self.answers = fs_hz, answers
        self.reboot()

    def reboot(self):
        self.index, self.due, self.running = 65_000, 0.0, False

    def connected(self, mtu):
        self.running = False

    def disconnected(self):
        self.running = False

    def read(self, uuid):
        return b""

    def write(self, uuid, data):
        self.running = data == b"\x01"
        return [(CONTROL, data)] if self.answers else []

    def advance(self, seconds):
        self.due += seconds * self.fs_hz
        sent = []
        while self.due >= 10:
            self.due -= 10
            steps = self.feed.steps(self.index, 10)
            if self.running:
                sent.append((DATA, struct.pack("<H", self.index % 65536) + steps.T.astype("<i2").tobytes()))
            self.index += 10
        return sent


PACKETS = [(DATA, bytes.fromhex("fffe 0100 feff 0300 fcff")), (DATA, bytes.fromhex("01ff 0500 faff"))]
FRAMES = [
    Frame(np.float32([[0.002, 0.006], [-0.004, -0.008]]), 0xFEFF),
    Frame(np.float32([[0.01], [-0.012]]), 0xFF01),
]


def rules(driver, recorder=None, packets=PACKETS, frames=FRAMES, **more):
    recorder = PlainRecorder() if recorder is None else recorder
    found = conformance.check(driver, recorder, packets, frames, **{"hostile": 1200, **more})
    return {finding.rule for finding in found}, "\n".join(map(str, found))


def with_decoder(kind):
    return type("Wrong", (Plain,), {"made": kind})()


def with_description(**changes):
    return type("Wrong", (Plain,), {"description": replace(Plain.description, **changes)})()


def with_stream(**changes):
    return type("Wrong", (Plain,), {"stream": lambda self, *args: replace(Plain.stream(self, *args), **changes)})()


def with_method(**methods):
    return type("Wrong", (Plain,), methods)()


def test_a_driver_that_does_nothing_wrong_passes():
    assert rules(Plain()) == (set(), "")
    assert conformance.check(Plain(), packets=PACKETS, frames=FRAMES, hostile=3000) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "Plain One"}, "kebab"),
        ({"title": " "}, "no title"),
        ({"services": ("180d",)}, "180d"),
        ({"services": (SERVICE.upper(),)}, SERVICE.upper()),
        ({"services": (), "local_names": ()}, "neither service nor name"),
        ({"notifies": ()}, "subscribes to nothing"),
        ({"notifies": (DATA, DATA)}, "twice"),
        ({"reads": ("2a25",)}, "2a25"),
        ({"local_names": (".*",)}, "without name"),
        ({"local_names": ("(",)}, "is none"),
        ({"leads": ()}, "leads are ()"),
        ({"leads": ("I", "I")}, "leads are"),
        ({"fs_hz": ()}, "rates are ()"),
        ({"fs_hz": (250.0, -1.0)}, "rates are"),
        ({"min_mtu": 20}, "MTU"),
        ({"poll_s": 0.0}, "polls every 0.0 s"),
    ],
)
def test_descriptions_that_cannot_be_are_found(changes, says):
    recorder = None if changes.get("notifies") != () else PlainRecorder()
    found, text = rules(with_description(**changes), recorder)
    assert "description" in found
    assert says in text


@pytest.mark.parametrize(
    "changes",
    [
        {"fs_hz": 0.0}, {"leads": ()}, {"leads": ("I", "I")}, {"mv_per_lsb": 0.0}, {"mv_per_lsb": float("nan")},
        {"frame_s": 0.0}, {"amplitude": "perhaps"}, {"index_modulus": None}, {"index_modulus": 0},
        {"clock_modulus_s": -1.0}, {"settings": {"a": b"bytes"}}, {"settings": {"a": (1, 2)}},
    ],
)  # fmt: skip
def test_streams_that_cannot_be_are_found(changes):
    assert "stream" in rules(with_stream(**changes))[0]


def test_untyped_errors_and_unrefused_rates_are_found():
    def careless(self, reads, mtu, fs_hz=None):
        reads[DATA]
        return Plain.stream(self, reads, mtu)

    found, text = rules(with_method(stream=careless))
    assert "KeyError" in text
    found, text = rules(with_method(stream=lambda self, reads, mtu, fs_hz=None: Plain.stream(self, reads, mtu)))
    assert found == {"stream"}
    assert "a rate of 0.5 Hz was not refused" in text


@pytest.mark.parametrize(
    ("methods", "rule", "says"),
    [
        ({"start": lambda self, stream, recording: [Write(CONTROL, bytes(21))]}, "start", "21 bytes"),
        ({"start": lambda self, stream, recording: [Write(CONTROL, b"")]}, "start", "0 bytes"),
        ({"start": lambda self, stream, recording: [Write("abcd", b"\1")]}, "start", "abcd"),
        ({"start": lambda self, stream, recording: [Write(CONTROL, bytes([recording + 1]))]}, "start", "ValueError"),
        ({"stop": lambda self, stream: 1 / 0}, "stop", "ZeroDivisionError"),
        ({"identify": lambda self: []}, "identify", "not said to be offered"),
        ({"test": lambda self, stream, recording: []}, "test", "not said to be offered"),
    ],
)
def test_wrong_commands_are_found(methods, rule, says):
    found = conformance.check(with_method(**methods), hostile=1000)
    assert [finding for finding in found if finding.rule == rule and says in finding.what]


def test_promises_that_are_not_kept_are_found():
    found, text = rules(with_description(can_identify=True, can_test=True))
    assert found == {"identify", "test"}
    assert "is said to be offered, and is not" in text
    blind = with_method(
        description=replace(Plain.description, can_test=True),
        test=lambda self, stream, recording: [],
        judge_test=lambda self, stream, signal_mv: None,
    )
    assert rules(blind)[0] == {"judge_test"}


class Raises(PlainDecoder):
    def feed(self, uuid, data):
        return [*super().feed(uuid, data), Battery(data[5] % 101)][:1]


class RaisesOnLong(PlainDecoder):
    def feed(self, uuid, data):
        assert len(data) < 500
        return super().feed(uuid, data)


class Hoards(PlainDecoder):
    def __init__(self):
        self.all = []

    def feed(self, uuid, data):
        self.all.append(bytes(1000) + data)
        return super().feed(uuid, data)


class Shares(PlainDecoder):
    last = [0.0]  # noqa: RUF012  # the mistake that is looked for

    def frame(self, index, steps):
        signal_mv = (steps * STEP_MV + self.last[0] * 0.5).astype(np.float32)
        self.last[0] = float(signal_mv[0, -1])
        return Frame(signal_mv, index)


class NoSequence(PlainDecoder):
    def feed(self, uuid, data):
        return iter(super().feed(uuid, data))


class Endless(PlainDecoder):
    def feed(self, uuid, data):
        return [Damaged("again", 0)] * 5000


class GivesUp(PlainDecoder):
    """Reads nothing more after the first damage."""

    broken = False

    def feed(self, uuid, data):
        events = super().feed(uuid, data)
        self.broken = self.broken or isinstance(events[0], Damaged)
        return [Damaged("given up", 0)] if self.broken else events


@pytest.mark.parametrize(
    ("kind", "rule", "says"),
    [
        (Raises, "decoder", "IndexError"),
        (RaisesOnLong, "decoder", "AssertionError"),
        (Hoards, "memory", "bytes after 1200 notifications"),
        (Shares, "independence", "shows in another"),
        (NoSequence, "decoder", "no sequence"),
        (Endless, "decoder", "endless"),
        (GivesUp, "recovery", "after nonsense no frame"),
    ],
)
def test_wrong_decoders_are_found(kind, rule, says):
    found, text = rules(with_decoder(kind), packets=PACKETS, frames=())
    assert rule in found
    assert says in text


def one(event):
    """A decoder that makes of every good packet this."""

    def frame(self, index, steps):
        return event(index, steps)

    return with_decoder(type("Wrong", (PlainDecoder,), {"frame": frame}))


def plain(steps):
    return (steps * STEP_MV).astype(np.float32)


@pytest.mark.parametrize(
    "event",
    [
        lambda index, steps: Frame(steps * STEP_MV, index),
        lambda index, steps: Frame(plain(steps)[:1], index),
        lambda index, steps: Frame(plain(steps)[0], index),
        lambda index, steps: Frame(plain(steps)[:, :0], index),
        lambda index, steps: Frame(plain(steps) / 0, index),
        lambda index, steps: Frame(plain(steps) * np.float32(np.nan), index),
        lambda index, steps: Frame(plain(steps)),
        lambda index, steps: Frame(plain(steps), index + 2**16),
        lambda index, steps: Frame(plain(steps), index, device_time_s=1.0),
        lambda index, steps: Frame(plain(steps), index, off=frozenset({"left hand"})),
        lambda index, steps: Frame(plain(steps), index, saturated=frozenset({"V1"})),
        lambda index, steps: Frame(plain(steps), index, recording=256),
        lambda index, steps: ClockMark(-1, 0.0),
        lambda index, steps: ClockMark(0, float("inf")),
        lambda index, steps: Battery(101),
        lambda index, steps: Contact(frozenset({"LF"})),
        lambda index, steps: Reply(1, ""),
        lambda index, steps: Damaged("", 3),
        lambda index, steps: Frame([[0.0], [0.0]], index),
        lambda index, steps: Battery(None),
        lambda index, steps: "frame",
    ],
)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_events_that_cannot_be_are_found(event):
    found = conformance.check(one(event), PlainRecorder(), packets=PACKETS, hostile=1000)
    assert "events" in {finding.rule for finding in found}


@pytest.mark.parametrize(
    "change",
    [
        {"signal_mv": np.float32([[0.002, 0.006], [-0.004, -0.0080001]])}, {"index": 0xFEFE}, {"recording": 1},
        {"off": frozenset()}, {"saturated": frozenset({"I"})}, {"dropped": True}, {"device_time_s": 0.0},
    ],
)  # fmt: skip
def test_golden_packets_must_decode_bit_for_bit(change):
    (name,) = change
    found, text = rules(Plain(), frames=[replace(FRAMES[0], **change), FRAMES[1]])
    assert found == {"golden"}
    assert f"frame 0 has {name}" in text


def test_golden_packets_that_are_damaged_missing_or_too_many_are_found():
    assert "taken for damaged" in rules(Plain(), packets=[*PACKETS, (DATA, b"\1")])[1]
    assert "1 frames were expected, 2 came" in rules(Plain(), frames=FRAMES[:1])[1]
    assert "frames without packets" in rules(Plain(), packets=[])[1]


@pytest.mark.parametrize(
    ("recorder", "says"),
    [
        (PlainRecorder(fs_hz=200.0), "400 samples came in 2 s of 250 Hz"),
        (PlainRecorder(answers=False), "got none"),
    ],
)
def test_recordings_that_do_not_fit_are_found(recorder, says):
    found, text = rules(Plain(), recorder)
    assert found == {"streaming"}
    assert says in text


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (lambda index, steps: Frame(plain(steps)[::-1], index), "not those that were played"),
        (lambda index, steps: Frame(plain(steps) + np.float32(STEP_MV / 2), index), "no multiples"),
        (lambda index, steps: Frame(plain(steps), (index * 2) % 2**16), "gaps or repetitions"),
        (lambda index, steps: Frame(np.repeat(plain(steps), 2, axis=1), index), "samples came in 2 s"),
        (lambda index, steps: Damaged("a prime", 0) if index % 100 == 0 else Frame(plain(steps), index), "for damaged"),
    ],
)
def test_samples_that_are_not_what_was_played_are_found(event, says):
    found = conformance.check(one(event), PlainRecorder(), hostile=1000)
    assert [finding for finding in found if finding.rule == "streaming" and says in finding.what]


def test_a_recorder_without_what_the_driver_uses_is_found():
    recorder = PlainRecorder()
    recorder.services = (Service(SERVICE, (Characteristic(CONTROL, frozenset({"indicate"})),)),)
    found, text = rules(Plain(), recorder)
    assert "recorder" in found
    assert f"does not notify of {DATA}" in text
    assert f"takes no write of {CONTROL}" in text


def test_nonsense_is_the_same_every_time_and_of_every_kind():
    first, again = (list(nonsense(Plain(), PACKETS, 5000, 1)) for _ in range(2))
    assert first == again
    assert len(first) == 5000
    assert list(nonsense(Plain(), PACKETS, 5000, 2)) != first
    contents = {data for uuid, data in first if uuid == DATA}
    assert contents >= {b"", *(bytes([k]) for k in range(256)), bytes(600)}
    good = PACKETS[0][1]
    assert any(data != good and good.startswith(data) and len(data) > 2 for data in contents)
    assert any(
        len(data) == len(good) and sum(a != b for a, b in zip(data, good, strict=True)) == 1 for data in contents
    )
    assert {uuid for uuid, _ in first} > {DATA, CONTROL}


def test_kept_bytes_are_found_wherever_they_are():
    class Slotted:
        __slots__ = ("kept",)

    holder = Slotted()
    holder.kept = {"a": [bytearray(5000)], "b": (np.zeros(1000),), "c": {b"x" * 3000}}
    assert 16_000 < kept_bytes(holder) < 20_000
    holder.kept["again"] = holder.kept["a"]
    holder.kept["self"] = holder
    assert kept_bytes(holder) < 20_000
    assert kept_bytes(np.zeros(10_000)[5:6]) > 80_000


def test_findings_are_listed_once_and_not_without_end():
    found = conformance.check(with_decoder(RaisesOnLong), hostile=5000)
    texts = list(map(str, found))
    assert len(texts) == len(set(texts))
    assert sum(finding.rule == "decoder" for finding in found) <= 20
