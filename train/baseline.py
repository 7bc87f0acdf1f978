"""The plain six-lead CNN that every student is measured against, and learns from."""

from collections.abc import Callable

import torch
from torch import nn

from lsemvae_edge.model.baselines import PlainCNN
from lsemvae_edge.spec import PreprocessSpec
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.fit import FitConfig, fit

BASELINE_CONFIG = FitConfig(epochs=20, guard_weight=0.0, perturb=False, swapped_per_batch=1, not_ecg_per_batch=1)
"""The plain CNN learns the two tasks alone, as the anchors it stands for did."""


def fit_baseline(
    training: Cohort, spec: PreprocessSpec, seed: int, progress: Callable[[int, float], None] | None = None
) -> nn.Module:
    """Fit a plain CNN from scratch; see `lsemvae_edge.train.fit.fit`."""
    torch.manual_seed(seed)
    config = BASELINE_CONFIG.model_copy(update={"seed": seed})
    return fit(PlainCNN(), training, spec, config, progress=progress)
