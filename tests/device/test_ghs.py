"""Generic Health Sensor: segments, observations, and which leads belong together."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.device import drivers
from lsemvae_edge.device.drivers import ghs as layout
from lsemvae_edge.device.drivers.ghs import GenericHealthSensor
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Frame, Reply
from lsemvae_edge.device.virtual.ghs import VirtualGhs, encode_array, medfloat32
from lsemvae_edge.device.virtual.wire import Wire

I_AND_II = bytes.fromhex("00 02 01010200 02010200")
# Tick counter in milliseconds on the current timeline, 1000; then 1004 ms; then whole seconds.
AT_1000, AT_1004, COARSE = "29 e80300000000 00 00", "29 ec0300000000 00 00", "22 729d2b290000 06 00"
# mV, scale 0.001, offset 0, period 4 ms, one sample in a period, 2 bytes, 3 samples: 1, -1, 1000 steps.
VALUE = "b210 010000fd 00000000 040000fd 01 02 03000000 0100 ffff e803"
SIGNAL = np.float32([0.001, -0.001, 1.0])


def array(lead_code: str, stamp: str = "", value: str = VALUE) -> bytes:
    body = bytes.fromhex(("0300" if stamp else "0100") + lead_code + stamp + value)
    return b"\x04" + struct.pack("<H", len(body)) + body


LEAD_I, LEAD_II, LEAD_V1 = "01010200", "02010200", "03010200"
OXYGEN = bytes.fromhex("01 1b00 6300 b84b0200 22729d2b2900000600 01 01 3c4c0200 2002 62000000")


def bundle(*observations: bytes, stamp: str = AT_1000) -> bytes:
    body = bytes.fromhex("0200" + stamp if stamp else "0000") + bytes([len(observations)]) + b"".join(observations)
    return b"\xff" + struct.pack("<H", len(body)) + body


class Sender:
    """Cuts messages into segments, and counts them."""

    def __init__(self, room=243):
        self.room, self.counter = room, 0

    def segments(self, message):
        parts = [message[at : at + self.room] for at in range(0, len(message), self.room)]
        for k, part in enumerate(parts):
            flags = (k == 0) | (k == len(parts) - 1) << 1
            yield bytes([self.counter << 2 | flags]) + part
            self.counter = (self.counter + 1) % 64


def decoder(features=I_AND_II, fs_hz=None):
    driver = GenericHealthSensor()
    return driver.decoder(driver.stream({layout.FEATURES: features}, 247, fs_hz))


def events_of(made, *messages, room=243, sender=None):
    sender = sender or Sender(room)
    return [
        event
        for message in messages
        for segment in sender.segments(message)
        for event in made.feed(layout.LIVE, segment)
    ]


def test_it_is_found_by_the_service():
    assert drivers.match(["00001840-0000-1000-8000-00805F9B34FB"], None).description.name == "ghs"
    description = GenericHealthSensor.description
    assert description.notifies == ("00002bf4-0000-1000-8000-00805f9b34fb", "00002b8b-0000-1000-8000-00805f9b34fb")
    assert description.reads == ("00002bf3-0000-1000-8000-00805f9b34fb",)


@pytest.mark.parametrize(
    ("features", "leads"),
    [
        ("00 02 01010200 02010200", ("I", "II")),
        ("01 03 b84b0200 02010200 01010200 01 071001", ("I", "II")),  # a specialization follows
        ("00 01 3d010200", ("III",)),
        ("00 08 08010200 40010200 3f010200 3e010200 3d010200 02010200 01010200 03010200",
         ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V6")),
    ],
)  # fmt: skip
def test_leads_are_those_it_announces_in_standard_order(features, leads):
    assert GenericHealthSensor().stream({layout.FEATURES: bytes.fromhex(features)}, 247).leads == leads


@pytest.mark.parametrize("features", ["", "00", "00 02 01010200", "00 00", "01 01 b84b0200"])
def test_no_lead_is_refused(features):
    with pytest.raises(UnsupportedRecorderError, match="measure"):
        GenericHealthSensor().stream({layout.FEATURES: bytes.fromhex(features)}, 247)
    with pytest.raises(UnsupportedRecorderError, match="measure"):
        GenericHealthSensor().stream({}, 247)


def test_absurd_rates_are_refused():
    driver, reads = GenericHealthSensor(), {layout.FEATURES: I_AND_II}
    assert (driver.stream(reads, 247).fs_hz, driver.stream(reads, 247, 500.0).fs_hz) == (250.0, 500.0)
    for fs_hz in (50.0, 2000.0, math.nan):
        with pytest.raises(UnsupportedRecorderError, match="No ECG is read"):
            driver.stream(reads, 247, fs_hz)


def test_commands_and_answers_are_those_of_the_control_point():
    driver = GenericHealthSensor()
    stream = driver.stream({layout.FEATURES: I_AND_II}, 247)
    (start,), (stop,) = driver.start(stream, 7), driver.stop(stream)
    assert (start.data, stop.data) == (b"\x01", b"\x02")
    made = driver.decoder(stream)
    assert made.feed(layout.CONTROL, b"\x80") == (Reply(start.request),)
    assert made.feed(layout.CONTROL, b"\x81") == (Reply(1, "SERVER_BUSY"),)
    assert made.feed(layout.CONTROL, b"\x9f") == (Reply(1, "ANSWER_9F"),)
    assert made.feed(layout.CONTROL, b"") == (Damaged("an answer of 0 bytes", 0),)
    assert made.feed("other", b"\x80") == (Damaged("an unknown characteristic", 1),)


@pytest.mark.parametrize(
    ("bits", "value"),
    [
        (0x00000001, 1.0), (0xFD000001, 0.001), (0xFF00000A, 1.0), (0x00FFFFFF, -1.0), (0xFEFFFF38, -2.0),
        (0x0000064C, 1612.0), (0x02000003, 300.0), (0xF732DCD5, 0.003333333), (0x00800003, -8388605.0),
    ],
)  # fmt: skip
def test_floats_are_decimal(bits, value):
    assert layout.medfloat32(bits) == value


@pytest.mark.parametrize("bits", [0x007FFFFF, 0x00800000, 0x007FFFFE, 0x00800002, 0x00800001])
def test_reserved_floats_are_no_numbers(bits):
    assert math.isnan(layout.medfloat32(bits))


def test_a_bundle_written_by_hand_is_decoded():
    (frame,) = events_of(
        decoder(), bundle(array(LEAD_II, value=VALUE.replace("0100 ffff", "0200 feff")), array(LEAD_I))
    )
    np.testing.assert_array_equal(frame.signal_mv, np.float32([[0.001, -0.001, 1.0], [0.002, -0.002, 1.0]]))
    assert (frame.device_time_s, frame.dropped, frame.index, frame.off) == (1.0, False, None, None)


def test_leads_by_themselves_are_paired_by_their_time():
    made, sender = decoder(), Sender()
    assert events_of(made, array(LEAD_II, AT_1000), sender=sender) == []
    (frame,) = events_of(made, array(LEAD_I, AT_1000), sender=sender)
    np.testing.assert_array_equal(frame.signal_mv, [SIGNAL, SIGNAL])
    assert (frame.device_time_s, frame.dropped) == (1.0, False)


@pytest.mark.parametrize("second", [array(LEAD_I, AT_1004), array(LEAD_II, AT_1004)])
def test_a_lead_without_its_partner_is_dropped_and_told(second):
    made, sender = decoder(), Sender()
    first = events_of(made, array(LEAD_I, AT_1000), second, sender=sender)
    assert first == [Damaged("lead I without the others", 12)]
    last = array(LEAD_II if second == array(LEAD_I, AT_1004) else LEAD_I, AT_1004)
    (frame,) = events_of(made, last, sender=sender)
    assert frame.dropped
    assert frame.device_time_s == 1.004


def test_two_halves_of_different_bundles_are_never_joined():
    events = events_of(decoder(), bundle(array(LEAD_I), stamp=""), bundle(array(LEAD_II), stamp=""))
    assert events == [Damaged("lead I without the others", 12), Damaged("lead II without the others", 12)]


def test_leads_of_different_length_are_not_joined():
    short = VALUE.replace("03000000 0100 ffff e803", "02000000 0100 ffff")
    events = events_of(decoder(), bundle(array(LEAD_I), array(LEAD_II, value=short)))
    assert [event.reason for event in events] == ["lead I without the others", "lead II without the others"]


@pytest.mark.parametrize("stamp", ["", COARSE, "24 e80300000000 00 00"])
def test_a_lead_by_itself_needs_a_time_fine_enough_to_pair_it_by(stamp):
    (event,) = events_of(decoder(), array(LEAD_I, stamp))
    assert event == Damaged("a lead by itself without a time stamp to pair it by", 12)


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("", None),
        (COARSE, None),
        (AT_1004, 1.004),
        ("2d e80300000000 00 00", 0.1),
        ("2a 000000000001 00 00", 2**40 / 1000),
        ("24 e80300000000 00 00", None),
    ],
)
def test_a_bundle_is_placed_by_its_time_if_that_is_fine_enough(stamp, seconds):
    (frame,) = events_of(decoder(), bundle(array(LEAD_I), array(LEAD_II), stamp=stamp))
    assert frame.device_time_s == pytest.approx(seconds)


def test_one_lead_needs_no_partner():
    made = decoder(bytes.fromhex("00 01 01010200"))
    (frame,) = events_of(made, array(LEAD_I))
    assert (frame.signal_mv.shape, frame.device_time_s) == ((1, 3), None)


def test_the_example_of_other_firmware_is_understood_but_for_its_rate():
    """An observation as published with a sensor's firmware: lead I, 100 Hz, 1612 mV a step (it means 1.612)."""
    head = "0300 01010200 22729d2b2900000600 b210 4c060000 00080000 0a0000fd 01 02 02000000 f907 fb07"
    body = bytes.fromhex(head)
    (event,) = events_of(decoder(), b"\x04" + struct.pack("<H", len(body)) + body)
    assert event.reason == "a sample every 0.01 s, where 250 Hz was expected"
    (event,) = events_of(decoder(fs_hz=100.0), b"\x04" + struct.pack("<H", len(body)) + body)
    assert event.reason == "a step of 1612 mV from 2048 mV on"
    body = bytes.fromhex(head.replace("4c060000 00080000", "4c0600f9 00000000"))
    (frame,) = events_of(decoder(bytes.fromhex("00 01 01010200"), 100.0), b"\x04" + struct.pack("<H", len(body)) + body)
    np.testing.assert_allclose(frame.signal_mv, [[2041 * 1.612e-4, 2043 * 1.612e-4]], rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "signal_mv"),
    [
        ("b310 01000000 00000000 040000fd 01 02 02000000 0100 9cff", [0.001, -0.1]),  # uV
        ("b410 e8030000 00000000 040000fd 01 01 02000000 01 ff", [0.001, -0.001]),  # nV, scale 1000, bytes
        ("a010 010000fa 00000000 040000fd 01 03 02000000 010000 ffff7f", [0.001, 8388.607]),  # V, 24 bits
        ("b210 010000fd 010000ff 040000fd 01 04 01000000 ffffffff", [0.099]),  # mV, from 0.1 mV on, 32 bits
    ],
)
def test_units_widths_and_offsets(value, signal_mv):
    (frame,) = events_of(decoder(bytes.fromhex("00 01 01010200")), array(LEAD_I, value=value))
    np.testing.assert_allclose(frame.signal_mv[0], signal_mv, rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("b210", "200f", "unit 3872, which is no voltage"),
        ("fd 01 02", "fd 02 02", "2 channels without names"),
        ("02 03000000", "02 04000000", "4 samples of 2 bytes in 6 bytes"),
        ("02 03000000", "02 ffffffff", "4294967295 samples"),
        ("02 03000000", "00 03000000", "3 samples of 0 bytes"),
        ("02 03000000", "06 01000000", "1 samples of 6 bytes"),
        ("040000fd", "050000fd", "every 0.005 s"),
        ("040000fd", "ffff7f00", "every nan s"),
        ("040000fd", "0400007f", "250 Hz was expected"),
        ("010000fd", "010000f0", "a step of 1e-16 mV"),
        ("010000fd", "ffffff7f", "a step of -1e+127 mV"),
        ("010000fd", "00000000", "a step of 0 mV"),
        ("00000000 04", "0100007f 04", "from 1e+127 mV on"),
        ("00000000 04", "ffff7f00 04", "from nan mV on"),
    ],
)
def test_absurd_arrays_are_dropped(old, new, reason):
    assert VALUE.count(old) == 1
    (event,) = events_of(decoder(), array(LEAD_I, AT_1000, VALUE.replace(old, new)))
    assert isinstance(event, Damaged)
    assert reason in event.reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x04\x00", "shorter than its header"),
        (b"\x04\x01\x00\x01\x00", "of 1 bytes"),
        (array(LEAD_I, AT_1000)[:-1], "of 41 bytes, of which 40 came"),
        (array(LEAD_I, AT_1000) + b"\x00", "1 bytes after an observation"),
        (bytes.fromhex("04 0200 0000"), "of no type"),
        (bytes.fromhex("04 0400 0100 0101"), "shorter than its attributes"),
        (bytes.fromhex("04 0600 0100 01010200"), "shorter than its header"),
        (bytes.fromhex("04 0600 0102 01010200"), "flags 0x0201"),
        (bytes.fromhex("ff 0200 0000"), "without its number"),
        (bytes.fromhex("ff 0400 0000 00 00"), "1 bytes too many"),
        (bytes.fromhex("ff 0300 0000 05"), "shorter than its header"),
        (bundle(bundle(array(LEAD_I))), "a bundle in a bundle"),
    ],
)
def test_messages_that_contradict_themselves_are_dropped(message, reason):
    (event,) = events_of(decoder(), message)
    assert isinstance(event, Damaged)
    assert reason in event.reason


def test_every_attribute_is_passed_over():
    # Duration, status, id, patient, two supplements, one source, no member, between time and value.
    attributes = "ff01" + LEAD_I + AT_1000 + "0a0000ff 0100 40e20100 01 02 3c4c0200 3c4c0200 01 40e20100 00"
    body = bytes.fromhex(attributes + VALUE)
    (frame,) = events_of(decoder(bytes.fromhex("00 01 01010200")), b"\x04" + struct.pack("<H", len(body)) + body)
    np.testing.assert_array_equal(frame.signal_mv[0], SIGNAL)


def test_observations_of_anything_else_are_passed_over():
    pleth = array("04010300", AT_1000)
    (frame,) = events_of(decoder(), OXYGEN, pleth, bundle(array(LEAD_I), OXYGEN, array(LEAD_II)))
    assert not frame.dropped
    (event,) = events_of(decoder(), array(LEAD_V1, AT_1000))
    assert event == Damaged("lead V1, which was not announced", 12)


@pytest.mark.parametrize("room", [1, 2, 7, 19, 60, 243])
def test_messages_are_put_together_from_segments_of_any_size(room):
    messages = [bundle(array(LEAD_I), array(LEAD_II)), bundle(array(LEAD_I), array(LEAD_II), stamp=AT_1004)]
    frames = events_of(decoder(), *messages, room=room)
    assert [(frame.device_time_s, frame.dropped) for frame in frames] == [(1.0, False), (1.004, False)]


def test_a_lost_segment_costs_its_message_and_is_told_with_the_next():
    made, sender = decoder(), Sender(room=30)
    message = bundle(array(LEAD_I), array(LEAD_II))
    first, _lost, *rest = sender.segments(message)
    events = [event for segment in (first, *rest) for event in made.feed(layout.LIVE, segment)]
    assert [event.reason for event in events] == ["a message cut short"] + ["a segment of an unknown message"] * len(
        rest
    )
    (frame,) = events_of(made, message, sender=sender)
    assert frame.dropped
    (frame,) = events_of(made, message, sender=sender)
    assert not frame.dropped


def test_a_lost_message_is_told_with_the_next():
    made, sender = decoder(), Sender()
    message = bundle(array(LEAD_I), array(LEAD_II))
    told = [events_of(made, message, sender=sender)[0].dropped]
    list(sender.segments(message))
    told += [events_of(made, message, sender=sender)[0].dropped for _ in range(2)]
    assert told == [False, True, False]


def test_a_recorder_that_counts_anew_with_every_message_loses_nothing():
    made = decoder()
    frames = [
        frame
        for stamp in (AT_1000, AT_1004)
        for frame in events_of(made, bundle(array(LEAD_I), array(LEAD_II), stamp=stamp), room=40)
    ]
    assert [frame.dropped for frame in frames] == [False, False]


def test_a_repeated_segment_adds_nothing():
    made = decoder()
    message = bundle(array(LEAD_I), array(LEAD_II))
    events = [
        event for segment in Sender(40).segments(message) for _ in range(3) for event in made.feed(layout.LIVE, segment)
    ]
    assert sum(isinstance(event, Frame) for event in events) == 1
    assert {event.reason for event in events if isinstance(event, Damaged)} == {"a repeated segment"}


def test_a_message_without_end_is_given_up():
    made = decoder()
    made.feed(layout.LIVE, b"\x01" + bytes(243))
    events = [event for k in range(1, 80) for event in made.feed(layout.LIVE, bytes([k % 64 << 2]) + bytes(243))]
    assert events[0] == Damaged("a message without end", 68 * 243)
    assert {event.reason for event in events[1:]} == {"a segment of an unknown message"}
    assert len(made._message) == 0
    assert made.feed(layout.LIVE, b"\x01") == (Damaged("a segment without content", 1),)


@pytest.mark.parametrize("bundled", [True, False])
@pytest.mark.parametrize(("mtu", "fs_hz"), [(23, 250.0), (100, 500.0), (247, 300.0)])
def test_frames_are_the_feed_step_for_step(heart_record, mtu, fs_hz, bundled):
    sensor = VirtualGhs(heart_record(4.0, fs_hz), fs_hz=fs_hz, bundled=bundled)
    sensor.advance(0.5)
    wire = Wire(sensor, GenericHealthSensor(), mtu, fs_hz)
    events = [event for arrival in wire.record(6.0) for event in wire.decoder.feed(arrival.uuid, arrival.data)]
    frames = [event for event in events if isinstance(event, Frame)]
    signal = np.concatenate([frame.signal_mv for frame in frames], axis=1)
    expected = (sensor.feed.steps(int(fs_hz / 2), signal.shape[1]) * 0.001).astype(np.float32)
    np.testing.assert_array_equal(signal, expected)
    assert signal.shape == (2, 6 * fs_hz)
    assert [event for event in events if not isinstance(event, Frame)] == [Reply(1), Reply(1)]
    assert not any(frame.dropped for frame in frames)
    np.testing.assert_allclose([frame.device_time_s for frame in frames], 0.5 + 0.1 * np.arange(60), atol=1e-9)


def test_a_sensor_of_another_rate_gives_nothing_and_says_which(heart_record):
    wire = Wire(VirtualGhs(heart_record(4.0, 500.0), fs_hz=500.0), GenericHealthSensor())
    events = [event for arrival in wire.record(1.0) for event in wire.decoder.feed(arrival.uuid, arrival.data)]
    assert {event.reason for event in events if isinstance(event, Damaged)} == {
        "a sample every 0.002 s, where 250 Hz was expected"
    }
    assert not any(isinstance(event, Frame) for event in events)


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=100), st.integers(5, 243))
def test_any_steps_come_back(values, room):
    steps = np.int32(values)
    message = bundle(encode_array("I", steps, 250.0), encode_array("II", -steps.clip(-32767), 250.0))
    (frame,) = events_of(decoder(), message, room=room)
    expected = (np.stack([steps, -steps.clip(-32767)]) * 0.001).astype(np.float32)
    np.testing.assert_array_equal(frame.signal_mv, expected)


@given(st.integers(100, 1000))
def test_every_rate_can_be_stated(fs_hz):
    assert abs(layout.medfloat32(medfloat32(1 / fs_hz)) * fs_hz - 1) < 1e-6


GOOD = bundle(array(LEAD_I), array(LEAD_II))
spoilt = st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)).map(
    lambda change: GOOD[: change[0]] + bytes([change[1]]) + GOOD[change[0] + 1 :]
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60) | spoilt), max_size=10))
def test_any_segments_are_decoded_or_damaged(segments):
    made = decoder()
    for header, content in segments:
        for event in made.feed(layout.LIVE, bytes([header]) + content):
            assert isinstance(event, Frame | Damaged)
            if isinstance(event, Frame):
                assert event.signal_mv.shape[0] == 2
                assert event.signal_mv.shape[1] > 0
                assert np.isfinite(event.signal_mv).all()
        assert len(made._message) <= layout.MAX_MESSAGE + 256
        assert len(made._waiting) < 2
