"""Order statistics without the import that they usually cost, and the runs of a mask.

``numpy.median`` and ``numpy.quantile`` import ``numpy.ma`` on their first call, a tenth of a screening's start.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def quantile(values: ArrayLike, q: float, axis: int = 0) -> Any:
    """Return a quantile by linear interpolation between order statistics, ``numpy.quantile``'s default.

    Parameters
    ----------
    values : array
        Not empty along ``axis``.
    q : float
        From 0 to 1.
    axis : int
    """
    ordered = np.sort(np.asarray(values), axis=axis)
    position = q * (ordered.shape[axis] - 1)
    below = int(position)
    low = ordered.take(below, axis=axis)
    high = ordered.take(min(below + 1, ordered.shape[axis] - 1), axis=axis)
    return low + (position - below) * (high - low)


def median(values: ArrayLike, axis: int = 0) -> Any:
    """Return the median."""
    return quantile(values, 0.5, axis)


def runs(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Find where a mask is true without a break.

    Parameters
    ----------
    mask : array (n,) of bool

    Returns
    -------
    array (n_runs, 2) of int
        First position of each run, and the one behind its last.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return np.asarray(edges.reshape(-1, 2))
