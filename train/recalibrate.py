"""Calibration and thresholds for a site, from its own labelled recordings; the model itself is not changed.

What is reported of the new thresholds is cross-fitted: each patient is judged by thresholds from other patients. The
thresholds that are written come from all of them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import decision, metrics, preprocess, screening
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BadInputError, LsemvaeError
from lsemvae_edge.result import INCONCLUSIVE, NOT_ASKED, TaskResult
from lsemvae_edge.runtime import Output, Session, open_session
from lsemvae_edge.spec import AskedIf, ModelSpec, TaskSpec
from lsemvae_edge.train.calibrate import MISSED, TooFewError, refit
from lsemvae_edge.train.datasets.cohort_check import check_cohort
from lsemvae_edge.train.datasets.entry import DataSet, Entry, Problems, kind_of

N_FOLDS = 5
SHIPPED, RECALIBRATED = "as shipped", "recalibrated"

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Heard:
    """One recording that quality let the model see."""

    entry: Entry
    output: Output
    seen: decision.Circumstances


@dataclass(frozen=True, eq=False)
class Observed:
    """A cohort as the bundle's model sees it.

    Parameters
    ----------
    heard : list of Heard
    refused : Counter
        Recordings that quality refused, by its advice; they get no answer whatever the thresholds are.
    refused_truth : dict
        Labels of those, by task: inconclusive is wrong in the figures on all recordings.
    problems : Problems
    """

    heard: list[Heard]
    refused: Counter[str]
    refused_truth: dict[str, list[int]]
    problems: Problems


@dataclass(frozen=True)
class Judged:
    """How one task's calibration and thresholds do on the cohort; intervals are 95 %.

    Parameters
    ----------
    task, thresholds : str
    n, positive, patients, answered : int
        ``n`` counts all labelled recordings, also those that quality refused.
    auroc : Interval, optional
        Of the logits, where the model ran and 10 of each class are there.
    sensitivity_answered, specificity_answered, sensitivity_all, specificity_all : Interval, optional
        On the answered recordings, and on all with no answer counted as wrong.
    brier, brier_constant, calibration_error : float
        Of the probabilities, where the model ran.
    """

    task: str
    thresholds: str
    n: int
    positive: int
    patients: int
    answered: int
    auroc: metrics.Interval | None
    sensitivity_answered: metrics.Interval | None
    specificity_answered: metrics.Interval | None
    sensitivity_all: metrics.Interval | None
    specificity_all: metrics.Interval | None
    brier: float
    brier_constant: float
    calibration_error: float


@dataclass(frozen=True)
class Recalibration:
    """New tasks for a bundle, and what they are worth on the site's recordings.

    Parameters
    ----------
    tasks : tuple of TaskSpec
        Tasks without enough labels are as they were.
    judged : list of Judged
        Each refitted task as shipped, and recalibrated.
    kept : list of str
        Why a task was left as it was.
    refused : dict
        Recordings that quality refused, by its advice.
    problems : dict
        What was wrong with the cohort.
    prevalence, sensitivity : float
    record_ids_sha256 : str
        Of the recordings that were used.
    stand_in : str, optional
        What the bundle's weights were taught in place of the disease.
    """

    tasks: tuple[TaskSpec, ...]
    judged: list[Judged]
    kept: list[str]
    refused: dict[str, int]
    problems: dict[str, Any]
    prevalence: float | None
    sensitivity: float
    record_ids_sha256: str
    stand_in: str | None


def recalibrate(
    bundle: Bundle,
    cohort: DataSet,
    *,
    prevalence: float | None = None,
    sensitivity: float = 1 - MISSED,
    say: Say,
) -> Recalibration:
    """Refit calibration and thresholds of a bundle's tasks on a site's labelled recordings.

    Parameters
    ----------
    bundle : Bundle
    cohort : DataSet
        With labels for tasks of the bundle, under the same names.
    prevalence : float, optional
        Share of positives where the bundle will be used; by default that of the cohort.
    sensitivity : float
        Share of positives that the thresholds find, with the confidence of `lsemvae_edge.train.calibrate`.
    say : callable

    Raises
    ------
    BadInputError
        If no task of the bundle has labels of both classes in enough patients, or the model does not tell the
        cohort's classes apart.
    """
    spec = bundle.spec
    named = [task.name for task in spec.tasks if task.name in {known.name for known in cohort.tasks}]
    if not named:
        raise BadInputError(
            f"The cohort has labels for {', '.join(task.name for task in cohort.tasks) or 'nothing'}; the bundle's "
            f"tasks are {', '.join(task.name for task in spec.tasks)}.",
            "Name the columns of labels after the bundle's tasks.",
        )
    observed = observe(bundle, cohort, named, say)
    patients = np.array([one.entry.patient for one in observed.heard])
    truths = {name: _truth(observed.heard, name) for name in named}
    checked = check_cohort(patients, truths, max(N_FOLDS, metrics.MIN_POSITIVES))

    everybody = np.ones(len(patients), dtype=bool)
    primary = truths[spec.primary.name] if spec.primary.name in checked.usable else truths[checked.usable[0]]
    folds = metrics.patient_folds(patients, primary + 1, N_FOLDS)

    def of_tasks(tasks: Sequence[str], chosen: NDArray[np.bool_]) -> ModelSpec:
        return _refitted(spec, observed.heard, truths, tasks, chosen, prevalence, sensitivity)

    usable, kept = [], checked.problems.lines()
    for name in checked.usable:
        try:
            for chosen in (everybody, *(folds != fold for fold in range(N_FOLDS))):
                of_tasks([name], chosen)
        except TooFewError as error:
            if len(checked.usable) == 1:
                raise
            kept.append(f"{name}: {error.message}")
        else:
            usable.append(name)
    if not usable:
        raise TooFewError("; ".join(kept), "Label more recordings, or ask for a lower --sensitivity.")

    def refitted(chosen: NDArray[np.bool_]) -> ModelSpec:
        return of_tasks(usable, chosen)

    new = refitted(everybody)
    shipped = [decision.decide(spec, one.output, one.seen) for one in observed.heard]
    crossed = list(shipped)
    for fold in range(N_FOLDS):
        of_others = refitted(folds != fold)
        for i in np.flatnonzero(folds == fold).tolist():
            crossed[i] = decision.decide(of_others, observed.heard[i].output, observed.heard[i].seen)
    judged = [
        _judge(spec, name, label, observed, truths[name], results)
        for name in usable
        for label, results in ((SHIPPED, shipped), (RECALIBRATED, crossed))
    ]
    ids = sorted(one.entry.record_id for one in observed.heard)
    return Recalibration(
        new.tasks,
        judged,
        kept,
        dict(observed.refused.most_common()),
        observed.problems.to_dict(),
        prevalence,
        sensitivity,
        sha256(",".join(ids).encode()).hexdigest(),
        spec.intended_use.stand_in,
    )


def observe(bundle: Bundle, cohort: DataSet, tasks: Sequence[str], say: Say) -> Observed:
    """Show a cohort to the bundle's model, each recording the way that screening does."""
    session = open_session(bundle)
    heard: list[Heard] = []
    refused: Counter[str] = Counter()
    refused_truth: dict[str, list[int]] = {task: [] for task in tasks}
    for number, entry in enumerate(cohort, start=1):
        if number % 500 == 0:
            say(f"{number} recordings seen")
        if not any(task in entry.targets for task in tasks):
            continue
        try:
            found = _hear(bundle.spec, session, entry)
        except LsemvaeError as error:
            cohort.problems.add(kind_of(error), entry.record_id, error.message)
            continue
        if isinstance(found, Heard):
            heard.append(found)
            continue
        refused[found] += 1
        for task in tasks:
            if task in entry.targets:
                refused_truth[task].append(entry.targets[task])
    return Observed(heard, refused, refused_truth, cohort.problems)


def report(found: Recalibration) -> str:
    """Write the local validation as Markdown."""
    lines = [
        "| task | thresholds | n (positive) | AUROC | answered | sensitivity, answered | specificity, answered | "
        "sensitivity, all | specificity, all | Brier (constant) | ECE |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found.judged:
        cells = [one.task, one.thresholds, f"{one.n} ({one.positive})", _shown(one.auroc)]
        cells.append(f"{one.answered / one.n:.1%}")
        cells += map(
            _shown,
            (one.sensitivity_answered, one.specificity_answered, one.sensitivity_all, one.specificity_all),
        )
        cells += [f"{one.brier:.4f} ({one.brier_constant:.4f})", f"{one.calibration_error:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Recalibrated figures are cross-fitted: each patient is judged by thresholds from other patients."]
    if found.stand_in:
        lines.append(f"The labels are the site's; the weights were trained on a stand-in: {found.stand_in}.")
    if found.prevalence is not None:
        lines.append(
            f"Probabilities are stated for a prevalence of {found.prevalence:.1%}; Brier and ECE are against these "
            "recordings' own share and therefore look worse than they will be there."
        )
    lines += [f"Left as shipped: {reason}." for reason in found.kept]
    lines += [f"Refused by quality, {count}: {advice}" for advice, count in found.refused.items()]
    return "\n".join(lines)


def _hear(spec: ModelSpec, session: Session, entry: Entry) -> Heard | str:
    """Run the model on one recording, or return quality's advice."""
    record = entry.record()
    assessed, conditioned = screening.assess(record, spec)
    if not assessed.usable or conditioned is None or assessed.start is None:
        return str(assessed.advice)
    output = session.run(preprocess.cut(conditioned, spec.preprocess, assessed.start).signal)
    return Heard(entry, output, screening.circumstances(record, assessed))


def _truth(heard: Sequence[Heard], task: str) -> NDArray[np.int64]:
    return np.array([one.entry.targets.get(task, -1) for one in heard], dtype=np.int64)


def _refitted(
    spec: ModelSpec,
    heard: Sequence[Heard],
    truths: dict[str, NDArray[np.int64]],
    usable: Sequence[str],
    chosen: NDArray[np.bool_],
    prevalence: float | None,
    sensitivity: float,
) -> ModelSpec:
    """Return the contract with the usable tasks refitted on the chosen recordings."""
    new = {}
    for task in spec.tasks:
        if task.name not in usable:
            new[task.name] = task
            continue
        known = chosen & (truths[task.name] >= 0)
        logits = np.array([heard[i].output.logits[task.output] for i in np.flatnonzero(known).tolist()])
        field = prevalence if task.role == "primary" else None
        fitted = refit(task, truths[task.name][known], logits, missed=1 - sensitivity, prevalence=field)
        if fitted.calibration.slope <= 0:
            raise BadInputError(
                f"The model does not tell the cohort's classes of {task.name} apart; no threshold can help.",
                "Check that labels and files belong together; if they do, train on such recordings instead.",
            )
        new[task.name] = fitted
    primary = new[spec.primary.name]
    tasks = tuple(
        replace(task, asked_if=AskedIf(primary.name, primary.lower))
        if task.asked_if and task.asked_if.task == primary.name
        else task
        for task in new.values()
    )
    return replace(spec, tasks=tasks)


def _judge(
    spec: ModelSpec,
    name: str,
    thresholds: str,
    observed: Observed,
    truth: NDArray[np.int64],
    results: Sequence[dict[str, TaskResult]],
) -> Judged:
    task = next(task for task in spec.tasks if task.name == name)
    # A task that was not asked of a recording has no answer there, and was owed none.
    rows = [i for i in np.flatnonzero(truth >= 0).tolist() if results[i][name].outcome != NOT_ASKED]
    positive = truth[rows] == 1
    outcome = np.array([results[i][name].outcome for i in rows])
    answered, called = outcome != INCONCLUSIVE, outcome == task.classes[1]
    refused = np.array(observed.refused_truth[name] if task.role == "primary" else [], dtype=np.int64)
    probability = np.array([results[i][name].probability for i in rows], dtype=np.float64)
    logits = np.array([observed.heard[i].output.logits[task.output] for i in rows], dtype=np.float64)
    patients = np.array([observed.heard[i].entry.patient for i in rows])
    right_negative = answered & ~called
    return Judged(
        task=name,
        thresholds=thresholds,
        n=len(rows) + len(refused),
        positive=int(positive.sum() + refused.sum()),
        patients=len(np.unique(patients)),
        answered=int(answered.sum()),
        auroc=metrics.with_interval(metrics.auroc, positive, logits, metrics.patient_bootstrap(patients)),
        sensitivity_answered=metrics.exact_interval(int((called & positive).sum()), int((answered & positive).sum())),
        specificity_answered=metrics.exact_interval(
            int((right_negative & ~positive).sum()), int((answered & ~positive).sum())
        ),
        sensitivity_all=metrics.exact_interval(int((called & positive).sum()), int(positive.sum() + refused.sum())),
        specificity_all=metrics.exact_interval(
            int((right_negative & ~positive).sum()), int((~positive).sum() + (1 - refused).sum())
        ),
        brier=metrics.brier(positive, probability),
        brier_constant=metrics.brier_of_constant(positive),
        calibration_error=metrics.calibration_error(positive, probability),
    )


def _shown(interval: metrics.Interval | None) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})" if interval else "-"
