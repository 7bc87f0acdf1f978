"""The six-lead student: one small convolutional encoder for each lead, hierarchical expert fusion, additive heads.

The layout (4-D tensors, per-lead ``Conv2d((1, k))``, odd kernels with symmetric padding, average pool) is the one
that every embedded runtime lowers whole to int8; the fusion stays in floating point.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

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
    kernels: tuple[int, ...] = (7, 5, 5, 5)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    latent_dim: int = 32
    groups: tuple[tuple[int, ...], ...] = ((0, 1, 2), (3, 4, 5))
    dropout: float = 0.2


SIZES: dict[str, StudentConfig] = {
    "tiny": StudentConfig(channels=(12, 16, 24, 32), latent_dim=24),
    "small": StudentConfig(),
    "base": StudentConfig(channels=(24, 32, 48, 64), latent_dim=48),
}
"""Students by name, found by `bench sizes`: ``tiny`` for microcontrollers, ``small`` for the kiosk, ``base``."""


class StudentOutput(NamedTuple):
    """What a student says of a batch.

    Parameters
    ----------
    logits : Tensor (batch, n_outputs)
    mu, logvar : Tensor (batch, latent_dim)
        The fused posterior.
    lead_mu, lead_logvar : Tensor (batch, n_leads * latent_dim)
        The experts, lead by lead; those of an absent lead mean nothing.
    contributions : Tensor (batch, n_leads * n_outputs)
        What each lead adds to each logit, lead by lead; with the heads' bias they sum to ``logits``.
    """

    logits: Tensor
    mu: Tensor
    logvar: Tensor
    lead_mu: Tensor
    lead_logvar: Tensor
    contributions: Tensor


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
    """Six leads and a presence mask in, logits and posteriors out.

    Parameters
    ----------
    config : StudentConfig

    Notes
    -----
    ``forward`` takes the signal (batch, n_leads, 1, n_samples), absent leads zero, and the mask (batch, n_leads), 1
    for a lead that is present; at least one is.

    The heads are linear in the fused posterior's mean, in training mode in a sample of it (Kingma and Welling,
    arXiv:1312.6114), and in the means of the single leads, which the paper's fine-tuning reads. As the fused mean is
    itself a sum over leads (arXiv:2503.13470: means weighted by precision), every logit is one, too, and what a
    lead contributes to a result follows without further passes through the model.
    """

    def __init__(self, config: StudentConfig | None = None) -> None:
        super().__init__()
        self.config = config or StudentConfig()
        size, n_outputs = self.config.latent_dim, self.config.n_outputs
        self.encoders = nn.ModuleList(LeadEncoder(self.config) for _ in range(self.config.n_leads))
        self.dropout = nn.Dropout(self.config.dropout)
        self.fused_head = nn.Linear(size, n_outputs)
        self.lead_heads = nn.ModuleList(nn.Linear(size, n_outputs, bias=False) for _ in range(self.config.n_leads))

    def with_outputs(self, n_outputs: int) -> "Student":
        """Return a copy in evaluation mode with the first outputs alone."""
        kept = Student(replace(self.config, n_outputs=n_outputs))
        heads = ("fused_head.", "lead_heads.")
        state = {
            name: value[:n_outputs] if name.startswith(heads) else value for name, value in self.state_dict().items()
        }
        kept.load_state_dict(state)
        return channels_last(kept).eval()

    def encode(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return each lead's expert (mu, logvar), each (batch, latent_dim)."""
        return [encoder(x[:, i : i + 1]) for i, encoder in enumerate(self.encoders)]

    def forward(self, x: Tensor, mask: Tensor) -> StudentOutput:
        experts = self.encode(x)
        fused = hierarchical_fusion(experts, mask, self.config.groups)
        terms = []
        for i, ((mu, _), part, head) in enumerate(zip(experts, fused.parts, self.lead_heads, strict=True)):
            fused_term = nn.functional.linear(self.dropout(part), self.fused_head.weight)
            terms.append(fused_term + head(self.dropout(mu * mask[:, i : i + 1])))
        logits = terms[0] + self.fused_head.bias
        for term in terms[1:]:
            logits = logits + term
        if self.training:
            noise = torch.randn_like(fused.mu) * torch.exp(0.5 * fused.logvar)
            logits = logits + nn.functional.linear(noise, self.fused_head.weight)
        return StudentOutput(
            logits,
            fused.mu,
            fused.logvar,
            torch.cat([mu for mu, _ in experts], dim=1),
            torch.cat([logvar for _, logvar in experts], dim=1),
            torch.cat(terms, dim=1),
        )


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
