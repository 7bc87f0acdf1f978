"""``records send``: empty the outbox once."""

import argparse

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("send", help="send what the configured FHIR server has not acknowledged yet, once")
    _records.add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Send once."""
    raise UsageError("There is no outbox yet.")
