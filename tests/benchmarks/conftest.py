"""Recordings of nothing, for tests of how they are counted."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def cohort_of():
    """Function that makes a cohort of noise with labels, two recordings a patient, in folds 9 and 10 by default."""
    pytest.importorskip("scipy", reason="training data needs the extra `train`")
    pytest.importorskip("pydantic", reason="training data needs the extra `train`")
    from lsemvae_edge.train import datasets
    from lsemvae_edge.train.cohort import Cohort
    from lsemvae_edge.train.labels import N_AUXILIARY

    def make(n=120, seed=0, folds=(9, 10), n_samples=100, prefix="r"):
        rng = np.random.default_rng(seed)
        number = np.arange(n)
        right = (number % 4 == 0).astype(np.float32)
        limb_only = number % 5 == 0
        present = np.ones((n, 12), dtype=bool)
        present[limb_only, 6:] = False
        auxiliary = np.zeros((n, N_AUXILIARY), dtype=np.float32)
        return Cohort(
            beats=rng.normal(size=(n, 12, n_samples)).astype(np.float32) * present[:, :, None],
            pairs=rng.normal(size=(n, 2, 960)).astype(np.float32),
            present=present,
            tasks=("right_heart_pattern", "heart_side"),
            targets=np.stack([right, np.where(number % 3 == 0, right, np.nan)], axis=1).astype(np.float32),
            auxiliary=auxiliary,
            fold=np.array(folds)[number // 2 % len(folds)],
            patient=np.array([f"{prefix}{k // 2}" for k in number]),
            source=np.where(limb_only, datasets.LIMB_ONLY, datasets.TWELVE_LEAD),
            site=np.full(n, ""),
            device=np.full(n, ""),
            sex=np.where(number // 2 % 2, "female", "male"),
            age_years=np.where(number % 6, 30.0 + 15 * (number % 4), np.nan).astype(np.float32),
            right_axis_like=np.zeros(n, dtype=bool),
            record_id=np.array([f"{prefix}{k}" for k in number]),
        )

    return make
