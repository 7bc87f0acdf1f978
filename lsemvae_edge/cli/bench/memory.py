"""``bench memory``: a process with one model in one runtime, and the sizes of what it holds."""

import argparse

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("memory", help="memory of a process with one model, and sizes of files and arenas")
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row for each case."""
    from lsemvae_edge.benchmarks.target import memory

    return _session.measured(options, memory.PART, memory.measure, _session.plan_of(options))
