"""``bench preprocessing``: cleaning and reading of a recording beside neurokit2, scipy and wfdb."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("preprocessing", help="cleaning and reading beside neurokit2, scipy and wfdb, in one run")
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.add_argument("--recording", type=Path, metavar="FILE", help="recording (default: a simulated heart)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the tables."""
    from lsemvae_edge.benchmarks.target import preprocessing

    bundles = _session.bundles_of(options)
    return _session.measured(
        options,
        preprocessing.PART,
        preprocessing.measure,
        _session.plan_of(options, bundles, recording=options.recording),
    )
