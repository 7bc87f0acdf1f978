"""The one heart simulator: a moving dipole, seen by the electrodes of a 12-lead ECG.

Each wave of a beat is an asymmetric Gaussian in time along one direction in space, as in McSharry et al. (2003,
IEEE Trans Biomed Eng 50:289) but with a vector for each wave. Leads I, II and V1 to V6 are projections by the matrix of
Dower, Machado and Osborne (1980, Clin Cardiol 3:87); the other limb leads follow from I and II, so Einthoven's
equations hold exactly. Noise and loose contacts are in `lsemvae_edge.synthetic.electrodes`.

The result looks like an ECG and has known truth. It is no evidence about patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import UsageError
from lsemvae_edge.leads import LIMB_MATRIX, STANDARD_12
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import smooth

Array = NDArray[np.float64]
BeatKind = Literal["sinus", "ectopic", "blocked"]

ECTOPIC_EARLY = 0.35
"""How much earlier than the sinus beat in its place an ectopic beat comes, as a fraction of the mean interval."""

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


Range = tuple[float, float]


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
    left_delay_ms : float
        Late, slow force to the left and back, no septal force, T against QRS; 45 resembles left bundle branch block.
    ectopic_share : float
        Share of beats that come early from the left ventricle: wide, without P wave, before a full pause.
    blocked_share : float
        Share of P waves that no QRS follows, as in second-degree block of Mobitz type II; first degree is a long
        ``pr_ms``.
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
    left_delay_ms: float = 0.0
    ectopic_share: float = 0.0
    blocked_share: float = 0.0
    atrial_fibrillation: bool = False
    breathing_hz: float = 0.25
    breathing_axis_deg: float = 3.0
    breathing_gain: float = 0.04
    wander_mv: float = 0.03

    def __post_init__(self) -> None:
        if not 20 <= self.rate_bpm <= 250:
            raise UsageError(f"A simulated heart beats 20 to 250 times a minute, not {self.rate_bpm:g}.")
        if min(self.ectopic_share, self.blocked_share) < 0 or self.ectopic_share + self.blocked_share > 1:
            raise UsageError("Shares of ectopic and blocked beats lie between 0 and 1, also together.")

    @property
    def qt_ms(self) -> float:
        """QT interval at the mean rate, never so long that T meets the next beat."""
        return min(self.qtc_ms - 1.75 * (self.rate_bpm - 60), 0.62 * 60000 / self.rate_bpm + 60)


def drawn(
    rng: np.random.Generator,
    *,
    rate_bpm: Range = (50.0, 120.0),
    qrs_axis_deg: Range = (-60.0, 150.0),
    t_axis_deg: Range = (-20.0, 90.0),
    left_scale: Range = (0.5, 2.0),
) -> Heart:
    """Draw a heart, each property evenly from its range; see `Heart`."""
    return Heart(
        rate_bpm=rng.uniform(*rate_bpm),
        qrs_axis_deg=rng.uniform(*qrs_axis_deg),
        t_axis_deg=rng.uniform(*t_axis_deg),
        right_ratio=rng.uniform(0, 1),
        left_scale=rng.uniform(*left_scale),
    )


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
    kinds = _beat_kinds(heart, len(beats_s), rng)
    dipole = np.zeros((3, time_s.size))
    for beat_s, kind in zip(beats_s, kinds, strict=True):
        early_s = ECTOPIC_EARLY * 60 / heart.rate_bpm if kind == "ectopic" else 0.0
        _add_beat(dipole, time_s, beat_s - early_s, kind, heart, breath_phase, rng)
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


@dataclass(frozen=True)
class _Wave:
    """One asymmetric Gaussian: when (from the R wave), which way and how fast."""

    at_ms: float
    size_mv: float
    frontal_deg: float
    posterior_mv: float
    rise_ms: float
    fall_ms: float


def _waves(heart: Heart, kind: BeatKind, qt_ms: float) -> list[_Wave]:
    if kind == "ectopic":
        return _ectopic(heart, qt_ms)
    k = heart.qrs_ms / 90
    p_start_ms = -40 * k - heart.pr_ms
    atrial = [
        _Wave(p_start_ms + 38, 0.75 * heart.p_mv, heart.p_axis_deg + 10, -0.7 * heart.p_mv, 17, 19),
        _Wave(p_start_ms + 66, 0.75 * heart.p_mv, heart.p_axis_deg - 15, 0.4 * heart.p_mv, 19, 17),
    ]
    if heart.atrial_fibrillation:
        atrial = []
    if kind == "blocked":
        return atrial
    axis = heart.qrs_axis_deg
    r_mv = heart.qrs_mv * heart.left_scale
    t_fall_ms = 34.0
    t_peak_ms = -40 * k + qt_ms - 2.3 * t_fall_ms
    # In left bundle branch block the septum is excited from the right, and recovery follows excitation.
    q_sign, t_sign = (-1.0, -1.0) if heart.left_delay_ms else (1.0, 1.0)
    q_mv, t_mv = q_sign * heart.q_ratio * heart.qrs_mv, t_sign * heart.t_mv
    waves = [
        _Wave(-20 * k, q_mv, axis + 150, -0.30 * q_sign * heart.qrs_mv, 7 * k, 6 * k),
        _Wave(0, r_mv, axis, heart.posterior * r_mv, 8.5 * k, 7.5 * k),
        _Wave(13 * k, 0.35 * r_mv, axis + 15, 0.9 * heart.posterior * r_mv, 7 * k, 7 * k),
        _Wave(24 * k, heart.s_ratio * heart.qrs_mv, axis + 165, 0.35 * heart.qrs_mv, 7 * k, 9 * k),
        _Wave(t_peak_ms - 85, 0.16 * t_mv, heart.t_axis_deg, -0.25 * t_mv, 45, 60),
        _Wave(t_peak_ms, t_mv, heart.t_axis_deg, -0.4 * t_mv, 50, t_fall_ms),
        *atrial,
    ]
    if heart.right_ratio:
        size_mv = heart.right_ratio * heart.qrs_mv
        waves.append(_Wave(10 * k, 1.3 * size_mv, 150, -0.9 * size_mv, 11 * k, 12 * k))
        waves.append(_Wave(t_peak_ms, 0.25 * size_mv, -40, 0.2 * size_mv, 55, t_fall_ms))
    if heart.right_delay_ms:
        late_ms = 30 * k + heart.right_delay_ms / 2
        fall_ms = 4 + 0.3 * heart.right_delay_ms
        waves.append(_Wave(late_ms, 0.4 * heart.qrs_mv, 175, -0.5 * heart.qrs_mv, 12, fall_ms))
    if heart.left_delay_ms:
        late_ms = 20 * k + heart.left_delay_ms / 2
        fall_ms = 6 + 0.3 * heart.left_delay_ms
        waves.append(_Wave(late_ms, 0.8 * heart.qrs_mv, axis - 25, 0.7 * heart.qrs_mv, 16, fall_ms))
    return waves


def _ectopic(heart: Heart, qt_ms: float) -> list[_Wave]:
    """Waves of a beat that begins in the left ventricle's outer wall: away from lead I, slow, T against QRS."""
    size_mv = 1.4 * heart.qrs_mv
    return [
        _Wave(0, size_mv, 120, -0.6 * size_mv, 28, 30),
        _Wave(qt_ms - 60, 0.4 * size_mv, -60, 0.2 * size_mv, 60, 45),
    ]


def _add_beat(
    dipole: Array,
    time_s: Array,
    beat_s: float,
    kind: BeatKind,
    heart: Heart,
    breath_phase: float,
    rng: np.random.Generator,
) -> None:
    breath = np.sin(2 * np.pi * heart.breathing_hz * beat_s + breath_phase)
    turn_deg = heart.breathing_axis_deg * breath + rng.normal(0, 0.7)
    gain = 1 + heart.breathing_gain * breath
    for wave in _waves(heart, kind, heart.qt_ms + rng.normal(0, 2)):
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


def _beat_kinds(heart: Heart, n_beats: int, rng: np.random.Generator) -> list[BeatKind]:
    # A heart that has neither draws nothing, and so stays the same for a seed.
    if not heart.ectopic_share + heart.blocked_share:
        return ["sinus"] * n_beats
    drawn = rng.random(n_beats)
    ectopic, blocked = drawn < heart.ectopic_share, drawn > 1 - heart.blocked_share
    return [
        "ectopic" if early else "blocked" if lone else "sinus" for early, lone in zip(ectopic, blocked, strict=True)
    ]


def _fibrillation(time_s: Array, size_mv: float, rng: np.random.Generator) -> Array:
    """Waves of 5 to 8 Hz that wander in rate and size, largest toward V1."""
    step_s = time_s[1] - time_s[0]
    rate_hz = rng.uniform(5, 7.5) + 0.6 * smooth(rng.normal(0, 1, time_s.size), 0.4 / step_s)
    phase = 2 * np.pi * np.cumsum(rate_hz) * step_s
    size = size_mv * 0.5 * (1 + 0.4 * smooth(rng.normal(0, 1, time_s.size), 0.7 / step_s))
    wave = size * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.8))
    return np.outer(np.array([-0.15, 0.6, -0.75]), wave)
