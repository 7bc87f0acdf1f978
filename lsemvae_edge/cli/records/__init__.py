"""``records``: what a kiosk stored."""

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.records import (
    amending,
    cohorts,
    exporting,
    findings,
    keys,
    listing,
    new_ids,
    restoring,
    sending,
    verifying,
    wiping,
)

PARTS = (listing, exporting, verifying, amending, findings, cohorts, wiping, keys, restoring, sending, new_ids)


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser(
        "records",
        help="list, show, export, verify and wipe what a kiosk stored",
        description="Records of a kiosk. Exports and wipes are noted in the store, with who ran the command.",
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in PARTS:
        part.add(parts)
