"""``train bundle``: from a labelled data set to a bundle."""

import argparse
import json
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    bundle = parts.add_parser("bundle", help="train the small student, quantize it and pack a bundle")
    bundle.add_argument("--out", type=Path, required=True, help="new folder of the bundle")
    bundle.add_argument("--config", type=Path, help="JSON file with fitting options (default: the shipped recipe)")
    bundle.add_argument("--anchor", metavar="NAME", help="also anchor it in this source tree under that name")
    add_json(bundle)
    bundle.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
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
