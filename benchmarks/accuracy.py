"""One table: float student, int8 bundle and plain CNN, on held-out folds and by cross-validation.

The fold rows are of the shipped file; the cross-validation rows are of the recipe, in which every learned step
(fit, activation ranges) repeats inside each fold.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics, preprocess
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.model import StudentConfig
from lsemvae_edge.quantize import build, weights
from lsemvae_edge.runtime import open_session
from lsemvae_edge.train import datasets
from lsemvae_edge.train.baseline import BASELINE_CONFIG, fit_baseline
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.fit import OUTPUTS, FitConfig, predict

N_FOLDS = 5
MODELS = ("float student", "int8 student", "plain CNN")

Say = Callable[[str], None]
Scores = NDArray[np.float32]


def evaluate(
    *, work: Path, final: bool, cross_validate: bool, seeds: int, processes: int, say: Say
) -> list[dict[str, Any]]:
    """Measure the shipped bundle beside its float form and the plain CNN.

    Parameters
    ----------
    work : Path
        Finished trainings are kept there and not repeated.
    final : bool
        Also read fold 10, and append the figures to the ledger.
    cross_validate : bool
        Also the recipe by patient-grouped 5-fold cross-validation over all recordings.
    seeds : int
        Seeds of each recipe; the median seed by AUROC is shown, and the spread beside it.
    processes : int
        Trainings at a time, one thread each.
    say : callable

    Returns
    -------
    list of dict
        One row for each set, task and model.
    """
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    bundle = bundles.default()
    listed = datasets.entries(datasets.data_folder())
    if not (final or cross_validate):
        listed = [entry for entry in listed if entry.fold != metrics.TEST_FOLD]
    cohort, teaching = load_both(listed)
    held_out = cohort.select(cohort.fold >= metrics.VALIDATION_FOLD)
    if not final:
        held_out = held_out.select(held_out.fold == metrics.VALIDATION_FOLD)
    training = teaching.select(teaching.fold < metrics.VALIDATION_FOLD)
    found = _run([_Job("cnn", seed, "folds1-8", training, held_out) for seed in range(seeds)], work, processes, say)
    scores = {
        "float student": [_float_scores(bundle, held_out)],
        "int8 student": [_bundle_scores(bundle, held_out)],
        "plain CNN": [scores["plain CNN"] for scores in found],
    }
    rows = []
    for name, mask in _sets(held_out):
        rows += _rows(name, held_out.select(mask), {k: [s[mask] for s in v] for k, v in scores.items()})
    if final:
        ledger.append(bundle, "accuracy", [row for row in rows if row["set"] != "fold 9"])
    if cross_validate:
        rows += cross_validation(cohort, teaching, work, seeds, processes, say)
    return rows


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Print rows as Markdown."""
    lines = [
        "| set | task | n | positive | model | AUROC | average precision | AUROC minus plain CNN |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["set"], row["task"], str(row["n"]), str(row["positive"]), row["model"]]
        cells += [_cell(row[key]) for key in ("auroc", "average_precision", "auroc_difference")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: dict[str, float] | None) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" if value else "-"


def _sets(cohort: Cohort) -> list[tuple[str, NDArray[np.bool_]]]:
    sets = [("fold 9", cohort.fold == metrics.VALIDATION_FOLD)]
    if (cohort.fold == metrics.TEST_FOLD).any():
        sets += [
            ("fold 10", cohort.fold == metrics.TEST_FOLD),
            ("folds 9-10", np.ones(len(cohort), dtype=bool)),
            ("A: folds 9-10 of ptbxl_12lead", cohort.source == datasets.TWELVE_LEAD),
        ]
    return sets


def _rows(name: str, cohort: Cohort, scores: dict[str, list[Scores]]) -> list[dict[str, Any]]:
    """Rows of one set; of several seeds the median by AUROC stands for its model."""
    rows = []
    for column, (task, truth) in enumerate(
        (("right_heart_pattern", cohort.right_heart), ("heart_side", cohort.heart_side))
    ):
        asked = truth >= 0
        labels = truth[asked]
        resamples = metrics.patient_bootstrap(cohort.patient[asked])
        chosen = {model: _median([s[asked, column] for s in values], labels) for model, values in scores.items()}
        for model, values in chosen.items():
            difference = None
            if model != "plain CNN":
                difference = metrics.difference_with_interval(
                    metrics.auroc, labels, values, chosen["plain CNN"], resamples
                )
            rows.append(
                {
                    "set": name,
                    "task": task,
                    "n": int(asked.sum()),
                    "positive": int(labels.sum()),
                    "model": model,
                    "seeds": [round(metrics.auroc(labels, s[asked, column]), 4) for s in scores[model]],
                    "auroc": _plain(metrics.with_interval(metrics.auroc, labels, values, resamples)),
                    "average_precision": _plain(
                        metrics.with_interval(metrics.average_precision, labels, values, resamples)
                    ),
                    "auroc_difference": _plain(difference),
                }
            )
    return rows


def _median(scores: list[Scores], labels: NDArray[np.int64]) -> Scores:
    order = sorted(scores, key=lambda values: metrics.auroc(labels, values))
    return order[(len(order) - 1) // 2]


def _plain(interval: metrics.Interval | None) -> dict[str, float] | None:
    return {key: round(value, 4) for key, value in asdict(interval).items()} if interval else None


def _float_scores(bundle: Bundle, cohort: Cohort) -> Scores:
    student = weights.restore(bundle.read(weights.WEIGHTS), bundle.read(weights.CONFIG))
    return predict(student, cohort.pairs, bundle.spec.preprocess)


def _bundle_scores(bundle: Bundle, cohort: Cohort) -> Scores:
    return build.logits_of(open_session(bundle), cohort.pairs, bundle.spec.preprocess)


class _Job:
    """One training whose predictions on other patients' recordings are kept on disk.

    Of kind ``cnn`` the plain CNN alone; of kind ``chain`` the CNN, the student that learns from it, and its int8 form.
    """

    def __init__(self, kind: str, seed: int, name: str, training: Cohort, held_out: Cohort) -> None:
        self.kind, self.seed, self.name = kind, seed, name
        self.training, self.held_out = training, held_out

    def path(self, work: Path) -> Path:
        """Name the result after everything that decides it."""
        ids = "|".join([*self.training.record_id, "/", *self.held_out.record_id])
        recipe = f"{BASELINE_CONFIG} {FitConfig()} {StudentConfig()}" if self.kind == "chain" else f"{BASELINE_CONFIG}"
        key = sha256(f"{recipe} {preprocess.default_spec()} {ids}".encode()).hexdigest()[:12]
        return work / f"{self.kind}-{self.name}-{self.seed}-{key}.npz"

    def run(self, work: Path) -> Path:
        torch.set_num_threads(1)
        path, spec = self.path(work), preprocess.default_spec()
        teacher = fit_baseline(self.training, spec, self.seed)
        results = {"plain CNN": predict(teacher, self.held_out.pairs, spec)}
        if self.kind == "chain":
            config = FitConfig(seed=self.seed)
            student = build.fit_student(self.training, spec, config, teacher)
            int8_file = build.quantize(student, self.training, spec, self.seed)
            results["float student"] = predict(student, self.held_out.pairs, spec)
            results["int8 student"] = build.run_int8(int8_file, self.held_out.pairs, spec)
        draft = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(draft, allow_pickle=False, **results)
        draft.replace(path)
        return path


def _run(jobs: list[_Job], work: Path, processes: int, say: Say) -> list[dict[str, Scores]]:
    todo = [job for job in jobs if not job.path(work).is_file()]
    if todo:
        say(f"{len(todo)} of {len(jobs)} trainings to do in {work}")
        with ProcessPoolExecutor(processes) as pool:
            for done, future in enumerate(as_completed([pool.submit(job.run, work) for job in todo]), 1):
                say(f"[{done}/{len(todo)}] {future.result().name}")
    scores = []
    for job in jobs:
        with np.load(job.path(work), allow_pickle=False) as kept:
            scores.append({model: kept[model] for model in kept.files})
    return scores


def load_both(listed: list[datasets.Entry]) -> tuple[Cohort, Cohort]:
    """Load recordings twice, aligned: as a recorder gives them, to judge by, and in one band, to teach with."""
    spec = preprocess.default_spec()
    judged, _ = load_cohort(listed, spec)
    taught, _ = load_cohort(listed, spec, same_band=True)
    assert (judged.record_id == taught.record_id).all()
    return judged, taught


def cross_validation(
    cohort: Cohort, teaching: Cohort, work: Path, seeds: int, processes: int, say: Say
) -> list[dict[str, Any]]:
    """Pool out-of-fold predictions of patient-grouped folds over both folders: set B."""
    strata = cohort.right_heart + 2 * np.maximum(cohort.heart_side, 0)
    folds = metrics.patient_folds(cohort.patient, strata, N_FOLDS)
    jobs = [
        _Job("chain", seed, f"cv{fold}", teaching.select(folds != fold), cohort.select(folds == fold))
        for seed in range(seeds)
        for fold in range(N_FOLDS)
    ]
    found = _run(jobs, work, processes, say)
    pooled: dict[str, list[Scores]] = {}
    for model in MODELS:
        for seed in range(seeds):
            scores = np.empty((len(cohort), len(OUTPUTS)), dtype=np.float32)
            for fold in range(N_FOLDS):
                scores[folds == fold] = found[seed * N_FOLDS + fold][model]
            pooled.setdefault(model, []).append(scores)
    return _rows("B: 5-fold cross-validation", cohort, pooled)
