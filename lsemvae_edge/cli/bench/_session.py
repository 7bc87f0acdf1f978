"""What the commands share that measure into a session."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import add_json, print_json, say
from lsemvae_edge.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lsemvae_edge.benchmarks.target.plan import Plan
    from lsemvae_edge.benchmarks.target.session import Session
    from lsemvae_edge.bundle import Bundle

PLACE = Path("runs/bench")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a command the options of every session."""
    parser.add_argument(
        "--bundle", type=Path, action="append", metavar="PATH",
        help="bundle to measure, more than once for several (default: the one that ships with the package)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"new folder of the session (default: in {PLACE})")
    parser.add_argument("--seed", type=int, default=0, help="of the order of turns (default %(default)s)")
    add_json(parser)


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Give a command the options that choose what runs, and how often."""
    parser.add_argument("--runtime", type=_names, default=(), metavar="R[,R]", help="these alone (default: all here)")
    parser.add_argument("--precision", type=_names, default=(), metavar="P[,P]", help="int8, fp32 (default: both)")
    parser.add_argument("--threads", type=_numbers, default=(1,), metavar="N[,N]", help="default 1")
    parser.add_argument("--repeats", type=_number, metavar="N", help="fresh processes of each case")
    parser.add_argument("--runs", type=_number, metavar="N", help="runs in each of them")
    parser.add_argument("--quick", action="store_true", help="few repeats: a first look")
    parser.add_argument(
        "--tflite-runtime-python", type=Path, metavar="PATH", help="interpreter of tflite-runtime's own environment"
    )


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Give a command the recording that it measures with."""
    parser.add_argument("--recording", type=Path, metavar="FILE", help="recording (default: a simulated heart)")


def bundles_of(options: argparse.Namespace) -> "list[Bundle]":
    """Load the bundles that were named, or the shipped one."""
    from lsemvae_edge import bundle as bundles

    return [bundles.load(path) for path in options.bundle] if options.bundle else [bundles.default()]


def plan_of(options: argparse.Namespace, **more: Any) -> "Plan":
    """Return the plan that options of `add_options` and `add_plan` ask for; ``more`` are the command's own."""
    from lsemvae_edge.benchmarks.target.plan import Plan

    return Plan(
        bundles_of(options),
        quick=options.quick,
        runtimes=options.runtime,
        precisions=options.precision,
        threads=options.threads,
        repeats=options.repeats,
        runs=options.runs,
        tflite_runtime_python=options.tflite_runtime_python,
        **more,
    )


def opened(options: argparse.Namespace, part: str, bundles: "Sequence[Bundle]") -> "Session":
    """Open the session's folder, named by part and time unless it was named."""
    from lsemvae_edge.benchmarks.target import host
    from lsemvae_edge.benchmarks.target.session import Session

    folder = options.out or PLACE / f"{part}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    return Session(folder, host.facts(), bundles, options.seed, say)


def measured(options: argparse.Namespace, part: str, measure: "Callable[[Session, Plan], None]", plan: "Plan") -> int:
    """Measure one part in a session of its own, and show it."""
    from lsemvae_edge.benchmarks.target import report_part

    with opened(options, part, plan.bundles) as session:
        measure(session, plan)
    return show(options, session.folder, report_part.tables(session.folder, part))


def show(options: argparse.Namespace, folder: Path, table: str) -> int:
    """Print the table and where the session is, or its summary as JSON."""
    from lsemvae_edge.benchmarks.target import session

    if options.json:
        print_json(session.summarize(session.read(folder)))
    else:
        print(table, f"\n{folder}", sep="\n")
    return int(ExitCode.DONE)


def amount(unit: str, most: float) -> "Callable[[str], float]":
    """Return what takes a positive amount from the command line, up to ``most``."""

    def taken(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = 0.0
        if not 0 < found <= most:
            raise argparse.ArgumentTypeError(f"{unit}, more than 0 and up to {most:g}, are needed, not {text!r}")
        return found

    return taken


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"a whole number from 1 is needed, not {text!r}")
    return int(text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_number(one) for one in text.split(","))
