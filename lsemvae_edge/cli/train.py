"""``train``: from a labelled data set to a bundle, and the figures of it."""

import argparse
import json
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("train", help="train, evaluate and pack a model")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    bundle = parts.add_parser("bundle", help="train the small student, quantize it and pack a bundle")
    bundle.add_argument("--out", type=Path, required=True, help="new folder of the bundle")
    bundle.add_argument("--config", type=Path, help="JSON file with fitting options (default: the shipped recipe)")
    bundle.add_argument("--anchor", metavar="NAME", help="also anchor it in this source tree under that name")
    add_json(bundle)
    bundle.set_defaults(run=run_bundle)
    evaluate = parts.add_parser("evaluate", help="figures of the shipped bundle beside float student and plain CNN")
    evaluate.add_argument("--cross-validate", action="store_true", help="also 5-fold cross-validation of the recipe")
    evaluate.add_argument("--final", action="store_true", help="read fold 10 and append to the ledger")
    evaluate.add_argument("--work", type=Path, default=Path("runs"), help="where finished parts are kept")
    evaluate.add_argument("--processes", type=int, default=2, help="trainings at a time (default %(default)s)")
    evaluate.add_argument("--seeds", type=int, default=3, help="seeds of each recipe (default %(default)s)")
    add_json(evaluate)
    evaluate.set_defaults(run=run_evaluate)


def run_bundle(options: argparse.Namespace) -> int:
    """Build a bundle from the data folder."""
    try:
        from pydantic import ValidationError

        from lsemvae_edge.quantize import build
        from lsemvae_edge.train import datasets
        from lsemvae_edge.train.fit import FitConfig
    except ImportError as error:
        raise MissingExtraError("train bundle", "export") from error
    from lsemvae_edge.errors import UsageError

    try:
        config = FitConfig(**json.loads(options.config.read_text())) if options.config else FitConfig()
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise UsageError(f"{options.config} is not a fitting configuration: {error}") from error
    made = build.build(datasets.data_folder(), options.out, config, say)
    if options.anchor:
        build.anchor(options.anchor, made)
    if options.json:
        print_json({"bundle": str(made.path), "id": made.spec.id, "sha256": made.sha256})
    else:
        print(f"{made.path}: {made.spec.id} ({made.sha256[:12]})")
    return int(ExitCode.DONE)


def run_evaluate(options: argparse.Namespace) -> int:
    """Print one table of every model on every set asked for."""
    try:
        from lsemvae_edge.benchmarks import accuracy
    except ImportError as error:
        raise MissingExtraError("train evaluate", "export") from error
    rows = accuracy.evaluate(
        work=options.work,
        final=options.final,
        cross_validate=options.cross_validate,
        seeds=options.seeds,
        processes=options.processes,
        say=say,
    )
    if options.json:
        for row in rows:
            print_json(row)
    else:
        print(accuracy.table(rows))
    return int(ExitCode.DONE)
