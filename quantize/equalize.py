"""Cross-layer equalisation: channels that are too large for a common step hand size to the weights that read them.

A rectifier passes a positive factor on, and so does a mean: what a convolution's channel is divided by, the next
layer's weights for that channel can be multiplied by, and the student says what it said (Nagel et al.,
arXiv:1906.04721). Encoders share no tensor before fusion, which is in floating point, so there is nothing to equalise
across leads.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsemvae_edge.model import Student, channels_last, fold_batch_norm
from lsemvae_edge.model.student import LeadEncoder
from lsemvae_edge.quantize import scheme

ROUNDS = 20
CLOSE = 1e-4
"""Largest relative change of a factor that counts as none."""
_SMALLEST = 1e-8


@dataclass(frozen=True, eq=False)
class _Link:
    """A convolution, the layers that read it, and how large each of its channels becomes (n_channels,)."""

    giver: nn.Conv2d
    readers: tuple[nn.Conv2d | nn.Linear, ...]
    reach: Tensor | None


@torch.no_grad()
def equalized(student: Student, signals: NDArray[np.float32] | None = None) -> Student:
    """Equalise every encoder's chain of layers.

    Parameters
    ----------
    student : Student
        Is not changed.
    signals : array (n, n_leads, n_samples), optional
        Model inputs of training recordings. With them a channel is as large as its largest activation; without, as its
        largest weight, which is what the paper does. As weights have a step for each channel here, only the former
        is felt by a step that channels share.

    Returns
    -------
    Student
        In evaluation mode, with the same outputs up to rounding.
    """
    folded = fold_batch_norm(student)
    reached = {} if signals is None else scheme.activations(student, signals)
    for i, encoder in enumerate(folded.encoders):
        assert isinstance(encoder, LeadEncoder)
        links = _links(encoder, f"encoder{i}", reached)
        for _ in range(ROUNDS):
            if max(_balance(link) for link in links) < CLOSE:
                break
    return unfolded(folded)


@torch.no_grad()
def unfolded(folded: Student) -> Student:
    """Give a student whose batch norms are folded batch norms again that do what its convolutions' biases did.

    Parameters
    ----------
    folded : Student
        See `fold_batch_norm`.

    Returns
    -------
    Student
        In evaluation mode, and like any other: it can be written as float weights and read back.
    """
    plain = Student(folded.config)
    for mine, theirs in zip(plain.encoders, folded.encoders, strict=True):
        assert isinstance(mine, LeadEncoder)
        assert isinstance(theirs, LeadEncoder)
        norms = [layer for layer in mine.features if isinstance(layer, nn.BatchNorm2d)]
        for own, norm, conv in zip(convolutions(mine), norms, convolutions(theirs), strict=True):
            assert conv.bias is not None
            own.weight.copy_(conv.weight)
            norm.running_mean.zero_()  # type: ignore[union-attr]
            norm.running_var.fill_(1.0)  # type: ignore[union-attr]
            norm.weight.fill_((1.0 + norm.eps) ** 0.5)
            norm.bias.copy_(conv.bias)
        mine.mu.load_state_dict(theirs.mu.state_dict())
        mine.logvar.load_state_dict(theirs.logvar.state_dict())
    plain.fused_head.load_state_dict(folded.fused_head.state_dict())
    plain.lead_heads.load_state_dict(folded.lead_heads.state_dict())
    return channels_last(plain).eval()


def convolutions(encoder: LeadEncoder) -> list[nn.Conv2d]:
    """Return the convolutions of an encoder, in order."""
    return [layer for layer in encoder.features if isinstance(layer, nn.Conv2d)]


def _links(encoder: LeadEncoder, name: str, reached: dict[str, Tensor]) -> list[_Link]:
    chain = convolutions(encoder)
    read_by: list[tuple[nn.Conv2d | nn.Linear, ...]] = [*((conv,) for conv in chain[1:]), (encoder.mu, encoder.logvar)]
    links = []
    for number, (conv, readers) in enumerate(zip(chain, read_by, strict=True), start=1):
        given = reached.get(f"{name}.conv{number}")
        links.append(_Link(conv, readers, None if given is None else given.amax(dim=(0, 2, 3))))
    return links


def _balance(link: _Link) -> float:
    """Bring each channel and the weights that read it to one size; return the largest relative change."""
    conv = link.giver
    assert conv.bias is not None
    own = link.reach if link.reach is not None else conv.weight.abs().flatten(1).amax(dim=1)
    read = torch.cat([layer.weight.abs().transpose(0, 1).flatten(1) for layer in link.readers], dim=1).amax(dim=1)
    # A channel that is never seen, or never read, keeps its size.
    idle = (own < _SMALLEST) | (read < _SMALLEST)
    factor = torch.where(idle, torch.ones_like(own), (own / read).clamp(min=_SMALLEST).sqrt())
    # What all channels have in common makes no difference to a step; left in, sizes would wander from layer to layer.
    factor = factor / factor[~idle].log().mean().exp() if not idle.all() else factor
    factor = torch.where(idle, torch.ones_like(own), factor)
    conv.weight.div_(factor.reshape(-1, 1, 1, 1))
    conv.bias.div_(factor)
    if link.reach is not None:
        link.reach.div_(factor)
    for layer in link.readers:
        layer.weight.mul_(factor.reshape(1, -1, *[1] * (layer.weight.dim() - 2)))
    return float((factor - 1).abs().max())
