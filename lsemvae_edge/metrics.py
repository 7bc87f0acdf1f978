"""Every metric, bootstrap and fold rule, called with scores by training, export and benchmarks alike. Numpy only."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

VALIDATION_FOLD, TEST_FOLD = 9, 10
"""PTB-XL's ``strat_fold``: 1-8 train, 9 chooses and calibrates, 10 is read once."""
MIN_POSITIVES = 10
"""Below this many positives (or negatives) no AUROC is given, only counts."""

Metric = Callable[[NDArray[np.bool_], NDArray[np.float64]], float]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def auroc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve by ranks, ties counted half (Mann-Whitney U)."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(truth: ArrayLike, score: ArrayLike) -> float:
    """Mean of precision over recall steps; tied scores enter together."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if not truth.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    ends = np.append(np.flatnonzero(np.diff(score[order])), truth.size - 1)
    precision = hits[ends] / (ends + 1)
    recall = hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def brier(truth: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared difference of probability and truth."""
    return float(np.mean((np.asarray(probability, dtype=np.float64) - np.asarray(truth, dtype=np.float64)) ** 2))


def calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal mass."""
    truth, probability = np.asarray(truth, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    parts = np.array_split(np.argsort(probability, kind="stable"), bins)
    gaps = [len(part) * abs(truth[part].mean() - probability[part].mean()) for part in parts if len(part)]
    return float(np.sum(gaps) / truth.size)


def patient_bootstrap(patients: ArrayLike, n_resamples: int = 1000, seed: int = 0) -> list[NDArray[np.intp]]:
    """Draw resamples of patients with replacement, as index arrays into the recordings."""
    _, inverse = np.unique(np.asarray(patients), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]) for _ in range(n_resamples)
    ]


def with_interval(
    metric: Metric, truth: ArrayLike, score: ArrayLike, resamples: list[NDArray[np.intp]]
) -> Interval | None:
    """Return a metric with its percentile bootstrap interval, or None with too few of either class."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if min(truth.sum(), (~truth).sum()) < MIN_POSITIVES:
        return None
    values = [metric(truth[index], score[index]) for index in resamples]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(metric(truth, score), float(low), float(high))


def difference_with_interval(
    metric: Metric, truth: ArrayLike, score: ArrayLike, reference: ArrayLike, resamples: list[NDArray[np.intp]]
) -> Interval | None:
    """Return metric(score) - metric(reference), bootstrapped in pairs over the same resamples."""
    truth = np.asarray(truth, dtype=bool)
    score, reference = np.asarray(score, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if min(truth.sum(), (~truth).sum()) < MIN_POSITIVES:
        return None
    values = [metric(truth[i], score[i]) - metric(truth[i], reference[i]) for i in resamples]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(metric(truth, score) - metric(truth, reference), float(low), float(high))


def patient_folds(patients: ArrayLike, strata: ArrayLike, n_folds: int = 5, seed: int = 0) -> NDArray[np.int64]:
    """Assign recordings to folds so that no patient is in two, positives spread evenly.

    Parameters
    ----------
    patients, strata : array (n,)
        A patient's stratum is the largest of its recordings'.

    Returns
    -------
    array (n,)
        Fold numbers 0 to ``n_folds - 1``.
    """
    _, inverse = np.unique(np.asarray(patients), return_inverse=True)
    patient_stratum = np.full(inverse.max() + 1, -1, dtype=np.int64)
    np.maximum.at(patient_stratum, inverse, np.asarray(strata, dtype=np.int64))
    rng = np.random.default_rng(seed)
    fold_of_patient = np.empty(patient_stratum.size, dtype=np.int64)
    for stratum in np.unique(patient_stratum):
        members = rng.permutation(np.flatnonzero(patient_stratum == stratum))
        fold_of_patient[members] = np.arange(members.size) % n_folds
    return fold_of_patient[inverse]


def exact_interval(successes: int, trials: int, level: float = 0.95) -> Interval | None:
    """Clopper-Pearson interval of a proportion, by bisection of the binomial tail."""
    if trials == 0:
        return None
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else _bisect(lambda p: _at_least(successes, trials, p) - tail)
    high = 1.0 if successes == trials else _bisect(lambda p: _at_least(successes + 1, trials, p) - (1 - tail))
    return Interval(successes / trials, low, high)


def _at_least(k: int, n: int, p: float) -> float:
    i = np.arange(k, n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_choose = log_factorial[n] - log_factorial[i] - log_factorial[n - i]
    return float(np.exp(log_choose + i * np.log(p) + (n - i) * np.log1p(-p)).sum())


def _bisect(rising: Callable[[float], float]) -> float:
    low, high = 1e-12, 1 - 1e-12
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2
