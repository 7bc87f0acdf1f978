"""Fusion of Gaussian experts: a product inside groups of leads, a mixture across groups (HiME, arXiv:2503.13470)."""

from collections.abc import Sequence

import torch
from torch import Tensor

Gaussian = tuple[Tensor, Tensor]
"""Mean and log-variance, each (batch, latent_dim)."""


def product_of_experts(experts: Sequence[Gaussian]) -> Gaussian:
    """Combine experts that must all agree: precisions add, means are weighted by precision.

    Written with chained additions and one division, which every embedded runtime lowers.

    Parameters
    ----------
    experts : sequence of (mu, logvar)
        Each (batch, latent_dim).

    Returns
    -------
    mu, logvar : Tensor
        Each (batch, latent_dim).
    """
    mu, logvar = experts[0]
    total = torch.exp(-logvar)
    weighted = mu * total
    for mu, logvar in experts[1:]:
        precision = torch.exp(-logvar)
        weighted = weighted + mu * precision
        total = total + precision
    return weighted / total, -torch.log(total)


def mixture_of_experts(experts: Sequence[Gaussian]) -> Gaussian:
    """Combine experts that may disagree: equal weights, parameters averaged as in the paper's code of HiME."""
    mu, logvar = experts[0]
    for other_mu, other_logvar in experts[1:]:
        mu = mu + other_mu
        logvar = logvar + other_logvar
    return mu * (1.0 / len(experts)), logvar * (1.0 / len(experts))


def hierarchical_fusion(experts: Sequence[Gaussian], groups: Sequence[Sequence[int]]) -> Gaussian:
    """Product of experts inside each group of leads, then a mixture over the groups.

    Parameters
    ----------
    experts : sequence of (mu, logvar)
        One for each lead.
    groups : sequence of index groups
        For the limb leads ((0, 1, 2), (3, 4, 5)): Einthoven's and Goldberger's.
    """
    return mixture_of_experts([product_of_experts([experts[i] for i in group]) for group in groups])
