"""``kiosk``: set a kiosk up, and look after it."""

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.kiosk import browser, check, clock, operators, settings, setup, units, update

PARTS = (setup, settings, operators, units, check, clock, browser, update)


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser(
        "kiosk",
        help="set a kiosk up, and look after it",
        description="Set up what `lsemvae-edge screen` needs in a clinic: store, key, operators, language, printer.",
    )
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    for part in PARTS:
        part.add(parts)
