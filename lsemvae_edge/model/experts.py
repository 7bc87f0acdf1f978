"""Fusion of Gaussian experts: a product inside groups of leads, a mixture across groups (HiME, arXiv:2503.13470).

The student's form of `lsemvae_edge.model.fusion.hime`, written with chained additions and divisions, which every
embedded runtime lowers. The prior N(0, I) is an expert of every product, so that a group without leads is the prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Gaussian = tuple[Tensor, Tensor]
"""Mean and log-variance, each (batch, latent_dim)."""


@dataclass(frozen=True, eq=False)
class Fused:
    """A joint posterior, and what each lead gave to its mean.

    Parameters
    ----------
    mu, logvar : Tensor (batch, latent_dim)
    parts : list of Tensor (batch, latent_dim)
        One for each lead; they sum to ``mu``. An absent lead's part is zero.
    """

    mu: Tensor
    logvar: Tensor
    parts: list[Tensor]


def product_of_experts(experts: Sequence[Gaussian], presence: Sequence[Tensor]) -> Fused:
    """Combine the prior and the experts that are present: precisions add, means are weighted by precision.

    Parameters
    ----------
    experts : sequence of (mu, logvar)
        Each (batch, latent_dim).
    presence : sequence of Tensor (batch, 1)
        1 for an expert that is present, 0 for one that is not and has no weight.
    """
    precisions = [torch.exp(-logvar) * there for (_, logvar), there in zip(experts, presence, strict=True)]
    total = precisions[0] + 1.0
    for precision in precisions[1:]:
        total = total + precision
    parts = [mu * precision / total for (mu, _), precision in zip(experts, precisions, strict=True)]
    return Fused(_sum(parts), -torch.log(total), parts)


def hierarchical_fusion(experts: Sequence[Gaussian], mask: Tensor, groups: Sequence[Sequence[int]]) -> Fused:
    """Product of experts inside each group of leads, then a mixture over the groups that have any lead.

    Groups have equal weights, and their parameters are averaged, as in the paper's code of HiME.

    Parameters
    ----------
    experts : sequence of (mu, logvar)
        One for each lead.
    mask : Tensor (batch, n_leads)
        1 for a lead that is present, else 0; at least one of each row is 1.
    groups : sequence of index groups
        For the limb leads ((0, 1, 2), (3, 4, 5)): Einthoven's and Goldberger's.
    """
    presence = [mask[:, i : i + 1] for i in range(len(experts))]
    products = [product_of_experts([experts[i] for i in group], [presence[i] for i in group]) for group in groups]
    there = []
    for group in groups:
        absent = 1.0 - presence[group[0]]
        for i in group[1:]:
            absent = absent * (1.0 - presence[i])
        there.append(1.0 - absent)
    count = _sum(there)
    weights = [one / count for one in there]
    parts: dict[int, Tensor] = {}
    for group, product, weight in zip(groups, products, weights, strict=True):
        parts |= {i: part * weight for i, part in zip(group, product.parts, strict=True)}
    mu = _sum([product.mu * weight for product, weight in zip(products, weights, strict=True)])
    logvar = _sum([product.logvar * weight for product, weight in zip(products, weights, strict=True)])
    return Fused(mu, logvar, [parts[i] for i in range(len(experts))])


def _sum(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
