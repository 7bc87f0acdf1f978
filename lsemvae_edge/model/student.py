"""The six-lead student: one small convolutional encoder for each lead, hierarchical expert fusion, task heads.

The layout (4-D tensors, per-lead ``Conv2d((1, k))``, odd kernels with symmetric padding, average pool) is the one
that every embedded runtime lowers whole to int8; the fusion stays in floating point.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lsemvae_edge.model.experts import hierarchical_fusion

LOGVAR_BOUND = 4.0


@dataclass(frozen=True)
class StudentConfig:
    """Size of a student; the defaults are ``small``, the kiosk's."""

    n_leads: int = 6
    n_outputs: int = 4
    channels: tuple[int, ...] = (16, 24, 32, 48)
    kernels: tuple[int, ...] = (15, 5, 5, 5)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    latent_dim: int = 32
    hidden: int = 64
    groups: tuple[tuple[int, ...], ...] = ((0, 1, 2), (3, 4, 5))
    dropout: float = 0.2


class LeadEncoder(nn.Module):
    """Encoder of one lead: (batch, 1, 1, n_samples) to the mean and log-variance of its expert."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = 1
        for n_out, kernel, stride in zip(config.channels, config.kernels, config.strides, strict=True):
            conv = nn.Conv2d(n_in, n_out, (1, kernel), stride=(1, stride), padding=(0, kernel // 2), bias=False)
            layers += [conv, nn.BatchNorm2d(n_out), nn.ReLU()]
            n_in = n_out
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mu = nn.Linear(n_in, config.latent_dim)
        self.logvar = nn.Linear(n_in, config.latent_dim)

    def forward(self, lead: Tensor) -> tuple[Tensor, Tensor]:
        pooled = torch.flatten(self.pool(self.features(lead)), 1)
        return self.mu(pooled), torch.clamp(self.logvar(pooled), -LOGVAR_BOUND, LOGVAR_BOUND)


class Student(nn.Module):
    """Six leads in, logits and the fused posterior out.

    Parameters
    ----------
    config : StudentConfig

    Notes
    -----
    ``forward`` takes (batch, n_leads, 1, n_samples) and returns ``logits (batch, n_outputs)``,
    ``mu (batch, latent_dim)`` and ``logvar (batch, latent_dim)``. The heads read the fused posterior, in training mode
    a sample of it (Kingma and Welling, arXiv:1312.6114), beside the means of the single leads, as the paper's
    fine-tuning does.
    """

    def __init__(self, config: StudentConfig | None = None) -> None:
        super().__init__()
        self.config = config or StudentConfig()
        self.encoders = nn.ModuleList(LeadEncoder(self.config) for _ in range(self.config.n_leads))
        self.heads = nn.Sequential(
            nn.Linear(self.config.latent_dim * (1 + self.config.n_leads), self.config.hidden),
            nn.ReLU(),
            nn.Dropout(self.config.dropout),
            nn.Linear(self.config.hidden, self.config.n_outputs),
        )

    def encode(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return each lead's expert (mu, logvar), each (batch, latent_dim)."""
        return [encoder(x[:, i : i + 1]) for i, encoder in enumerate(self.encoders)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        experts = self.encode(x)
        mu, logvar = hierarchical_fusion(experts, self.config.groups)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar) if self.training else mu
        return self.heads(torch.cat([z, *(lead_mu for lead_mu, _ in experts)], dim=1)), mu, logvar


def channels_last(student: Student) -> Student:
    """Lay the weights out so that convolutions of few channels run quicker on a CPU; values are unchanged."""
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return student


def fold_batch_norm(student: Student) -> Student:
    """Return a copy in evaluation mode whose batch norms are folded into their convolutions (exact up to rounding)."""
    folded = Student(student.config)
    folded.load_state_dict(student.state_dict())
    folded.eval()
    for encoder in folded.encoders:
        assert isinstance(encoder, LeadEncoder)
        layers = list(encoder.features)
        kept: list[nn.Module] = []
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                kept.append(fuse_conv_bn_eval(layer, following))
            elif not isinstance(layer, nn.BatchNorm2d):
                kept.append(layer)
        encoder.features = nn.Sequential(*kept)
    return folded
