"""``bench latency``: inference alone, by runtime, precision, size and threads."""

import argparse

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "latency", help="inference alone: runtime × precision × size × threads, in fresh processes"
    )
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row for each case."""
    from lsemvae_edge.benchmarks.target import latency

    return _session.measured(options, latency.PART, latency.measure, _session.plan_of(options))
