"""Movesense: the subscription, its samples and times, and what becomes of halves."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.device import drivers
from lsemvae_edge.device.drivers import movesense as layout
from lsemvae_edge.device.drivers.movesense import Movesense
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Frame, Reply
from lsemvae_edge.device.virtual.movesense import VirtualMovesense, encode_samples
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.leads import canonical_name

# Samples for reference 101 at 1.5 s: 0, 1, -1, and the ends of the converter, 50 mV either way.
PACKET = bytes.fromhex("02 65 dc050000 00000000 01000000 ffffffff")
AT_THE_ENDS = bytes.fromhex("02 65 dc050000 ffff0100 0000feff")
RATES = [125.0, 128.0, 200.0, 250.0, 256.0, 500.0, 512.0]


def decoder():
    return Movesense().decoder(Movesense().stream({}, 247))


def answered():
    made = decoder()
    assert made.feed(layout.DATA, bytes.fromhex("01 65 c800")) == (Reply(101),)
    return made


def test_a_sensor_is_found_by_its_name():
    for services in ([], ["0000fdf3-0000-1000-8000-00805f9b34fb"]):
        assert drivers.match(services, "Movesense 210330000123").description.name == "movesense"
    assert drivers.match([], "Movesense") is None


@pytest.mark.parametrize("fs_hz", RATES)
def test_the_subscription_names_the_rate(fs_hz):
    driver = Movesense()
    stream = driver.stream({}, 247, fs_hz)
    (start,), (stop,) = driver.start(stream, 1), driver.stop(stream)
    assert stream.fs_hz == fs_hz
    assert start.data == b"\x01\x65/Meas/ECG/%d" % fs_hz
    assert stop.data == b"\x02\x65"
    assert start.uuid == stop.uuid == "34800001-7185-4d5d-b431-630e7050e8f0"
    assert start.request == 101
    assert stop.request is None


def test_other_rates_are_refused():
    assert Movesense().stream({}, 247).fs_hz == 250.0
    with pytest.raises(UnsupportedRecorderError, match="125, 128, 200, 250, 256, 500, 512 Hz, not at 300 Hz"):
        Movesense().stream({}, 247, 300.0)


def test_a_packet_written_by_hand_is_decoded():
    (frame,) = answered().feed(layout.DATA, PACKET)
    # One step is 0.38147 uV.
    np.testing.assert_allclose(frame.signal_mv, [[0.0, 0.000381469726563, -0.000381469726563]], rtol=1e-7)
    assert (frame.device_time_s, frame.saturated, frame.dropped, frame.index) == (1.5, frozenset(), False, None)


def test_the_ends_of_the_converter_are_told():
    (frame,) = answered().feed(layout.DATA, AT_THE_ENDS)
    np.testing.assert_allclose(frame.signal_mv, [[49.99961853, -50.0]], rtol=1e-7)
    assert frame.saturated == {"chest"}


@pytest.mark.parametrize(
    ("answer", "reply"),
    [("01 65 c800", Reply(101)), ("01 65 c900 00", Reply(101)), ("01 65 9401", Reply(101, "STATUS_404"))],
)
def test_answers_are_understood(answer, reply):
    assert decoder().feed(layout.DATA, bytes.fromhex(answer)) == (reply,)


def test_samples_answer_for_firmware_that_says_nothing_else():
    made = decoder()
    reply, frame = made.feed(layout.DATA, PACKET)
    assert reply == Reply(101)
    assert isinstance(frame, Frame)
    (frame,) = made.feed(layout.DATA, PACKET)
    assert isinstance(frame, Frame)


def test_the_answer_to_the_end_is_no_new_one():
    assert answered().feed(layout.DATA, bytes.fromhex("01 65 c800")) == ()


def test_a_second_part_tells_of_the_loss_with_the_next_packet():
    made = answered()
    (event,) = made.feed(layout.DATA, bytes.fromhex("03 65 01000000"))
    assert event == Damaged("a packet of kind 3", 6)
    dropped = [made.feed(layout.DATA, PACKET)[0].dropped for _ in range(2)]
    assert dropped == [True, False]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "empty"),
        (PACKET[:6], "6 bytes"),
        (PACKET[:-1], "17 bytes"),
        (b"\x02\x64" + PACKET[2:], "reference 100"),
        (PACKET[:6] + bytes.fromhex("00000200"), "beyond"),
        (b"\x01\x65\xc8", "nothing asked"),
        (b"\x01\x07\xc8\x00", "nothing asked"),
        (b"\x09\x65", "kind 9"),
    ],
)
def test_what_is_no_packet_of_ours_is_damage(packet, reason):
    (event,) = answered().feed(layout.DATA, packet)
    assert isinstance(event, Damaged)
    assert reason in event.reason
    assert answered().feed(layout.COMMAND, packet)[0].reason == "an unknown characteristic"


def test_its_lead_is_no_standard_lead():
    (lead,) = Movesense().stream({}, 247).leads
    assert canonical_name(lead) is None


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("fs_hz", [125.0, 250.0, 512.0])
def test_frames_are_the_feed_step_for_step(heart_record, fs_hz, answers):
    sensor = VirtualMovesense(heart_record(5.0, 250.0), answers=answers)
    sensor.advance(0.5)
    wire = Wire(sensor, Movesense(), layout.MIN_MTU, fs_hz)
    events = [event for arrival in wire.record(10.0) for event in wire.decoder.feed(arrival.uuid, arrival.data)]
    frames = [event for event in events if isinstance(event, Frame)]
    signal = np.concatenate([frame.signal_mv for frame in frames], axis=1)
    begun = int(fs_hz / 2)
    expected = (sensor.feed.steps(begun, signal.shape[1]) * (50 / 131072)).astype(np.float32)
    np.testing.assert_array_equal(signal, expected)
    assert 10 * fs_hz - 16 < signal.shape[1] <= 10 * fs_hz
    assert [event for event in events if not isinstance(event, Frame)] == [Reply(101)]
    assert not any(frame.dropped for frame in frames)
    at_s = (begun + np.arange(len(frames)) * 16) / fs_hz
    np.testing.assert_allclose([frame.device_time_s for frame in frames], at_s, atol=0.001)


def test_a_small_mtu_is_refused_because_packets_would_be_cut(heart_record):
    sensor = VirtualMovesense(heart_record(2.0, 250.0))
    assert Movesense.description.min_mtu == 73
    wire = Wire(sensor, Movesense(), 72)
    events = [event for arrival in wire.record(2.0) for event in wire.decoder.feed(arrival.uuid, arrival.data)]
    assert not any(isinstance(event, Frame) for event in events)
    assert any(event == Damaged("a packet of kind 3", 3) for event in events)


def test_a_sensor_refuses_what_it_does_not_know(heart_record):
    sensor = VirtualMovesense(heart_record(2.0, 250.0))

    def status(data):
        ((_, answer),) = sensor.write(layout.COMMAND, data)
        return struct.unpack("<BBH", answer)

    assert status(b"\x01\x65/Meas/ECG/300") == (1, 0x65, 404)
    assert status(b"\x01\x65/Meas/Acc/52") == (1, 0x65, 404)
    assert status(b"\x02\x65") == (1, 0x65, 404)
    assert status(b"\x01\x00/Meas/ECG/250") == (1, 0, 400)
    assert status(b"\x07\x65") == (1, 0x65, 400)
    assert status(b"\x01\x65/Meas/ECG/250") == (1, 0x65, 200)
    assert status(b"\x01\x66/Meas/ECG/250") == (1, 0x66, 507)
    assert status(b"\x02\x65") == (1, 0x65, 200)


@given(st.lists(st.integers(-(2**17) + 1, 2**17 - 2), min_size=1, max_size=16), st.integers(0, 2**32 - 1))
def test_any_steps_come_back(values, milliseconds):
    steps = np.int32([values])
    (frame,) = answered().feed(layout.DATA, encode_samples(101, milliseconds, steps))
    np.testing.assert_array_equal(frame.signal_mv, (steps * layout.MV_PER_LSB).astype(np.float32))
    assert frame.device_time_s == milliseconds / 1000
    assert frame.saturated == frozenset()


@given(st.lists(st.binary(max_size=90) | st.binary(max_size=80).map(lambda data: b"\x02\x65" + data), max_size=8))
def test_any_bytes_are_decoded_or_damaged(packets):
    made = decoder()
    for packet in packets:
        for event in made.feed(layout.DATA, packet):
            assert isinstance(event, Frame | Reply | Damaged)
            if isinstance(event, Frame):
                assert event.signal_mv.shape == (1, (len(packet) - 6) // 4)
                assert np.abs(event.signal_mv).max() <= 50.0
