import numpy as np
import pytest

from lsemvae_edge.device import simulator
from lsemvae_edge.device.simulator import NV_PER_LSB, PACKET_SAMPLES, Packet, record_demo
from lsemvae_edge.errors import DeviceError


def test_a_demo_recording_says_that_it_is_one():
    record = record_demo()
    assert record.origin == "demo"
    assert record.leads == ("I", "II")
    assert record.meta["device"] == "simulated recorder"
    assert record.started_at is None
    assert record.amplitude == "calibrated"
    assert record.signal_mv.shape == (2, 7500)
    assert not record.gaps.any()


def test_a_seed_is_a_person():
    assert record_demo(3).sha256() == record_demo(3).sha256()
    assert record_demo(3).meta["id"] == record_demo(3).meta["id"]
    assert record_demo(3).meta["id"] != record_demo(4).meta["id"]


def test_samples_are_whole_steps_of_the_converter():
    steps = record_demo().signal_mv.astype(np.float64) * 1e6 / NV_PER_LSB
    # Millivolts are kept as float32, a 24-bit mantissa.
    assert np.abs(steps - np.rint(steps)).max() < 0.01


def test_a_lost_packet_leaves_a_gap_of_its_length():
    whole, torn = record_demo(5), record_demo(5, lose_packet=True)
    assert torn.gaps.sum() == 2 * PACKET_SAMPLES
    assert torn.gaps[0].argmax() % PACKET_SAMPLES == 0
    kept = ~torn.gaps
    np.testing.assert_array_equal(whole.signal_mv[kept], torn.signal_mv[kept])


def test_packets_may_come_late():
    steps = np.arange(2 * 3 * PACKET_SAMPLES, dtype=np.int32).reshape(2, -1)
    packets = [Packet(i, steps[:, i * PACKET_SAMPLES : (i + 1) * PACKET_SAMPLES]) for i in range(3)]
    np.testing.assert_array_equal(simulator._assemble(packets, 3), simulator._assemble(packets[::-1], 3))


def test_a_packet_out_of_range_is_refused():
    with pytest.raises(DeviceError):
        simulator._assemble([Packet(7, np.zeros((2, PACKET_SAMPLES), np.int32))], 3)


def test_the_converter_saturates():
    packet = next(simulator._packets(np.array([[1e6] * PACKET_SAMPLES, [-1e6] * PACKET_SAMPLES])))
    assert packet.steps[0, 0] == 2**23 - 1
    assert packet.steps[1, 0] == -(2**23)
