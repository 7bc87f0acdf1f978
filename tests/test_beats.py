"""Beats are found where the simulator put them, and what they have in common is what is left of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.beats import align_beats, average_beat, find_beats, frontal_vector, typical_beats
from lsemvae_edge.leads import derive_limb_leads
from lsemvae_edge.preprocess import condition, default_spec
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.faults import SWAPS
from lsemvae_edge.synthetic.heart import Heart, simulate

FS_HZ = 125.0
SPEC = default_spec()
BEAT = SPEC.beat
WINDOW = SPEC.window_samples


def spikes(at_s: list[float], n_samples: int = 928) -> np.ndarray:
    t = np.arange(n_samples) / FS_HZ
    wave = sum(np.exp(-0.5 * ((t - at) / 0.015) ** 2) for at in at_s)
    return np.stack([wave, 0.5 * wave])


def window_of(seed: int = 0, snr_db: float = 30.0, **heart: float) -> np.ndarray:
    """Conditioned leads I and II of one window of a simulated heart."""
    record = add_noise(simulate(Heart(**heart), seed=seed, leads=("I", "II")), "white", snr_db, seed)
    return condition(record, SPEC).pair[:, :WINDOW]


def averaged(pair: np.ndarray) -> np.ndarray:
    at = align_beats(pair, FS_HZ, BEAT)
    assert at is not None
    return average_beat(pair, at, BEAT)


def placed(shape: np.ndarray, at: list[int], noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Leads I and II in which one beat (2, n) is repeated."""
    pair = np.random.default_rng(seed).normal(0, 1, (2, WINDOW)) * noise
    for place in at:
        pair[:, place : place + shape.shape[1]] += shape
    return pair


def beat_shape() -> np.ndarray:
    """QRS and T wave whose loop is no straight line, 60 samples."""
    t = np.arange(60) / FS_HZ
    qrs, late, wave = (
        np.exp(-0.5 * ((t - at) / width) ** 2) for at, width in ((0.1, 0.012), (0.124, 0.012), (0.34, 0.04))
    )
    return np.stack([qrs + 0.2 * wave, 0.8 * qrs - 0.6 * late + 0.25 * wave])


def test_every_beat_is_found_and_no_other() -> None:
    at_s = [0.6, 1.5, 2.3, 3.3, 4.1, 4.9, 5.8, 6.7]
    beats = find_beats(spikes(at_s), FS_HZ)
    assert beats.at / FS_HZ == pytest.approx(at_s, abs=0.03)
    assert beats.doubt < 0.1


def test_silence_has_no_beats() -> None:
    beats = find_beats(np.zeros((2, 928)), FS_HZ)
    assert beats.at.size == 0
    assert beats.dominant(0.85).size == 0
    assert typical_beats(beats, FS_HZ, BEAT) is None
    assert align_beats(np.zeros((2, 928)), FS_HZ, BEAT) is None


@given(rate_bpm=st.floats(40, 150), seed=st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_the_mean_interval_is_the_simulated_one(rate_bpm: float, seed: int) -> None:
    record = add_noise(simulate(Heart(rate_bpm=rate_bpm), seed=seed, leads=("I", "II")), "white", 25, seed)
    pair = condition(record, SPEC).pair
    at = find_beats(frontal_vector(pair), FS_HZ).at
    assert 60 * FS_HZ / np.diff(at).mean() == pytest.approx(rate_bpm, rel=0.08)


def test_frontal_vector_keeps_its_length_under_electrode_swaps() -> None:
    pair = np.random.default_rng(0).normal(size=(2, 50))
    arms_swapped = np.array([[-1.0, 0.0], [-1.0, 1.0]]) @ pair
    length, swapped = (np.linalg.norm(frontal_vector(p), axis=0) for p in (pair, arms_swapped))
    np.testing.assert_allclose(length, swapped)


@given(rate_bpm=st.floats(45, 140), seed=st.integers(0, 50), axis=st.floats(-60, 150))
@settings(max_examples=25, deadline=None)
def test_averaged_beats_are_whole_alike_and_in_order(rate_bpm: float, seed: int, axis: float) -> None:
    pair = window_of(seed, rate_bpm=rate_bpm, qrs_axis_deg=axis)
    beats = find_beats(frontal_vector(pair), FS_HZ)
    at, found = align_beats(pair, FS_HZ, BEAT), typical_beats(beats, FS_HZ, BEAT)
    assert at is not None
    assert found is not None
    assert at.size >= BEAT.min_beats
    assert np.abs(at - found).max() <= BEAT.align_samples
    assert (np.diff(at) > 0).all()
    assert at.min() >= BEAT.before_samples
    assert at.max() + BEAT.after_samples <= WINDOW
    beat = average_beat(pair, at, BEAT)
    assert beat.shape == (2, BEAT.n_samples)
    steepest = int(np.argmax((np.diff(frontal_vector(beat), axis=1) ** 2).sum(axis=0)))
    assert abs(steepest - BEAT.before_samples) <= 13


@given(gain=st.sampled_from([2.0**k for k in range(-10, 11)]), seed=st.integers(0, 10))
@settings(max_examples=20, deadline=None)
def test_a_common_gain_moves_no_beat_and_scales_the_average(gain: float, seed: int) -> None:
    pair = window_of(seed)
    np.testing.assert_array_equal(align_beats(gain * pair, FS_HZ, BEAT), align_beats(pair, FS_HZ, BEAT))
    np.testing.assert_array_equal(averaged(gain * pair), gain * averaged(pair))


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("seed", range(5))
def test_swapped_electrodes_move_no_beat(swap: str, seed: int) -> None:
    pair = window_of(seed)
    swapped = SWAPS[swap] @ pair
    np.testing.assert_array_equal(align_beats(swapped, FS_HZ, BEAT), align_beats(pair, FS_HZ, BEAT))
    expected = SWAPS[swap] @ averaged(pair)
    # Medians of leads do not add up, so that a swapped average may lie higher or lower, by little and in nothing else.
    off = averaged(swapped) - expected
    assert np.ptp(off, axis=1) == pytest.approx(0, abs=1e-12)
    assert np.abs(off).max() < 0.05 * np.abs(expected).max()


def test_the_beats_are_aligned_on_each_other() -> None:
    shape = beat_shape()
    places = [60, 161, 263, 364, 466, 568, 669]
    at = align_beats(placed(shape, places, 0.02), FS_HZ, BEAT)
    assert at is not None
    np.testing.assert_array_equal(np.diff(at), np.diff(places))


def test_an_ectopic_beat_is_left_out() -> None:
    shape = beat_shape()
    places = [60, 160, 260, 360, 460, 560, 660]
    usual = placed(shape, places)
    ectopic = usual.copy()
    ectopic[:, places[3] : places[3] + 60] = 0
    wide = np.exp(-0.5 * ((np.arange(60) / FS_HZ - 0.15) / 0.045) ** 2)
    ectopic[:, places[3] : places[3] + 60] += np.stack([-1.5 * wide, 0.7 * wide])
    found = find_beats(frontal_vector(ectopic), FS_HZ)
    assert found.at.size == len(places)
    at = align_beats(ectopic, FS_HZ, BEAT)
    assert at is not None
    assert at.size == len(places) - 1
    assert not (np.abs(at - found.at[3]) < 50).any()
    np.testing.assert_allclose(average_beat(ectopic, at, BEAT), averaged(usual), atol=1e-9)


def test_noise_falls_with_the_root_of_the_number_of_beats() -> None:
    shape = beat_shape()
    every = [70 + 95 * k for k in range(8)]

    def error(n_beats: int) -> float:
        at = np.array(every[:n_beats]) + 14
        clean = average_beat(placed(shape, every), at, BEAT)
        noisy = [average_beat(placed(shape, every, 0.1, seed), at, BEAT) for seed in range(40)]
        return float(np.std([beat - clean for beat in noisy]))

    assert error(2) / error(8) == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(("n_beats", "enough"), [(2, False), (3, True)])
def test_fewer_beats_than_the_contract_asks_for_give_none(n_beats: int, enough: bool) -> None:
    pair = placed(beat_shape(), [100, 350, 600][:n_beats])
    assert (align_beats(pair, FS_HZ, BEAT) is not None) == enough
    assert align_beats(pair, FS_HZ, replace(BEAT, min_beats=n_beats)) is not None
    assert align_beats(pair, FS_HZ, replace(BEAT, min_beats=n_beats + 1)) is None


def test_a_beat_that_the_window_cuts_is_not_averaged() -> None:
    shape = beat_shape()
    inside = [150, 350, 550]
    for cut in (10, WINDOW - 70):
        at = align_beats(placed(shape, [*inside, cut]), FS_HZ, BEAT)
        assert at is not None
        assert at.size == len(inside)


def test_the_average_rests_on_the_isoelectric_line() -> None:
    pair = window_of() + np.array([[0.4], [-0.3]])
    beat = averaged(pair)
    np.testing.assert_allclose(np.median(beat, axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(beat, averaged(pair + 1.0), atol=1e-9)


def test_averaging_and_deriving_leads_may_change_places_up_to_a_level() -> None:
    pair = window_of(3)
    at = align_beats(pair, FS_HZ, BEAT)
    assert at is not None
    first, second = derive_limb_leads(*averaged(pair)), average_beat(derive_limb_leads(*pair), at, BEAT)
    assert np.ptp(first - second, axis=1) == pytest.approx(0, abs=1e-9)
