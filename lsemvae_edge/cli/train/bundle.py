"""``train bundle``: from a labelled data set to a bundle."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.train.distill import add_recipe, read_recipe
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    bundle = parts.add_parser("bundle", help="train teachers and student, quantize and pack a bundle")
    bundle.add_argument("--out", type=Path, required=True, help="new folder of the bundle")
    add_recipe(bundle)
    bundle.add_argument("--anchor", metavar="NAME", help="also anchor it in this source tree under that name")
    add_json(bundle)
    bundle.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build a bundle from the data folder."""
    try:
        from lsemvae_edge.quantize import build, pipeline
        from lsemvae_edge.train import datasets
    except ImportError as error:
        raise MissingExtraError("train bundle", "export") from error
    recipe = read_recipe(options)
    made = pipeline.build(datasets.data_folder(), options.out, recipe, say)
    if options.anchor:
        build.anchor(options.anchor, made)
    if options.json:
        print_json({"bundle": str(made.path), "id": made.spec.id, "sha256": made.sha256})
    else:
        print(f"{made.path}: {made.spec.id} ({made.sha256[:12]})")
    return int(ExitCode.DONE)
