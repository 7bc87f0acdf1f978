"""The quiet part of a recording comes first, and no window touches what is excluded."""

import numpy as np

from lsemvae_edge.quality.windows import rank_windows

FS_HZ = 125.0


def test_windows_avoid_excluded_samples_and_prefer_the_quiet_part() -> None:
    rng = np.random.default_rng(0)
    beat = np.exp(-0.5 * ((np.arange(125) / FS_HZ - 0.5) / 0.015) ** 2)
    vector = rng.normal(0, 0.01, (2, 4000)) + np.tile(np.stack([beat, 0.5 * beat]), 32)
    vector[:, :1500] += rng.normal(0, 0.3, (2, 1500))
    excluded = np.zeros(4000, dtype=bool)
    excluded[2600:2700] = True
    starts = rank_windows(vector, excluded, 928, 31, FS_HZ)
    assert not any(excluded[start : start + 928].any() for start in starts)
    assert starts[0] >= 1500
