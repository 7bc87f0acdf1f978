"""``bench confined``: a whole visit at the kiosk within the memory and the core of a small board."""

import argparse
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session
from lsemvae_edge.errors import UsageError

if TYPE_CHECKING:
    from lsemvae_edge.benchmarks.target.plan import Plan
    from lsemvae_edge.benchmarks.target.session import Session

SMALLEST_MB = 32.0


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "confined", help="a visit at the kiosk within 512 MB and one core: the terminal; server and browser together"
    )
    _session.add_options(parser)
    _session.add_plan(parser)
    parser.add_argument("--ui", choices=("terminal", "browser"), help="this one alone (default: both)")
    parser.add_argument(
        "--memory", type=float, metavar="MB",
        help="within so many MB alone (default: 512, and what Linux has of them on a Raspberry Pi Zero 2 W)",
    )  # fmt: skip
    parser.add_argument("--cpus", type=float, default=1.0, metavar="N", help="with --memory (default %(default)g)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print what it took and whether it fits."""
    from lsemvae_edge.benchmarks.target import confined

    if options.memory is not None and options.memory < SMALLEST_MB:
        raise UsageError(f"No kiosk fits into {options.memory:g} MB.", f"Name at least {SMALLEST_MB:g}.")
    if options.cpus <= 0:
        raise UsageError("A kiosk needs a part of a core.", "Name a number above 0.")
    within = None if options.memory is None else [confined.Limits(options.memory, options.cpus, "as asked for")]
    uis = {"terminal": ("terminal",), "browser": ("server and browser",), None: tuple(confined.UIS)}[options.ui]

    def measure(session: "Session", plan: "Plan") -> None:
        confined.measure(session, plan, within, uis)

    return _session.measured(options, confined.PART, measure, _session.plan_of(options))
