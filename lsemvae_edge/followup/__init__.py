"""What comes after a screening: over-reads by clinicians, outcomes by echo or catheter, a cohort of them, and drift."""

from lsemvae_edge.followup.findings import (
    Catheter,
    Echo,
    OverRead,
    Precision,
    described,
    from_facts,
    in_unit,
    over_read,
    to_facts,
)

__all__ = [
    "Catheter",
    "Echo",
    "OverRead",
    "Precision",
    "described",
    "from_facts",
    "in_unit",
    "over_read",
    "to_facts",
]
