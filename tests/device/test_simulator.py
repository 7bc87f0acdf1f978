import subprocess
import sys

import numpy as np
import pytest

from lsemvae_edge.device.simulator import record_demo
from lsemvae_edge.device.virtual.open6l import NV_PER_LSB
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.heart import random_heart, simulate

PACKET_SAMPLES = 20


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


def test_what_arrives_is_what_the_electrodes_saw():
    rng = np.random.default_rng(3)
    person = add_noise(simulate(random_heart(rng), 15.0, 500.0, rng, ("I", "II")), "muscle", 28, rng)
    seen = add_noise(person, "mains50", 32, rng).signal_mv
    assert np.abs(record_demo(3).signal_mv - seen).max() < 0.51 * NV_PER_LSB / 1e6


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


@pytest.mark.parametrize(
    ("duration_s", "fs_hz", "n_samples"),
    [(0.04, 500.0, 20), (1.01, 500.0, 500), (15.0, 250.0, 3750), (3.0, 360.0, 1078)],
)
def test_other_lengths_and_rates_are_whole_packets(duration_s, fs_hz, n_samples):
    record = record_demo(duration_s=duration_s, fs_hz=fs_hz)
    assert record.signal_mv.shape == (2, n_samples)
    assert record.fs_hz == fs_hz
    assert not record.gaps.any()


@pytest.mark.parametrize("fs_hz", [2000.0, 333.5])
def test_a_rate_that_no_recorder_has_is_refused(fs_hz):
    with pytest.raises(LsemvaeError):
        record_demo(duration_s=2.0, fs_hz=fs_hz)


def test_a_demonstration_needs_no_bluetooth():
    code = (
        "import sys; from lsemvae_edge.device.simulator import record_demo; record_demo(duration_s=1.0); "
        "print([name for name in ('bleak', 'bumble', 'asyncio', 'torch', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
