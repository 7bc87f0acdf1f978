"""``bench sustained``: minutes of load, with what the machine says of itself meanwhile."""

import argparse
from functools import partial

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
    _session.add_recording(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row for each minute."""
    from lsemvae_edge.benchmarks.target import sustained

    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    plan = _session.plan_of(options, minutes=minutes, recording=options.recording)
    return _session.measured(options, sustained.PART, partial(sustained.measure, every_core=options.every_core), plan)
