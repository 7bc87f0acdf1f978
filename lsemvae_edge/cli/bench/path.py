"""``bench path``: file to JSON stage by stage, start to result, an archive replayed."""

import argparse

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("path", help="file to JSON stage by stage, process start to result, archive replay")
    _session.add_options(parser)
    _session.add_plan(parser)
    _session.add_recording(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the tables."""
    from lsemvae_edge.benchmarks.target import path

    return _session.measured(options, path.PART, path.measure, _session.plan_of(options, recording=options.recording))
