"""What training does to a batch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")

from lsemvae_edge import preprocess  # noqa: E402
from lsemvae_edge.train import augment  # noqa: E402


@pytest.fixture
def pairs(simulated_pairs):
    return torch.from_numpy(simulated_pairs)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("start", [0, 17, 60])
def test_training_and_kiosk_have_one_definition_of_the_input(simulated_pairs, model_spec, start):
    spec = model_spec.preprocess
    window = simulated_pairs[:, :, start : start + spec.window_samples]
    batch = augment.to_input(torch.from_numpy(window), spec.clip)
    assert batch.shape == (len(window), 6, 1, spec.window_samples)
    nothing_excluded = np.zeros(simulated_pairs.shape[2], dtype=bool)
    for made, pair in zip(batch[:, :, 0].numpy(), simulated_pairs.astype(np.float64), strict=True):
        conditioned = preprocess.Conditioned(pair, nothing_excluded, 0, spec.fs_hz)
        np.testing.assert_allclose(made, preprocess.cut(conditioned, spec, start).signal, atol=2e-5)


def test_training_clips_where_the_kiosk_does(model_spec):
    spec = model_spec.preprocess
    pair = np.random.default_rng(0).normal(0, 0.01, (2, spec.window_samples)).astype(np.float32)
    pair[0, 400:404] = 100
    conditioned = preprocess.Conditioned(pair.astype(np.float64), np.zeros(pair.shape[1], dtype=bool), 0, spec.fs_hz)
    made = augment.to_input(torch.from_numpy(pair)[None], spec.clip)[0, :, 0].numpy()
    assert np.abs(made).max() == spec.clip
    np.testing.assert_allclose(made, preprocess.cut(conditioned, spec).signal, atol=2e-5)


def test_a_crop_is_a_window_of_its_own_recording(pairs):
    numbered = torch.arange(pairs.shape[2]).float().expand(len(pairs), 2, -1)
    numbered = numbered + 10_000 * torch.arange(len(pairs))[:, None, None]
    cropped = augment.crop(numbered, 928, generator())
    assert cropped.shape == (len(pairs), 2, 928)
    starts = (cropped[:, 0, 0] - 10_000 * torch.arange(len(pairs))).long()
    for row, start in enumerate(starts.tolist()):
        torch.testing.assert_close(cropped[row], numbered[row, :, start : start + 928])
    assert starts.unique().numel() > 10
    assert starts.min() >= 0
    assert starts.max() <= pairs.shape[2] - 928


def test_a_crop_of_the_whole_length_is_the_recording(pairs):
    torch.testing.assert_close(augment.crop(pairs, pairs.shape[2], generator()), pairs)


def test_every_swap_is_one_of_the_known_maps_and_all_occur():
    many = torch.from_numpy(np.random.default_rng(0).normal(size=(300, 2, 50)).astype(np.float32))
    swapped = augment.swap(many, generator())
    maps = {kind: torch.tensor(augment.SWAPS[kind], dtype=torch.float32) for kind in augment.SWAP_KINDS}
    seen = set()
    for before, after in zip(many, swapped, strict=True):
        matches = [kind for kind, matrix in maps.items() if torch.allclose(matrix @ before, after, atol=1e-5)]
        assert len(matches) == 1
        seen.update(matches)
    assert seen == set(augment.SWAP_KINDS)


def test_reversed_arms_invert_lead_i_and_exchange_ii_and_iii():
    before = np.array([[1.0], [3.0]])
    lead_i, lead_ii = (augment.SWAPS["arms"] @ before)[:, 0]
    assert lead_i == -1.0
    assert lead_ii == 3.0 - 1.0


def test_no_swap_leaves_a_recording_as_it_was():
    assert all(not np.allclose(matrix, np.eye(2)) for matrix in augment.SWAPS.values())


def test_degraded_recordings_stay_recognisable_and_keep_their_shape(pairs, model_spec):
    degraded = augment.degrade(pairs, model_spec.preprocess.fs_hz, generator())
    assert degraded.shape == pairs.shape
    assert torch.isfinite(degraded).all()
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(pairs, degraded, strict=True)]
    assert min(correlation) > 0.8
    assert min(correlation) < 0.99
    assert not torch.allclose(degraded, pairs)


def test_degrading_does_not_depend_on_the_scale(pairs, model_spec):
    fs_hz = model_spec.preprocess.fs_hz
    louder, usual = (augment.degrade(gain * pairs, fs_hz, generator()) for gain in (8, 1))
    torch.testing.assert_close(louder, 8 * usual, atol=1e-4, rtol=1e-4)


def test_a_flat_recording_stays_finite(model_spec):
    flat = torch.zeros(3, 2, 1000)
    assert torch.isfinite(augment.degrade(flat, model_spec.preprocess.fs_hz, generator())).all()
    assert torch.isfinite(augment.to_input(flat, 8.0)).all()


def test_a_perturbation_is_a_small_linear_map_of_the_frontal_plane(pairs):
    turned = augment.perturb(pairs, generator())
    for before, after in zip(pairs.double(), turned.double(), strict=True):
        matrix = after @ torch.linalg.pinv(before)
        torch.testing.assert_close(matrix @ before, after, atol=1e-4, rtol=1e-3)
        assert 0 < (matrix - torch.eye(2)).abs().max() < 0.4


@pytest.mark.parametrize("name", ["crop", "degrade", "perturb", "swap"])
def test_the_same_seed_gives_the_same_batch(pairs, name):
    arguments = {"crop": (928,), "degrade": (125.0,)}.get(name, ())
    step = getattr(augment, name)
    assert torch.equal(step(pairs, *arguments, generator(1)), step(pairs, *arguments, generator(1)))
    assert not torch.equal(step(pairs, *arguments, generator(1)), step(pairs, *arguments, generator(2)))
