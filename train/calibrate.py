"""Calibration, thresholds, guard levels and the familiar part of the latent space, chosen on the validation fold alone.

Thresholds come from risk control (Angelopoulos et al., arXiv:2110.01052, by the library MAPIE): with confidence
``1 - DELTA`` no more than ``MISSED`` of the positives fall below the lower one, and no more than ``FALSE_ALARMS`` of
the negatives reach the upper one. This holds for exchangeable recordings only. Between the two there is no answer.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from mapie.risk_control import BinaryClassificationController, FWERFixedSequenceTesting
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.spec import AskedIf, Calibration, GuardSpec, LatentSpec, TaskSpec
from lsemvae_edge.train.datasets import HEART_SIDE, RIGHT_HEART, Task

MISSED = 0.25
FALSE_ALARMS = 0.25
DELTA = 0.10
SWAP_FALSE_ALARMS = 0.03
NOT_ECG_FALSE_ALARMS = 0.02
UNFAMILIAR = 0.02
"""Share of the validation recordings that the latent distance refuses."""
MIN_PER_CLASS = 10
TASKS = (RIGHT_HEART, HEART_SIDE)
TITLES = {RIGHT_HEART.name: "right-heart pattern", HEART_SIDE.name: "side of overload"}


class TooFewError(BadInputError):
    """The recordings are too few for what the thresholds are to promise."""


def platt(truth: NDArray[np.int64], logits: NDArray[np.float64]) -> Calibration:
    """Fit slope and intercept by maximum likelihood with Platt's (1999) smoothed targets."""
    positives, negatives = int(truth.sum()), int((1 - truth).sum())
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        scaled = parameters[0] * logits + parameters[1]
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    slope, intercept = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    return Calibration(round(float(slope), 6), round(float(intercept), 6))


def tasks(
    logits: NDArray[np.float32],
    targets: NDArray[np.float32],
    lead_baseline: NDArray[np.float32],
    named: Sequence[Task] = TASKS,
) -> tuple[TaskSpec, ...]:
    """Return the tasks of a model with calibration and thresholds; the first is the primary one.

    Parameters
    ----------
    logits : array (n, n_outputs)
        Of the model as it ships, on the validation recordings; the tasks come first.
    targets : array (n, n_tasks)
        0, 1 or NaN.
    lead_baseline : array (n_leads, n_outputs)
        Mean contribution of each lead over the training recordings.
    named : sequence of Task

    See `refit` for how thresholds are chosen.
    """
    made: list[TaskSpec] = []
    for output, task in enumerate(named):
        known = ~np.isnan(targets[:, output])
        plain = TaskSpec(
            name=task.name,
            title=TITLES.get(task.name, task.name.replace("_", " ")),
            role="secondary" if made else "primary",
            classes=task.classes,
            output=output,
            calibration=Calibration(1.0, 0.0),
            lower=0.5,
            upper=0.5,
            asked_if=AskedIf(made[0].name, made[0].lower) if made else None,
            lead_baseline=tuple(round(float(value), 5) for value in lead_baseline[:, output]),
        )
        made.append(refit(plain, targets[known, output].astype(np.int64), logits[known, output]))
    return tuple(made)


def refit(
    task: TaskSpec,
    truth: NDArray[np.int64],
    logits: NDArray[np.float32],
    *,
    missed: float = MISSED,
    false_alarms: float = FALSE_ALARMS,
    prevalence: float | None = None,
) -> TaskSpec:
    """Return a task with calibration and thresholds from labelled recordings.

    Parameters
    ----------
    task : TaskSpec
    truth : array (n,) of 0 and 1
    logits : array (n,)
        The model's logit of the task, as it ships.
    missed, false_alarms : float
        Shares of the positives below the lower threshold, and of the negatives at or above the upper one, that are
        controlled with confidence ``1 - DELTA``.
    prevalence : float, optional
        Share of positives where the model will be used; the calibration is shifted from the recordings' own share to
        it (Saerens et al. 2002, Neural Comput 14:21). Thresholds move along, so outcomes do not change.

    Raises
    ------
    TooFewError
        If the recordings are too few for the promise.
    """
    own = platt(truth, logits.astype(np.float64))
    probabilities = _sigmoid(own.slope * logits.astype(np.float64) + own.intercept)
    lower, upper = controlled(probabilities, truth, missed, false_alarms)
    shift = 0.0 if prevalence is None else _log_odds(prevalence) - _log_odds(float(truth.mean()))
    if not shift:
        return replace(task, calibration=own, lower=lower, upper=upper)
    moved = replace(own, intercept=round(own.intercept + shift, 6))
    lower, upper = (round(float(_sigmoid(_log_odds(value) + shift)), 6) for value in (lower, upper))
    return replace(task, calibration=moved, lower=lower, upper=upper)


def controlled(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], missed: float, false_alarms: float
) -> tuple[float, float]:
    """Return the highest threshold that controls missed positives, and the lowest that controls false alarms.

    Candidates lie between attained probabilities and are tested in a fixed order, the safest first. Where both promises
    can be kept at once, one threshold between them serves both, and every recording is answered.
    """
    attained = np.unique(probabilities)
    # An int8 model gives few distinct logits; a threshold on one of them would hang on its last digit.
    between = np.round(np.concatenate([[0.0], (attained[1:] + attained[:-1]) / 2, [1.0]]), 6)
    lower = _control(probabilities, truth, "recall", 1 - missed, between)
    upper = _control(probabilities, truth, "fpr", false_alarms, between[::-1])
    if lower >= upper:
        lower = upper = round((lower + upper) / 2, 6)
    return lower, upper


def guards(logits: NDArray[np.float32], right_axis_like: NDArray[np.bool_], first: int) -> tuple[GuardSpec, GuardSpec]:
    """Return the guards at the logit that the stated share of validation recordings reaches.

    The swap guard is also held below one in twenty of the records whose right-axis morphology resembles a reversal.

    Parameters
    ----------
    logits : array (n, n_outputs)
    right_axis_like : array (n,) of bool
    first : int
        Output of the swap guard; the other one follows.
    """
    resembling = logits[right_axis_like, first]
    swap = float(np.quantile(logits[:, first], 1 - SWAP_FALSE_ALARMS, method="higher"))
    if resembling.size:
        swap = max(swap, float(np.quantile(resembling, 0.95, method="higher")))
    strange = float(np.quantile(logits[:, first + 1], 1 - NOT_ECG_FALSE_ALARMS, method="higher"))
    return (
        GuardSpec("electrode_swap", first, round(swap + 1e-3, 4)),
        GuardSpec("not_ecg", first + 1, round(strange + 1e-3, 4)),
    )


def latent(training_mu: NDArray[np.float32], validation_mu: NDArray[np.float32]) -> LatentSpec:
    """Describe where the fused means of the training recordings lie, and how far off is too far.

    The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004, J Multivar Anal 88:365).

    Parameters
    ----------
    training_mu, validation_mu : array (n, latent_dim)
        Of the model as it ships.
    """
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(training_mu.astype(np.float64))
    whitening = np.linalg.cholesky(fitted.precision_).T
    plain = LatentSpec(
        mean=tuple(round(float(value), 5) for value in fitted.location_),
        whitening=tuple(tuple(round(float(value), 5) for value in row) for row in whitening),
        max_distance=1.0,
    )
    distances = [plain.distance(mu) for mu in validation_mu]
    return replace(plain, max_distance=round(float(np.quantile(distances, 1 - UNFAMILIAR, method="higher")) + 1e-3, 4))


def _control(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], what: str, level: float, ordered: NDArray[np.float64]
) -> float:
    """Return the last threshold of an order, safest first, at which the level is kept with the stated confidence."""
    controller = BinaryClassificationController(
        predict_function=lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1),
        risk=what,
        target_level=level,
        confidence_level=1 - DELTA,
        list_predict_params=ordered,
        fwer_method=FWERFixedSequenceTesting(),
    )
    with warnings.catch_warnings():
        # That no threshold keeps the level is an error of ours, below.
        warnings.simplefilter("ignore", UserWarning)
        controller.calibrate(probabilities[:, None], truth)
    kept = set(np.ravel(controller.valid_predict_params).tolist())
    if not kept:
        raise TooFewError(
            f"{int(truth.sum())} positive and {int((1 - truth).sum())} negative recordings are too few to promise "
            f"{what} {level:.2f} with confidence {1 - DELTA:.2f}.",
            "Label more recordings, or ask less of the thresholds.",
        )
    return float([value for value in ordered.tolist() if value in kept][-1])


def _sigmoid(x: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.asarray(x, dtype=np.float64))))


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-12), 1 - 1e-12)
    return float(np.log(bounded / (1 - bounded)))
