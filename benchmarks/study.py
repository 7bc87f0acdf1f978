"""The paper's tables for any cohort: models, lead sets, splits and noise, in one call that resumes.

Every learned step is a stage that is kept on disk (`lsemvae_edge.benchmarks.stages`); this module decides which
stages there are, asks the finished ones, and writes tables and figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import stages
from lsemvae_edge.benchmarks.stages import Data, Place, Stage
from lsemvae_edge.benchmarks.study_config import ModelRow, StudyConfig
from lsemvae_edge.benchmarks.tables import NotRun
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.metrics import TEST_FOLD, VALIDATION_FOLD
from lsemvae_edge.train.datasets import DataSet, check_cohort
from lsemvae_edge.train.finetune import LEAD_SETS, Examples, LatentConfig, positions
from lsemvae_edge.train.predictions import NO_FOLD, Predictions, pool, validation_of
from lsemvae_edge.train.recipes import recipe
from lsemvae_edge.train.robustness import SNRS_DB, add_noise
from lsemvae_edge.train.saliency import Saliency, integrated_gradients
from lsemvae_edge.train.shards import Shards, open_shards
from lsemvae_edge.train.windows import centre, rescale

TEST, HELD_OUT, CROSS_VALIDATED = "fold 10", "A: folds 9-10, 12-lead recordings", "B: 5-fold cross-validation"
ALL_HELD_OUT = "folds 9-10, all recordings"
N_FOLDS = 5
N_SALIENCY = 48
"""Positive recordings whose attributions are averaged."""

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Study:
    """What a study found.

    ``by_snr`` holds predictions under noise (decibels; None for none), ``saliency`` attributions by model and leads,
    ``trained_on`` the training recordings (mean over folds) by model, split and leads.
    """

    predictions: list[Predictions]
    validation: list[Predictions]
    not_run: list[NotRun]
    by_snr: dict[float | None, list[Predictions]]
    saliency: dict[str, Saliency]
    seconds: dict[str, float]
    curves: dict[str, Path]
    trained_on: dict[tuple[str, str, str], int]


def run(config: StudyConfig, data: Data, work: Path, *, dataset: DataSet | None, final: bool, say: Say) -> Study:
    """Do what is not done, and ask every finished model.

    Parameters
    ----------
    config : StudyConfig
    data : Data
        Shards of each recipe that the models read.
    work : Path
        Finished stages are kept there.
    dataset : DataSet, optional
        Where the recordings came from; noise has to enter before they are prepared.
    final : bool
        Also read fold 10. Without it, fold 9 alone is shown.
    say : callable
    """
    work.mkdir(parents=True, exist_ok=True)
    shards = whole(data)
    crossed = any("cv5" in row.splits for row in config.rows)
    checked = check_cohort(shards.patient, shards.targets, N_FOLDS if crossed else 1)
    for line in checked.problems.lines():
        say(line)
    if len(checked.usable) < len(shards.tasks):
        data = replace(data, tasks=checked.usable)
    found: list[Stage] = []
    not_run: list[NotRun] = []
    for row in config.rows:
        if row.recipe not in data.taught:
            not_run += _missing(row, shards, f"no shards of the recipe {row.recipe} were given")
            continue
        for split in row.splits:
            for seed in row.seeds:
                found += [
                    Stage(row, seed, place, data, work, "fit") for place in places(shards, split, row.train_share)
                ]
    seconds, failed = stages.run_all(found, processes=config.processes, budget_minutes=config.budget_minutes, say=say)
    for stage in found:
        if stage.folder() in failed:
            not_run += _missing(stage.row, shards, failed[stage.folder()], stage.place.split)
    done = [stage for stage in found if stage.finished()]
    predictions, validation = ask(done, shards, final=final, say=say)
    return Study(
        predictions,
        validation,
        list(dict.fromkeys(not_run)),
        _under_noise(done, config, shards, dataset, final=final, say=say) if dataset and config.robustness else {},
        _saliency(done, config, shards, final=final) if config.saliency else {},
        {folder.name: round(value, 1) for folder, value in seconds.items()},
        _curves(done),
        _trained_on(done),
    )


def whole(data: Data) -> Shards:
    """Return the recordings that are judged, in the recipe that takes the most of them."""
    return max((open_shards(folder) for folder in data.judged.values()), key=len)


def places(shards: Shards, split: str, train_share: float = 1.0) -> list[Place]:
    """Return the folds of a split, with a share of their training patients."""
    ids, patients = shards.record_id, shards.patient
    if split == "folds":
        teach, choose = shards.fold < VALIDATION_FOLD, shards.fold == VALIDATION_FOLD
        kept = teach & _share_of(patients, teach, train_share)
        return [Place("folds", NO_FOLD, tuple(ids[kept].tolist()), tuple(ids[choose].tolist()))]
    strata = sum((np.maximum(values, 0) << i for i, values in enumerate(shards.targets.values())), np.zeros(len(ids)))
    folds = metrics.patient_folds(patients, strata, N_FOLDS)
    found = []
    for fold in range(N_FOLDS):
        kept = (folds != fold) & _share_of(patients, folds != fold, train_share)
        found.append(Place("cv5", fold, tuple(ids[kept].tolist()), (), tuple(ids[folds == fold].tolist())))
    return found


def _share_of(patients: NDArray[np.str_], among: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Mark the recordings of a share of the patients, in an order that follows from their names alone."""
    names = sorted(set(patients[among].tolist()), key=lambda name: sha256(name.encode()).digest())
    return np.isin(patients, names[: max(round(share * len(names)), 1)])


def ask(done: Sequence[Stage], shards: Shards, *, final: bool, say: Say) -> tuple[list[Predictions], list[Predictions]]:
    """Return the predictions of finished fits on held-out recordings, and those that choose operating points."""
    ids = shards.record_id
    twelve: NDArray[np.bool_] = np.all(shards.present, axis=1)
    test = np.isin(shards.fold, (TEST_FOLD,) if final else ())
    held_out = np.isin(shards.fold, (VALIDATION_FOLD, TEST_FOLD) if final else (VALIDATION_FOLD,))
    predictions, validation = [], []
    parts: dict[tuple[object, ...], list[Predictions]] = {}
    for stage in done:
        say(f"asking {stage.row.name}, {stage.place.split} {stage.place.fold}, seed {stage.seed}")
        if stage.place.split == "cv5":
            for one in stages.judge(stage, stage.place.judged, CROSS_VALIDATED):
                parts.setdefault((*one.key, one.seed), []).append(one)
            continue
        chooser = stages.judge(stage, stage.place.validation, validation_of(TEST))
        validation += chooser
        if final:
            predictions += stages.judge(stage, ids[test].tolist(), TEST)
            predictions += stages.judge(stage, ids[held_out & twelve].tolist(), HELD_OUT)
            known = open_shards(stage.data.judged[stage.row.recipe]).record_id
            if not twelve[held_out].all() and np.isin(ids[held_out], known).all():
                every = stages.judge(stage, ids[held_out].tolist(), ALL_HELD_OUT)
                predictions += [one for one in every if one.leads != "12L"]
        else:
            predictions += stages.judge(stage, stage.place.validation, "fold 9")
    predictions += [pool(of_folds) for of_folds in parts.values() if len(of_folds) == N_FOLDS]
    return predictions, validation


def _missing(row: ModelRow, shards: Shards, reason: str, split: str | None = None) -> list[NotRun]:
    named = {"folds": TEST, "cv5": CROSS_VALIDATED}
    return [
        NotRun(row.name, task.name, leads, named[of], reason)
        for of in ([split] if split else row.splits)
        for task in shards.tasks
        for leads in row.leads
    ]


def _first(done: Sequence[Stage], names: Sequence[str]) -> list[Stage]:
    """Return the fit of each named model on the official folds with its first seed."""
    return [
        stage
        for name in names
        for stage in done
        if stage.row.name == name and stage.place.split == "folds" and stage.seed == stage.row.seeds[0]
    ]


def _judged_ids(shards: Shards, *, final: bool) -> list[str]:
    held_out = np.isin(shards.fold, (VALIDATION_FOLD, TEST_FOLD) if final else (VALIDATION_FOLD,))
    return [str(name) for name in shards.record_id[held_out & shards.present.all(axis=1)]]


def _under_noise(
    done: Sequence[Stage], config: StudyConfig, shards: Shards, dataset: DataSet, *, final: bool, say: Say
) -> dict[float | None, list[Predictions]]:
    wanted = _judged_ids(shards, final=final)
    chosen = _first(done, config.robustness)
    split = HELD_OUT if final else "fold 9"
    by_snr: dict[float | None, list[Predictions]] = {None: []}
    for stage in chosen:
        by_snr[None] += stages.judge(stage, wanted, split)
    records = {entry.record_id: entry for entry in dataset if entry.record_id in set(wanted)}
    for snr_db in SNRS_DB:
        by_snr[snr_db] = []
        for name in sorted({stage.row.recipe for stage in chosen}):
            say(f"noise at {snr_db:g} dB, recipe {name}")
            signals = np.stack([recipe(name).apply(add_noise(records[i].record(), snr_db))[0] for i in wanted])
            for stage in chosen:
                if stage.row.recipe == name:
                    by_snr[snr_db] += stages.judge_signals(stage, wanted, signals, split)
    return by_snr


def _saliency(done: Sequence[Stage], config: StudyConfig, shards: Shards, *, final: bool) -> dict[str, Saliency]:
    """Attribute the first task's logit on positive held-out recordings, for networks learned end to end."""
    ids = np.array(_judged_ids(shards, final=final))
    found = {}
    for stage in _first(done, config.saliency):
        if isinstance(stage.row.task_model, LatentConfig):
            continue
        judged = open_shards(stage.data.judged[stage.row.recipe])
        rows = stages.rows_of(judged, ids.tolist())
        tasks = stage.data.tasks_of(judged)
        rows = rows[judged.targets[tasks[0]][rows] == 1][:N_SALIENCY]
        if not len(rows):
            continue
        examples = Examples.read(judged, rows, tasks)
        begin = centre(examples.signals.shape[-1], stage.row.task_model.window)
        window = rescale(examples.signals[..., begin : begin + stage.row.task_model.window])
        model = stages.pretrained(stage)
        for leads in stage.row.leads:
            (network,) = stages.task_model_of(stage, leads, model).networks
            chosen = list(positions(LEAD_SETS[leads]))
            found[f"{stage.row.name}, {leads}"] = integrated_gradients(
                _first_logit(network, chosen), window[:, chosen].numpy(), LEAD_SETS[leads]
            )
    return found


def _first_logit(network: nn.Module, chosen: list[int]) -> Callable[[Tensor], Tensor]:
    """Return the first task's logit as a function of the chosen leads alone."""

    def logit(x: Tensor) -> Tensor:
        full = torch.zeros(len(x), len(STANDARD_12), x.shape[-1])
        full[:, chosen] = x
        logits: Tensor = network(full, torch.ones(full.shape[:2], dtype=torch.bool))
        return logits[:, 0]

    return logit


def _curves(done: Sequence[Stage]) -> dict[str, Path]:
    curves = {}
    for stage in done:
        before = stage.before()
        if before is not None and stage.place.split == "folds" and stage.seed == stage.row.seeds[0]:
            curves[stage.row.name] = before.folder() / "curve.csv"
    return {name: path for name, path in curves.items() if path.is_file()}


def check(config: StudyConfig) -> None:
    """Refuse differences and extras that name no row.

    Raises
    ------
    BadInputError
    """
    names = {row.name for row in config.rows}
    asked = {name for four in config.differences for name in (four[0], four[2])}
    unknown = (asked | set(config.robustness) | set(config.saliency) | set(config.drawn)) - names
    if unknown:
        raise BadInputError(f"No row is called {', '.join(sorted(unknown))}.", "Correct the study's configuration.")


def _trained_on(done: Sequence[Stage]) -> dict[tuple[str, str, str], int]:
    """Count the recordings that each model learned from: those with any of its leads."""
    counted: dict[tuple[str, str, str], list[int]] = {}
    for stage in done:
        shards = open_shards(stage.data.taught[stage.row.recipe])
        present = shards.present[stages.rows_of(shards, stage.place.train)]
        for leads in stage.row.leads:
            usable = present[:, list(positions(LEAD_SETS[leads]))].any(axis=1)
            counted.setdefault((stage.row.name, stage.place.split, leads), []).append(int(usable.sum()))
    return {key: round(float(np.mean(counts))) for key, counts in counted.items()}
