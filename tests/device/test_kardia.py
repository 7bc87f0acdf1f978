"""KardiaMobile 6L: packets of mode M2, never found by itself, never started without the operator's own command."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.device import drivers
from lsemvae_edge.device.drivers import kardia as layout
from lsemvae_edge.device.drivers.kardia import Kardia6L
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Frame
from lsemvae_edge.device.virtual.kardia import VirtualKardia6L, encode_data
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.errors import ExitCode

# I counts up in steps of 4 from -16, II is -32768, 32764, 4, and six times 0.
PACKET = bytes.fromhex("f0ff0080 f4fffc7f f8ff0400 fcff0000 00000000 04000000 08000000 0c000000 10000000")
STEP_MV = 0.000152587890625

data_folder = os.environ.get("LSEMVAE_EDGE_DATA")


def decoder():
    return Kardia6L().decoder(Kardia6L().stream({}, 247))


@pytest.fixture
def start_command(monkeypatch):
    monkeypatch.setenv("LSEMVAE_EDGE_KARDIA_START", "aa 01 C0")
    return bytes.fromhex("aa01c0")


def test_discovery_never_chooses_it():
    assert drivers.match([layout.SERVICE], "Kardia 6L") is None
    assert drivers.get("kardia-6l").description.opt_in


def test_what_it_cannot_promise_is_said():
    description, stream = Kardia6L.description, Kardia6L().stream({}, 247)
    assert (description.indexed, description.integrity, description.needs_bond) == (False, False, True)
    assert stream.amplitude == "uncalibrated"
    assert (stream.index_modulus, stream.clock_modulus_s) == (None, None)


def test_the_start_command_is_the_operators(start_command):
    driver = Kardia6L()
    (write,) = driver.start(driver.stream({}, 247), 1)
    assert write.data == start_command
    assert write.uuid == "ac060002-328c-a28f-9846-5a8aa212661b"
    assert write.request is None
    assert driver.stop(driver.stream({}, 247)) == ()


@pytest.mark.parametrize("value", [None, "", "zz", "a", "00" * 21])
def test_without_a_start_command_the_error_says_what_to_do(monkeypatch, value):
    monkeypatch.delenv("LSEMVAE_EDGE_KARDIA_START", raising=False)
    if value is not None:
        monkeypatch.setenv("LSEMVAE_EDGE_KARDIA_START", value)
    driver = Kardia6L()
    with pytest.raises(UnsupportedRecorderError, match="LSEMVAE_EDGE_KARDIA_START") as caught:
        driver.start(driver.stream({}, 247), 1)
    assert caught.value.code == ExitCode.DEVICE
    assert "maker" in caught.value.next_step


def test_a_packet_written_by_hand_is_decoded():
    (frame,) = decoder().feed(layout.DATA, PACKET)
    steps = np.array([[-16, -12, -8, -4, 0, 4, 8, 12, 16], [-32768, 32764, 4, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(frame.signal_mv, (steps * STEP_MV).astype(np.float32))
    assert frame.saturated == {"II"}
    assert (frame.index, frame.device_time_s, frame.off, frame.recording) == (None, None, None, None)


def test_what_the_device_says_on_its_command_is_not_interpreted():
    for data in (b"\x01", b"\x03", b"", bytes(40)):
        assert decoder().feed(layout.COMMAND, data) == ()


@pytest.mark.parametrize("n_bytes", [0, 1, 32, 35, 37, 72])
def test_another_length_is_damage(n_bytes):
    (event,) = decoder().feed(layout.DATA, bytes(n_bytes))
    assert event == Damaged(f"a packet of {n_bytes} bytes, not 36", n_bytes)
    assert decoder().feed("other", PACKET) == (Damaged("an unknown characteristic", 36),)


def test_only_its_own_rate_is_offered():
    assert Kardia6L().stream({}, 39, 300.0).fs_hz == 300.0
    assert Kardia6L.description.min_mtu == 36 + 3
    with pytest.raises(UnsupportedRecorderError, match="not at 250 Hz"):
        Kardia6L().stream({}, 247, 250.0)


@pytest.mark.skipif(data_folder is None, reason="LSEMVAE_EDGE_DATA is not set")
def test_a_real_recording_decodes_to_what_was_published():
    folder = Path(data_folder) / "kardia6l"
    packets = [bytes.fromhex(line) for line in (folder / "m2_reencoded.hex").read_text().split()]
    published_mv = np.loadtxt(folder / "kardia6l_svg_leads_mV.csv", delimiter=",", skiprows=1)[:, 1:3].T
    frames = [frame for packet in packets for frame in decoder().feed(layout.DATA, packet)]
    signal_mv = np.concatenate([frame.signal_mv for frame in frames], axis=1)
    assert len(packets) == 332
    assert signal_mv.shape == published_mv.shape == (2, 2988)
    # The device's own 14-bit step is four of the 16-bit ones; half of it was lost in rounding.
    np.testing.assert_allclose(signal_mv, published_mv, rtol=0, atol=2 * STEP_MV)
    assert all(0.5 < np.ptp(row) < 5.0 for row in signal_mv)
    assert not any(frame.saturated for frame in frames)


@pytest.mark.parametrize("mtu", [39, 247])
def test_frames_are_the_feed_step_for_step(heart_record, start_command, mtu):
    device = VirtualKardia6L(heart_record(5.0, 300.0), start_command=start_command)
    device.advance(0.25)
    wire = Wire(device, Kardia6L(), mtu)
    events = [event for arrival in wire.record(10.0) for event in wire.decoder.feed(arrival.uuid, arrival.data)]
    signal = np.concatenate([frame.signal_mv for frame in events], axis=1)
    expected = (device.feed.steps(75, signal.shape[1]) * STEP_MV).astype(np.float32)
    np.testing.assert_array_equal(signal, expected)
    assert 10 * 300 - 9 < signal.shape[1] <= 10 * 300


def test_a_device_obeys_its_own_command_alone(heart_record):
    device = VirtualKardia6L(heart_record(2.0, 300.0), start_command=b"\x07\x08")
    assert device.write(layout.COMMAND, b"\x07") == ()
    assert device.write(layout.DATA, b"\x07\x08") == ()
    assert device.advance(1.0) == []
    assert device.write(layout.COMMAND, b"\x07\x08") == ((layout.COMMAND, b"\x01"),)
    assert len(device.advance(0.3)) == 10
    device.disconnected()
    assert device.advance(1.0) == []


@given(st.binary(max_size=60) | st.binary(min_size=36, max_size=36))
def test_any_bytes_are_decoded_or_damaged(data):
    (event,) = decoder().feed(layout.DATA, data)
    assert isinstance(event, Frame) == (len(data) == 36)
    if isinstance(event, Frame):
        assert event.signal_mv.shape == (2, 9)
        assert np.abs(event.signal_mv).max() <= 5.0


@given(st.lists(st.tuples(*[st.integers(-(2**15), 2**15 - 1)] * 2), min_size=9, max_size=9))
def test_any_steps_come_back(pairs):
    steps = np.int32(pairs).T
    (frame,) = decoder().feed(layout.DATA, encode_data(steps))
    np.testing.assert_array_equal(frame.signal_mv, (steps * STEP_MV).astype(np.float32))
