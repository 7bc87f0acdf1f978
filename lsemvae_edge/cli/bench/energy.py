"""``bench energy``: what an inference costs at the supply, by a meter."""

import argparse
from functools import partial

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("energy", help="energy of one inference, where a meter is connected")
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.add_argument(
        "--meter", metavar="NAME[:TEXT]", help="ina2xx, joulescope, powercap, ppk2:MILLIVOLTS (default: what is there)"
    )
    parser.add_argument(
        "--window",
        type=_session.amount("seconds", 600),
        metavar="S",
        help="seconds of each rest and load (default 3)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print a row for each case, or why there is none."""
    from lsemvae_edge.benchmarks.target import energy

    measure = partial(energy.measure, meter=options.meter, window_s=options.window or energy.WINDOW_S)
    return _session.measured(options, energy.PART, measure, _session.plan_of(options))
