"""``bench``: measure the installed toolkit on this machine."""

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import (
    aarch64,
    accuracy,
    bluetooth,
    cost,
    faults,
    formats,
    fuzz,
    inputs,
    kills,
    leads,
    noise,
    prepare,
    recorders,
    runtimes,
    safety,
    sizes,
    training,
    transfer,
    variants,
)

PARTS = (
    accuracy,
    variants,
    inputs,
    sizes,
    transfer,
    leads,
    noise,
    formats,
    cost,
    runtimes,
    aarch64,
    safety,
    training,
    prepare,
    kills,
    faults,
    recorders,
    bluetooth,
    fuzz,
)


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("bench", help="measure accuracy, cost and safety on this machine")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in PARTS:
        part.add(parts)
