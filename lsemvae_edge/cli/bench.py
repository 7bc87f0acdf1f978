"""``bench``: measure the installed toolkit on this machine."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("bench", help="measure cost and safety on this machine")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    cost = parts.add_parser("cost", help="start to result, peak memory, preprocessing")
    cost.add_argument("recording", type=Path, help="recording to screen")
    cost.add_argument("--runs", type=int, default=20, help="counted runs (default %(default)s)")
    add_json(cost)
    cost.set_defaults(run=run_cost)
    safety = parts.add_parser("safety", help="what gets an answer: no ECG, spoiled, swapped, real")
    safety.add_argument("--final", action="store_true", help="also fold 10")
    safety.add_argument("--seed", type=int, default=0, help="of the strange inputs (default %(default)s)")
    add_json(safety)
    safety.set_defaults(run=run_safety)


def run_cost(options: argparse.Namespace) -> int:
    """Print what a screening costs."""
    from lsemvae_edge.benchmarks import cost

    rows = [*cost.start(options.recording, options.runs)], [*cost.preprocessing(10 * options.runs)]
    if options.json:
        for part in rows:
            for row in part:
                print_json(asdict(row))
    else:
        print("\n\n".join(cost.table(part) for part in rows))
    return int(ExitCode.DONE)


def run_safety(options: argparse.Namespace) -> int:
    """Print what gets an answer and what does not."""
    try:
        from lsemvae_edge.benchmarks import safety
    except ImportError as error:
        raise MissingExtraError("bench safety", "train") from error
    rows, points = safety.measure(final=options.final, seed=options.seed, say=say)
    if options.json:
        for row in rows:
            print_json(asdict(row))
        for point in points:
            print_json(asdict(point))
    else:
        print(f"{safety.table(rows)}\n\n{safety.operating_table(points)}")
    return int(ExitCode.DONE)
