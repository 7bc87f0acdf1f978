"""From a recording to the model's input: one definition for training, kiosk and firmware.

Order: gaps, polyphase resampling, linear-phase FIR band, window, average beat, limb leads, scale. Only leads
I and II are filtered and averaged; the other four follow by algebra, because every step is linear.
Run time needs numpy alone.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lsemvae_edge.beats import align_beats, average_beat
from lsemvae_edge.errors import BadInputError, UnusableRecordingError
from lsemvae_edge.leads import derive_limb_leads, solve_i_ii
from lsemvae_edge.record import Record
from lsemvae_edge.spec import BandSpec, BeatSpec, PreprocessSpec, ResamplerSpec
from lsemvae_edge.statistics import runs

DEFAULT_FS_HZ = 125.0
DEFAULT_WINDOW_SAMPLES = 928


@dataclass(frozen=True, eq=False)
class Conditioned:
    """Leads I and II at the model's rate, filtered, before a window is chosen.

    Parameters
    ----------
    pair : array (2, n)
        Leads I and II in the recording's unit.
    excluded : array (n,) of bool
        Samples whose filter support touches a gap too long to bridge.
    first : int
        Position of ``pair[:, 0]`` in model-rate samples from the recording's start.
    fs_hz : float
        The model's rate.
    """

    pair: NDArray[np.float64]
    excluded: NDArray[np.bool_]
    first: int
    fs_hz: float

    def seconds(self, index: int) -> float:
        """Time of a sample of ``pair`` from the recording's start."""
        return (self.first + index) / self.fs_hz


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What the model sees.

    Parameters
    ----------
    signal : array (6, beat.n_samples), float32
        Average beat of the window: limb leads in ``LIMB_LEADS`` order, divided by ``scale`` and clipped.
    scale : float
        Root mean square over the six leads of the average beat, in the recording's unit.
    window_start_s : float
        Start of the window in seconds from the recording's start.
    beat_at : array (n_beats,) of int
        Centre of each beat that was averaged, in samples from the window's start.
    """

    signal: NDArray[np.float32]
    scale: float
    window_start_s: float
    beat_at: NDArray[np.intp]


def apply(record: Record, spec: PreprocessSpec, start: int = 0) -> ModelInput:
    """Turn a recording into the model's input.

    Parameters
    ----------
    record : Record
        At least two independent limb leads at ``spec.resampler.min_input_hz`` or more.
    spec : PreprocessSpec
        The model's contract.
    start : int
        First sample of the window, counted in the conditioned signal.

    Returns
    -------
    ModelInput

    Raises
    ------
    BadInputError
        If the sampling rate is too low.
    UnusableRecordingError
        If leads are missing, the recording is too short, or the window touches a long gap or has too few beats.
    """
    return cut(condition(record, spec), spec, start)


def condition(record: Record, spec: PreprocessSpec) -> Conditioned:
    """Bridge gaps, resample and filter leads I and II; see `apply` for what is raised."""
    if record.fs_hz < spec.resampler.min_input_hz:
        raise BadInputError(
            f"The recording has {record.fs_hz:g} samples a second; {spec.resampler.min_input_hz:g} are needed.",
            "Record or export it at a higher sampling rate.",
        )
    limb = record.limb()
    pair = solve_i_ii(limb)
    if pair is None:
        have = ", ".join(limb) or "none"
        raise UnusableRecordingError(
            f"Six limb leads need two that were measured; this recording has {have}.",
            "Record again with both hands and the left leg on the electrodes.",
        )
    shortfall = spec.required_s - record.duration_s
    if shortfall > 0:
        seconds = int(np.ceil(shortfall))
        raise UnusableRecordingError(
            f"The recording lasts {record.duration_s:.1f} s; {spec.required_s:.1f} s are needed.",
            f"Record {seconds} more second{'s' if seconds > 1 else ''}.",
        )
    gaps = np.logical_or.reduce([record.gaps[record.leads.index(name)] for name in limb])
    filtered, excluded, first = band_limit(pair.astype(np.float64), gaps, record.fs_hz, spec)
    return Conditioned(filtered, excluded, first, spec.fs_hz)


def band_limit(
    signal: NDArray[np.float64], gaps: NDArray[np.bool_], fs_in_hz: float, spec: PreprocessSpec
) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Bridge gaps, resample to the model's rate and filter; any leads, each by itself.

    Parameters
    ----------
    signal : array (n_leads, n_samples)
        Long enough for resampler and filter.
    gaps : array (n_samples,) of bool
        Samples that were not received in any of these leads.
    fs_in_hz : float
        Its rate.
    spec : PreprocessSpec

    Returns
    -------
    filtered : array (n_leads, n_out)
    excluded : array (n_out,) of bool
        Samples whose filter support touches a gap too long to bridge.
    first : int
        Position of ``filtered[:, 0]`` in model-rate samples from the signal's start.
    """
    bridged, long_gap = bridge_gaps(signal, gaps, round(spec.max_bridge_s * fs_in_hz))
    resampled, first = resample(bridged, fs_in_hz, spec.resampler)
    taps = np.asarray(spec.band.taps)
    filtered = np.stack([np.convolve(lead, taps, mode="valid") for lead in resampled])
    first += (len(taps) - 1) // 2
    return filtered, _excluded(long_gap, fs_in_hz, filtered.shape[1], first, spec), first


def cut(conditioned: Conditioned, spec: PreprocessSpec, start: int = 0) -> ModelInput:
    """Average the beats of one window, derive the six leads and scale them by one factor.

    Raises
    ------
    UnusableRecordingError
        If the window leaves the signal, touches a long gap, or has too few beats that resemble each other.
    """
    stop = start + spec.window_samples
    if start < 0 or stop > conditioned.pair.shape[1] or conditioned.excluded[start:stop].any():
        raise UnusableRecordingError("The window is not wholly inside clean signal.")
    window = conditioned.pair[:, start:stop]
    at = align_beats(window, conditioned.fs_hz, spec.beat)
    if at is None:
        raise UnusableRecordingError("The window has too few heartbeats that resemble each other.")
    beat = average_beat(window, at, spec.beat)
    six = derive_limb_leads(beat[0], beat[1])
    scale = float(np.sqrt(np.mean(six**2)))
    if not np.isfinite(scale) or scale == 0.0:
        raise UnusableRecordingError("The average beat is flat.")
    signal = np.clip(six / scale, -spec.clip, spec.clip).astype(np.float32)
    return ModelInput(signal, scale, conditioned.seconds(start), at)


def bridge_gaps(
    pair: NDArray[np.float64], gaps: NDArray[np.bool_], max_bridge: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fill every gap by a straight line between its neighbours and mark the long ones.

    Parameters
    ----------
    pair : array (n_leads, n_samples)
        Values under ``gaps`` are ignored.
    gaps : array (n_samples,) of bool
        Samples that were not received in any measured lead.
    max_bridge : int
        Longest gap in samples that a straight line may stand for. A gap at either end is never bridged.

    Returns
    -------
    filled : array (n_leads, n_samples)
    long_gap : array (n_samples,) of bool
    """
    if not gaps.any():
        return pair, gaps
    if gaps.all():
        raise UnusableRecordingError("No sample of the recording was received.")
    n_samples = gaps.size
    received = np.flatnonzero(~gaps)
    positions = np.arange(n_samples)
    filled = np.stack([np.interp(positions, received, lead[received]) for lead in pair])
    long_gap = np.zeros_like(gaps)
    for begin, end in runs(gaps):
        if end - begin > max_bridge or begin == 0 or end == n_samples:
            long_gap[begin:end] = True
    return filled, long_gap


def resample(signal: NDArray[np.float64], fs_in_hz: float, spec: ResamplerSpec) -> tuple[NDArray[np.float64], int]:
    """Resample by the polyphase formula of `ResamplerSpec`, without inventing samples at the ends.

    Parameters
    ----------
    signal : array (n_leads, n_samples)
    fs_in_hz : float
        Its rate.
    spec : ResamplerSpec

    Returns
    -------
    resampled : array (n_leads, n_out)
        Output sample ``k`` stands at time ``(first + k) / spec.fs_hz``.
    first : int
        Index of the first output sample whose whole support lies inside the signal.
    """
    up, down, phases = polyphase_taps(fs_in_hz, spec)
    n_taps = phases.shape[1]
    reach = n_taps // 2
    first = -(-(reach - 1) * up // down)
    last = ((signal.shape[1] - 1 - reach) * up + up - 1) // down
    if last < first:
        return np.empty((signal.shape[0], 0)), first
    positions = np.arange(first, last + 1) * down
    starts = positions // up - (reach - 1)
    windows = sliding_window_view(signal, n_taps, axis=1)
    if up == 1:
        chosen = windows[:, starts[0] : starts[-1] + 1 : down]
        return np.ascontiguousarray(chosen) @ phases[0], first
    return np.einsum("lnk,nk->ln", windows[:, starts], phases[positions % up]), first


def frequency_response(spec: PreprocessSpec, frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain of the band filter (real, because its phase is linear) at the given frequencies."""
    taps = np.asarray(spec.band.taps)
    offset = np.arange(len(taps)) - (len(taps) - 1) / 2
    return np.asarray(np.cos(2 * np.pi * np.outer(frequency_hz / spec.fs_hz, offset)) @ taps)


@lru_cache(maxsize=1)
def default_spec() -> PreprocessSpec:
    """Contract that new models are trained with; its figures are explained in ``docs/signal.md``."""
    resampler = ResamplerSpec(fs_hz=DEFAULT_FS_HZ, half_width_s=0.064, kaiser_beta=8.0, min_input_hz=100.0)
    return PreprocessSpec(
        max_bridge_s=0.04,
        resampler=resampler,
        band=design_band(resampler.fs_hz, low_hz=0.5, high_hz=30.0, n_taps=237),
        window_samples=DEFAULT_WINDOW_SAMPLES,
        beat=BeatSpec(before_samples=38, after_samples=62, align_samples=3, min_correlation=0.8, min_beats=3),
        clip=8.0,
    )


def design_band(fs_hz: float, low_hz: float, high_hz: float, n_taps: int) -> BandSpec:
    """Design a linear-phase band-pass with half gain at both corners.

    The upper edge is a Kaiser-windowed sinc of 41 taps; the lower one takes away a Kaiser-weighted
    moving average whose shape (beta) is solved so that the gain at ``low_hz`` is one half and at zero exactly zero.
    """
    half = (n_taps - 1) // 2
    offset = np.arange(-20, 21)
    upper = np.zeros(n_taps)
    edge = np.sinc(2 * high_hz / fs_hz * offset) * np.kaiser(41, 5.65)
    upper[half - 20 : half + 21] = edge / edge.sum()
    angles = np.cos(2 * np.pi * low_hz / fs_hz * np.arange(-half, half + 1))
    low_beta, high_beta = 0.0, 20.0
    for _ in range(60):
        beta = (low_beta + high_beta) / 2
        window = np.kaiser(n_taps, beta)
        if window @ angles / window.sum() < 0.5:
            low_beta = beta
        else:
            high_beta = beta
    average = np.kaiser(n_taps, beta)
    # 12 decimals survive JSON exactly and keep the taps symmetric to the last bit.
    taps = np.round(upper - average / average.sum(), 12)
    taps[half] -= taps.sum()
    return BandSpec(low_hz, high_hz, tuple(float(tap) for tap in taps))


@lru_cache(maxsize=8)
def polyphase_taps(fs_in_hz: float, spec: ResamplerSpec) -> tuple[int, int, NDArray[np.float64]]:
    """Return the resampling ratio as up and down, and the taps (up, n_taps) of each output phase, which sum to 1."""
    ratio = Fraction(spec.fs_hz / fs_in_hz).limit_denominator(1024)
    up, down = ratio.numerator, ratio.denominator
    reach = int(np.ceil(spec.half_width_s * fs_in_hz))
    # Input sample k of a support stands k - (reach - 1) samples from the one at or before the output instant.
    offset_s = ((np.arange(2 * reach) - (reach - 1))[None, :] - np.arange(up)[:, None] / up) / fs_in_hz
    cutoff_hz = min(fs_in_hz, spec.fs_hz) / 2
    inside = np.clip(1 - (offset_s / spec.half_width_s) ** 2, 0, None)
    taps = np.sinc(2 * cutoff_hz * offset_s) * np.i0(spec.kaiser_beta * np.sqrt(inside)) * (inside > 0)
    return up, down, taps / taps.sum(axis=1, keepdims=True)


def _excluded(
    long_gap: NDArray[np.bool_], fs_in_hz: float, n_out: int, first: int, spec: PreprocessSpec
) -> NDArray[np.bool_]:
    excluded = np.zeros(n_out, dtype=bool)
    reach_s = spec.context_s
    for index in np.flatnonzero(long_gap):
        begin = int(np.floor((index / fs_in_hz - reach_s) * spec.fs_hz)) - first
        end = int(np.ceil((index / fs_in_hz + reach_s) * spec.fs_hz)) - first + 1
        excluded[max(begin, 0) : max(end, 0)] = True
    return excluded
