"""``bench sustained``: minutes of load, with what the machine says of itself meanwhile."""

import argparse
from functools import partial
from pathlib import Path

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session

MINUTES, QUICK_MINUTES = 30.0, 0.5
WEEK_MINUTES = 7 * 24 * 60


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "sustained", help="minutes of load: drift, temperature, frequency, throttling, supply voltage"
    )
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.add_argument(
        "--minutes",
        type=_session.amount("minutes", WEEK_MINUTES),
        metavar="N",
        help=f"default {MINUTES:g}, with --quick {QUICK_MINUTES:g}",
    )
    parser.add_argument("--every-core", action="store_true", help="keep all usable cores busy, not one")
    parser.add_argument("--recording", type=Path, metavar="FILE", help="recording (default: a simulated heart)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row for each minute."""
    from lsemvae_edge.benchmarks.target import sustained

    bundles = _session.bundles_of(options)
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    plan = _session.plan_of(options, bundles, minutes=minutes, recording=options.recording)
    return _session.measured(options, sustained.PART, partial(sustained.measure, every_core=options.every_core), plan)
