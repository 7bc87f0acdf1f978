"""Faults of single leads, measured on the raw samples of one window, and the electrode they point to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.beats import Beats
from lsemvae_edge.language import mark
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.statistics import median, quantile, runs

Array = NDArray[np.float64]

ELECTRODE_ADVICE = {
    "RA": mark(
        "Right hand electrode: hold it firmly with the fingers of the right hand, moisten dry skin, and keep still."
    ),
    "LA": mark(
        "Left hand electrode: hold it firmly with the fingers of the left hand, moisten dry skin, and keep still."
    ),
    "LL": mark("Left leg electrode: press the device on bare skin of the left knee."),
}
"""What to do about each electrode, one sentence."""

_ALONE = {"RA": "III", "LA": "II", "LL": "I"}
"""The one lead that does not use an electrode (each augmented lead uses all three)."""

_BLAMED = {
    frozenset({"I"}): "LA",
    frozenset({"I", "III"}): "LA",
    frozenset({"II"}): "LL",
    frozenset({"II", "III"}): "LL",
    frozenset({"I", "II"}): "RA",
}

FATAL_FLAGS = frozenset({"flat", "saturated", "lead_off", "motion", "muscle_noise", "wander", "mains"})
"""Flags with which a lead is not used; ``mains_present`` and ``wander_present`` only inform, the band removes them."""


@dataclass(frozen=True)
class LeadMeasures:
    """What `flags_of` judges; sizes are relative to the recording's typical QRS."""

    held_s: float
    """Longest stretch in which the raw value does not change."""
    rail_s: float
    """Time that the raw signal stays on its highest or lowest value for several samples on end."""
    size: float
    """99.5th minus 0.5th percentile of the raw lead, trend removed."""
    mains: float
    """Amplitude at 50 or 60 Hz, whichever is larger; nan if the sampling rate does not reach it."""
    wander: float
    """Range of the one-second means."""
    jump: float
    """Largest slow excursion of the conditioned lead."""
    hiss: float
    """Robust size of what is faster than an ECG between beats."""
    unexplained: float
    """Motion of the conditioned lead between beats: root mean square outside QRS and T wave."""


def measure_raw(raw: Array, fs_hz: float, qrs_size: float) -> tuple[float, float, float, float, float]:
    """Return ``held_s, rail_s, size, mains, wander`` of one raw lead without missing values."""
    change = np.diff(raw)
    held_s = int(_run_lengths(change == 0).max(initial=0)) / fs_hz
    on_rail = _run_lengths((raw == raw.max()) | (raw == raw.min()))
    rail_s = int(on_rail[on_rail >= max(3, round(0.008 * fs_hz))].sum()) / fs_hz
    unit = max(qrs_size, 1e-12)
    n_blocks = max(1, int(raw.size / fs_hz))
    means = np.array([block.mean() for block in np.array_split(raw, n_blocks)])
    flattened = raw - np.interp(np.arange(raw.size), (np.arange(n_blocks) + 0.5) * raw.size / n_blocks, means)
    low, high = quantile(flattened, 0.005), quantile(flattened, 0.995)
    mains = max((_tone(raw, fs_hz, line_hz) for line_hz in (50.0, 60.0) if fs_hz > 2.2 * line_hz), default=np.nan)
    return held_s, rail_s, float(high - low) / unit, mains / unit, float(np.ptp(means)) / unit


def measure_conditioned(lead: Array, beats: Beats, fs_hz: float, qrs_size: float) -> tuple[float, float, float]:
    """Return ``jump, hiss, unexplained`` of one conditioned lead."""
    unit = max(qrs_size, 1e-12)
    width = round(0.4 * fs_hz)
    slow = np.convolve(lead, np.ones(width) / width, mode="valid")
    busy = np.zeros(lead.size, dtype=bool)
    for at in beats.at:
        busy[max(0, at - round(0.1 * fs_hz)) : at + round(0.1 * fs_hz)] = True
    if busy.mean() > 0.9:
        busy[:] = False
    third = np.diff(lead, 3)[~busy[2:-1]]
    rest = lead[~busy]
    return (
        float(np.abs(slow).max()) / unit,
        float(median(np.abs(third))) / unit,
        float(np.sqrt(np.mean(rest**2))) / unit,
    )


def measure_leads(
    raw: Mapping[str, Array], fs_in_hz: float, pair: Array, beats: Beats, fs_hz: float, qrs_size: float
) -> dict[str, LeadMeasures]:
    """Measure the six limb leads of a window; raw figures are taken where the lead was measured, else nan.

    Parameters
    ----------
    raw : mapping of lead name to array
        The measured limb leads in the window, without missing values.
    fs_in_hz : float
        The recorder's rate.
    pair : array (2, n_samples)
        Conditioned leads I and II of the window.
    beats : Beats
        Beats of the window.
    fs_hz : float
        Rate of ``pair``.
    qrs_size : float
        Typical size of a QRS in the frontal plane.
    """
    six = derive_limb_leads(pair[0], pair[1])
    nothing = (0.0, 0.0, np.nan, np.nan, np.nan)
    return {
        name: LeadMeasures(
            *(measure_raw(raw[name], fs_in_hz, qrs_size) if name in raw else nothing),
            *measure_conditioned(lead, beats, fs_hz, qrs_size),
        )
        for name, lead in zip(LIMB_LEADS, six, strict=True)
    }


def flags_of(measures: LeadMeasures, limits: QualityLimits) -> tuple[str, ...]:
    """Name what is wrong with a lead; nan is never a fault."""
    checks = {
        "flat": measures.held_s > limits.max_held_s or measures.size < limits.min_lead_size,
        "saturated": measures.rail_s > limits.max_rail_s,
        "lead_off": measures.unexplained > limits.max_unexplained,
        "motion": measures.jump > limits.max_jump,
        "muscle_noise": measures.hiss > limits.max_hiss,
        "wander": measures.wander > limits.max_wander,
        "mains": measures.mains > limits.max_mains,
        "wander_present": limits.notable_wander < measures.wander <= limits.max_wander,
        "mains_present": limits.notable_mains < measures.mains <= limits.max_mains,
    }
    return tuple(name for name, found in checks.items() if found)


def blamed_electrode(bad: frozenset[str]) -> str | None:
    """Electrode (RA, LA, LL) that explains which of the leads I, II, III are bad, or None."""
    return _BLAMED.get(bad & {"I", "II", "III"})


def leads_lost_with(electrode: str) -> frozenset[str]:
    """Limb leads that cannot be used when an electrode has no contact."""
    return frozenset(LIMB_LEADS) - {_ALONE[electrode]}


def _run_lengths(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    found = runs(mask)
    return np.asarray(found[:, 1] - found[:, 0])


def _tone(raw: Array, fs_hz: float, frequency_hz: float) -> float:
    """Amplitude near a frequency, by blocks of half a second so that drifting mains still adds up."""
    block = round(0.5 * fs_hz)
    count = raw.size // block
    if count == 0:
        return float("nan")
    window = np.hanning(block)
    wave = window * np.exp(-2j * np.pi * frequency_hz * np.arange(block) / fs_hz)
    blocks = raw[: count * block].reshape(count, block)
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    return float(median(np.abs(blocks @ wave)) * 2 / window.sum())
