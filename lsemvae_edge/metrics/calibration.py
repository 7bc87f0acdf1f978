"""Whether a probability means what it says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LOGIT_LIMIT = 14.0
"""Logits are bounded here (a probability of 1e-6), so that a stated 0 or 1 stays finite."""


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of equal mass: how many recordings, what was stated, what came true."""

    n: int
    positive: int
    stated: float
    observed: float


def brier(truth: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared difference of probability and truth."""
    return float(np.mean((np.asarray(probability, dtype=np.float64) - np.asarray(truth, dtype=np.float64)) ** 2))


def brier_of_constant(truth: ArrayLike) -> float:
    """Brier score of the best constant: the share of positives of these very recordings."""
    rate = float(np.mean(np.asarray(truth, dtype=np.float64)))
    return rate * (1 - rate)


def calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error over bins of equal mass."""
    found = reliability(truth, probability, bins)
    return float(sum(one.n * abs(one.observed - one.stated) for one in found) / sum(one.n for one in found))


def reliability(truth: ArrayLike, probability: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Compare stated probability and observed rate in bins of equal mass, empty ones left out."""
    truth, probability = np.asarray(truth, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    parts = np.array_split(np.argsort(probability, kind="stable"), bins)
    return [
        ReliabilityBin(len(part), round(truth[part].sum()), float(probability[part].mean()), float(truth[part].mean()))
        for part in parts
        if len(part)
    ]


def calibration_slope(truth: ArrayLike, probability: ArrayLike) -> float:
    """Slope of the logistic regression of truth on the stated logit (Cox 1958): 1 is right, below 1 overconfident.

    NaN with one class only, or where the logit separates the classes so that no finite slope fits.
    """
    truth = np.asarray(truth, dtype=bool)
    return float(calibration_slope_resampled(truth, np.asarray(probability, float), np.ones((1, truth.size)))[0])


def calibration_intercept(truth: ArrayLike, probability: ArrayLike) -> float:
    """Shift of the stated logit that makes the mean right, its slope kept at 1: 0 is right.

    This is calibration in the large (Van Calster et al. 2019, BMC Med 17:230): above 0, too few are expected.
    """
    truth = np.asarray(truth, dtype=bool)
    return float(calibration_intercept_resampled(truth, np.asarray(probability, float), np.ones((1, truth.size)))[0])


def brier_resampled(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """`brier` of resamples (n_resamples,), given how often each holds every recording (n_resamples, n)."""
    return np.asarray(weights @ (score - truth) ** 2 / weights.sum(axis=1))


def calibration_error_resampled(truth: NDArray[np.bool_], score: Array, weights: Array, bins: int = 10) -> Array:
    """`calibration_error` of resamples; recordings with tied probabilities keep their order."""
    order = np.argsort(score, kind="stable")
    gap = truth[order] - score[order]
    counts = np.take(weights, order, axis=1)
    zero = np.zeros((len(weights), 1))
    # Where each recording ends in the sorted resample, and the sum of gaps up to there. Between two ends lie copies of
    # one recording, so that a straight line is exact.
    ends = np.concatenate([zero, np.cumsum(counts, axis=1)], axis=1)
    sums = np.concatenate([zero, np.cumsum(counts * gap, axis=1)], axis=1)
    values = np.empty(len(weights))
    for row, (end, total) in enumerate(zip(ends, sums, strict=True)):
        size, rest = divmod(round(end[-1]), bins)
        edges = np.concatenate([[0], np.cumsum([size + (k < rest) for k in range(bins)])])
        values[row] = np.abs(np.diff(np.interp(edges, end, total))).sum() / end[-1]
    return values


def calibration_slope_resampled(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """`calibration_slope` of resamples, by Newton's method over all of them at once."""
    x = _logit(score)
    # All resamples start from the fit of all recordings, near which they end.
    together = np.ones((1, truth.size))
    near = _newton(x, truth, together, _log_odds(_rates(truth, together)), np.zeros(1))
    if not near[2][0]:
        near = (_log_odds(_rates(truth, together)), np.zeros(1), near[2])
    _, slope, converged = _newton(x, truth, weights, *(np.repeat(start, len(weights)) for start in near[:2]))
    return np.where(converged & (np.abs(slope) < 50), slope, np.nan)


def _newton(
    x: Array, truth: NDArray[np.bool_], weights: Array, intercept: Array, slope: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Fit intercept and slope for each row of weights; the last array says which fits have converged."""
    intercept, slope, converged = intercept.copy(), slope.copy(), np.zeros(len(weights), dtype=bool)
    active = np.arange(len(weights))
    for _ in range(60):
        w = weights[active]
        p = _sigmoid(intercept[active, None] + slope[active, None] * x)
        residual, curvature = w * (truth - p), w * p * (1 - p)
        g0, g1 = residual.sum(axis=1), residual @ x
        h00, h01, h11 = curvature.sum(axis=1), curvature @ x, curvature @ x**2
        with np.errstate(invalid="ignore", divide="ignore"):
            determinant = h00 * h11 - h01**2
            step0, step1 = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
            largest = np.maximum(np.maximum(np.abs(step0), np.abs(step1)), 1e-300)
            # A full step from far away may overshoot into the flat tails; at most 2 at a time cannot.
            damping = np.minimum(1.0, 2.0 / largest)
            intercept[active] += damping * step0
            slope[active] += damping * step1
        converged[active] = largest <= 1e-5
        # Steps shrink as their squares: after one of 1e-5 the fit stands to 1e-9.
        # A fit that has no finite slope runs away, or meets a singular matrix (NaN, which no comparison holds for).
        active = active[(largest > 1e-5) & (np.abs(slope[active]) < 50)]
        if not active.size:
            break
    return intercept, slope, converged


def calibration_intercept_resampled(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """`calibration_intercept` of resamples, by bisection: the expected count rises with the shift."""
    x = _logit(score)
    wanted = (weights * truth).sum(axis=1)
    low, high = np.full(len(weights), -2 * LOGIT_LIMIT), np.full(len(weights), 2 * LOGIT_LIMIT)
    shift = np.zeros(len(weights))
    for _ in range(60):
        p = _sigmoid(x + shift[:, None])
        error, slope = (weights * p).sum(axis=1) - wanted, (weights * p * (1 - p)).sum(axis=1)
        low, high = np.where(error < 0, shift, low), np.where(error < 0, high, shift)
        newton = shift - error / np.maximum(slope, 1e-300)
        following = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        done = np.abs(following - shift).max() < 1e-9
        shift = following
        if done:
            break
    rate = _rates(truth, weights)
    return np.where((rate > 0) & (rate < 1), shift, np.nan)


def _rates(truth: NDArray[np.bool_], weights: Array) -> Array:
    return np.asarray(weights @ truth.astype(np.float64) / weights.sum(axis=1))


def _log_odds(rate: Array) -> Array:
    bounded = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _logit(probability: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(probability) - np.log1p(-probability), -LOGIT_LIMIT, LOGIT_LIMIT))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))
