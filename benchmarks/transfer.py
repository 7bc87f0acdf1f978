"""Beyond what was learned from: a site or a recorder left out of training, and other hospitals' recordings.

Leaving out reads folds 1 to 9 only. Every group is judged twice by the same kind of training: by models that learned
from the other groups' patients alone, and, beside it, by patient-grouped cross-validation, in which other recordings of
the group taught. Patients with recordings in two groups teach neither.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lsemvae_edge import bundle as bundles
from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.benchmarks.accuracy import REFERENCE, crossed, load_both
from lsemvae_edge.benchmarks.fits import Fit, Kind, Place, Say, Scores, run_all
from lsemvae_edge.benchmarks.judging import difference, median_seed, plain, ranked
from lsemvae_edge.benchmarks.operating import operating_point
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.result import INCONCLUSIVE, ScreeningResult
from lsemvae_edge.runtime import open_session
from lsemvae_edge.screening import model_ran, screen
from lsemvae_edge.train import datasets
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.config_distill import DistillConfig, shipped_recipe

AXES = ("site", "device")
REST = "all others"
STUDENT = "student small"
POOLED, WORST = "all groups, pooled", "worst group"

Answers = dict[str, list[Scores]]
"""Scores of the primary task (n,), a seed each, by model."""


@dataclass(frozen=True, eq=False)
class Group:
    """Recordings of one site or recorder: those of a cohort where ``mask`` (n,) is true."""

    axis: str
    name: str
    mask: NDArray[np.bool_]


def evaluate(
    *, work: Path, teachers: bool, plain_cnn: bool, seeds: int, processes: int, final: bool, say: Say
) -> dict[str, list[Row]]:
    """Leave out every site and every recorder, and with ``final`` ask the shipped bundle about other hospitals'.

    Parameters
    ----------
    work : Path
        Finished trainings are kept there and not repeated.
    teachers : bool
        Students learn from the teachers of the shipped recipe, too, fitted without the group each time.
    plain_cnn : bool
        Also fit the plain CNN, which takes most of the time.
    seeds : int
        Of student and plain CNN; the median by AUROC stands for each.
    processes : int
        Trainings at a time, one thread each.
    final : bool
        Also read ``other_recorders``, and append the figures to the ledger.
    say : callable

    Returns
    -------
    dict of str to list of dict
        ``left out`` and, if final, ``other recorders``: rows.
    """
    torch.set_num_threads(1)
    bundle = bundles.default() if final else None
    folder = datasets.data_folder()
    listed = [entry for entry in datasets.entries(folder) if entry.fold <= metrics.VALIDATION_FOLD]
    cohort, teaching = load_both(listed, processes)
    groups = [group for axis in AXES for group in groups_of(cohort, axis)]
    kinds: tuple[Kind, ...] = ("student", "cnn") if plain_cnn else ("student",)
    fits = {id(group): fits_of(_without(group, cohort, teaching), teachers, seeds, kinds) for group in groups}
    folds, places = crossed(cohort, teaching, "in")
    validated = [fits_of(place, teachers, seeds, kinds) for place in places]
    run_all([fit for some in (*fits.values(), *validated) for fit in some], work, processes, say)
    within = pooled([(folds == fold, answers_of(some, work)) for fold, some in enumerate(validated)], len(cohort))
    tables: dict[str, list[Row]] = {"left out": []}
    for axis in AXES:
        of_axis = [(group, answers_of(fits[id(group)], work)) for group in groups if group.axis == axis]
        tables["left out"] += rows_of(axis, cohort, of_axis, within)
    if bundle is not None:
        say("Other hospitals' recordings, through the whole way")
        tables["other recorders"] = outside(bundle, list(datasets.other_recorders(folder)))
        ledger.append(bundle, "transfer", [plain(row) for row in tables["other recorders"]])
    return tables


def groups_of(cohort: Cohort, axis: str) -> list[Group]:
    """Split a cohort by ``site`` or ``device``; groups of fewer than ten positives go together, and need ten, too.

    Recordings of which nothing is known count among the others.
    """
    values: NDArray[np.str_] = getattr(cohort, axis)
    positive = cohort.targets[:, 0] == 1
    counted = Counter(values[positive].tolist())
    large = sorted(name for name, count in counted.items() if name and count >= metrics.MIN_POSITIVES)
    groups = [Group(axis, name, values == name) for name in large]
    rest = ~np.isin(values, large)
    if (rest & positive).sum() >= metrics.MIN_POSITIVES:
        groups.append(Group(axis, REST, rest))
    return groups


def fits_of(place: Place, teachers: bool, seeds: int, kinds: Sequence[Kind] = ("student", "cnn")) -> list[Fit]:
    """List the trainings of one place: student and plain CNN, a seed each."""
    return [Fit(kind, place, _recipe(teachers, seed)) for seed in range(seeds) for kind in kinds]


def answers_of(fits: Iterable[Fit], work: Path) -> Answers:
    """Return what finished trainings say of their held-out recordings."""
    found: Answers = {}
    for fit in fits:
        model, form = (STUDENT, "float") if fit.kind == "student" else (REFERENCE, "cnn")
        found.setdefault(model, []).append(fit.answers(work)[form][:, 0])
    return found


def pooled(parts: Iterable[tuple[NDArray[np.bool_], Answers]], n: int) -> Answers:
    """Put the parts' answers back in the cohort's order; NaN where no part has a recording."""
    whole: Answers = {}
    for mask, answers in parts:
        for model, of_seeds in answers.items():
            kept = whole.setdefault(model, [np.full(n, np.nan, dtype=np.float32) for _ in of_seeds])
            for target, score in zip(kept, of_seeds, strict=True):
                target[mask] = score
    return whole


def rows_of(axis: str, cohort: Cohort, of_groups: Sequence[tuple[Group, Answers]], within: Answers) -> list[Row]:
    """Rows of one axis: each group, all of them pooled, and the worst one, for student and plain CNN.

    Pooled scores come from as many models as there are groups; a difference in level between them counts against
    the pooled figure.

    Parameters
    ----------
    axis : str
    cohort : Cohort
    of_groups : sequence of (Group, Answers)
        Answers about the group's recordings of models that learned from the others.
    within : Answers
        Answers about all recordings (n,) by cross-validation.
    """
    if not of_groups:
        return []
    rows: list[Row] = []
    everything = pooled([(group.mask, answers) for group, answers in of_groups], len(cohort))
    covered = np.logical_or.reduce([group.mask for group, _ in of_groups])
    union = {model: [score[covered] for score in of_seeds] for model, of_seeds in everything.items()}
    for group, answers in (*of_groups, (Group(axis, POOLED, covered), union)):
        part = cohort.select(group.mask)
        truth = part.targets[:, 0]
        chosen = {model: median_seed(truth, of_seeds) for model, of_seeds in answers.items()}
        beside = {
            model: median_seed(truth, [score[group.mask] for score in of_seeds]) for model, of_seeds in within.items()
        }
        for model, score in chosen.items():
            compared = model != REFERENCE and REFERENCE in chosen
            better = difference(truth, score, chosen[REFERENCE], part.patient) if compared else None
            rows.append(
                {
                    "left_out": axis,
                    "group": group.name,
                    "model": model,
                    **ranked(truth, score, part.patient),
                    "in_distribution": ranked(truth, beside[model], part.patient)["auroc"],
                    "minus_in_distribution": difference(truth, score, beside[model], part.patient),
                    "minus_plain_cnn": better,
                }
            )
    return rows + _worst(rows)


def outside(bundle: Bundle, listed: Sequence[datasets.Entry]) -> list[Row]:
    """Screen other hospitals' recordings with a bundle, quality, model and decision, and judge what comes out.

    Parameters
    ----------
    bundle : Bundle
    listed : sequence of Entry
        Those without a label of the primary task are left out.

    Returns
    -------
    list of dict
        One row for all, for each source and for each hospital. AUROC is of the probability where the model ran, also
        where it then gave no answer; shares are at the shipped thresholds.
    """
    session, task = open_session(bundle), bundle.spec.primary
    labelled = [entry for entry in listed if task.name in entry.targets]
    results = [screen(entry.record(), bundle, session=session) for entry in labelled]
    truth = np.array([entry.targets[task.name] for entry in labelled], dtype=bool)
    patient = np.array([entry.patient for entry in labelled])
    parts: dict[str, NDArray[np.bool_]] = {"all": np.ones(len(labelled), dtype=bool)}
    for key in ("source", "site"):
        values = np.array([getattr(entry, key) for entry in labelled])
        parts |= {f"{key} {name}": values == name for name in np.unique(values)}
    return [
        _outside_row(name, truth[mask], patient[mask], [results[k] for k in np.flatnonzero(mask)], task.classes[1])
        for name, mask in parts.items()
    ]


def _outside_row(
    name: str, truth: NDArray[np.bool_], patient: NDArray[np.str_], results: Sequence[ScreeningResult], positive: str
) -> Row:
    point = asdict(operating_point(name, truth, results, positive))
    ran = np.array([model_ran(result) for result in results], dtype=bool)
    score = np.array([_probability(result) for result in results])
    labels = np.where(ran, truth, np.nan)
    shares = {
        key: point[key] and metrics.Interval(**point[key])
        for key in ("sensitivity_answered", "specificity_answered", "sensitivity_all", "specificity_all")
    }
    answered = sum(result.outcome != INCONCLUSIVE for result in results)
    return {
        "recordings": name,
        "n": len(results),
        "positive": int(truth.sum()),
        "model_ran": int(ran.sum()),
        "positive_and_ran": int((truth & ran).sum()),
        "auroc": ranked(labels, score, patient)["auroc"],
        "coverage": metrics.exact_interval(answered, len(results)),
        **shares,
    }


def _probability(result: ScreeningResult) -> float:
    probability = next(iter(result.tasks.values())).probability
    return np.nan if probability is None else probability


def _without(group: Group, cohort: Cohort, teaching: Cohort) -> Place:
    """Hold a group out, and none of its patients teach."""
    known = np.isin(teaching.patient, cohort.patient[group.mask])
    name = "".join(letter if letter.isalnum() else "_" for letter in f"no-{group.axis}-{group.name}")
    return Place(name, teaching.select(~known), cohort.select(group.mask))


def _worst(rows: Sequence[Row]) -> list[Row]:
    """Repeat each model's row of the group with the lowest AUROC."""
    lowest: Mapping[str, Row] = {
        row["model"]: row
        for row in sorted(
            (row for row in rows if row["auroc"] is not None and row["group"] != POOLED),
            key=lambda row: -row["auroc"].value,
        )
    }
    return [{**row, "group": f"{WORST}: {row['group']}"} for row in lowest.values()]


def _recipe(teachers: bool, seed: int) -> DistillConfig:
    config = shipped_recipe(seed=seed)
    return config if teachers else config.model_copy(update={"teachers": ()})
