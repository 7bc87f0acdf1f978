"""What follows from acting on a score: operating points, predictive values, net benefit."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Figure = Literal[
    "accuracy",
    "f1",
    "mcc",
    "sensitivity",
    "specificity",
    "positive_predictive_value",
    "negative_predictive_value",
]


@dataclass(frozen=True)
class Confusion:
    """Counts of a decision; numbers, or arrays of one shape with an entry for each resample.

    Parameters
    ----------
    tp, fp, fn, tn : float or array
        True positives, false positives, false negatives, true negatives.
    """

    tp: Any
    fp: Any
    fn: Any
    tn: Any

    def accuracy(self) -> Any:
        """Share that is right."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    def f1(self) -> Any:
        """Harmonic mean of precision and sensitivity; 0 where nothing is positive and nothing is called."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn, empty=0.0)

    def mcc(self) -> Any:
        """Matthews correlation coefficient; 0 where a row or column of the table is empty."""
        product = (
            np.asarray(self.tp + self.fp, dtype=np.float64)
            * (self.tp + self.fn)
            * (self.tn + self.fp)
            * (self.tn + self.fn)
        )
        return _ratio(self.tp * self.tn - self.fp * self.fn, np.sqrt(product), empty=0.0)

    def sensitivity(self) -> Any:
        """Share of positives that is called."""
        return _ratio(self.tp, self.tp + self.fn)

    def specificity(self) -> Any:
        """Share of negatives that is not called."""
        return _ratio(self.tn, self.tn + self.fp)


@dataclass(frozen=True)
class AtThreshold:
    """A figure of the decision ``score >= threshold``, as a metric of truth and score.

    Parameters
    ----------
    figure : str
        A method of `Confusion`, or a predictive value, which also needs ``prevalence``.
    threshold : float
    prevalence : float, optional
        Of the population that a predictive value is meant for; by default that of the recordings.
    """

    figure: Figure
    threshold: float
    prevalence: float | None = None

    def __call__(self, truth: NDArray[np.bool_], score: Array) -> float:
        """Return the figure."""
        return float(self.resampled(truth, score, np.ones((1, len(truth))))[0])

    def resampled(self, truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
        """Return the figure of resamples (n_resamples,), given how often each holds every recording."""
        counts = confusion(truth, score >= self.threshold, weights)
        if self.figure not in ("positive_predictive_value", "negative_predictive_value"):
            return np.asarray(getattr(counts, self.figure)(), dtype=np.float64)
        prevalence = _ratio(counts.tp + counts.fn, weights.sum(axis=1)) if self.prevalence is None else self.prevalence
        values = predictive_values(counts.sensitivity(), counts.specificity(), prevalence)
        return np.asarray(values[self.figure == "negative_predictive_value"], dtype=np.float64)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit over thresholds (k,) of probability, with a 95 % interval where resamples were given."""

    threshold: Array
    model: Array
    treat_all: Array
    low: Array | None = None
    high: Array | None = None


def confusion(truth: ArrayLike, called: ArrayLike, weights: Array | None = None) -> Confusion:
    """Count right and wrong decisions.

    Parameters
    ----------
    truth, called : array (n,) of bool
    weights : array (n_resamples, n), optional
        How often each resample holds every recording; the counts are then arrays (n_resamples,).
    """
    truth, called = np.asarray(truth, dtype=bool), np.asarray(called, dtype=bool)
    cells = [truth & called, ~truth & called, truth & ~called, ~truth & ~called]
    if weights is None:
        return Confusion(*(int(cell.sum()) for cell in cells))
    return Confusion(*(weights @ np.stack(cells, axis=1).astype(np.float64)).T)


def threshold_at_sensitivity(truth: ArrayLike, score: ArrayLike, sensitivity: float) -> float:
    """Return the highest threshold at which ``score >= threshold`` still finds the stated share of positives.

    It lies half way between the score that decides it and the next lower one, so that it does not hang on a last digit.

    Raises
    ------
    ValueError
        If there is no positive, or the share is not in (0, 1].
    """
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if not truth.any() or not 0 < sensitivity <= 1:
        raise ValueError("A sensitivity in (0, 1] and at least one positive are needed.")
    falling = np.sort(score[truth])[::-1]
    needed = int(np.ceil(sensitivity * falling.size - 1e-9))
    return _just_below(score, float(falling[needed - 1]))


def youden_threshold(truth: ArrayLike, score: ArrayLike) -> float:
    """Return the threshold of the largest sensitivity + specificity - 1 (Youden 1950); of equals the lowest.

    Raises
    ------
    ValueError
        If one class is absent.
    """
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if truth.all() or not truth.any():
        raise ValueError("Both classes are needed.")
    attained = np.unique(score)
    positives, negatives = np.sort(score[truth]), np.sort(score[~truth])
    found = 1 - np.searchsorted(positives, attained) / positives.size
    spared = np.searchsorted(negatives, attained) / negatives.size
    return _just_below(score, float(attained[np.argmax(np.round(found + spared, 12))]))


def predictive_values(sensitivity: Any, specificity: Any, prevalence: Any) -> tuple[Any, Any]:
    """Return positive and negative predictive value by Bayes' rule; NaN where nobody is called, or everybody is."""
    seen_ill, seen_well = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    unseen_ill, unseen_well = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    return _ratio(seen_ill, seen_ill + seen_well), _ratio(unseen_well, unseen_ill + unseen_well)


def net_benefit(truth: ArrayLike, probability: ArrayLike, threshold: ArrayLike) -> Array:
    """Net benefit per recording of acting at each threshold (Vickers and Elkin 2006, Med Decis Making 26:565).

    True positives minus false positives, these weighed by the odds of the threshold, over all recordings. Acting on
    nobody has 0; acting on everybody has that of a constant probability of 1.

    Parameters
    ----------
    truth, probability : array (n,)
    threshold : array (k,)
        In [0, 1).

    Returns
    -------
    array (k,)
    """
    truth = np.asarray(truth, dtype=bool)
    probability, threshold = np.asarray(probability, dtype=np.float64), np.asarray(threshold, dtype=np.float64)
    return np.asarray(_net_benefit(truth, probability, threshold, np.ones((1, truth.size)))[0])


def decision_curve(
    truth: ArrayLike, probability: ArrayLike, threshold: ArrayLike, resamples: list[NDArray[np.intp]] | None = None
) -> DecisionCurve:
    """Net benefit of the model and of acting on everybody; acting on nobody has 0 throughout.

    Parameters
    ----------
    truth, probability : array (n,)
    threshold : array (k,)
        In [0, 1).
    resamples : list of array, optional
        Of `patient_bootstrap`, for a pointwise 95 % interval.
    """
    truth, probability = np.asarray(truth, dtype=bool), np.asarray(probability, dtype=np.float64)
    thresholds = np.asarray(threshold, dtype=np.float64)
    low = high = None
    if resamples:
        values = [
            _net_benefit(truth, probability, thresholds, np.bincount(index, minlength=truth.size)[None].astype(float))
            for index in resamples
        ]
        low, high = np.percentile(np.concatenate(values), [2.5, 97.5], axis=0)
    return DecisionCurve(
        thresholds,
        net_benefit(truth, probability, thresholds),
        net_benefit(truth, np.ones(truth.size), thresholds),
        low,
        high,
    )


def _net_benefit(truth: NDArray[np.bool_], probability: Array, threshold: Array, weights: Array) -> Array:
    # Ascending probabilities: what a threshold calls is a tail, so one running sum serves every threshold.
    order = np.argsort(probability, kind="stable")
    first = np.searchsorted(probability[order], threshold, side="left")
    zero = np.zeros((len(weights), 1))
    below = {
        of_class: np.concatenate([zero, np.cumsum(weights[:, order] * (truth[order] == of_class), axis=1)], axis=1)
        for of_class in (True, False)
    }
    tp, fp = (below[of_class][:, -1:] - below[of_class][:, first] for of_class in (True, False))
    return np.asarray((tp - fp * threshold / (1 - threshold)) / weights.sum(axis=1, keepdims=True))


def _just_below(score: Array, value: float) -> float:
    attained = np.unique(score)
    position = int(np.searchsorted(attained, value))
    if position == 0:
        return value
    middle = float((attained[position - 1] + attained[position]) / 2)
    # Two neighbouring floats have no number between them.
    return middle if attained[position - 1] < middle <= value else value


def _ratio(part: Any, whole: Any, empty: float = float("nan")) -> Any:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(whole > 0, part / whole, empty)
    return float(found) if found.ndim == 0 else found
