"""What portable recorders do to conditioned leads."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training runs in torch; the base install has none")

from lsemvae_edge.train.augment import degrade  # noqa: E402

FS_HZ = 125.0


@pytest.fixture
def pairs(simulated_pairs):
    return torch.from_numpy(simulated_pairs)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_degraded_recordings_stay_recognisable_and_keep_their_shape(pairs):
    degraded = degrade(pairs, FS_HZ, generator())
    assert degraded.shape == pairs.shape
    assert torch.isfinite(degraded).all()
    correlation = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(pairs, degraded, strict=True)]
    assert min(correlation) > 0.8
    assert min(correlation) < 0.99
    assert not torch.allclose(degraded, pairs)


def test_degrading_does_not_depend_on_the_scale(pairs):
    louder, usual = (degrade(gain * pairs, FS_HZ, generator()) for gain in (8, 1))
    torch.testing.assert_close(louder, 8 * usual, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [100, 208, 209, 500])
def test_degraded_windows_of_any_length_keep_their_size(length):
    x = torch.randn(64, 2, length, generator=generator(3))
    ratio = degrade(x, FS_HZ, generator()).square().mean(dim=(1, 2)) / x.square().mean(dim=(1, 2))
    assert ratio.max() < 2
    assert ratio.min() > 0.1


def test_a_flat_recording_stays_flat():
    assert not degrade(torch.zeros(3, 2, 1000), FS_HZ, generator()).any()


def test_the_same_seed_gives_the_same_batch(pairs):
    assert torch.equal(degrade(pairs, FS_HZ, generator(1)), degrade(pairs, FS_HZ, generator(1)))
    assert not torch.equal(degrade(pairs, FS_HZ, generator(1)), degrade(pairs, FS_HZ, generator(2)))
