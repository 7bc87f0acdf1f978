"""``bench``: measure the installed toolkit on this machine."""

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import (
    aarch64,
    accuracy,
    bluetooth,
    cost,
    disk_full,
    drawing,
    faults,
    formats,
    fuzz,
    inputs,
    kills,
    kiosk_latency,
    leads,
    leaks,
    noise,
    power_cuts,
    prepare,
    recorders,
    records,
    runtimes,
    safety,
    sizes,
    store_kills,
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
    store_kills,
    power_cuts,
    disk_full,
    leaks,
    records,
    kiosk_latency,
    drawing,
)


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("bench", help="measure accuracy, cost and safety on this machine")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in PARTS:
        part.add(parts)
