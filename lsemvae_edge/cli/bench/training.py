"""``bench training``: records a second of pre-training, beside plain implementations."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    training = parts.add_parser("training", help="records a second of pre-training, beside plain implementations")
    training.add_argument("--shards", type=Path, required=True, help="folder made with the reference recipe")
    training.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    training.add_argument("--batch-size", type=int, default=128, help="recordings a step (default %(default)s)")
    training.add_argument("--steps", type=int, default=4, help="steps in a round (default %(default)s)")
    training.add_argument("--rounds", type=int, default=3, help="counted rounds (default %(default)s)")
    add_json(training)
    training.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the rates."""
    try:
        from lsemvae_edge.benchmarks import training
        from lsemvae_edge.train.shards import open_shards
    except ImportError as error:
        raise MissingExtraError("bench training", "train") from error
    results = training.measure(
        open_shards(options.shards),
        precision=options.precision,
        batch_size=options.batch_size,
        steps=options.steps,
        rounds=options.rounds,
        say=say,
    )
    if options.json:
        for one in results:
            print_json(asdict(one))
    else:
        print(training.table(results))
    return int(ExitCode.DONE)
