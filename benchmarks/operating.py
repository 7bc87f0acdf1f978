"""How right the answers are: the shipped thresholds on recordings with a label, and what fewer answers would buy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.result import INCONCLUSIVE, NOT_ASKED, ScreeningResult
from lsemvae_edge.spec import TaskSpec

PREVALENCES = (0.01, 0.05, 0.20)
COVERAGES = (1.0, 0.9, 0.85, 0.75)


@dataclass(frozen=True)
class Operating:
    """The shipped thresholds on one set of recordings, through the whole way.

    Sensitivity and specificity have exact intervals and stand twice: among answered recordings, and among all, where
    no answer counts as wrong. Predictive values hold at the stated prevalence, for answered recordings. What is said of
    the probability is of all recordings on which the model ran: the Brier score beside that of the best constant, how
    much smaller it is (``brier_skill``; above 0 is better than the constant), the calibration error over bins of equal
    mass, and slope and intercept of the calibration, right at 1 and 0. Intervals of these are over patients, and they
    are None with fewer than ten of a class.
    """

    set: str
    n: int
    positive: int
    answered: int
    sensitivity_answered: metrics.Interval | None
    specificity_answered: metrics.Interval | None
    sensitivity_all: metrics.Interval | None
    specificity_all: metrics.Interval | None
    brier: float | None
    brier_constant: float | None
    brier_skill: metrics.Interval | None
    calibration_error: float | None
    calibration_slope: metrics.Interval | None
    calibration_intercept: metrics.Interval | None
    predictive_values: dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Abstention:
    """What is right among the answered if the least sure recordings of a set got no answer.

    ``n`` recordings are those on which the model ran, whatever a guard said then; ``answered`` of them is the widest
    share that does not exceed ``coverage``. A recording is the surer the further its log-odds lie from the middle of
    the shipped thresholds, and is called by the side of it on which they lie. Intervals are exact.
    """

    set: str
    coverage: float
    n: int
    answered: int
    error: metrics.Interval | None
    sensitivity: metrics.Interval | None
    specificity: metrics.Interval | None


def operating_point(
    name: str,
    truth: NDArray[np.bool_],
    results: Sequence[ScreeningResult],
    positive: str,
    patient: NDArray[np.str_] | None = None,
    task: str | None = None,
) -> Operating:
    """Say what the shipped thresholds do on recordings whose label is known.

    Parameters
    ----------
    truth : array (n,) of bool
        Label of the task.
    results : sequence of ScreeningResult
        In the same order.
    positive : str
        The task's positive class.
    patient : array (n,), optional
        Whose recordings they are; by default each is of another person.
    task : str, optional
        By default the primary one. A task that was not asked got no answer.
    """
    said = [next(iter(result.tasks.values())) if task is None else result.tasks[task] for result in results]
    answered = np.array([one.outcome not in (INCONCLUSIVE, NOT_ASKED) for one in said], dtype=bool)
    called = np.array([one.outcome == positive for one in said], dtype=bool)
    ran = np.array([one.probability is not None for one in said], dtype=bool)
    probability = np.array([one.probability for one in said if one.probability is not None])
    calibration = _of_probability(truth[ran], probability, (np.arange(len(truth)) if patient is None else patient)[ran])

    def share(right: NDArray[np.bool_], among: NDArray[np.bool_]) -> metrics.Interval | None:
        return metrics.exact_interval(int((right & among).sum()), int(among.sum()))

    right_negative = answered & ~called
    sensitivity, specificity = share(called, truth & answered), share(right_negative, ~truth & answered)
    values = {}
    if sensitivity and specificity:
        for prevalence in PREVALENCES:
            both = metrics.predictive_values(sensitivity.value, specificity.value, prevalence)
            positive_value, negative_value = (None if np.isnan(value) else float(value) for value in both)
            values[f"{prevalence:.0%}"] = positive_value, negative_value
    return Operating(
        set=name,
        n=len(results),
        positive=int(truth.sum()),
        answered=int(answered.sum()),
        sensitivity_answered=sensitivity,
        specificity_answered=specificity,
        sensitivity_all=share(called, truth),
        specificity_all=share(right_negative, ~truth),
        brier=metrics.brier(truth[ran], probability) if ran.any() else None,
        brier_constant=metrics.brier_of_constant(truth[ran]) if ran.any() else None,
        brier_skill=calibration["skill"],
        calibration_error=metrics.calibration_error(truth[ran], probability) if ran.any() else None,
        calibration_slope=calibration["slope"],
        calibration_intercept=calibration["intercept"],
        predictive_values=values,
    )


def brier_skill(truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> float:
    """Return by which share the Brier score is smaller than that of the best constant; NaN with one class only."""
    constant = metrics.brier_of_constant(truth)
    return 1 - metrics.brier(truth, probability) / constant if constant else float("nan")


def abstentions(
    name: str, truth: NDArray[np.bool_], results: Sequence[ScreeningResult], task: TaskSpec
) -> list[Abstention]:
    """Say what is right among the answered at each of `COVERAGES`; nothing where the model never ran.

    Parameters
    ----------
    name : str
    truth : array (n,) of bool
        Label of the primary task.
    results : sequence of ScreeningResult
        In the same order.
    task : TaskSpec
        The primary task, with the shipped thresholds.
    """
    stated = [result.tasks[task.name].probability for result in results]
    ran = np.array([probability is not None for probability in stated], dtype=bool)
    if not ran.any():
        return []
    truth = truth[ran]
    score = _log_odds([probability for probability in stated if probability is not None])
    middle = float(_log_odds([task.lower, task.upper]).mean())
    doubt = -np.abs(score - middle)
    curve = metrics.coverage_risk(truth, score, middle, doubt)
    surest_first = truth[np.argsort(doubt, kind="stable")]
    found = []
    for wanted in COVERAGES:
        at = int(np.searchsorted(curve.coverage, wanted + 1e-9)) - 1
        answered = round(curve.coverage[at] * truth.size) if at >= 0 else 0
        positives = int(surest_first[:answered].sum())
        shares = [
            metrics.exact_interval(round(float(values[at]) * count), count) if count else None
            for values, count in (
                (curve.risk, answered),
                (curve.sensitivity, positives),
                (curve.specificity, answered - positives),
            )
        ]
        found.append(Abstention(name, wanted, truth.size, answered, *shares))
    return found


def operating_table(points: Iterable[Operating]) -> str:
    """Print operating points as Markdown."""
    lines = [
        "| set | n (positive) | answered | sensitivity, answered | specificity, answered | sensitivity, all | "
        "specificity, all | Brier (constant) | Brier skill | ECE | slope | intercept | PPV / NPV at 1 %, 5 %, 20 % |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        shares = (
            point.sensitivity_answered,
            point.specificity_answered,
            point.sensitivity_all,
            point.specificity_all,
        )
        cells = [point.set, f"{point.n} ({point.positive})", f"{point.answered / max(point.n, 1):.1%}"]
        cells += [_interval(share) for share in shares]
        cells += [
            f"{_figure(point.brier, 4)} ({_figure(point.brier_constant, 4)})",
            _interval(point.brier_skill),
            _figure(point.calibration_error, 3),
            _interval(point.calibration_slope),
            _interval(point.calibration_intercept),
        ]
        cells.append(", ".join(f"{_figure(p, 2)} / {_figure(n, 3)}" for p, n in point.predictive_values.values()))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def abstention_table(found: Iterable[Abstention]) -> str:
    """Print as Markdown what fewer answers would buy."""
    lines = [
        "| set | coverage | answered of those the model ran on | error | sensitivity | specificity |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        shares = " | ".join(_interval(share) for share in (one.error, one.sensitivity, one.specificity))
        lines.append(f"| {one.set} | {one.coverage:.0%} | {one.answered} of {one.n} | {shares} |")
    return "\n".join(lines)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(interval: metrics.Interval | None) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})" if interval else "-"


def _log_odds(probability: Sequence[float]) -> NDArray[np.float64]:
    bounded = np.clip(np.asarray(probability, dtype=np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _of_probability(
    truth: NDArray[np.bool_], probability: NDArray[np.float64], patient: NDArray[Any]
) -> dict[str, metrics.Interval | None]:
    """Return skill, slope and intercept with their intervals over patients, None where they have no number."""
    wanted: dict[str, metrics.Metric] = {
        "skill": brier_skill,
        "slope": metrics.calibration_slope,
        "intercept": metrics.calibration_intercept,
    }
    resamples = metrics.patient_bootstrap(patient) if len(patient) else []
    found = metrics.with_intervals(wanted, truth, probability, resamples)
    return {
        name: interval if interval and np.isfinite([interval.value, interval.low, interval.high]).all() else None
        for name, interval in found.items()
    }
