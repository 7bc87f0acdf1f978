"""Calibration, thresholds and guard levels, chosen on the validation fold alone."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from lsemvae_edge.spec import AskedIf, Calibration, GuardSpec, TaskSpec
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.fit import OUTPUTS

PRIMARY_SENSITIVITY = 0.80
NO_ANSWER_SHARE = 0.03
SWAP_FALSE_ALARMS = 0.03
NOT_ECG_FALSE_ALARMS = 0.01


def platt(truth: NDArray[np.int64], logits: NDArray[np.float64]) -> Calibration:
    """Fit slope and intercept by maximum likelihood with Platt's (1999) smoothed targets."""
    positives, negatives = int(truth.sum()), int((1 - truth).sum())
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        scaled = parameters[0] * logits + parameters[1]
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    return Calibration(round(float(slope), 6), round(float(intercept), 6))


def tasks(logits: NDArray[np.float32], validation: Cohort) -> tuple[TaskSpec, TaskSpec]:
    """Return both stand-in tasks with calibration and thresholds.

    Parameters
    ----------
    logits : array (n, n_outputs)
        Of the model as it ships, on the validation recordings.
    validation : Cohort

    See `refit` for how they are chosen.
    """
    primary = TaskSpec(
        name=OUTPUTS[0],
        title="right-heart pattern",
        role="primary",
        classes=("not_present", "present"),
        output=0,
        calibration=Calibration(1.0, 0.0),
        lower=0.5,
        upper=0.5,
        asked_if=None,
    )
    primary = refit(primary, validation.right_heart, logits[:, 0])
    secondary = TaskSpec(
        name=OUTPUTS[1],
        title="side of overload",
        role="secondary",
        classes=("left", "right"),
        output=1,
        calibration=Calibration(1.0, 0.0),
        lower=0.5,
        upper=0.5,
        asked_if=AskedIf(OUTPUTS[0], primary.lower),
    )
    sided = validation.heart_side >= 0
    return primary, refit(secondary, validation.heart_side[sided], logits[sided, 1])


def refit(
    task: TaskSpec,
    truth: NDArray[np.int64],
    logits: NDArray[np.float32],
    *,
    sensitivity: float = PRIMARY_SENSITIVITY,
    prevalence: float | None = None,
) -> TaskSpec:
    """Return a task with calibration and thresholds from labelled recordings.

    Parameters
    ----------
    task : TaskSpec
    truth : array (n,) of 0 and 1
    logits : array (n,)
        The model's logit of the task, as it ships.
    sensitivity : float
        Share of the positives that a primary task's threshold finds.
    prevalence : float, optional
        Share of positives where the model will be used; the calibration is shifted from the recordings' own share to
        it (Saerens et al. 2002, Neural Comput 14:21). Thresholds move along, so outcomes do not change.

    Notes
    -----
    The thresholds of the primary task lie about where ``sensitivity`` of the positives are found, and the band in which
    no answer is given holds `NO_ANSWER_SHARE` of the recordings, half on each side. A secondary task splits at one half
    of the probability at the recordings' own share, and its band holds twice that share, because it is asked of fewer
    people.
    """
    own = platt(truth, logits.astype(np.float64))
    probabilities = _sigmoid(own.slope * logits.astype(np.float64) + own.intercept)
    primary = task.role == "primary"
    threshold = float(np.quantile(probabilities[truth == 1], 1 - sensitivity)) if primary else 0.5
    lower, upper = _band(probabilities, threshold, NO_ANSWER_SHARE if primary else 2 * NO_ANSWER_SHARE)
    shift = 0.0 if prevalence is None else _log_odds(prevalence) - _log_odds(float(truth.mean()))
    if not shift:
        return replace(task, calibration=own, lower=lower, upper=upper)
    moved = replace(own, intercept=round(own.intercept + shift, 6))
    lower, upper = (round(float(_sigmoid(_log_odds(value) + shift)), 6) for value in (lower, upper))
    return replace(task, calibration=moved, lower=lower, upper=upper)


def guards(logits: NDArray[np.float32], validation: Cohort) -> tuple[GuardSpec, GuardSpec]:
    """Return the guards at the logit that the stated share of validation recordings reaches.

    The swap guard is also held below one in twenty of the records whose right-axis morphology resembles a reversal.
    """
    resembling = logits[validation.right_axis_like, 2]
    swap = float(np.quantile(logits[:, 2], 1 - SWAP_FALSE_ALARMS, method="higher"))
    if resembling.size:
        swap = max(swap, float(np.quantile(resembling, 0.95, method="higher")))
    strange = float(np.quantile(logits[:, 3], 1 - NOT_ECG_FALSE_ALARMS, method="higher"))
    return (
        GuardSpec("electrode_swap", 2, round(swap + 1e-3, 4)),
        GuardSpec("not_ecg", 3, round(strange + 1e-3, 4)),
    )


def _sigmoid(x: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.asarray(x, dtype=np.float64))))


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-12), 1 - 1e-12)
    return float(np.log(bounded / (1 - bounded)))


def _band(probabilities: NDArray[np.float64], threshold: float, share: float) -> tuple[float, float]:
    rank = float(np.mean(probabilities < threshold))
    low, high = np.quantile(probabilities, [max(rank - share / 2, 0), min(rank + share / 2, 1)])
    return _below(probabilities, low), _below(probabilities, high)


def _below(probabilities: NDArray[np.float64], value: float) -> float:
    """Return the middle between the probability at ``value`` or next above it and the one below.

    An int8 model gives few distinct logits; a threshold on one of them would hang on its last digit.
    """
    attained = np.unique(probabilities)
    position = min(int(np.searchsorted(attained, value)), attained.size - 1)
    lower = attained[position - 1] if position else 0.0
    return round(float((lower + attained[position]) / 2), 6)
