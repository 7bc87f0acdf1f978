"""Polar H10: what is asked, what packets say, and that nothing of it is taken for lead I."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.device import drivers
from lsemvae_edge.device.drivers import polar as layout
from lsemvae_edge.device.drivers.polar import PolarH10
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Frame, Reply
from lsemvae_edge.device.virtual.polar import VirtualPolarH10, encode_data
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.leads import canonical_name
from lsemvae_edge.record import Record

# ECG; 599616023171427290 ns, a time stamp of Polar's own documentation; frame type 0; 1, -1, 1000 and -2 uV.
PACKET = bytes.fromhex("00 daebc39e 98435208 00 010000 ffffff e80300 feffff")


def decoder():
    return PolarH10().decoder(PolarH10().stream({}, 247))


def test_a_strap_is_found_by_its_name():
    heart_rate = ["0000180d-0000-1000-8000-00805f9b34fb"]
    assert drivers.match(heart_rate, "Polar H10 0A1B2C3D").description.name == "polar-h10"
    for name in ("Polar H9 0A1B2C3D", "Polar Sense 0A1B2C3D", "Polar H10", None):
        assert drivers.match(heart_rate, name) is None


def test_start_and_stop_are_the_commands_that_others_send():
    driver = PolarH10()
    (start,) = driver.start(driver.stream({}, 247), 3)
    (stop,) = driver.stop(driver.stream({}, 247))
    assert start.data == bytes.fromhex("02 00 00 01 82 00 01 01 0e 00")
    assert stop.data == bytes.fromhex("03 00")
    assert {start.uuid, stop.uuid} == {"fb005c81-02e7-f387-1cad-8acd2d8df0c8"}
    assert start.response


def test_a_packet_written_by_hand_is_decoded():
    (frame,) = decoder().feed(layout.DATA, PACKET)
    np.testing.assert_array_equal(frame.signal_mv, np.float32([[0.001, -0.001, 1.0, -0.002]]))
    assert (frame.index, frame.recording, frame.off, frame.saturated, frame.dropped) == (None, None, None, set(), False)


def test_the_time_is_that_of_the_first_sample():
    (frame,) = decoder().feed(layout.DATA, PACKET)
    assert frame.device_time_s == pytest.approx(599_616_023.171427290 - 3 / 130, abs=1e-6)
    (frame,) = decoder().feed(layout.DATA, bytes.fromhex("00 0000000000000000 00 010000 020000"))
    assert frame.device_time_s == pytest.approx(2**64 / 1e9 - 1 / 130, abs=1e-5)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("f0 02 00 00 00", Reply(2)),
        ("f0 02 00 00 00 00", Reply(2)),
        ("f0 03 00 00", Reply(3)),
        ("f0 02 00 06 00", Reply(2, "ALREADY_IN_STATE")),
        ("f0 02 00 0a", Reply(2, "INVALID_MTU")),
        ("f0 02 00 0d 00", Reply(2, "DEVICE_IN_CHARGER")),
        ("f0 02 00 63 00", Reply(2, "STATUS_63")),
    ],
)
def test_answers_are_understood(answer, reply):
    assert decoder().feed(layout.CONTROL, bytes.fromhex(answer)) == (reply,)


@pytest.mark.parametrize("answer", ["", "f0", "f0 02 00", "f0 02 02 00 00", "f0 01 00 00 00", "0f 05 00 00"])
def test_other_answers_are_damage(answer):
    data = bytes.fromhex(answer)
    assert decoder().feed(layout.CONTROL, data) == (Damaged("an answer to nothing asked", len(data)),)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "shorter than its header"),
        (PACKET[:9], "shorter than its header"),
        (PACKET[:10], "10 bytes"),
        (PACKET[:-1], "21 bytes"),
        (b"\x02" + PACKET[1:], "kind 2"),
        (PACKET[:9] + b"\x80" + PACKET[10:], "type 0x80"),
        (PACKET[:9] + b"\x01" + PACKET[10:], "type 0x01"),
    ],
)
def test_what_is_no_plain_ecg_is_damage(packet, reason):
    (event,) = decoder().feed(layout.DATA, packet)
    assert isinstance(event, Damaged)
    assert reason in event.reason
    assert event.n_bytes == len(packet)


def test_its_lead_is_no_standard_lead():
    (lead,) = PolarH10().stream({}, 247).leads
    assert canonical_name(lead) is None
    assert Record(np.zeros((1, 130), np.float32), 130.0, (lead,)).limb() == {}


def test_another_rate_and_a_strap_without_ecg_are_refused():
    driver = PolarH10()
    assert driver.stream({}, 247, 130.0).fs_hz == 130.0
    with pytest.raises(UnsupportedRecorderError, match="not at 250 Hz"):
        driver.stream({}, 247, 250.0)
    assert driver.stream({layout.CONTROL: bytes.fromhex("0f05") + bytes(15)}, 247).leads == ("chest",)
    for features in ("0f0e", "0f", "", "f001"):
        with pytest.raises(UnsupportedRecorderError, match="ECG"):
            driver.stream({layout.CONTROL: bytes.fromhex(features)}, 247)


@pytest.mark.parametrize("mtu", [23, 100, 247])
def test_frames_are_the_feed_step_for_step(heart_record, mtu):
    strap = VirtualPolarH10(heart_record(6.0, 130.0))
    wire = Wire(strap, PolarH10(), mtu)
    begun = strap.n_taken
    events = [event for arrival in wire.record(20.0) for event in wire.decoder.feed(arrival.uuid, arrival.data)]
    frames = [event for event in events if isinstance(event, Frame)]
    signal = np.concatenate([frame.signal_mv for frame in frames], axis=1)
    expected = (strap.feed.steps(begun, signal.shape[1]) * 0.001).astype(np.float32)
    np.testing.assert_array_equal(signal, expected)
    assert 20 * 130 - 73 <= signal.shape[1] <= 20 * 130
    assert [event for event in events if not isinstance(event, Frame)] == [Reply(2), Reply(3)]
    assert wire.stream.frame_s == frames[0].signal_mv.shape[1] / 130
    at_s = np.cumsum([0, *(frame.signal_mv.shape[1] for frame in frames[:-1])]) / 130
    np.testing.assert_allclose([frame.device_time_s - frames[0].device_time_s for frame in frames], at_s, atol=1e-6)


def test_a_strap_that_runs_already_says_so_and_one_that_is_left_stops(heart_record):
    strap = VirtualPolarH10(heart_record(2.0, 130.0))
    driver = PolarH10()
    (start,) = driver.start(driver.stream({}, 247), 1)
    strap.connected(247)
    answers = [strap.write(start.uuid, start.data)[0][1] for _ in range(2)]
    assert answers == [bytes.fromhex("f002000000"), bytes.fromhex("f002000600")]
    assert strap.write(layout.CONTROL, b"\x01\x00") == ((layout.CONTROL, bytes.fromhex("f001000100")),)
    assert strap.write(layout.CONTROL, b"\x02\x02") == ((layout.CONTROL, bytes.fromhex("f002020500")),)
    assert len(strap.advance(1.0)) == 1
    strap.disconnected()
    assert strap.advance(1.0) == []


def test_a_strap_takes_the_chest_lead_if_there_is_one():
    record = Record(np.stack([np.full(260, 0.5), np.full(260, -0.25)]), 130.0, ("I", "chest"))
    assert VirtualPolarH10(record).feed.steps(0, 1).tolist() == [[-250]]


@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1, max_size=73), st.integers(0, 2**64 - 1))
def test_any_steps_come_back(values, last_ns):
    steps = np.int32([values])
    (frame,) = decoder().feed(layout.DATA, encode_data(last_ns, steps))
    np.testing.assert_array_equal(frame.signal_mv, (steps * 0.001).astype(np.float32))
    assert 0 <= frame.device_time_s <= layout.CLOCK_MODULUS_S


@given(st.sampled_from([layout.DATA, layout.CONTROL, "other"]), st.binary(max_size=300))
def test_any_bytes_are_decoded_or_damaged(uuid, data):
    (event,) = decoder().feed(uuid, data)
    assert isinstance(event, Frame | Reply | Damaged)
    if isinstance(event, Frame):
        assert event.signal_mv.shape == (1, (len(data) - 10) // 3)
        assert np.isfinite(event.signal_mv).all()
