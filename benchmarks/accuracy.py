"""One table: teachers, students of three sizes, int8 and plain CNN, on held-out folds and by cross-validation.

The fold rows of ``small`` are of the shipped file; all others are of the recipe. In cross-validation every learned step
(teachers, student, activation ranges) repeats inside each fold.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.benchmarks.fits import Fit, Place, run_all
from lsemvae_edge.benchmarks.judging import difference, median_seed, plain, ranked
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.quantize import build, weights
from lsemvae_edge.runtime import open_session
from lsemvae_edge.train import calibrate, datasets, distill, labels
from lsemvae_edge.train.cohort import Cohort, load_cohort
from lsemvae_edge.train.config_distill import SizeName, shipped_recipe

N_FOLDS = 5
REFERENCE = "plain CNN 6L"
SHIPPED, SHIPPED_INT8 = "student small", "student small int8"
MODELS = ("teacher 12L", "teacher 6L", "student base", SHIPPED, SHIPPED_INT8, "student tiny", REFERENCE)
TASKS = tuple(task.name for task in calibrate.TASKS)

COMPONENTS = {
    "right axis": len(labels.AUXILIARY_CODES) + labels.AUXILIARY_AXES.index(("RAD", "ARAD")),
    **{code: labels.AUXILIARY_CODES.index(code) for code in ("RVH", "RAO/RAE", "IRBBB", "CRBBB", "LPFB")},
}
"""Statements that make the primary label, by their place among the auxiliary ones."""
CURVE_SHARES = (0.25, 0.5)
WHOLE = "folds1-8"

Say = Callable[[str], None]
Scores = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Judged:
    """Recordings of one set, and what each seed of each model says of them.

    Parameters
    ----------
    name : str
    cohort : Cohort
    scores : dict of str to list of array (n, n_tasks)
        NaN where a model lacks a lead.
    """

    name: str
    cohort: Cohort
    scores: dict[str, list[Scores]]

    def select(self, name: str, mask: NDArray[np.bool_]) -> "Judged":
        """Return some of the recordings."""
        scores = {model: [one[mask] for one in seeds] for model, seeds in self.scores.items()}
        return Judged(name, self.cohort.select(mask), scores)


def evaluate(
    *, work: Path, final: bool, cross_validate: bool, curve: bool, seeds: int, processes: int, say: Say
) -> list[dict[str, Any]]:
    """Measure every model of the recipe beside the shipped bundle and the plain CNN.

    Parameters
    ----------
    work : Path
        Finished trainings are kept there and not repeated.
    final : bool
        Also read fold 10, and append the figures to the ledger.
    cross_validate : bool
        Also the recipe by patient-grouped 5-fold cross-validation over all recordings.
    curve : bool
        Also learn from shares of the training patients.
    seeds : int
        Seeds of ``small`` and of the plain CNN; the median seed by AUROC is shown. Teachers are an ensemble of their
        own, the other sizes have one seed.
    processes : int
        Trainings at a time, one thread each.
    say : callable

    Returns
    -------
    list of dict
        One row for each set, task and model.
    """
    torch.set_num_threads(1)
    bundle = bundles.default()
    listed = datasets.entries(datasets.data_folder())
    if not (final or cross_validate):
        listed = [entry for entry in listed if entry.fold != metrics.TEST_FOLD]
    cohort, teaching = load_both(listed, processes)
    held_out = cohort.fold == metrics.VALIDATION_FOLD
    if final:
        held_out |= cohort.fold == metrics.TEST_FOLD
    training = teaching.select(teaching.fold < metrics.VALIDATION_FOLD)
    judged = _judge_folds(Place(WHOLE, training, cohort.select(held_out)), bundle, work, seeds, processes, say)
    rows = [row for part in _sets(judged) for row in [*_rows(part), *_component_rows(part), *_group_rows(part)]]
    if final:
        ledger.append(bundle, "accuracy", [row for row in rows if row["set"] != "fold 9"])
    if curve:
        rows += _curve(training, cohort.select(held_out), work, processes, say)
    if cross_validate:
        pooled = cross_validation(cohort, teaching, work, seeds, processes, say)
        rows += [*_rows(pooled), *_component_rows(pooled), *_group_rows(pooled)]
    return rows


def table(rows: Iterable[dict[str, Any]], against: str = REFERENCE) -> str:
    """Print rows as Markdown."""
    lines = [
        "| set | task | positives, recordings | n | positive | model | AUROC | average precision | "
        f"AUROC minus {against} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["set"], row["task"], row["which"], str(row["n"]), str(row["positive"]), row["model"]]
        cells += [_cell(row[key]) for key in ("auroc", "average_precision", "auroc_difference")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def load_both(listed: list[datasets.Entry], workers: int = 1) -> tuple[Cohort, Cohort]:
    """Load recordings twice, aligned: as a recorder gives them, to judge by, and in one band, to teach with."""
    judged, _ = load_cohort(listed, TASKS, workers=workers)
    taught, _ = load_cohort(listed, TASKS, same_band=True, workers=workers)
    # A recording that only one of the two forms has beats enough for is left out of both.
    both = np.intersect1d(judged.record_id, taught.record_id)
    return judged.select(np.isin(judged.record_id, both)), taught.select(np.isin(taught.record_id, both))


def crossed(cohort: Cohort, teaching: Cohort, prefix: str) -> tuple[NDArray[np.int64], list[Place]]:
    """Return the patient-grouped fold of each recording (n,), and the places where one fold is judged by the others."""
    folds = metrics.patient_folds(cohort.patient, cohort.strata, N_FOLDS)
    return folds, [
        Place(f"{prefix}{fold}", teaching.select(folds != fold), cohort.select(folds == fold))
        for fold in range(N_FOLDS)
    ]


def cross_validation(cohort: Cohort, teaching: Cohort, work: Path, seeds: int, processes: int, say: Say) -> Judged:
    """Pool out-of-fold predictions of patient-grouped folds over both folders: set B."""
    folds, places = crossed(cohort, teaching, "cv")
    fits = {place.name: _fits(place, ("base", "small", "tiny"), seeds) for place in places}
    run_all([fit for of_place in fits.values() for fit in of_place], work, processes, say)
    pooled: dict[str, list[Scores]] = {}
    for fold, place in enumerate(places):
        for model, of_seeds in _answers(fits[place.name], work).items():
            kept = pooled.setdefault(
                model, [np.full((len(cohort), len(TASKS)), np.nan, dtype=np.float32) for _ in of_seeds]
            )
            for whole, part in zip(kept, of_seeds, strict=True):
                whole[folds == fold] = part
    return Judged("B: 5-fold cross-validation", cohort, {model: pooled[model] for model in MODELS if model in pooled})


def _judge_folds(place: Place, bundle: Bundle, work: Path, seeds: int, processes: int, say: Say) -> Judged:
    fits = _fits(place, ("base", "tiny"), seeds)
    run_all(fits, work, processes, say)
    scores = _answers(fits, work)
    student = weights.restore(bundle.read(weights.WEIGHTS), bundle.read(weights.CONFIG))
    scores[SHIPPED] = [distill.predict(student, place.held_out).logits.numpy()[:, : len(TASKS)]]
    scores[SHIPPED_INT8] = [build.ask(open_session(bundle), place.held_out).logits[:, : len(TASKS)]]
    return Judged("folds 9-10", place.held_out, {model: scores[model] for model in MODELS})


def _fits(place: Place, sizes: Iterable[SizeName], seeds: int) -> list[Fit]:
    """Return the trainings of one place; sizes other than the shipped one have one seed."""
    fits = [Fit("teachers", place, shipped_recipe())]
    for seed in range(seeds):
        fits.append(Fit("cnn", place, shipped_recipe(seed=seed)))
        fits += [
            Fit("student", place, shipped_recipe(size, seed), int8=size == "small")
            for size in sizes
            if size == "small" or seed == 0
        ]
    return fits


def _answers(fits: Iterable[Fit], work: Path) -> dict[str, list[Scores]]:
    """Return what each model says of the held-out recordings, seed by seed."""
    found: dict[str, list[Scores]] = {}
    for fit in fits:
        answers = fit.answers(work)
        if fit.kind == "teachers":
            named = {f"teacher {leads}": said for leads, said in answers.items() if leads != "soft"}
        elif fit.kind == "cnn":
            named = {REFERENCE: answers["cnn"]}
        else:
            name = f"student {fit.config.student.size}"
            named = {name if form == "float" else f"{name} {form}": said for form, said in answers.items()}
        for model, said in named.items():
            found.setdefault(model, []).append(said[:, : len(TASKS)])
    return found


def _curve(training: Cohort, held_out: Cohort, work: Path, processes: int, say: Say) -> list[dict[str, Any]]:
    """Learn from shares of the patients; a smaller share's are among a larger one's."""
    patients = np.random.default_rng(0).permutation(np.unique(training.patient))
    rows = []
    for share in (*CURVE_SHARES, 1.0):
        chosen = patients[: round(share * len(patients))]
        part = training.select(np.isin(training.patient, chosen))
        place = Place(WHOLE if share == 1.0 else f"share{100 * share:g}", part, held_out)
        fits = [
            Fit("teachers", place, shipped_recipe()),
            Fit("student", place, shipped_recipe()),
            Fit("cnn", place, shipped_recipe()),
        ]
        run_all(fits, work, processes, say)
        told = f"{share:.0%} of the training patients, {len(part)} recordings"
        rows += _rows(Judged("learning curve, folds 9-10", held_out, _answers(fits, work)), told)
    return rows


def _sets(judged: Judged) -> list[Judged]:
    cohort = judged.cohort
    sets = [judged.select("fold 9", cohort.fold == metrics.VALIDATION_FOLD)]
    if (cohort.fold == metrics.TEST_FOLD).any():
        sets += [
            judged.select("fold 10", cohort.fold == metrics.TEST_FOLD),
            judged,
            judged.select("A: folds 9-10 of ptbxl_12lead", cohort.source == datasets.TWELVE_LEAD),
        ]
    return sets


def _rows(judged: Judged, which: str = "all") -> list[dict[str, Any]]:
    """Rows of one set; of several seeds the median by AUROC stands for its model."""
    rows = []
    for column, task in enumerate(TASKS):
        truth = judged.cohort.targets[:, column]
        rows += compared(judged, task, which, truth, {m: [s[:, column] for s in v] for m, v in judged.scores.items()})
    return rows


def _component_rows(judged: Judged) -> list[dict[str, Any]]:
    """Rows of the primary task with the positives of one statement at a time, against all negatives."""
    truth = judged.cohort.targets[:, 0]
    scores = {model: [one[:, 0] for one in seeds] for model, seeds in judged.scores.items()}
    rows = []
    for statement, place in COMPONENTS.items():
        has = judged.cohort.auxiliary[:, place] == 1
        rows += compared(judged, TASKS[0], statement, np.where((truth == 0) | has, truth, np.nan), scores)
    without = judged.cohort.auxiliary[:, COMPONENTS["IRBBB"]] != 1
    return rows + compared(judged, TASKS[0], "without IRBBB", np.where((truth == 0) | without, truth, np.nan), scores)


def _group_rows(judged: Judged) -> list[dict[str, Any]]:
    """Rows of the primary task by sex and age band."""
    scores = {model: [one[:, 0] for one in seeds] for model, seeds in judged.scores.items()}
    truth = judged.cohort.targets[:, 0]
    groups = build.groups(judged.cohort, ~np.isnan(truth))
    return [
        row
        for name, among in groups.items()
        if name != "all"
        for row in compared(judged, TASKS[0], name, np.where(among, truth, np.nan), scores)
    ]


def compared(
    judged: Judged,
    task: str,
    which: str,
    truth: NDArray[np.float32],
    scores: dict[str, list[Scores]],
    against: str = REFERENCE,
) -> list[dict[str, Any]]:
    """Rows of one question; a model is judged on the recordings that it can read, differences on those of both."""
    rows = []
    for model, seeds in scores.items():
        asked = ~np.isnan(truth) & ~np.isnan(seeds[0])
        known, patient = truth[asked], judged.cohort.patient[asked]
        values = median_seed(known, [one[asked] for one in seeds])
        counted, reference = ranked(known, values, patient), None
        if model != against and against in scores:
            reference = median_seed(known, [one[asked] for one in scores[against]])
        rows.append(
            {
                "set": judged.name,
                "task": task,
                "which": which,
                "model": model,
                "seeds": [round(metrics.auroc(known, one[asked]), 4) for one in seeds] if counted["auroc"] else [],
                "average_precision": metrics.with_interval(
                    metrics.average_precision, known, values, metrics.patient_bootstrap(patient)
                ),
                "auroc_difference": None if reference is None else difference(known, values, reference, patient),
                **counted,
            }
        )
    return [plain(row) for row in rows]


def _cell(value: dict[str, float] | None) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" if value else "-"
