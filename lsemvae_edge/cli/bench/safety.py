"""``bench safety``: what gets an answer and what does not."""

import argparse
from dataclasses import asdict

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    safety = parts.add_parser("safety", help="what gets an answer: no ECG, spoiled, swapped, real")
    safety.add_argument(
        "--final", action="store_true", help="also fold 10 and the labels of other_recorders; append to the ledger"
    )
    safety.add_argument("--seed", type=int, default=0, help="of the strange inputs (default %(default)s)")
    add_json(safety)
    safety.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what gets an answer and what does not, how right the answers are, and what fewer of them would buy."""
    try:
        from lsemvae_edge.benchmarks import operating, safety
    except ImportError as error:
        raise MissingExtraError("bench safety", "train") from error
    tables = safety.measure(final=options.final, seed=options.seed, say=say)
    if options.json:
        for part in asdict(tables).values():
            for figure in part:
                print_json(figure)
    else:
        print(
            safety.table(tables.rows),
            operating.operating_table(tables.operating),
            operating.abstention_table(tables.abstention),
            sep="\n\n",
        )
    return int(ExitCode.DONE)
