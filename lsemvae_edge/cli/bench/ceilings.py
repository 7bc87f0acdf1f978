"""``bench ceilings``: what this machine can do at most, and what fraction of it the models reach."""

import argparse
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session

if TYPE_CHECKING:
    from lsemvae_edge.benchmarks.target.plan import Plan
    from lsemvae_edge.benchmarks.target.session import Session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "ceilings", help="convolutions and copying at most, the models' work, and where their time goes"
    )
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print ceilings, work, fractions and the profile."""
    from lsemvae_edge.benchmarks.target import ceilings, work

    def measure(session: "Session", plan: "Plan") -> None:
        ceilings.measure(session, plan)
        work.measure(session, plan)

    return _session.measured(options, ceilings.PART, measure, _session.plan_of(options))
