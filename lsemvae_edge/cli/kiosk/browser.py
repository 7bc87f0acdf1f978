"""``kiosk browser``: show the page of a server that another unit runs; for the unit file, as another user."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.errors import ExitCode


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("browser", help="show the page of a running kiosk on the whole screen")
    parser.add_argument("--address-file", type=Path, required=True, metavar="FILE", help="file with the page's address")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show it until the browser is closed; a server that starts again has another address."""
    from lsemvae_edge.kiosk import display

    display.follow(options.address_file)
    return int(ExitCode.DONE)
