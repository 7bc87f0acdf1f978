"""The plain six-lead CNN that every student is measured against, and learns from."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lsemvae_edge.spec import PreprocessSpec
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.fit import FitConfig, fit

BASELINE_CONFIG = FitConfig(epochs=20, guard_weight=0.0, perturb=False, swapped_per_batch=1, not_ecg_per_batch=1)
"""The plain CNN learns the two tasks alone, as the anchors it stands for did."""


class PlainCNN(nn.Module):
    """Strided convolutions over all leads together: (batch, n_leads, 1, n_samples) to logits (batch, n_outputs)."""

    def __init__(self, n_leads: int = 6, n_outputs: int = 4, channels: tuple[int, ...] = (32, 64, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = n_leads
        for n_out in channels:
            layers += [nn.Conv1d(n_in, n_out, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
            n_in = n_out
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_in, n_outputs))

    def forward(self, x: Tensor) -> tuple[Tensor, None, None]:
        """Return the logits in the place where the student has them."""
        return self.head(self.features(x[:, :, 0]).mean(dim=2)), None, None


def fit_baseline(
    training: Cohort, spec: PreprocessSpec, seed: int, progress: Callable[[int, float], None] | None = None
) -> nn.Module:
    """Fit a plain CNN from scratch; see `lsemvae_edge.train.fit.fit`."""
    torch.manual_seed(seed)
    config = BASELINE_CONFIG.model_copy(update={"seed": seed})
    return fit(PlainCNN(), training, spec, config, progress=progress)
