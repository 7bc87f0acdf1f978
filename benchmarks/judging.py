"""What several benchmarks count alike: the area under a curve where there are labels, and rows as plain JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.metrics import Interval

Scores = NDArray[np.floating[Any]]


def ranked(truth: Scores, score: Scores, patient: NDArray[np.str_]) -> Row:
    """Count recordings and positives, and give the AUROC with its interval over patients.

    Parameters
    ----------
    truth : array (n,)
        0, 1, or NaN for recordings that have no label and are left out.
    score : array (n,)
    patient : array (n,)

    Returns
    -------
    dict
        ``n``, ``positive`` and ``auroc``, which is None with fewer than ten of a class.
    """
    known = ~np.isnan(truth)
    resamples = metrics.patient_bootstrap(patient[known]) if known.any() else []
    return {
        "n": int(known.sum()),
        "positive": int((truth == 1).sum()),
        "auroc": metrics.with_interval(metrics.auroc, truth[known], score[known], resamples),
    }


def difference(truth: Scores, score: Scores, reference: Scores, patient: NDArray[np.str_]) -> Interval | None:
    """Give AUROC of ``score`` minus that of ``reference`` on the same recordings, resampled in pairs."""
    known = ~np.isnan(truth)
    if not known.any():
        return None
    resamples = metrics.patient_bootstrap(patient[known])
    return metrics.difference_with_interval(metrics.auroc, truth[known], score[known], reference[known], resamples)


def median_seed(truth: Scores, of_seeds: Sequence[Scores]) -> Scores:
    """Choose of several seeds' scores (n,) the median by AUROC, of two the lower, so that none is picked for its luck.

    Recordings without label do not count.
    """
    known = ~np.isnan(truth)
    order = sorted(of_seeds, key=lambda score: metrics.auroc(truth[known], score[known]))
    return order[(len(order) - 1) // 2]


def plain(row: Row) -> dict[str, Any]:
    """Return a row as JSON values; an interval is an object of its three numbers."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {name: _plain(number) for name, number in asdict(value).items()}
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value
