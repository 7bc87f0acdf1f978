"""How well scores put positives above negatives."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


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


def roc_curve(truth: ArrayLike, score: ArrayLike) -> tuple[Array, Array]:
    """Return false and true positive rates (k,), from (0, 0) to (1, 1), one step for each distinct score."""
    called, hits = _steps(truth, score)
    misses = called - hits
    return misses / max(misses[-1], 1), hits / max(hits[-1], 1)


def precision_recall_curve(truth: ArrayLike, score: ArrayLike) -> tuple[Array, Array]:
    """Return recall and precision (k,), one step for each distinct score, recall rising."""
    called, hits = _steps(truth, score)
    return hits[1:] / max(hits[-1], 1), hits[1:] / called[1:]


def auroc_resampled(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """`auroc` of resamples (n_resamples,), given how often each holds every recording (n_resamples, n)."""
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    negatives = negatives[np.argsort(score[negatives], kind="stable")]
    # Running count of negatives: entry k holds those of the k lowest scores.
    below = np.zeros((len(weights), negatives.size + 1))
    np.cumsum(np.take(weights, negatives, axis=1), axis=1, out=below[:, 1:])
    of_positive = np.take(weights, positives, axis=1)
    wins = np.zeros(len(weights))
    for side in ("left", "right"):  # a tied negative counts on one side only, so half
        beaten = np.searchsorted(score[negatives], score[positives], side=side)
        wins += np.einsum("rp,rp->r", of_positive, np.take(below, beaten, axis=1)) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins / (of_positive.sum(axis=1) * below[:, -1]))


def average_precision_resampled(truth: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """`average_precision` of resamples; see `auroc_resampled`."""
    order = np.argsort(-score, kind="stable")
    falling, hit = score[order], truth[order]
    # Precision counts where recall steps: at the last recording of each score that a positive has.
    ends = np.searchsorted(-falling, -np.unique(falling[hit])[::-1], side="right") - 1
    sorted_weights = np.take(weights, order, axis=1)
    called = np.take(np.cumsum(sorted_weights, axis=1), ends, axis=1)
    hits = np.cumsum(np.take(sorted_weights, np.flatnonzero(hit), axis=1), axis=1)
    hits = np.take(hits, np.cumsum(hit)[ends] - 1, axis=1)
    if not ends.size:
        return np.full(len(weights), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A recording that a resample does not hold adds no recall; before the first one nothing was called.
        precision = np.where(called > 0, hits / called, 0.0)
        recall = hits / hits[:, -1:]
    return np.asarray((np.diff(recall, prepend=0.0, axis=1) * precision).sum(axis=1))


def _steps(truth: ArrayLike, score: ArrayLike) -> tuple[Array, Array]:
    """Count what is called and what of it is positive as the threshold falls, beginning with nothing."""
    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), truth.size - 1)
    called, hits = (ends + 1).astype(np.float64), np.cumsum(truth[order])[ends].astype(np.float64)
    return np.concatenate([[0.0], called]), np.concatenate([[0.0], hits])
