"""From logits to outcomes and words: calibration, thresholds, intended use, and every reason not to answer.

Words are fixed by the clinical-safety rules in ``docs/safety.md``: a result never reassures, and its
sentences are whole strings, so that they can be translated whole.
"""

from dataclasses import dataclass, replace

import numpy as np

from lsemvae_edge.errors import BundleError
from lsemvae_edge.language import mark
from lsemvae_edge.result import INCONCLUSIVE, NOT_ASKED, TaskResult, Wording
from lsemvae_edge.runtime import Output
from lsemvae_edge.spec import ModelSpec, TaskSpec

PATTERN_SEEN = mark("Pattern seen")
PATTERN_NOT_SEEN = mark("Pattern not seen")
NO_ANSWER = mark("No answer")
REFER = mark("Refer this person to a clinician. This is a screening result, not a diagnosis.")
NO_REASSURANCE = mark("This does not rule out disease. If the person is breathless, faints or has swollen legs, refer.")
REFER_OR_REPEAT = mark("Record again; if there is still no answer, refer this person or repeat later.")
RESEARCH_USE = mark("Research use, not a diagnosis.")
SWAP_CHECK = mark("Swap check: left hand on L, right hand on R; record again.")
SWAP_CONFIRMED = mark("The electrodes looked swapped; the operator confirmed that they were placed correctly.")
NOT_ECG = mark("The signal does not look like an ECG this model knows.")
UNFAMILIAR = mark("The recording differs from those that the model learned from.")
BETWEEN = mark("The model's answer lies between its thresholds.")
RATE_UNKNOWN = mark("The heart rate could not be measured reliably, so the pattern cannot be called absent.")
RATE_OUTSIDE = mark("The heart rate is outside the range in which the pattern can be called absent.")
PACED = mark("The person has a pacemaker; the model is not meant for paced hearts.")
TOO_YOUNG = mark("The model is meant for adults only.")
LEADS_NOT_ACCEPTED = mark("These leads alone were not measured well enough for an answer.")
SIMULATED = mark("Simulated recording: this is no person's result.")
STAND_IN = mark("Trained on a stand-in label: {stand_in}.")
SEEN = mark("Pattern seen: {title}")
NOT_SEEN = mark("Pattern not seen: {title}")


@dataclass(frozen=True)
class Circumstances:
    """What is known beside the logits.

    ``available_leads`` are those measured or recomputed by algebra; ``age_years`` and ``pacemaker`` are
    None when nobody asked; ``electrodes_confirmed`` says that the operator checked the electrodes after a swap warning.
    """

    heart_rate_bpm: float | None
    rhythm_reliable: bool
    available_leads: tuple[str, ...]
    age_years: float | None = None
    pacemaker: bool | None = None
    electrodes_confirmed: bool = False


def ordinary(spec: ModelSpec) -> Circumstances:
    """Return circumstances under which nothing but the model decides: what models are compared under."""
    return Circumstances(heart_rate_bpm=70.0, rhythm_reliable=True, available_leads=spec.leads)


def decide(spec: ModelSpec, output: Output, seen: Circumstances) -> dict[str, TaskResult]:
    """Turn the model's logits into an outcome for each task.

    Parameters
    ----------
    spec : ModelSpec
    output : Output
        Of one run.
    seen : Circumstances

    Returns
    -------
    dict of task name to TaskResult
        In the order of ``spec.tasks``; probabilities and the leads' contributions are filled unless a task was not
        asked.

    Raises
    ------
    BundleError
        If the model gave a number that is not finite: something is broken, and that is no answer about a person.
    """
    if not all(np.isfinite(values).all() for values in (output.logits, output.mu, output.contributions)):
        raise BundleError("The model gave a number that is none.", "Run `lsemvae-edge verify`, and record again.")
    probabilities = {task.name: probability(task, float(output.logits[task.output])) for task in spec.tasks}
    refusal = _refusal(spec, output, seen)
    results = {}
    for task in spec.tasks:
        if task.asked_if and probabilities[task.asked_if.task] < task.asked_if.min_probability:
            results[task.name] = TaskResult(NOT_ASKED, None, None)
        else:
            answered = _answer(spec, task, probabilities[task.name], refusal, seen)
            told = lead_contributions(spec, task, output, seen.available_leads)
            results[task.name] = replace(answered, lead_contributions=told)
    return results


def unanswered(spec: ModelSpec, reason: str) -> dict[str, TaskResult]:
    """Return the tasks' results when the model did not run."""
    return {task.name: TaskResult(INCONCLUSIVE, None, reason) for task in spec.tasks}


def probability(task: TaskSpec, logit: float) -> float:
    """Return the calibrated probability of the task's positive class."""
    scaled = task.calibration.slope * logit + task.calibration.intercept
    return float(1.0 / (1.0 + np.exp(-np.clip(scaled, -60.0, 60.0))))


def lead_contributions(
    spec: ModelSpec, task: TaskSpec, output: Output, available_leads: tuple[str, ...]
) -> dict[str, float]:
    """Return what each available lead added to a task's log-odds, over what it adds in an average recording."""
    over = output.contributions[:, task.output].astype(np.float64) - np.asarray(task.lead_baseline)
    # Adding zero turns a negative zero into a plain one.
    added = np.round(task.calibration.slope * over, 3) + 0.0
    return {lead: value for lead, value in zip(spec.leads, added.tolist(), strict=True) if lead in available_leads}


def tripped(spec: ModelSpec, output: Output) -> set[str]:
    """Return the kinds of the guards that object, and ``unfamiliar`` if the latent space does."""
    objecting: set[str] = {guard.kind for guard in spec.guards if float(output.logits[guard.output]) >= guard.max_logit}
    if spec.latent is not None and spec.latent.distance(output.mu) >= spec.latent.max_distance:
        objecting.add("unfamiliar")
    return objecting


def word(
    spec: ModelSpec, results: dict[str, TaskResult], advice: str | None, confirmed_swap: bool, simulated: bool
) -> Wording:
    """Put a result into the sentences that a health worker reads.

    Parameters
    ----------
    advice : str, optional
        What quality asks the operator to do, when the model did not run.
    confirmed_swap : bool
        The swap guard objected, and the operator had confirmed the electrodes.
    simulated : bool
        The recording is no person's.
    """
    primary = results[spec.primary.name]
    negative, positive = spec.primary.classes
    if primary.outcome == positive:
        headline, line = SEEN.format(title=spec.primary.title), REFER
    elif primary.outcome == negative:
        headline, line = NOT_SEEN.format(title=spec.primary.title), NO_REASSURANCE
    else:
        headline = NO_ANSWER
        line = advice or _instruction(primary.reason)
    notes = []
    if simulated:
        notes.append(SIMULATED)
    if confirmed_swap:
        notes.append(SWAP_CONFIRMED)
    for task in spec.tasks:
        outcome = results[task.name].outcome
        if task is not spec.primary and outcome in task.classes:
            notes.append(f"{task.title}: {outcome}.")
    if spec.intended_use.stand_in:
        notes.append(STAND_IN.format(stand_in=spec.intended_use.stand_in))
    notes.append(RESEARCH_USE)
    return Wording(headline, line, tuple(notes))


def _refusal(spec: ModelSpec, output: Output, seen: Circumstances) -> str | None:
    """Return why no task may be answered, or None."""
    objections = tripped(spec, output)
    if "not_ecg" in objections:
        return NOT_ECG
    if not any(set(accepted) <= set(seen.available_leads) for accepted in spec.accepted_lead_sets):
        return LEADS_NOT_ACCEPTED
    if seen.age_years is not None and seen.age_years < spec.intended_use.min_age_years:
        return TOO_YOUNG
    if seen.pacemaker:
        return PACED
    # Swapped electrodes may look unfamiliar as well; they are what the operator can put right.
    if "electrode_swap" in objections and not seen.electrodes_confirmed:
        return SWAP_CHECK
    return UNFAMILIAR if "unfamiliar" in objections else None


def _answer(spec: ModelSpec, task: TaskSpec, value: float, refusal: str | None, seen: Circumstances) -> TaskResult:
    negative, positive = task.classes
    if refusal is not None:
        return TaskResult(INCONCLUSIVE, value, refusal)
    if value >= task.upper:
        return TaskResult(positive, value, None)
    if value >= task.lower:
        return TaskResult(INCONCLUSIVE, value, BETWEEN)
    if task.role == "primary":
        use = spec.intended_use
        if seen.heart_rate_bpm is None or not seen.rhythm_reliable:
            return TaskResult(INCONCLUSIVE, value, RATE_UNKNOWN)
        if not use.min_heart_rate_bpm <= seen.heart_rate_bpm <= use.max_heart_rate_bpm:
            return TaskResult(INCONCLUSIVE, value, RATE_OUTSIDE)
    return TaskResult(negative, value, None)


def _instruction(reason: str | None) -> str:
    if reason == SWAP_CHECK:
        return SWAP_CHECK
    return f"{reason} {REFER_OR_REPEAT}" if reason else REFER_OR_REPEAT
