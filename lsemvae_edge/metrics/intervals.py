"""95 % intervals: bootstrap over patients, and exact ones of proportions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsemvae_edge.metrics import calibration, ranking

MIN_POSITIVES = 10
"""Below this many positives (or negatives) no AUROC is given, only counts."""
_CELLS_AT_ONCE = 2_000_000

Array = NDArray[np.float64]
Metric = Callable[[NDArray[np.bool_], Array], float]
Resampled = Callable[[NDArray[np.bool_], Array, Array], Array]

_RESAMPLED: MappingProxyType[Metric, Resampled] = MappingProxyType(
    {
        ranking.auroc: ranking.auroc_resampled,
        ranking.average_precision: ranking.average_precision_resampled,
        calibration.brier: calibration.brier_resampled,
        calibration.calibration_error: calibration.calibration_error_resampled,
        calibration.calibration_slope: calibration.calibration_slope_resampled,
        calibration.calibration_intercept: calibration.calibration_intercept_resampled,
    }
)
"""The same metric over many resamples at once, given how often each holds every recording."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def patient_bootstrap(patients: ArrayLike, n_resamples: int = 1000, seed: int = 0) -> list[NDArray[np.intp]]:
    """Draw resamples of patients with replacement, as index arrays into the recordings."""
    _, inverse = np.unique(np.asarray(patients), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    sizes = np.bincount(inverse)
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    resamples = []
    for _ in range(n_resamples):
        drawn = rng.integers(0, sizes.size, sizes.size)
        drawn_sizes = sizes[drawn]
        # The k-th recording of a drawn patient stands k places after that patient's first.
        shift = starts[drawn] - (np.cumsum(drawn_sizes) - drawn_sizes)
        resamples.append(order[np.arange(drawn_sizes.sum()) + np.repeat(shift, drawn_sizes)])
    return resamples


def with_interval(
    metric: Metric, truth: ArrayLike, score: ArrayLike, resamples: list[NDArray[np.intp]]
) -> Interval | None:
    """Return a metric with its percentile bootstrap interval, or None with too few of either class."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if min(truth.sum(), (~truth).sum()) < MIN_POSITIVES:
        return None
    return _interval(metric(truth, score), resampled_values(metric, truth, score, resamples))


def with_intervals(
    wanted: Mapping[str, Metric], truth: ArrayLike, score: ArrayLike, resamples: list[NDArray[np.intp]]
) -> dict[str, Interval | None]:
    """Return several metrics of the same scores as `with_interval` does each, in one pass over the resamples."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if min(truth.sum(), (~truth).sum()) < MIN_POSITIVES:
        return dict.fromkeys(wanted)
    values = _resampled(list(wanted.values()), truth, score, resamples)
    return {
        name: _interval(metric(truth, score), of_metric)
        for (name, metric), of_metric in zip(wanted.items(), values, strict=True)
    }


def difference_with_interval(
    metric: Metric, truth: ArrayLike, score: ArrayLike, reference: ArrayLike, resamples: list[NDArray[np.intp]]
) -> Interval | None:
    """Return metric(score) - metric(reference), bootstrapped in pairs over the same resamples."""
    truth = np.asarray(truth, dtype=bool)
    score, reference = np.asarray(score, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if min(truth.sum(), (~truth).sum()) < MIN_POSITIVES:
        return None
    values = resampled_values(metric, truth, score, resamples) - resampled_values(metric, truth, reference, resamples)
    return _interval(metric(truth, score) - metric(truth, reference), values)


def resampled_values(metric: Metric, truth: ArrayLike, score: ArrayLike, resamples: list[NDArray[np.intp]]) -> Array:
    """Return a metric of every resample (n_resamples,), NaN where it has none.

    The package's own metrics, and any callable with a method ``resampled(truth, score, weights)``, run over many
    resamples at once; another callable is called for each.
    """
    return _resampled([metric], np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64), resamples)[0]


def exact_interval(successes: int, trials: int, level: float = 0.95) -> Interval | None:
    """Clopper-Pearson interval of a proportion, by bisection of the binomial tail."""
    if trials == 0:
        return None
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else _bisect(lambda p: _at_least(successes, trials, p) - tail)
    high = 1.0 if successes == trials else _bisect(lambda p: _at_least(successes + 1, trials, p) - (1 - tail))
    return Interval(successes / trials, low, high)


def _interval(value: float, values: Array) -> Interval:
    defined = values[np.isfinite(values)]
    if defined.size == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _resampled(
    wanted: list[Metric], truth: NDArray[np.bool_], score: Array, resamples: list[NDArray[np.intp]]
) -> list[Array]:
    rows = max(_CELLS_AT_ONCE // max(truth.size, 1), 1)
    values: list[list[Array]] = [[np.empty(0)] for _ in wanted]
    for first in range(0, len(resamples), rows):
        part = resamples[first : first + rows]
        weights = np.stack([np.bincount(index, minlength=truth.size) for index in part]).astype(np.float64)
        for metric, found in zip(wanted, values, strict=True):
            at_once: Resampled | None = getattr(metric, "resampled", None) or _RESAMPLED.get(metric)
            if at_once is None:
                found.append(np.array([metric(truth[index], score[index]) for index in part], dtype=np.float64))
            else:
                found.append(at_once(truth, score, weights))
    return [np.concatenate(found) for found in values]


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
