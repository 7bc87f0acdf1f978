"""What each part of the recipe brings: variants of it by cross-validation, judged on folds 1-9."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks.accuracy import TASKS, Judged, compared, crossed, load_both
from lsemvae_edge.benchmarks.fits import Fit, run_all
from lsemvae_edge.train import datasets
from lsemvae_edge.train.config_distill import DistillConfig, shipped_recipe

SHIPPED = "shipped recipe"

Say = Callable[[str], None]


def variants(seed: int) -> dict[str, tuple[str, DistillConfig]]:
    """Return what is compared: name to kind of training and its configuration."""
    shipped = shipped_recipe(seed=seed)

    def other(**changes: Any) -> tuple[str, DistillConfig]:
        return "student", shipped.model_copy(update=changes)

    alone = shipped.student.model_copy(update={"mixup": 0.0})
    return {
        SHIPPED: ("student", shipped),
        "labels alone, no mixup": other(teachers=(), student=alone),
        "labels alone": other(teachers=()),
        "teachers weigh three times as much": other(soft_weight=3 * shipped.soft_weight),
        "labels alone, hint: chest leads": other(teachers=(), hint="chest", hint_weight=3.0),
        "hint: latent of a 12L teacher": other(hint="latent", hint_weight=1.0),
        "hint: features of a 12L teacher": other(hint="features", hint_weight=1.0),
        "hint: experts of a 12L teacher": other(hint="experts", hint_weight=1.0),
        "hint: measured axis, terminal forces, P wave": other(hint="measured", hint_weight=1.0),
        "labels and an ensemble of two on the same input": other(teachers=(), ensemble=2, ensemble_weight=2.0),
        "plain CNN on the average beat": ("beat_cnn", shipped),
        "plain CNN on the window": ("cnn", shipped),
    }


def measure(*, work: Path, names: tuple[str, ...], seed: int, processes: int, say: Say) -> list[dict[str, Any]]:
    """Cross-validate variants in the same folds as `bench students`, and judge them on recordings of folds 1-9.

    Parameters
    ----------
    work : Path
        Finished trainings are kept there; those of `bench students` are used again.
    names : tuple of str
        Variants to measure; empty for all. The shipped recipe is always among them.
    seed, processes : int
    say : callable

    Returns
    -------
    list of dict
        Rows as of `bench students`; differences are against the shipped recipe.
    """
    torch.set_num_threads(1)
    cohort, teaching = load_both(datasets.entries(datasets.data_folder()), processes)
    folds, places = crossed(cohort, teaching, "cv")
    chosen = {name: of for name, of in variants(seed).items() if not names or name in (*names, SHIPPED)}
    fits = {
        name: [Fit(kind, place, config, int8=name == SHIPPED) for place in places]  # type: ignore[arg-type]
        for name, (kind, config) in chosen.items()
    }
    run_all([fit for of_name in fits.values() for fit in of_name], work, processes, say)
    scores = {}
    for name, of_name in fits.items():
        whole = np.full((len(cohort), len(TASKS)), np.nan, dtype=np.float32)
        for fold, fit in enumerate(of_name):
            form = "float" if fit.kind == "student" else fit.kind
            whole[folds == fold] = fit.answers(work)[form][:, : len(TASKS)]
        scores[name] = [whole]
    kept = cohort.fold <= metrics.VALIDATION_FOLD
    judged = Judged("B, folds 1-9", cohort, scores).select("B, folds 1-9", kept)
    return [
        row
        for column, task in enumerate(TASKS)
        for row in compared(
            judged,
            task,
            "all",
            judged.cohort.targets[:, column],
            {name: [one[:, column] for one in of_name] for name, of_name in judged.scores.items()},
            SHIPPED,
        )
    ]
