"""The verdict on a recording: choose the cleanest window, judge it, and say what to do."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.beats import Beats, find_beats, frontal_vector, typical_beats
from lsemvae_edge.language import mark
from lsemvae_edge.leads import LIMB_LEADS, LIMB_MATRIX, consistency_residual, derive_limb_leads
from lsemvae_edge.limits import QualityLimits
from lsemvae_edge.preprocess import Conditioned
from lsemvae_edge.quality.contact import (
    ELECTRODE_ADVICE,
    FATAL_FLAGS,
    blamed_electrode,
    flags_of,
    leads_lost_with,
    measure_leads,
)
from lsemvae_edge.quality.shape import Shape, measure
from lsemvae_edge.quality.windows import rank_windows
from lsemvae_edge.record import Record
from lsemvae_edge.spec import PreprocessSpec
from lsemvae_edge.statistics import median, quantile

Array = NDArray[np.float64]

FATAL_RECORD_FLAGS = frozenset(
    {
        "no_window",
        "leads_inconsistent",
        "identical_leads",
        "wrong_scale",
        "not_an_ecg",
        "rate_implausible",
        "few_alike_beats",
    }
)
"""Record-level flags with which nothing is analysed; ``rhythm_unreliable`` alone is left to the decision."""

_ADVICE = {
    "no_window": mark("Contact was lost during the recording: keep all contacts touched and record again."),
    "wrong_scale": mark("The recorder's voltage scale is wrong: check its gain setting or the file's unit."),
    "leads_inconsistent": mark("The leads contradict each other: check the cable or the file, then record again."),
    "identical_leads": mark("Two leads are copies of each other: check the cable or the file, then record again."),
    "flat": mark("There is no signal: check that both hands and the left leg touch the electrodes."),
    "saturated": mark("The signal is too strong for the recorder: wipe the electrodes, keep still and record again."),
    "mains": mark("There is strong electrical interference: move away from power cables and chargers."),
    "motion": mark("There is too much movement: rest both arms, keep still and record again."),
    "wander": mark("There is too much movement: rest both arms, keep still and record again."),
    "muscle_noise": mark("The muscles are tense: rest both arms, hold the device loosely and record again."),
    "lead_off": mark("The contact is poor: moisten the skin under the electrodes and record again."),
    "rate_implausible": mark("No plausible heart rate was found: check all three contacts and record again."),
    "not_an_ecg": mark("No clear heartbeat was found: check all three contacts, keep still and record again."),
    "few_alike_beats": mark("Too few heartbeats resemble each other: keep still and record again, for half a minute."),
}
"""In order of what to put right first."""

_CLEAR_DOUBT = 0.45
_CLEAR_CONTRAST = 0.25
_CLEAR_ALIKE = 0.6


@dataclass(frozen=True)
class LeadQuality:
    """Whether a limb lead can be used, and what was noticed on it."""

    usable: bool
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Quality:
    """Verdict on a recording.

    Parameters
    ----------
    usable : bool
        Whether the window may be given to the model.
    advice : str or None
        One plain sentence for the operator; None when usable.
    start : int or None
        First sample of the best window in ``Conditioned.pair``, also when it is not good enough; None if there is none.
    window_start_s : float or None
        The same in seconds from the recording's start.
    flags : tuple of str
        What was noticed on the whole recording.
    leads : dict of str to LeadQuality
        The six limb leads.
    heart_rate_bpm : float or None
        Mean rate in the window; None with fewer than two intervals.
    rhythm_reliable : bool
        Whether beats were found beyond doubt; irregular ones may be.
    einthoven_residual : float or None
        See `lsemvae_edge.leads.consistency_residual`, on steps of the signal, so that baseline wander
        does not hide a contradiction; None with two measured leads: not available, which is never good.
    failed_checks : tuple of str
        Names of the bounds in `QualityLimits` behind ``not_an_ecg``, and ``min_beats`` of the `BeatSpec` behind
        ``few_alike_beats``.
    """

    usable: bool
    advice: str | None
    start: int | None
    window_start_s: float | None
    flags: tuple[str, ...]
    leads: dict[str, LeadQuality]
    heart_rate_bpm: float | None
    rhythm_reliable: bool
    einthoven_residual: float | None
    failed_checks: tuple[str, ...]


def assess(record: Record, conditioned: Conditioned, spec: PreprocessSpec, limits: QualityLimits) -> Quality:
    """Find the cleanest window of a recording and judge it.

    Windows are ranked and judged by signal quality alone, before any model runs; the first usable one is taken.

    Parameters
    ----------
    record : Record
        The recording as measured.
    conditioned : Conditioned
        The same after `lsemvae_edge.preprocess.condition`.
    spec : PreprocessSpec
        The contract it was conditioned with.
    limits : QualityLimits
        Bounds of the checks.

    Returns
    -------
    Quality
    """
    residual, record_flags = _between_leads(record, limits)
    vector = frontal_vector(conditioned.pair)
    step = max(1, round(limits.window_step_s * conditioned.fs_hz))
    starts = rank_windows(vector, conditioned.excluded, spec.window_samples, step, conditioned.fs_hz)
    if starts.size == 0:
        return replace(unusable(_ADVICE["no_window"]), flags=("no_window", *record_flags), einthoven_residual=residual)
    judged: list[Quality] = []
    distance = limits.retry_distance_s * conditioned.fs_hz
    for start in starts.tolist():
        if any(abs(start - (seen.start or 0)) < distance for seen in judged):
            continue
        judged.append(_judge(record, conditioned, start, spec, limits, residual, record_flags))
        if judged[-1].usable or record_flags or len(judged) == limits.max_windows_judged:
            break
    return judged[-1] if judged[-1].usable else judged[0]


def unusable(advice: str) -> Quality:
    """Return the verdict on a recording that could not be looked at: it has no window."""
    return Quality(
        usable=False,
        advice=advice,
        start=None,
        window_start_s=None,
        flags=("no_window",),
        leads={name: LeadQuality(False, ()) for name in LIMB_LEADS},
        heart_rate_bpm=None,
        rhythm_reliable=False,
        einthoven_residual=None,
        failed_checks=(),
    )


def _judge(
    record: Record,
    conditioned: Conditioned,
    start: int,
    spec: PreprocessSpec,
    limits: QualityLimits,
    residual: float | None,
    record_flags: tuple[str, ...],
) -> Quality:
    fs_hz, stop = conditioned.fs_hz, start + spec.window_samples
    pair = conditioned.pair[:, start:stop]
    # Of the window's own samples, as `preprocess.cut` does it, so that both find the same beats to the last bit.
    window = frontal_vector(pair)
    beats = find_beats(window, fs_hz)
    averaged = typical_beats(beats, fs_hz, spec.beat)
    shape = measure(window, beats, fs_hz, limits.min_beat_correlation)
    qrs_size = _qrs_size(window, beats, fs_hz)
    raw = _raw_window(record, conditioned.seconds(start), spec.window_s)
    lead_flags = {
        name: flags_of(measures, limits)
        for name, measures in measure_leads(raw, record.fs_hz, pair, beats, fs_hz, qrs_size).items()
    }
    failed = _failed_checks(shape, limits)
    rate = _rate_bpm(beats, fs_hz)
    reliable = rate is not None and shape.doubt <= limits.max_rhythm_doubt and not {"alike", "contrast"} & set(failed)
    noticed = {
        "wrong_scale": record.amplitude == "calibrated" and not _within(qrs_size, limits.qrs_mv),
        "identical_leads": "rank_one" in failed and "identical_leads" not in record_flags,
        "not_an_ecg": bool(failed),
        "rate_implausible": rate is not None and not _within(rate, limits.rate_bpm),
        "few_alike_beats": averaged is None,
        "rhythm_unreliable": not reliable,
    }
    flags = record_flags + tuple(name for name, found in noticed.items() if found)
    unclear = bool(failed) or averaged is None or any(FATAL_FLAGS & set(found) for found in lead_flags.values())
    electrode = _electrode_at_fault(pair, lead_flags, fs_hz, limits) if unclear else None
    lost = leads_lost_with(electrode) if electrode else frozenset()
    leads = {
        name: LeadQuality(
            usable=name not in lost and not FATAL_FLAGS & set(found),
            flags=found + ((f"electrode_{electrode}",) if name in lost else ()),
        )
        for name, found in lead_flags.items()
    }
    usable = not FATAL_RECORD_FLAGS & set(flags) and all(lead.usable for lead in leads.values())
    return Quality(
        usable=usable,
        advice=None if usable else _advice(flags, leads, electrode),
        start=start,
        window_start_s=conditioned.seconds(start),
        flags=flags,
        leads=leads,
        heart_rate_bpm=rate,
        rhythm_reliable=reliable,
        einthoven_residual=residual,
        failed_checks=failed if averaged is not None else (*failed, "min_beats"),
    )


def _between_leads(record: Record, limits: QualityLimits) -> tuple[float | None, tuple[str, ...]]:
    """Residual of the measured limb leads and what it says; identical rows are found even with two leads."""
    steps = _steps(record)
    residual = consistency_residual(steps)
    inconsistent = residual is not None and (
        residual > limits.max_einthoven_residual or _worst_contradiction(steps) > limits.max_lead_contradiction
    )
    rows = list(steps.values())
    copies = any(
        np.array_equal(np.abs(rows[i]), np.abs(rows[j])) and rows[i].any() for i in range(len(rows)) for j in range(i)
    )
    found = {"leads_inconsistent": inconsistent, "identical_leads": copies}
    return residual, tuple(name for name, present in found.items() if present)


def _steps(record: Record) -> dict[str, Array]:
    """Take steps between 16-ms means, 32 ms apart, of the measured limb leads where all were received."""
    width = max(1, round(0.016 * record.fs_hz))
    limb = record.limb()
    if not limb:
        return {}
    signal = np.stack(list(limb.values())).astype(np.float64)
    usable = signal.shape[1] // width * width
    means = signal[:, :usable].reshape(signal.shape[0], -1, width).mean(axis=2)
    steps = means[:, 2:] - means[:, :-2]
    steps = steps[:, np.isfinite(steps).all(axis=0)]
    return dict(zip(limb, steps, strict=True))


def _worst_contradiction(steps: dict[str, Array]) -> float:
    """Largest share of one lead's own motion that the other measured leads contradict."""
    names = list(steps)
    measured = np.stack([steps[name] for name in names])
    rows = LIMB_MATRIX[[LIMB_LEADS.index(name) for name in names]]
    total = max(float(np.sqrt(np.mean(measured**2))), 1e-12)
    worst = 0.0
    for row in range(len(names)):
        others = np.delete(np.arange(len(names)), row)
        if np.linalg.matrix_rank(rows[others]) < 2:
            continue
        predicted = rows[row] @ np.linalg.pinv(rows[others]) @ measured[others]
        own = max(float(np.sqrt(np.mean(measured[row] ** 2))), 0.1 * total)
        worst = max(worst, float(np.sqrt(np.mean((measured[row] - predicted) ** 2))) / own)
    return worst


def _raw_window(record: Record, start_s: float, window_s: float) -> dict[str, Array]:
    """Measured limb leads of the window, missing samples filled by the last received one."""
    first = max(0, round(start_s * record.fs_hz))
    span = slice(first, first + round(window_s * record.fs_hz))
    window = {}
    for name, lead in record.limb().items():
        part = lead[span].astype(np.float64)
        missing = ~np.isfinite(part)
        if missing.any():
            if missing.all():
                continue
            received = np.flatnonzero(~missing)
            part = np.interp(np.arange(part.size), received, part[received])
        window[name] = part
    return window


def _qrs_size(window: Array, beats: Beats, fs_hz: float) -> float:
    length = np.sqrt((window**2).sum(axis=0))
    if beats.at.size == 0:
        return float(quantile(length, 0.99))
    half = round(0.1 * fs_hz)
    return float(median([length[max(0, at - half) : at + half + 1].max() for at in beats.at]))


def _failed_checks(shape: Shape, limits: QualityLimits) -> tuple[str, ...]:
    """Names of the measures out of bounds; what could not be measured fails."""
    return tuple(
        field.name
        for field in fields(shape)
        if hasattr(limits, field.name) and not _within(getattr(shape, field.name), getattr(limits, field.name))
    )


def _electrode_at_fault(
    pair: Array, lead_flags: dict[str, tuple[str, ...]], fs_hz: float, limits: QualityLimits
) -> str | None:
    """Electrode whose leads are bad while the lead without it shows clear beats by itself."""
    three = dict(zip(LIMB_LEADS[:3], derive_limb_leads(pair[0], pair[1])[:3], strict=True))
    bad = frozenset(
        name
        for name, lead in three.items()
        if FATAL_FLAGS & set(lead_flags[name]) or not _clear_alone(lead, fs_hz, limits)
    )
    return blamed_electrode(bad)


def _clear_alone(lead: Array, fs_hz: float, limits: QualityLimits) -> bool:
    single = np.stack([lead, np.zeros_like(lead)])
    beats = find_beats(single, fs_hz)
    if beats.at.size < 3:
        return False
    alike = beats.dominant(limits.min_beat_correlation).size / beats.at.size
    contrast = float(median(beats.envelope)) / beats.height
    return beats.doubt < _CLEAR_DOUBT and contrast < _CLEAR_CONTRAST and alike >= _CLEAR_ALIKE


def _rate_bpm(beats: Beats, fs_hz: float) -> float | None:
    if beats.at.size < 3:
        return None
    return float(60 * fs_hz * (beats.at.size - 1) / (beats.at[-1] - beats.at[0]))


def _advice(flags: tuple[str, ...], leads: dict[str, LeadQuality], electrode: str | None) -> str:
    found = set(flags).union(*(lead.flags for lead in leads.values()))
    of_file = found & {"wrong_scale", "leads_inconsistent"}
    if electrode and not of_file:
        return ELECTRODE_ADVICE[electrode]
    return next(sentence for name, sentence in _ADVICE.items() if name in found)


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bool(bounds[0] <= value <= bounds[1])
