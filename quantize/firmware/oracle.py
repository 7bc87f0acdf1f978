"""The integer model in NumPy, written from the definitions: what the C code must equal bit for bit.

Number formats: means and log-variances have 20 fractional bits, precisions 24, shares of a group's precision 30, heads
24; logits, contributions, log-odds and distances 16, probabilities 15. Shifts round to nearest, halves up; shares and
the distance's rows are cut; means across groups round halves away from zero.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOGVAR_BOUND = 4 << 20
LOG2_E = 1549082005
"""log2(e) with 30 fractional bits."""
INCONCLUSIVE, NEGATIVE, POSITIVE, NOT_ASKED = range(4)
"""``lsemvae_outcome``."""
(
    NO_REASON, QUALITY, NOT_ECG, LEADS, TOO_YOUNG, PACED, ELECTRODE_SWAP, UNFAMILIAR, BETWEEN, RATE_UNKNOWN,
    RATE_OUTSIDE,
) = range(11)  # fmt: skip
"""``lsemvae_reason``; guards are named by theirs."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says of one input.

    Parameters
    ----------
    logits : array (n_outputs,), int64
        16 fractional bits, like ``contributions (n_leads, n_outputs)`` and ``latent_distance``.
    mu : array (latent_dim,), int64
        Fused means, 20 fractional bits.
    """

    logits: Ints
    contributions: Ints
    mu: Ints
    latent_distance: int


@dataclass(frozen=True)
class Decision:
    """What is said of one task.

    Parameters
    ----------
    outcome, reason : int
        As ``lsemvae_outcome`` and ``lsemvae_reason``.
    log_odds : int
        16 fractional bits, like each lead's ``contributions``; all is 0 for a task that is not asked.
    probability_q15 : int
        15 fractional bits.
    """

    outcome: int
    reason: int
    log_odds: int
    probability_q15: int
    contributions: tuple[int, ...]


def rescaled(sums: Ints, multiplier: Ints, shift: Ints) -> Ints:
    """Return sums of products (..., n_out) in steps of the output, by TFLite's rule for 64-bit sums.

    Parameters
    ----------
    multiplier : array (n_out,)
        15 fractional bits.
    shift : array (n_out,)
        Negative ones divide.
    """
    right = 15 - shift.astype(np.int64)
    return np.asarray((sums * multiplier + (np.int64(1) << (right - 1))) >> right)


def convolve(
    x: NDArray[np.int16],
    weights: NDArray[np.int8],
    bias: Ints,
    multiplier: Ints,
    shift: Ints,
    *,
    stride: int,
    padding: int,
    rectified: bool,
) -> NDArray[np.int16]:
    """Convolve over time.

    Parameters
    ----------
    x : array (n_samples, n_in), int16
    weights : array (n_out, kernel, n_in), int8
    bias, multiplier, shift : array (n_out,)

    Returns
    -------
    array (n_samples_out, n_out), int16
    """
    kernel = weights.shape[1]
    padded = np.pad(x.astype(np.int64), ((padding, padding), (0, 0)))
    starts = range(0, len(padded) - kernel + 1, stride)
    windows = np.stack([padded[start : start + kernel] for start in starts])
    sums = np.einsum("tki,oki->to", windows, weights.astype(np.int64)) + bias
    return np.clip(rescaled(sums, multiplier, shift), 0 if rectified else -32768, 32767).astype(np.int16)


def average(x: NDArray[np.int16]) -> NDArray[np.int16]:
    """Average (n_samples, n_channels) over time: halves away from zero, as TFLite's integer average pool does."""
    total, n = x.astype(np.int64).sum(axis=0), len(x)
    return np.asarray(np.where(total > 0, (total + n // 2) // n, -((n // 2 - total) // n)), dtype=np.int16)


def fuse(image: NDArray[Any], mu: NDArray[np.int16], logvar: NDArray[np.int16]) -> Answer:
    """Fuse the leads' experts and apply the heads.

    Parameters
    ----------
    image : array () of a record type
        See `lsemvae_edge.quantize.firmware.image`.
    mu, logvar : array (n_leads, latent_dim), int16
    """
    means = _shifted(mu.astype(np.int64) * image["mu_scale_q36"].astype(np.int64)[:, None], 16)
    spread = _shifted(logvar.astype(np.int64) * image["logvar_scale_q36"].astype(np.int64)[:, None], 16)
    precisions = exp_q24(image, -np.clip(spread, -LOGVAR_BOUND, LOGVAR_BOUND))
    groups = image["group"]
    n_groups = int(groups.max()) + 1
    totals = np.stack([(1 << 24) + precisions[groups == group].sum(axis=0) for group in range(n_groups)])
    shares = (precisions << 30) // totals[groups]
    parts = _halves_away(_shifted(means * shares, 30), n_groups)
    fused_head = image["fused_head_q24"].astype(np.int64)
    lead_heads = image["lead_heads_q24"].astype(np.int64)
    sums = np.einsum("kd,ld->lk", fused_head, parts) + np.einsum("lkd,ld->lk", lead_heads, means)
    logits = _shifted((image["head_bias_q24"].astype(np.int64) << 20) + sums.sum(axis=0), 28)
    fused = parts.sum(axis=0)
    return Answer(logits, _shifted(sums, 28), fused, _distance(image, fused))


def exp_q24(image: NDArray[Any], exponent_q20: Ints) -> Ints:
    """Return exp of numbers from -16 to 4, by a table of 2^(m / 256) and straight lines: 20 fractional bits to 24."""
    turns = (exponent_q20 * LOG2_E + (1 << 25)) >> 26
    whole, part = turns >> 24, turns & 0xFFFFFF
    table = image["exp2_table"].astype(np.int64)
    low, high = table[part >> 16], table[(part >> 16) + 1]
    value = low + (((high - low) * (part & 0xFFFF) + 0x8000) >> 16)
    right = 6 - whole
    return np.asarray((value + (np.int64(1) << (right - 1))) >> right)


def decide(
    image: NDArray[Any],
    answer: Answer,
    *,
    age_years: int | None = None,
    pacemaker: bool = False,
    electrodes_confirmed: bool = False,
    rate_tenths: int = 700,
    rhythm_reliable: bool = True,
) -> tuple[Decision, ...]:
    """Turn an answer into an outcome for each task; see `lsemvae_edge.decision.decide`.

    Parameters
    ----------
    rate_tenths : int
        Beats a minute times ten, 0 where it could not be measured.
    """
    odds = log_odds(image, answer)
    refusal = _refusal(image, answer, age_years, pacemaker, electrodes_confirmed)
    rate = _rate_objection(image, rate_tenths, rhythm_reliable)
    found = []
    for task, value in zip(image["tasks"], odds, strict=True):
        if task["asked_task"] >= 0 and odds[task["asked_task"]] < task["asked_min"]:
            found.append(Decision(NOT_ASKED, NO_REASON, 0, 0, (0,) * len(task["baseline"])))
            continue
        if refusal:
            outcome, reason = INCONCLUSIVE, refusal
        elif value >= task["upper"]:
            outcome, reason = POSITIVE, NO_REASON
        elif value >= task["lower"]:
            outcome, reason = INCONCLUSIVE, BETWEEN
        elif task["primary"] and rate:
            outcome, reason = INCONCLUSIVE, rate
        else:
            outcome, reason = NEGATIVE, NO_REASON
        over = answer.contributions[:, task["output"]].astype(np.int64) - task["baseline"].astype(np.int64)
        added = tuple(_calibrated(int(one), task) for one in over)
        found.append(Decision(outcome, reason, value, probability_q15(image, value), added))
    return tuple(found)


def outcomes(image: NDArray[Any], answer: Answer) -> tuple[int, ...]:
    """Return each task's outcome under ordinary circumstances: an adult, a steady rate of 70, nothing confirmed."""
    return tuple(one.outcome for one in decide(image, answer))


def log_odds(image: NDArray[Any], answer: Answer) -> list[int]:
    """Return each task's calibrated log-odds, 16 fractional bits."""
    return [
        _bounded(_scaled(int(answer.logits[task["output"]]), task) + int(task["intercept"])) for task in image["tasks"]
    ]


def probability_q15(image: NDArray[Any], log_odds: int) -> int:
    """Return a probability with 15 fractional bits from its log-odds with 16; beyond 16 it does not change."""
    size = min(abs(log_odds), 16 << 16)
    power = int(exp_q24(image, np.asarray(-size * 16, dtype=np.int64)))
    whole = (1 << 24) + power
    less = ((power << 15) + whole // 2) // whole
    return less if log_odds < 0 else (1 << 15) - less


def _refusal(
    image: NDArray[Any], answer: Answer, age_years: int | None, pacemaker: bool, electrodes_confirmed: bool
) -> int:
    objecting = {int(one["kind"]) for one in image["guards"] if answer.logits[one["output"]] >= one["max_logit"]}
    if NOT_ECG in objecting:
        return NOT_ECG
    if age_years is not None and age_years < image["min_age_years"]:
        return TOO_YOUNG
    if pacemaker:
        return PACED
    if ELECTRODE_SWAP in objecting and not electrodes_confirmed:
        return ELECTRODE_SWAP
    far = image["max_distance"] > 0 and answer.latent_distance >= image["max_distance"]
    return UNFAMILIAR if far else NO_REASON


def _rate_objection(image: NDArray[Any], rate_tenths: int, rhythm_reliable: bool) -> int:
    """Return why the pattern cannot be called absent."""
    if rate_tenths == 0 or not rhythm_reliable:
        return RATE_UNKNOWN
    within = image["min_rate_tenths"] <= rate_tenths <= image["max_rate_tenths"]
    return NO_REASON if within else RATE_OUTSIDE


def _calibrated(over: int, task: Any) -> int:
    """Return a contribution to the log-odds."""
    return _bounded(_scaled(_bounded(over), task))


def _scaled(value: int, task: Any) -> int:
    return (value * int(task["slope_q20"]) + (1 << 19)) >> 20


def _bounded(value: int) -> int:
    """Keep a number in 32 bits without the lowest, which means "unknown"."""
    return max(-(2**31 - 1), min(value, 2**31 - 1))


def _distance(image: NDArray[Any], mu: Ints) -> int:
    """Return the Mahalanobis distance of fused means, 16 fractional bits, truncated."""
    rows = image["whitening_q16"].astype(np.int64) @ (mu - image["latent_mean_q20"].astype(np.int64))
    squares = sum(int(value) ** 2 for value in np.abs(rows) >> 20)
    return min(math.isqrt(squares), 2**31 - 1)


def _shifted(values: Ints, bits: int) -> Ints:
    return np.asarray(np.clip((values + (np.int64(1) << (bits - 1))) >> bits, -(1 << 31), (1 << 31) - 1))


def _halves_away(values: Ints, by: int) -> Ints:
    return np.asarray(np.sign(values) * ((2 * np.abs(values) + by) // (2 * by)))
