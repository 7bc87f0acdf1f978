"""The one heart simulator: a moving dipole, seen by the electrodes of a 12-lead ECG.

Each wave of a beat is an asymmetric Gaussian in time along one direction in space, as in McSharry et al. (2003,
IEEE Trans Biomed Eng 50:289) but with a vector for each wave. Leads I, II and V1 to V6 are projections by the matrix of
Dower, Machado and Osborne (1980, Clin Cardiol 3:87); the other limb leads follow from I and II, so Einthoven's
equations hold exactly. Noise and faults act on electrodes, not on leads, so they hold there too.

The result looks like an ECG and has known truth. It is no evidence about patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import UsageError
from lsemvae_edge.leads import LIMB_MATRIX, PRECORDIAL_LEADS, STANDARD_12
from lsemvae_edge.record import Record

Array = NDArray[np.float64]
NoiseKind = Literal["white", "muscle", "mains50", "mains60", "wander"]

ELECTRODES = ("RA", "LA", "LL", "C1", "C2", "C3", "C4", "C5", "C6")

DOWER: Array = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],  # V6
    ]
)
"""Rows I, II, V1 to V6; columns are Frank's axes: to the left, to the feet, to the back."""


@dataclass(frozen=True)
class Heart:
    """A person's heart; the defaults are a normal adult's.

    Parameters
    ----------
    rate_bpm : float
        Mean ventricular rate.
    respiratory_sinus_arrhythmia, slow_variability : float
        Amplitudes of the changes of the RR interval with breathing and at 0.1 Hz, as fractions of it.
    pr_ms, qrs_ms, qtc_ms : float
        Intervals; QT follows from QTc by Hodges: QT = QTc - 1.75 ms for each beat a minute above 60.
    p_mv, qrs_mv, t_mv : float
        Size of each wave in the frontal plane.
    p_axis_deg, qrs_axis_deg, t_axis_deg : float
        Direction of each wave in the frontal plane: 0 along lead I, 90 to the feet.
    q_ratio, s_ratio : float
        Initial septal and terminal basal forces as fractions of ``qrs_mv``.
    posterior : float
        Main QRS force to the back, as a fraction of ``qrs_mv``.
    left_scale : float
        Scale of the left ventricle's force; 2 resembles left ventricular hypertrophy.
    right_ratio : float
        Added force to the right and front, as a fraction of ``qrs_mv``; 1 resembles right ventricular hypertrophy.
    right_delay_ms : float
        Late, slow force to the right and front that widens QRS; 40 resembles right bundle branch block.
    atrial_fibrillation : bool
        No P wave, irregular beats, fibrillatory waves.
    breathing_hz : float
        Respiratory rate.
    breathing_axis_deg, breathing_gain : float
        How far breathing turns the heart in the frontal plane and changes its amplitude.
    wander_mv : float
        Baseline wander with breathing.
    """

    rate_bpm: float = 72.0
    respiratory_sinus_arrhythmia: float = 0.03
    slow_variability: float = 0.015
    pr_ms: float = 160.0
    qrs_ms: float = 90.0
    qtc_ms: float = 410.0
    p_mv: float = 0.11
    qrs_mv: float = 1.0
    t_mv: float = 0.25
    p_axis_deg: float = 55.0
    qrs_axis_deg: float = 45.0
    t_axis_deg: float = 40.0
    q_ratio: float = 0.12
    s_ratio: float = 0.25
    posterior: float = 0.35
    left_scale: float = 1.0
    right_ratio: float = 0.0
    right_delay_ms: float = 0.0
    atrial_fibrillation: bool = False
    breathing_hz: float = 0.25
    breathing_axis_deg: float = 3.0
    breathing_gain: float = 0.04
    wander_mv: float = 0.03

    def __post_init__(self) -> None:
        if not 20 <= self.rate_bpm <= 250:
            raise UsageError(f"A simulated heart beats 20 to 250 times a minute, not {self.rate_bpm:g}.")

    @property
    def qt_ms(self) -> float:
        """QT interval at the mean rate, never so long that T meets the next beat."""
        return min(self.qtc_ms - 1.75 * (self.rate_bpm - 60), 0.62 * 60000 / self.rate_bpm + 60)


def simulate(
    heart: Heart,
    duration_s: float = 10.0,
    fs_hz: float = 500.0,
    seed: int | np.random.Generator = 0,
    leads: Sequence[str] = STANDARD_12,
) -> Record:
    """Record a simulated heart.

    Parameters
    ----------
    heart : Heart
    duration_s, fs_hz : float
        Length and sampling rate.
    seed : int or Generator
        The same seed gives the same recording.
    leads : sequence of str
        Standard leads wanted, in this order.

    Returns
    -------
    Record
        Calibrated, of origin ``"simulated"``, without added noise.
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * fs_hz)) / fs_hz
    breath_phase = rng.uniform(0, 2 * np.pi)
    beats_s = _beat_times(heart, duration_s, breath_phase, rng)
    dipole = np.zeros((3, time_s.size))
    for beat_s in beats_s:
        _add_beat(dipole, time_s, beat_s, heart, breath_phase, rng)
    if heart.atrial_fibrillation:
        dipole += _fibrillation(time_s, heart.p_mv, rng)
    eight = DOWER @ dipole
    breath = heart.wander_mv * np.sin(2 * np.pi * heart.breathing_hz * time_s + breath_phase)
    eight += rng.normal(0, 1, (8, 1)) * breath
    twelve = np.concatenate([LIMB_MATRIX @ eight[:2], eight[2:]])
    rows = [STANDARD_12.index(name) for name in leads]
    return Record(
        twelve[rows].astype(np.float32),
        fs_hz,
        tuple(leads),
        meta={"device": "simulated heart", "clock_set": False},
        amplitude="calibrated",
        origin="simulated",
    )


def random_heart(rng: np.random.Generator) -> Heart:
    """Draw a plausible adult: mostly normal, with the spread of a clinic and one in twenty in atrial fibrillation."""
    qrs_axis_deg = float(np.clip(rng.normal(40, 30), -60, 110))
    return Heart(
        rate_bpm=float(np.clip(rng.normal(74, 14), 45, 130)),
        respiratory_sinus_arrhythmia=float(rng.uniform(0.005, 0.06)),
        slow_variability=float(rng.uniform(0.005, 0.03)),
        pr_ms=float(np.clip(rng.normal(160, 20), 120, 220)),
        qrs_ms=float(np.clip(rng.normal(92, 9), 72, 118)),
        qtc_ms=float(np.clip(rng.normal(412, 18), 370, 465)),
        p_mv=float(np.clip(rng.normal(0.11, 0.03), 0.04, 0.2)),
        qrs_mv=float(np.clip(rng.lognormal(np.log(0.95), 0.3), 0.35, 1.8)),
        t_mv=float(np.clip(rng.lognormal(np.log(0.22), 0.4), 0.08, 0.6)),
        p_axis_deg=float(np.clip(rng.normal(55, 15), 0, 85)),
        qrs_axis_deg=qrs_axis_deg,
        t_axis_deg=float(np.clip(0.5 * qrs_axis_deg + rng.normal(20, 15), -20, 85)),
        q_ratio=float(rng.uniform(0.02, 0.2)),
        s_ratio=float(rng.uniform(0.05, 0.45)),
        posterior=float(rng.uniform(0.15, 0.6)),
        atrial_fibrillation=bool(rng.random() < 0.05),
        breathing_hz=float(rng.uniform(0.17, 0.4)),
        breathing_axis_deg=float(rng.uniform(0, 6)),
        breathing_gain=float(rng.uniform(0, 0.08)),
        wander_mv=float(rng.uniform(0.01, 0.09)),
    )


def add_noise(record: Record, kind: NoiseKind, snr_db: float, seed: int | np.random.Generator = 0) -> Record:
    """Add noise that enters at the electrodes, independent from one to the next.

    Parameters
    ----------
    record : Record
        With leads I and II.
    kind : {"white", "muscle", "mains50", "mains60", "wander"}
        Muscle noise fills 20 to 150 Hz in bursts; wander lies below 0.5 Hz.
    snr_db : float
        Power of the recording about its median over the power of the noise, both summed over leads I and II.
    seed : int or Generator

    Returns
    -------
    Record
    """
    if kind not in get_args(NoiseKind):
        raise UsageError(f"Unknown noise {kind!r}.", f"Choose one of: {', '.join(get_args(NoiseKind))}.")
    rng = np.random.default_rng(seed)
    potentials = _noise(kind, len(ELECTRODES), record.n_samples, record.fs_hz, rng)
    noise = _electrode_weights(record.leads) @ potentials
    pair = [record.leads.index("I"), record.leads.index("II")]
    signal = record.signal_mv[pair].astype(np.float64)
    signal_power = np.nanmean((signal - np.nanmedian(signal, axis=1, keepdims=True)) ** 2)
    gain = np.sqrt(signal_power / np.mean(noise[pair] ** 2) / 10 ** (snr_db / 10))
    return replace(record, signal_mv=(record.signal_mv + gain * noise).astype(np.float32))


def lead_off(
    record: Record,
    electrode: str,
    start_s: float = 0.0,
    stop_s: float | None = None,
    seed: int | np.random.Generator = 0,
) -> Record:
    """Let one electrode come loose: its input floats, with drift and mains in place of the heart.

    Parameters
    ----------
    record : Record
        With leads I and II.
    electrode : str
        One of ``ELECTRODES``; every lead that uses it is spoilt, and through Wilson's terminal each chest lead
        when it is a limb electrode.
    start_s, stop_s : float
        When, from the recording's start; to its end by default.
    seed : int or Generator

    Returns
    -------
    Record
    """
    if electrode not in ELECTRODES:
        raise UsageError(f"Unknown electrode {electrode!r}.", f"Choose one of: {', '.join(ELECTRODES)}.")
    rng = np.random.default_rng(seed)
    during = slice(round(start_s * record.fs_hz), None if stop_s is None else round(stop_s * record.fs_hz))
    index = ELECTRODES.index(electrode)
    floating = 3 * _noise("wander", 1, record.n_samples, record.fs_hz, rng)[0]
    floating += 0.3 * _noise("mains50", 1, record.n_samples, record.fs_hz, rng)[0]
    change = (floating - _potential(record, index))[during]
    signal = record.signal_mv.astype(np.float64)
    signal[:, during] += np.outer(_electrode_weights(record.leads)[:, index], change)
    return replace(record, signal_mv=signal.astype(np.float32))


def contact_loss(record: Record, start_s: float, stop_s: float) -> Record:
    """Mark a stretch as not received in any lead."""
    gaps = record.gaps.copy()
    gaps[:, round(start_s * record.fs_hz) : round(stop_s * record.fs_hz)] = True
    return replace(record, gaps=gaps)


@dataclass(frozen=True)
class _Wave:
    """One asymmetric Gaussian: when (from the R wave), which way and how fast."""

    at_ms: float
    size_mv: float
    frontal_deg: float
    posterior_mv: float
    rise_ms: float
    fall_ms: float


def _waves(heart: Heart, qt_ms: float) -> list[_Wave]:
    k = heart.qrs_ms / 90
    axis = heart.qrs_axis_deg
    r_mv = heart.qrs_mv * heart.left_scale
    onset_ms = -40 * k
    t_fall_ms = 34.0
    t_peak_ms = onset_ms + qt_ms - 2.3 * t_fall_ms
    waves = [
        _Wave(-20 * k, heart.q_ratio * heart.qrs_mv, axis + 150, -0.30 * heart.qrs_mv, 7 * k, 6 * k),
        _Wave(0, r_mv, axis, heart.posterior * r_mv, 8.5 * k, 7.5 * k),
        _Wave(13 * k, 0.35 * r_mv, axis + 15, 0.9 * heart.posterior * r_mv, 7 * k, 7 * k),
        _Wave(24 * k, heart.s_ratio * heart.qrs_mv, axis + 165, 0.35 * heart.qrs_mv, 7 * k, 9 * k),
        _Wave(t_peak_ms - 85, 0.16 * heart.t_mv, heart.t_axis_deg, -0.25 * heart.t_mv, 45, 60),
        _Wave(t_peak_ms, heart.t_mv, heart.t_axis_deg, -0.4 * heart.t_mv, 50, t_fall_ms),
    ]
    if not heart.atrial_fibrillation:
        p_start_ms = onset_ms - heart.pr_ms
        waves += [
            _Wave(p_start_ms + 38, 0.75 * heart.p_mv, heart.p_axis_deg + 10, -0.7 * heart.p_mv, 17, 19),
            _Wave(p_start_ms + 66, 0.75 * heart.p_mv, heart.p_axis_deg - 15, 0.4 * heart.p_mv, 19, 17),
        ]
    if heart.right_ratio:
        size_mv = heart.right_ratio * heart.qrs_mv
        waves.append(_Wave(10 * k, 1.3 * size_mv, 150, -0.9 * size_mv, 11 * k, 12 * k))
        waves.append(_Wave(t_peak_ms, 0.25 * size_mv, -40, 0.2 * size_mv, 55, t_fall_ms))
    if heart.right_delay_ms:
        late_ms = 30 * k + heart.right_delay_ms / 2
        fall_ms = 4 + 0.3 * heart.right_delay_ms
        waves.append(_Wave(late_ms, 0.4 * heart.qrs_mv, 175, -0.5 * heart.qrs_mv, 12, fall_ms))
    return waves


def _add_beat(
    dipole: Array, time_s: Array, beat_s: float, heart: Heart, breath_phase: float, rng: np.random.Generator
) -> None:
    breath = np.sin(2 * np.pi * heart.breathing_hz * beat_s + breath_phase)
    turn_deg = heart.breathing_axis_deg * breath + rng.normal(0, 0.7)
    gain = 1 + heart.breathing_gain * breath
    for wave in _waves(heart, heart.qt_ms + rng.normal(0, 2)):
        size = gain * (1 + rng.normal(0, 0.025))
        centre_s = beat_s + (wave.at_ms + rng.normal(0, 0.5)) / 1000
        stretch = 1 + rng.normal(0, 0.015)
        reach_s = 5 * max(wave.rise_ms, wave.fall_ms) * stretch / 1000
        span = slice(*np.searchsorted(time_s, [centre_s - reach_s, centre_s + reach_s]))
        offset_ms = (time_s[span] - centre_s) * 1000
        width_ms = np.where(offset_ms < 0, wave.rise_ms, wave.fall_ms) * stretch
        shape = size * np.exp(-0.5 * (offset_ms / width_ms) ** 2)
        dipole[:, span] += np.outer(_vector(wave, turn_deg), shape)


def _vector(wave: _Wave, turn_deg: float) -> Array:
    """Solve Frank's x and y so that leads I and II show exactly the wave's frontal direction and size."""
    angle = np.radians(wave.frontal_deg + turn_deg)
    seen = wave.size_mv * np.array([np.cos(angle), np.cos(angle - np.pi / 3)])
    xy = np.linalg.solve(DOWER[:2, :2], seen - DOWER[:2, 2] * wave.posterior_mv)
    return np.array([xy[0], xy[1], wave.posterior_mv])


def _beat_times(heart: Heart, duration_s: float, breath_phase: float, rng: np.random.Generator) -> list[float]:
    """Draw the times of the R waves, from one beat before the recording to one after it."""
    mean_s = 60 / heart.rate_bpm
    slow_phase = rng.uniform(0, 2 * np.pi)
    now = -rng.uniform(0, mean_s) - mean_s
    times = [now]
    while now < duration_s + 1:
        if heart.atrial_fibrillation:
            # Gamma with a coefficient of variation of 0.2, not shorter than the ventricle can follow.
            rr_s = max(mean_s * rng.gamma(25, 1 / 25), 0.32)
        else:
            breath = np.sin(2 * np.pi * heart.breathing_hz * now + breath_phase)
            slow = np.sin(2 * np.pi * 0.1 * now + slow_phase)
            change = heart.respiratory_sinus_arrhythmia * breath + heart.slow_variability * slow
            rr_s = mean_s * (1 + change + rng.normal(0, 0.006))
        now += rr_s
        times.append(now)
    return times


def _fibrillation(time_s: Array, size_mv: float, rng: np.random.Generator) -> Array:
    """Waves of 5 to 8 Hz that wander in rate and size, largest toward V1."""
    step_s = time_s[1] - time_s[0]
    rate_hz = rng.uniform(5, 7.5) + 0.6 * _smooth(rng.normal(0, 1, time_s.size), 0.4 / step_s)
    phase = 2 * np.pi * np.cumsum(rate_hz) * step_s
    size = size_mv * 0.5 * (1 + 0.4 * _smooth(rng.normal(0, 1, time_s.size), 0.7 / step_s))
    wave = size * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.8))
    return np.outer(np.array([-0.15, 0.6, -0.75]), wave)


def _electrode_weights(leads: Sequence[str]) -> Array:
    """Matrix (n_leads, 9) from electrode potentials to leads; chest leads are against Wilson's terminal."""
    limb = LIMB_MATRIX @ np.array([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    chest = np.concatenate([np.full((6, 3), -1 / 3), np.eye(6)], axis=1)
    table = np.concatenate([np.concatenate([limb, np.zeros((6, 6))], axis=1), chest])
    return table[[STANDARD_12.index(name) for name in leads]]


def _potential(record: Record, index: int) -> Array:
    """Potential of one electrode against Wilson's terminal, from the leads."""
    one, two = (np.nan_to_num(record.signal_mv[record.leads.index(name)].astype(np.float64)) for name in ("I", "II"))
    limb: tuple[Array, ...] = (-(one + two) / 3, (2 * one - two) / 3, (2 * two - one) / 3)
    if index < 3:
        return limb[index]
    chest = record.signal_mv[record.leads.index(PRECORDIAL_LEADS[index - 3])]
    return np.asarray(np.nan_to_num(chest.astype(np.float64)))


def _noise(kind: NoiseKind, n_rows: int, n_samples: int, fs_hz: float, rng: np.random.Generator) -> Array:
    """Noise of about unit power in each row."""
    time_s = np.arange(n_samples) / fs_hz
    if kind in ("mains50", "mains60"):
        hertz = 50.0 if kind == "mains50" else 60.0
        size, phase = rng.uniform(0.5, 1.5, (n_rows, 1)), rng.normal(0, 0.3, (n_rows, 1))
        angle = 2 * np.pi * (hertz + rng.normal(0, 0.02)) * time_s + phase
        return np.asarray(size * (np.sin(angle) + 0.1 * np.sin(3 * angle)) * np.sqrt(2))
    white = rng.normal(0, 1, (n_rows, n_samples))
    if kind == "white":
        return white
    low_hz, high_hz = (20.0, 150.0) if kind == "muscle" else (0.05, 0.5)
    spectrum = np.fft.rfft(white, axis=1)
    hertz_axis = np.fft.rfftfreq(n_samples, 1 / fs_hz)
    # A short recording has no line inside the band of wander; its slowest one then stands for it.
    band = (hertz_axis >= low_hz) & (hertz_axis <= max(high_hz, hertz_axis[1]))
    shaped = np.fft.irfft(spectrum * band / np.maximum(hertz_axis, low_hz) ** 0.5, n_samples, axis=1)
    if kind == "muscle":
        shaped *= np.exp(0.6 * _smooth(rng.normal(0, 1, n_samples), 0.5 * fs_hz))
    return np.asarray(shaped / np.sqrt(np.mean(shaped**2, axis=1, keepdims=True)))


def _smooth(values: Array, width: float) -> Array:
    """Average over about ``width`` samples and scale back to unit deviation."""
    kernel = np.hanning(max(round(2 * width), 3))
    return np.asarray(np.convolve(values, kernel / np.sqrt(np.sum(kernel**2)), mode="same"))
