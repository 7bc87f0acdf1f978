"""The ratio of two measured things, with a bootstrap interval that knows values of one process from those of another.

Values of one process are alike for reasons that say nothing of the next process: where its memory lies, what else the
machine did just then. So whole repeats are resampled first, and values inside each of them after that; a thousand
values of one process count as one witness, not as a thousand.

The estimate is the median, over repeats, of the ratio of the repeats' medians: a burst of other work that fell into a
few repeats does not move it. The interval is Student's, with the bootstrap's standard error: percentiles of a bootstrap
over a dozen repeats are too narrow, and over five far too narrow.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.statistics import median

FEWEST = 5
"""Repeats below which no interval is given: their spread says too little of the spread of all."""
LEVEL = 0.95
RESAMPLES = 4000
SMALLEST = 0.03
"""The smallest effect of interest: two processes of one program differ by about 1 % for no reason of their own."""

Repeats = Sequence[Sequence[float]]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """How many times ``a`` is ``b``.

    ``low`` and ``high`` are the interval, and ``p`` the probability of a ratio so far from 1, or farther, if the true
    one were within the smallest effect; all None with fewer than `FEWEST` repeats.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    repeats: int
    paired: bool


def ratio(
    a: Repeats, b: Repeats, *, paired: bool, smallest: float = SMALLEST, level: float = LEVEL, seed: int = 0
) -> Ratio | None:
    """Return the ratio of ``b`` to ``a``.

    Parameters
    ----------
    a, b : sequence of sequences of float
        Values of each repeat.
    paired : bool
        Repeat by repeat measured in turn, so that what the machine did meanwhile cancels; then both are as long.
    smallest : float
        Ratios from ``1 / (1 + smallest)`` to ``1 + smallest`` are of no interest.
    level : float
        Of the interval.
    seed : int
        Of the resamples.

    Returns
    -------
    Ratio or None
        None where a median is not above zero: then there is no ratio.
    """
    if paired and len(a) != len(b):
        raise ValueError(f"{len(a)} repeats cannot be paired with {len(b)}")
    ours, theirs = ([np.sort(np.asarray(repeat, dtype=np.float64)) for repeat in side] for side in (a, b))
    if any(float(median(repeat)) <= 0 for repeat in (*ours, *theirs)):
        return None
    n = min(len(ours), len(theirs))
    rng = np.random.default_rng(seed)
    draw = _together if paired else _apart
    log_value = float(draw(ours, theirs, None)[0])
    if n < FEWEST:
        return Ratio(math.exp(log_value), None, None, None, n, paired)
    # The spread of a resample of n is that of the sample, which is below that of the population by (n - 1) / n.
    error = float(np.std(draw(ours, theirs, rng), ddof=1)) * math.sqrt(n / (n - 1))
    reach = quantile_of_t(level, n - 1) * error
    beyond = abs(log_value) - math.log1p(smallest)
    p = float(beyond <= 0) if error == 0 else min(1.0, both_tails_of_t(beyond / error, n - 1))
    return Ratio(math.exp(log_value), math.exp(log_value - reach), math.exp(log_value + reach), p, n, paired)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted by Holm's method for all that were looked at; None stays None.

    The probability of even one false report is then at most the level, however the metrics hang together. Benjamini and
    Hochberg's would find more and promise less: a share of false ones among the reports. A comparison decides whether a
    release is slower, and there one false report is one too many.
    """
    order = sorted((p, number) for number, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    worst = 0.0
    for rank, (p, number) in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p))
        adjusted[number] = worst
    return adjusted


def both_tails_of_t(t: float, df: int) -> float:
    """Return the probability that Student's t lies farther from zero than ``t``, twice one tail for ``t`` below zero.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4; exact for whole ``df``.
    """
    angle = math.atan(t / math.sqrt(df))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = df % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(df // 2):
        total += term
        term *= square * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - inside)


def quantile_of_t(level: float, df: int) -> float:
    """Return how far from zero Student's t lies with probability ``level``."""
    return _falling_root(lambda t: both_tails_of_t(t, df) - (1 - level))


def _together(a: list[Array], b: list[Array], rng: np.random.Generator | None) -> Array:
    """Return log ratios of the sample (``rng`` None) or of resamples, whose repeats are drawn in pairs."""
    if rng is None:
        return np.array([median([math.log(median(y) / median(x)) for x, y in zip(a, b, strict=True)])])
    chosen = rng.integers(0, len(a), (RESAMPLES, len(a)))
    logs = np.log(_medians(b, chosen, rng)) - np.log(_medians(a, chosen, rng))
    return np.asarray(median(logs, axis=1))


def _apart(a: list[Array], b: list[Array], rng: np.random.Generator | None) -> Array:
    """Return log ratios of the sample (``rng`` None) or of resamples, whose repeats are drawn on each side alone."""
    sides = []
    for side in (a, b):
        if rng is None:
            medians = np.array([[float(median(repeat)) for repeat in side]])
        else:
            medians = _medians(side, rng.integers(0, len(side), (RESAMPLES, len(side))), rng)
        sides.append(np.asarray(median(np.log(medians), axis=1)))
    return np.asarray(sides[1] - sides[0])


def _medians(repeats: list[Array], chosen: NDArray[np.int64], rng: np.random.Generator) -> Array:
    """Return the median of a resample of each chosen repeat's sorted values.

    It is drawn at once: the median of n uniform numbers follows the beta distribution with both parameters (n + 1) / 2,
    and the median of a resample stands at that share of the sorted values.
    """
    found = np.empty(chosen.shape)
    for number, values in enumerate(repeats):
        where = chosen == number
        half = (len(values) + 1) / 2
        found[where] = values[(rng.beta(half, half, int(where.sum())) * len(values)).astype(np.int64)]
    return found


def _falling_root(function: Callable[[float], float]) -> float:
    high = 1.0
    while function(high) > 0:
        high *= 2
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2
