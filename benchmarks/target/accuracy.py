"""How good a bundle's files are, each through its own runtime and the whole way of a recording, as ``screen`` goes it.

Nothing is asked of torch: what is judged is the file that a kiosk runs, with its quality check, guards and thresholds.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lsemvae_edge import runtime
from lsemvae_edge.benchmarks import ledger
from lsemvae_edge.benchmarks.judging import plain, ranked
from lsemvae_edge.benchmarks.operating import operating_point
from lsemvae_edge.benchmarks.target import candidates, cohorts
from lsemvae_edge.benchmarks.target.cohorts import Cohort, Labelled
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Session
from lsemvae_edge.benchmarks.target.worker import Candidate
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.result import ScreeningResult
from lsemvae_edge.screening import screen
from lsemvae_edge.spec import TaskSpec

PART: Final = "accuracy"
LEDGER_NAME = "accuracy of files"
TOLD_EVERY = 200


@dataclass(frozen=True, eq=False)
class _Form:
    """A file of a bundle, open in a runtime; ``first`` names the form whose outcomes the others' are held against."""

    candidate: Candidate
    bundle: Bundle
    session: runtime.Session
    first: str


def measure(session: Session, plan: Plan, cohort: Cohort | None = None, label: str | None = None) -> None:
    """Judge every file of every bundle in every runtime that is here; rows are the part's fact ``rows``.

    Parameters
    ----------
    session : Session
    plan : Plan
        With ``final``, a reading of what is looked at once is appended to the ledger.
    cohort : Cohort, optional
        By default the project's own held-out recordings.
    label : str, optional
        The label of the cohort that the primary task is judged by, if it is not the task's own name.

    Raises
    ------
    UsageError
        If nothing can run here, or no recording has a label.
    """
    if cohort is None:
        try:
            cohort = cohorts.of_project(final=plan.final)
        except BadInputError as error:
            raise UsageError(error.message, error.next_step) from error
    forms = _opened(session, plan, cohort)
    results, read, unreadable = _screened(session, forms, cohort)
    sets = dict.fromkeys(name for one in read for name in one.sets)
    rows = [
        {**_named(form, cohort.name, name), **row}
        for form in forms
        for name in sets
        for row in _of_set([i for i, one in enumerate(read) if name in one.sets], read, form, results, label)
    ]
    if not rows:
        asked = ", ".join(task.name for task in forms[0].bundle.spec.tasks)
        raise UsageError(
            f"No recording of {cohort.name} has a label for {asked}.",
            "Name the label that the primary task is judged by with --label.",
        )
    session.fact(PART, "rows", rows)
    if unreadable:
        session.fact(PART, "unreadable", unreadable)
    for bundle in plan.bundles if cohort.once else ():
        once = [row for row in rows if row["set"] in cohort.once and row["bundle"] == bundle.spec.id]
        ledger.append(bundle, LEDGER_NAME, once)


def _opened(session: Session, plan: Plan, cohort: Cohort) -> list[_Form]:
    found: list[_Form] = []
    # Screening has no other binding, and an answer does not depend on threads.
    named = plan.runtimes or tuple(engine.name for engine in runtime.ENGINES)
    for candidate in candidates.of(session, PART, replace(plan, runtimes=named, threads=(1,))):
        if candidate.facts["runtime"] == candidates.PYTHON_BINDING:
            session.skip(PART, candidate.name, "screening does not use it; judge the file through executorch")
            continue
        if candidate.python != sys.executable:
            session.skip(PART, candidate.name, "it is in another environment: run `bench accuracy` there")
            continue
        bundle = next(one for one in plan.bundles if one.sha256 == candidate.facts["sha256"])
        model = next(one for one in bundle.manifest.models if one.path == candidate.facts["file"])
        session.case(PART, candidate.name, **candidate.facts, cohort=cohort.name)
        first = next((form.first for form in found if form.bundle is bundle), candidate.name)
        opened = runtime.open_session(bundle, candidate.facts["runtime"], model)
        found.append(_Form(candidate, bundle, opened, first))
    if not found:
        raise UsageError("Nothing of what was asked for can be judged here.", "Run `lsemvae-edge doctor runtimes`.")
    return found


def _screened(
    session: Session, forms: Sequence[_Form], cohort: Cohort
) -> tuple[dict[str, list[ScreeningResult]], list[Labelled], list[dict[str, Json]]]:
    """Read each recording once and have every form answer; what cannot be read or is no ECG file is told by name."""
    results: dict[str, list[ScreeningResult]] = {form.candidate.name: [] for form in forms}
    read: list[Labelled] = []
    unreadable: list[dict[str, Json]] = []
    for number, one in enumerate(cohort.recordings, 1):
        try:
            record = one.load()
            said = [screen(record, form.bundle, session=form.session) for form in forms]
        except BadInputError as error:
            unreadable.append({"recording": one.record_id, "why": error.message})
            continue
        read.append(one)
        for form, result in zip(forms, said, strict=True):
            results[form.candidate.name].append(result)
        if number % TOLD_EVERY == 0:
            session.say(f"{PART}: {number} of {len(cohort.recordings)} recordings")
    return results, read, unreadable


def figures(
    task: TaskSpec, judged_by: str, read: Sequence[Labelled], said: Sequence[ScreeningResult]
) -> dict[str, Json]:
    """Judge one task on recordings that have its label.

    Parameters
    ----------
    task : TaskSpec
    judged_by : str
        Name of the label.
    read : sequence of Labelled
    said : sequence of ScreeningResult
        In the same order.

    Returns
    -------
    dict
        ``n``, ``positive``, the share ``answered``, ``ran`` (recordings that have a probability: the model ran and the
        task was asked), AUROC of these, sensitivity and specificity among answered recordings and among all, where no
        answer counts as wrong, and the calibration beside the best constant. Intervals of shares are exact, others over
        patients; with fewer than ten of a class there is no AUROC.
    """
    truth = np.array([one.targets[judged_by] for one in read], dtype=bool)
    patient = np.array([one.patient for one in read])
    stated = [result.tasks[task.name].probability for result in said]
    ran = np.array([probability is not None for probability in stated], dtype=bool)
    probability = np.array([one for one in stated if one is not None], dtype=np.float64)
    point = operating_point("", truth, said, task.classes[1], patient, task.name)
    return plain(
        {
            "n": point.n,
            "positive": point.positive,
            "answered": point.answered / point.n,
            "ran": int(ran.sum()),
            "auroc": ranked(truth[ran].astype(np.float64), probability, patient[ran])["auroc"],
            "sensitivity_answered": point.sensitivity_answered,
            "specificity_answered": point.specificity_answered,
            "sensitivity_all": point.sensitivity_all,
            "specificity_all": point.specificity_all,
            "brier": point.brier,
            "brier_constant": point.brier_constant,
            "brier_skill": point.brier_skill,
            "ece": point.calibration_error,
            "calibration_slope": point.calibration_slope,
            "calibration_intercept": point.calibration_intercept,
        }
    )


def _named(form: _Form, cohort: str, name: str) -> dict[str, Json]:
    facts = form.candidate.facts
    told = {key: facts[key] for key in ("bundle", "size", "runtime", "precision")}
    return {**told, "cohort": cohort, "set": name}


def _of_set(
    chosen: Sequence[int],
    read: Sequence[Labelled],
    form: _Form,
    results: Mapping[str, Sequence[ScreeningResult]],
    label: str | None,
) -> Iterator[dict[str, Json]]:
    """Judge every task that recordings of the set have a label for; outcomes are also held against the first form's."""
    said = results[form.candidate.name]
    first = results[form.first]
    for task in form.bundle.spec.tasks:
        judged_by = label if label and task.name == form.bundle.spec.primary.name else task.name
        labelled = [i for i in chosen if judged_by in read[i].targets]
        if labelled:
            yield {
                "task": task.name,
                **({"judged_by": judged_by} if judged_by != task.name else {}),
                **figures(task, judged_by, [read[i] for i in labelled], [said[i] for i in labelled]),
                "outcomes_unlike_the_first": sum(
                    said[i].tasks[task.name].outcome != first[i].tasks[task.name].outcome for i in labelled
                ),
            }
