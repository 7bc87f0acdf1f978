"""Noise of electrodes: the ratio it reaches, the equations it keeps, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.errors import BadInputError, UnusableRecordingError
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12, consistency_residual
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import contact_loss
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import robustness
from lsemvae_edge.train.robustness import SNRS_DB, add_noise, add_noise_to_signals, snr_of

lead_sets = st.sampled_from(
    [STANDARD_12, LIMB_LEADS, ("II", "I"), ("I",), ("III", "aVF", "V2"), ("V1", "V6"), STANDARD_12[::-1]]
)


def heart(leads=STANDARD_12, fs_hz=500.0, duration_s=10.0, seed=0):
    return simulate(Heart(), duration_s, fs_hz, seed, leads)


@settings(max_examples=40)
@given(lead_sets, st.sampled_from([125.0, 250.0, 300.0, 500.0]), st.floats(0.9, 20.0), st.floats(-5, 40))
def test_the_ratio_asked_for_is_reached(leads, fs_hz, duration_s, snr_db):
    record = heart(leads, fs_hz, duration_s)
    noisy = add_noise(record, snr_db)
    assert snr_of(record.signal_mv, noisy.signal_mv, leads) == pytest.approx(snr_db, abs=0.02)
    assert (noisy.leads, noisy.fs_hz, noisy.n_samples) == (record.leads, record.fs_hz, record.n_samples)


@pytest.mark.parametrize("snr_db", SNRS_DB)
def test_the_limb_leads_still_agree_with_each_other(snr_db):
    noisy = add_noise(heart(), snr_db)
    assert consistency_residual(noisy.limb()) < 1e-6
    assert not np.allclose(noisy.signal_mv, heart().signal_mv, atol=0.01)


def test_more_leads_of_a_recording_carry_the_noise_of_the_same_event():
    few, many = (add_noise(heart(leads), 10, seed=3) for leads in (("II", "I"), STANDARD_12))
    for name in ("I", "II"):
        np.testing.assert_allclose(
            few.signal_mv[few.leads.index(name)], many.signal_mv[many.leads.index(name)], atol=1e-6
        )


def test_the_noise_is_wander_and_mains_of_the_same_size_and_nothing_else():
    record = heart(duration_s=100.0)  # whole periods of both: each is one line of the spectrum
    noise = add_noise(record, 5).signal_mv.astype(float) - record.signal_mv
    power = np.abs(np.fft.rfft(noise, axis=1)) ** 2
    hertz = np.fft.rfftfreq(record.n_samples, 1 / record.fs_hz)
    lines = {f: power[:, np.abs(hertz - f) < 0.005].sum(axis=1) for f in (robustness.WANDER_HZ, robustness.MAINS_HZ)}
    assert (sum(lines.values()) > 0.995 * power.sum(axis=1)).all()
    wander, mains = (line[:2].sum() for line in lines.values())
    assert wander / (wander + mains) == pytest.approx(robustness.WANDER_SHARE, abs=0.01)


def test_each_recording_has_its_own_noise_and_always_the_same():
    one, other = heart(seed=1), heart(seed=2)
    noise = {
        (name, db): add_noise(record, db).signal_mv - record.signal_mv
        for name, record in (("one", one), ("other", other))
        for db in (20.0, 5.0)
    }
    np.testing.assert_array_equal(add_noise(heart(seed=1), 5).signal_mv, add_noise(one, 5).signal_mv)
    assert np.abs(noise["one", 5.0] - noise["other", 5.0]).max() > 0.01
    # Less of the same noise at a better ratio.
    np.testing.assert_allclose(noise["one", 20.0] * 10**0.75, noise["one", 5.0], atol=1e-5)


def test_what_was_not_received_stays_so_and_does_not_count():
    record = contact_loss(heart(), 2.0, 4.5)
    noisy = add_noise(record, 10)
    np.testing.assert_array_equal(noisy.gaps, record.gaps)
    assert snr_of(record.signal_mv, noisy.signal_mv, record.leads) == pytest.approx(10, abs=0.02)


@given(st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_gain_and_offset_do_not_change_the_ratio(gain, offset):
    record = heart(LIMB_LEADS, 125.0)
    signals = gain * (record.signal_mv[None].astype(float) + offset * np.array([0, 1, 1, -0.5, -0.5, 1])[:, None])
    noisy = add_noise_to_signals(signals, LIMB_LEADS, 125.0, 5.0, ["a"])
    # float32 of a large offset holds the small noise coarsely
    assert snr_of(signals[0], noisy[0], LIMB_LEADS) == pytest.approx(5, abs=0.1)


def test_a_batch_is_noised_record_by_record():
    signals = np.stack([heart(LIMB_LEADS, 125.0, seed=seed).signal_mv for seed in range(3)])
    noisy = add_noise_to_signals(signals, LIMB_LEADS, 125.0, 10.0, ["a", "b", "c"])
    assert (noisy.shape, noisy.dtype) == (signals.shape, np.float32)
    for row, name in enumerate("abc"):
        alone = add_noise_to_signals(signals[row : row + 1], LIMB_LEADS, 125.0, 10.0, [name])
        np.testing.assert_array_equal(alone[0], noisy[row])
        assert snr_of(signals[row], noisy[row], LIMB_LEADS) == pytest.approx(10, abs=0.01)


def test_what_cannot_carry_this_noise_is_refused():
    with pytest.raises(BadInputError, match="cannot hold mains"):
        add_noise(heart(fs_hz=100.0), 10)
    with pytest.raises(BadInputError, match="lead X9"):
        add_noise(Record(np.random.default_rng(0).normal(size=(1, 900)), 500.0, ("X9",)), 10)
    flat = replace(heart(), signal_mv=np.full((12, 5000), 0.7, dtype=np.float32))
    with pytest.raises(UnusableRecordingError, match="flat"):
        add_noise(flat, 10)
    with pytest.raises(UnusableRecordingError, match="received"):
        add_noise(contact_loss(heart(), 0.0, 10.0), 10)
    with pytest.raises(BadInputError, match="2 record ids"):
        add_noise_to_signals(np.ones((1, 6, 900)), LIMB_LEADS, 500.0, 10.0, ["a", "b"])
