"""``bench preprocessing``: cleaning and reading of a recording beside neurokit2, scipy and wfdb."""

import argparse

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("preprocessing", help="cleaning and reading beside neurokit2, scipy and wfdb, in one run")
    _session.add_options(parser)
    _session.add_plan(parser)
    _session.add_recording(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the tables."""
    from lsemvae_edge.benchmarks.target import preprocessing

    return _session.measured(
        options,
        preprocessing.PART,
        preprocessing.measure,
        _session.plan_of(options, recording=options.recording),
    )
