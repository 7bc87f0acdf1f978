"""Beats are found where the simulator put them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.preprocess import condition, default_spec
from lsemvae_edge.quality.beats import find_beats, frontal_vector
from lsemvae_edge.quality.contact import blamed_electrode, leads_lost_with
from lsemvae_edge.quality.windows import rank_windows
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.heart import Heart, simulate

FS_HZ = 125.0


def spikes(at_s: list[float], n_samples: int = 928) -> np.ndarray:
    t = np.arange(n_samples) / FS_HZ
    wave = sum(np.exp(-0.5 * ((t - at) / 0.015) ** 2) for at in at_s)
    return np.stack([wave, 0.5 * wave])


def test_every_beat_is_found_and_no_other() -> None:
    at_s = [0.6, 1.5, 2.3, 3.3, 4.1, 4.9, 5.8, 6.7]
    beats = find_beats(spikes(at_s), FS_HZ)
    assert beats.at / FS_HZ == pytest.approx(at_s, abs=0.03)
    assert beats.doubt < 0.1


def test_silence_has_no_beats() -> None:
    beats = find_beats(np.zeros((2, 928)), FS_HZ)
    assert beats.at.size == 0
    assert beats.dominant(0.85).size == 0


@given(rate_bpm=st.floats(40, 150), seed=st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_the_mean_interval_is_the_simulated_one(rate_bpm: float, seed: int) -> None:
    record = add_noise(simulate(Heart(rate_bpm=rate_bpm), seed=seed, leads=("I", "II")), "white", 25, seed)
    pair = condition(record, default_spec()).pair
    at = find_beats(frontal_vector(pair), FS_HZ).at
    assert 60 * FS_HZ / np.diff(at).mean() == pytest.approx(rate_bpm, rel=0.08)


def test_frontal_vector_keeps_its_length_under_electrode_swaps() -> None:
    pair = np.random.default_rng(0).normal(size=(2, 50))
    arms_swapped = np.array([[-1.0, 0.0], [-1.0, 1.0]]) @ pair
    length, swapped = (np.linalg.norm(frontal_vector(p), axis=0) for p in (pair, arms_swapped))
    np.testing.assert_allclose(length, swapped)


def test_windows_avoid_excluded_samples_and_prefer_the_quiet_part() -> None:
    rng = np.random.default_rng(0)
    vector = rng.normal(0, 0.01, (2, 4000)) + np.resize(spikes([0.5], 125), (2, 4000))
    vector[:, :1500] += rng.normal(0, 0.3, (2, 1500))
    excluded = np.zeros(4000, dtype=bool)
    excluded[2600:2700] = True
    starts = rank_windows(vector, excluded, 928, 31, FS_HZ)
    assert not any(excluded[start : start + 928].any() for start in starts)
    assert starts[0] >= 1500


@pytest.mark.parametrize(
    ("bad", "electrode"),
    [({"I", "III"}, "LA"), ({"II", "III"}, "LL"), ({"I", "II"}, "RA"), ({"I"}, "LA"), ({"II"}, "LL"), (set(), None)],
)
def test_bad_leads_point_to_the_electrode_they_share(bad: set[str], electrode: str | None) -> None:
    assert blamed_electrode(frozenset(bad)) == electrode


def test_each_loose_electrode_leaves_one_lead() -> None:
    left = {e: set(("I", "II", "III", "aVR", "aVL", "aVF")) - leads_lost_with(e) for e in ("LA", "RA", "LL")}
    assert left == {"LA": {"II"}, "RA": {"III"}, "LL": {"I"}}
