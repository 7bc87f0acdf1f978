"""Bounds of the quality checks, as data that travels with the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QualityLimits:
    """Bounds of `lsemvae_edge.quality`."""
