"""What not answering buys: error among the answered as fewer and fewer are answered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CoverageRisk:
    """Error among the answered, from the surest recording to all of them.

    Parameters
    ----------
    coverage : array (k,)
        Share of recordings that is answered; rising, the last is 1.
    risk : array (k,)
        Share of wrong answers among them.
    sensitivity, specificity : array (k,)
        Among them; NaN where no positive, or no negative, is answered.
    area : float
        Mean risk over all coverages, AURC (Geifman, Uziel, El-Yaniv, arXiv:1805.08206).
    """

    coverage: Array
    risk: Array
    sensitivity: Array
    specificity: Array
    area: float


def coverage_risk(truth: ArrayLike, score: ArrayLike, threshold: ArrayLike, doubt: ArrayLike) -> CoverageRisk:
    """Answer the recordings in the order of their doubt, the surest first; those of equal doubt together.

    Parameters
    ----------
    truth, score : array (n,)
    threshold : float or array (n,)
        A score at or above it is called positive.
    doubt : array (n,)
        The larger, the sooner no answer is given: a distance from the threshold with its sign turned, or how far an
        input lies from those that were learned from.

    Raises
    ------
    ValueError
        If there is no recording.
    """
    positive = np.asarray(truth, dtype=bool)
    if not positive.size:
        raise ValueError("no recording to answer")
    called = np.asarray(score, dtype=np.float64) >= np.asarray(threshold, dtype=np.float64)
    doubts = np.asarray(doubt, dtype=np.float64)
    order = np.argsort(doubts, kind="stable")
    last = np.flatnonzero(np.append(np.diff(doubts[order]) > 0, True))
    answered = last + 1.0
    wrong = np.cumsum((called != positive)[order])[last]
    positives, found = (np.cumsum(mask[order])[last] for mask in (positive, positive & called))
    negatives, spared = (np.cumsum(mask[order])[last] for mask in (~positive, ~positive & ~called))
    with np.errstate(invalid="ignore"):
        sensitivity, specificity = found / positives, spared / negatives
    risk = wrong / answered
    share = np.diff(answered, prepend=0.0) / positive.size
    return CoverageRisk(answered / positive.size, risk, sensitivity, specificity, float(np.sum(risk * share)))
