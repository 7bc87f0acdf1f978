"""``devices``: recorders over Bluetooth, real and virtual."""

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.devices import drivers, enrolled, recordings, scan, simulate

PARTS = (scan, enrolled, recordings, simulate, drivers)


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("devices", help="find, enrol, record from, and simulate recorders")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in PARTS:
        part.add(parts)
