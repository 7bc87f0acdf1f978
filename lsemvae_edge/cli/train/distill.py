"""``train distill``: teachers of twelve and six leads to a six-lead student."""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.train.config_distill import DistillConfig


def add(parts: Commands) -> None:
    """Describe the command."""
    distill = parts.add_parser("distill", help="fit a six-lead student that learns from labels and teachers")
    distill.add_argument("--out", type=Path, required=True, help="new folder of the student's float weights")
    add_recipe(distill)
    add_json(distill)
    distill.set_defaults(run=run)


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a recipe."""
    parser.add_argument("--size", default="small", help="tiny, small or base (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--config", type=Path, help="JSON file of the whole recipe (default: the shipped one)")


def read_recipe(options: argparse.Namespace) -> "DistillConfig":
    """Return the recipe that the options name.

    Raises
    ------
    MissingExtraError
        If the training stack is not installed.
    UsageError
        If the file is no recipe, or there is no such size.
    """
    try:
        from pydantic import ValidationError

        from lsemvae_edge.train.config_distill import DistillConfig, shipped_recipe
    except ImportError as error:
        raise MissingExtraError("Distilling", "train") from error
    try:
        if options.config:
            return DistillConfig(**json.loads(options.config.read_text()))
        return shipped_recipe(options.size, options.seed)
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise UsageError(f"This is no recipe of a student: {error}") from error


def run(options: argparse.Namespace) -> int:
    """Fit a student on folds 1-8, and judge it on fold 9."""
    recipe = read_recipe(options)
    from lsemvae_edge import metrics
    from lsemvae_edge.quantize import weights
    from lsemvae_edge.train import calibrate, datasets, distill
    from lsemvae_edge.train.cohort import load_cohort

    if options.out.exists():
        raise UsageError(f"{options.out} exists.", "Name a new folder.")
    begun = time.process_time()
    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold != metrics.TEST_FOLD]
    tasks = [task.name for task in calibrate.TASKS]
    training, _ = load_cohort([e for e in listed if e.fold < metrics.VALIDATION_FOLD], tasks, same_band=True)
    validation, _ = load_cohort([e for e in listed if e.fold == metrics.VALIDATION_FOLD], tasks)
    student = distill.distill(training, recipe, say=say)
    spent = round(time.process_time() - begun)
    logits = distill.predict(student, validation).logits.numpy()
    found = {}
    for column, task in enumerate(tasks):
        known = validation.targets[:, column] >= 0
        found[task] = round(metrics.auroc(validation.targets[known, column], logits[known, column]), 4)
    options.out.mkdir(parents=True)
    for name, content in weights.dump(student).items():
        (options.out / name).write_bytes(content)
    (options.out / "recipe.json").write_text(recipe.model_dump_json(indent=1) + "\n")
    made = {"command": f"lsemvae-edge train distill --size {recipe.student.size}", "processor_seconds": spent}
    (options.out / "provenance.json").write_text(json.dumps(made) + "\n")
    if options.json:
        print_json({"student": str(options.out), "fold_9_auroc": found})
    else:
        print(f"{options.out}: fold 9 AUROC " + ", ".join(f"{task} {value:.3f}" for task, value in found.items()))
    return int(ExitCode.DONE)
