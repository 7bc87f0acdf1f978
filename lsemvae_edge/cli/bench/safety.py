"""``bench safety``: what gets an answer and what does not."""

import argparse
from dataclasses import asdict

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    safety = parts.add_parser("safety", help="what gets an answer: no ECG, spoiled, swapped, real")
    safety.add_argument("--final", action="store_true", help="also fold 10")
    safety.add_argument("--seed", type=int, default=0, help="of the strange inputs (default %(default)s)")
    add_json(safety)
    safety.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
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
