"""``bench ingest``: how many times real time each Bluetooth driver decodes and assembles."""

import argparse

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("ingest", help="Bluetooth packets to recordings, driver by driver")
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row for each driver."""
    from lsemvae_edge.benchmarks.target import ingest

    return _session.measured(options, ingest.PART, ingest.measure, _session.plan_of(options))
