"""Calibration, thresholds and guard levels, chosen on the validation fold alone."""

import numpy as np
from numpy.typing import NDArray
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

    Notes
    -----
    The primary threshold is where `PRIMARY_SENSITIVITY` of the validation positives are found; the band in which no
    answer is given holds `NO_ANSWER_SHARE` of the validation recordings, half on each side. The secondary task splits
    at one half, and its band holds twice that share, because it is asked of fewer people.
    """
    right = _task_probabilities(validation.right_heart, logits[:, 0])
    threshold = float(np.quantile(right[1][validation.right_heart == 1], 1 - PRIMARY_SENSITIVITY))
    lower, upper = _band(right[1], threshold, NO_ANSWER_SHARE)
    primary = TaskSpec(
        name=OUTPUTS[0],
        title="right-heart pattern",
        role="primary",
        classes=("not_present", "present"),
        output=0,
        calibration=right[0],
        lower=lower,
        upper=upper,
        asked_if=None,
    )
    sided = validation.heart_side >= 0
    side = _task_probabilities(validation.heart_side[sided], logits[sided, 1])
    low, high = _band(side[1], 0.5, 2 * NO_ANSWER_SHARE)
    secondary = TaskSpec(
        name=OUTPUTS[1],
        title="side of overload",
        role="secondary",
        classes=("left", "right"),
        output=1,
        calibration=side[0],
        lower=low,
        upper=high,
        asked_if=AskedIf(OUTPUTS[0], lower),
    )
    return primary, secondary


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


def _task_probabilities(
    truth: NDArray[np.int64], logits: NDArray[np.float32]
) -> tuple[Calibration, NDArray[np.float64]]:
    calibration = platt(truth, logits.astype(np.float64))
    return calibration, 1 / (1 + np.exp(-(calibration.slope * logits.astype(np.float64) + calibration.intercept)))


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
