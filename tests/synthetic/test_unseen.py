"""Kinds that only judge: each is what it is called, and nothing that learns or decides knows of them."""

import re
from pathlib import Path

import numpy as np
import pytest

from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.preprocess import condition, default_spec
from lsemvae_edge.quality import assess
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic import unseen
from lsemvae_edge.synthetic.not_ecg import NOT_ECG
from lsemvae_edge.synthetic.unseen import SPOILED_HEARTS, UNSEEN

FS_HZ = 500.0
ROOT = Path(__file__).parents[2]
NO_BEATING_HEART = sorted(set(UNSEEN) - set(SPOILED_HEARTS))


def draw(kind, seed=1, n_samples=5000, fs_hz=FS_HZ):
    return UNSEEN[kind](np.random.default_rng(seed), n_samples, fs_hz)


def share_of_power(pair, low_hz, high_hz):
    power = (np.abs(np.fft.rfft(pair - pair.mean(axis=1, keepdims=True), axis=1)) ** 2).sum(axis=0)
    hertz = np.fft.rfftfreq(pair.shape[1], 1 / FS_HZ)
    return power[(hertz >= low_hz) & (hertz <= high_hz)].sum() / power.sum()


@pytest.fixture
def known_heart(monkeypatch):
    """A signal that takes the simulated heart's place, (2, n), the same at every call."""
    made = np.random.default_rng(3).normal(size=(2, 15000)).cumsum(axis=1) / 20

    def heart(rng, n_samples, fs_hz, **changes):
        return made[:, :n_samples].copy()

    monkeypatch.setattr(unseen, "_heart", heart)
    return made


def test_there_are_many_kinds_and_none_is_of_those_that_were_tuned_on():
    assert len(NO_BEATING_HEART) >= 15
    assert len(SPOILED_HEARTS) >= 15
    assert set(SPOILED_HEARTS) < set(UNSEEN)
    assert not set(UNSEEN) & set(NOT_ECG)


def test_only_the_safety_benchmark_knows_of_them():
    """A limit, guard or training that could read these kinds would be tuned on them sooner or later."""
    named = re.compile(r"synthetic\.unseen|synthetic import .*unseen")
    readers = {
        path.relative_to(ROOT).as_posix()
        for room in ("lsemvae_edge", "device", "train", "quantize", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
        if named.search(path.read_text(encoding="utf-8"))
    }
    assert readers == {"benchmarks/safety.py"}


@pytest.mark.parametrize("kind", UNSEEN)
@pytest.mark.parametrize("fs_hz", [250.0, 300.0])
def test_generators_are_finite_repeatable_and_vary(kind, fs_hz):
    first, again, other = (draw(kind, seed, 2500, fs_hz) for seed in (1, 1, 2))
    assert first.shape == (2, 2500)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert 0.02 < np.ptp(first) < 50  # millivolts that a recorder may show


@pytest.mark.parametrize("kind", NO_BEATING_HEART)
def test_the_physics_refuses_most_that_is_no_beating_heart(kind):
    spec, limits = default_spec(), QualityLimits()
    records = [Record(draw(kind, [seed, 11]), FS_HZ, ("I", "II")) for seed in range(5)]
    # Measured on 10 draws: 2 of gait and of looped noise pass, none of the others; the guard stands behind that.
    assert sum(assess(record, condition(record, spec), spec, limits).usable for record in records) <= 2


def test_fibrillation_is_waves_of_three_to_eight_a_second_without_beats():
    for seed in range(5):
        pair = draw("ventricular_fibrillation", seed)
        assert share_of_power(pair, 2.4, 8.1) > 0.9
        vector = np.hypot(*(pair - pair.mean(axis=1, keepdims=True)))
        assert np.percentile(vector, 99.5) / np.median(vector) < 5  # no peaks stand out, as QRS complexes do


def test_looped_noise_repeats_itself():
    pair = unseen._looped_noise(np.random.default_rng(5), 5000, FS_HZ)
    self_likeness = [np.abs(pair[:, lag:] - pair[:, :-lag]).max() for lag in range(200, 700)]
    assert min(self_likeness) < 1e-12


def test_van_der_pols_oscillator_beats_at_a_hearts_rate():
    for seed in range(4):
        position = unseen._van_der_pol(np.random.default_rng(seed), 5000, FS_HZ)[0]
        rises = np.flatnonzero((position[:-1] < 0) & (position[1:] >= 0))
        assert 0.5 < FS_HZ / np.diff(rises).mean() < 2.5
        assert np.diff(rises).std() < 0.02 * np.diff(rises).mean()


def test_a_reversed_heart_is_the_heart_backwards(known_heart):
    np.testing.assert_allclose(draw("reversed_heart"), known_heart[:, 4999::-1], atol=0.15)


def test_a_rectified_heart_is_never_negative(known_heart):
    assert (known_heart[:, :5000] < -0.5).any()
    np.testing.assert_allclose(draw("rectified_heart"), np.abs(known_heart[:, :5000]), atol=0.15)


def test_speeds_are_one_half_and_three(known_heart):
    np.testing.assert_allclose(draw("slowed_heart")[:, ::2], known_heart[:, :2500], atol=0.15)
    np.testing.assert_allclose(draw("hurried_heart"), known_heart[:, ::3][:, :5000], atol=0.15)


@pytest.mark.parametrize("kind", ["quadrature_heart", "phase_scrambled_heart"])
def test_the_spectrum_stays_and_the_shape_does_not(known_heart, kind):
    heart = known_heart[:, :5000] - known_heart[:, :5000].mean(axis=1, keepdims=True)
    pair = draw(kind)
    one, two = (np.abs(np.fft.rfft(x, axis=1))[:, 1:100] for x in (heart, pair))
    np.testing.assert_allclose(two, one, rtol=0.3, atol=0.02 * one.max())
    assert max(abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(heart, pair, strict=True)) < 0.8


def test_a_rotating_heart_keeps_the_size_of_its_vector(known_heart):
    def size(pair):
        return np.hypot(pair[0], (2 * pair[1] - pair[0]) / np.sqrt(3))

    np.testing.assert_allclose(size(draw("rotating_heart")), size(known_heart[:, :5000]), atol=0.15)


def test_a_cut_up_heart_has_the_same_samples_in_another_order(known_heart):
    pair = unseen._cut_up_heart(np.random.default_rng(0), 5000, FS_HZ)
    np.testing.assert_array_equal(np.sort(pair, axis=1), np.sort(known_heart[:, :5000], axis=1))
    assert not np.array_equal(pair, known_heart[:, :5000])


def test_leads_of_two_hearts_come_from_two_simulations(monkeypatch):
    hearts = iter([np.full((2, 5000), 1.0), np.full((2, 5000), 2.0)])
    monkeypatch.setattr(unseen, "_heart", lambda *_, **__: next(hearts))
    assert draw("leads_of_two_hearts").mean(axis=1) == pytest.approx([1, 2], abs=0.01)


def test_two_hearts_at_once_have_two_rates(monkeypatch):
    rates = []

    def heart(rng, n_samples, fs_hz, **changes):
        rates.append(changes["rate_bpm"])
        return np.ones((2, n_samples))

    monkeypatch.setattr(unseen, "_heart", heart)
    for seed in range(5):
        draw("two_hearts_at_once", seed)
    assert max(rates[::2]) < min(rates[1::2])


def test_the_beats_are_found_and_all_else_stays():
    whole, rest, beats_s = unseen._heart_and_beats(np.random.default_rng(4), 5000, FS_HZ)
    qrs = np.hypot(*(whole - rest))
    t = np.arange(5000) / FS_HZ
    near = np.abs(t[:, None] - beats_s).min(axis=1) < 0.15
    assert (np.diff(beats_s) > 0.3).all()
    assert qrs[near].max() > 0.2
    assert qrs[~near].max() < 0.01


def test_polarity_changes_from_beat_to_beat_and_never_within_one(monkeypatch):
    known = unseen._heart_and_beats(np.random.default_rng(4), 5000, FS_HZ)
    monkeypatch.setattr(unseen, "_heart_and_beats", lambda *_: known)
    whole, _, beats_s = known
    pair = unseen._random_polarity_heart(np.random.default_rng(0), 5000, FS_HZ)
    np.testing.assert_allclose(np.abs(pair), np.abs(whole))
    flipped = (np.sign(pair[1]) != np.sign(whole[1])) & (whole[1] != 0)
    t = np.arange(5000) / FS_HZ
    of_beats = [flipped[np.abs(t - beat_s) < 0.1] for beat_s in beats_s]
    assert all(beat.all() or not beat.any() for beat in of_beats)
    assert len({bool(beat.all()) for beat in of_beats}) == 2


def test_random_qrs_complexes_do_not_resemble_each_other(monkeypatch):
    known = unseen._heart_and_beats(np.random.default_rng(4), 5000, FS_HZ)
    monkeypatch.setattr(unseen, "_heart_and_beats", lambda *_: known)
    whole, rest, beats_s = known
    added = unseen._random_qrs_heart(np.random.default_rng(0), 5000, FS_HZ) - rest

    def likeness(signal):
        middles = [round(beat_s * FS_HZ) for beat_s in beats_s if 0.2 < beat_s < 9.8]
        beats = np.stack([signal[:, k - 50 : k + 50].ravel() for k in middles])
        return np.median(np.corrcoef(beats)[np.triu_indices(len(beats), 1)])

    assert likeness(whole - rest) > 0.9
    assert likeness(added) < 0.5
