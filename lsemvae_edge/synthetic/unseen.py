"""Further inputs that no answer may be given on, kept apart to judge by.

No limit, guard or training was tuned on them, and none may be: `lsemvae_edge.synthetic.not_ecg` is there for that. The
first half is of no heart, or of one that does not beat; the second begins with a simulated heart and spoils what the
model reads. Some of those still look like an ECG to anyone: two hearts at once, a heart played backwards.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.synthetic.electrodes import smooth
from lsemvae_edge.synthetic.heart import random_heart, simulate
from lsemvae_edge.synthetic.not_ecg import NotEcg

Array = NDArray[np.float64]
Rng = np.random.Generator
_Wave = Callable[[Array], Array]


# Signals of a body -----------------------------------------------------------------------------


def _gait(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw an accelerometer's vertical and sideways axes: heel strikes that ring, left and right in turn."""
    t = np.arange(n_samples) / fs_hz
    steps_s = _times(rng, t[-1], 1 / rng.uniform(1.4, 2.3), 0.03)
    ring_hz, decay_s, push_s = rng.uniform(8, 16), rng.uniform(0.04, 0.1), rng.uniform(0.15, 0.3)
    side = np.where(np.arange(steps_s.size) % 2, 1.0, -1.0) * rng.uniform(0.3, 0.8)
    sizes = np.stack([rng.normal(1, 0.1, steps_s.size), side * rng.normal(1, 0.1, steps_s.size)])
    strike = _at(t, steps_s, lambda d: np.sin(2 * np.pi * ring_hz * d) * _decay(d, decay_s), sizes)
    return strike + _at(t, steps_s, lambda d: 0.5 * _bump(d, push_s, 0.06), sizes)


def _jugular_pulse(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw a vein's a, c and v waves and the descents between them."""
    return _waves(rng, n_samples, fs_hz, [(-0.16, 0.05, 1.0), (0.02, 0.03, 0.4), (0.15, 0.06, -0.8), (0.38, 0.07, 0.7)])


def _impedance_cardiogram(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw the speed of the chest's impedance: waves A, C, X and O."""
    return _waves(
        rng, n_samples, fs_hz, [(-0.12, 0.03, -0.2), (0.08, 0.035, 1.0), (0.28, 0.03, -0.5), (0.42, 0.05, 0.35)]
    )


def _breath_sounds(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw noise that swells with every breath, louder as it goes in."""
    t = np.arange(n_samples) / fs_hz
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.6) * t + _phase(rng))
    loudness = np.maximum(breath, 0) + rng.uniform(0.2, 0.7) * np.maximum(-breath, 0)
    return loudness * np.stack([_band(rng, n_samples, fs_hz, 4, 45) for _ in range(2)])


def _rhythmic_emg(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw a muscle that works in time, as in chewing or pedalling."""
    t = np.arange(n_samples) / fs_hz
    gate = (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.7, 3) * t + _phase(rng))) ** rng.uniform(2, 12)
    common, own = _band(rng, n_samples, fs_hz, 15, 100), _band(rng, n_samples, fs_hz, 15, 100)
    return gate * np.stack([common, rng.uniform(-1, 1) * common + rng.uniform(0, 1) * own])


def _tremor(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw an arm that shakes four to seven times a second, as in Parkinson's disease, its muscle firing each time."""
    t = np.arange(n_samples) / fs_hz
    phase = 2 * np.pi * np.cumsum(rng.uniform(4, 7) + 0.2 * smooth(rng.normal(size=n_samples), 0.5 * fs_hz)) / fs_hz
    waxing = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * t + _phase(rng))
    muscle = np.maximum(np.sin(phase), 0) ** 4 * _band(rng, n_samples, fs_hz, 20, 100)
    rows = [np.sin(phase + _phase(rng)) + 0.4 * np.sin(2 * phase + _phase(rng)) for _ in range(2)]
    return waxing * (np.stack(rows) + rng.uniform(0.1, 0.5) * muscle)


def _eye_movements(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw jumps of the gaze, sideways and up, and blinks."""
    t = np.arange(n_samples) / fs_hz
    jumps_s = np.sort(rng.uniform(0, t[-1], int(rng.integers(8, 35))))
    gaze = rng.uniform(-1, 1, (2, jumps_s.size + 1))[:, np.searchsorted(jumps_s, t)]
    blinks_s = rng.uniform(0, t[-1], int(rng.integers(1, 8)))
    return gaze + _at(t, blinks_s, lambda d: _bump(d, 0, 0.07), np.array([[0.1], [1.5]]) * np.ones(blinks_s.size))


def _spike_and_wave(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw an absence seizure in the EEG: a spike and a slow wave about three times a second."""
    period_s = 1 / rng.uniform(2.5, 4)
    waves = [(0.0, 0.015, 1.0), (0.45 * period_s, 0.2 * period_s, -rng.uniform(0.5, 1.2))]
    return _waves(rng, n_samples, fs_hz, waves, period_s)


def _ventricular_fibrillation(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw waves of three to eight a second that wander in rate, size and direction: an ECG without beats."""
    centre_hz, half_hz = rng.uniform(3.5, 7), rng.uniform(0.3, 1.0)
    two = np.stack([_band(rng, n_samples, fs_hz, centre_hz - half_hz, centre_hz + half_hz) for _ in range(2)])
    return rng.normal(size=(2, 2)) @ two


def _torsades(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw wide waves whose points turn around the baseline."""
    t = np.arange(n_samples) / fs_hz
    phase = 2 * np.pi * rng.uniform(3, 5) * t + _phase(rng)
    turn = 2 * np.pi * rng.uniform(0.15, 0.5) * t + _phase(rng)
    wave = np.sin(phase) + 0.35 * np.sin(2 * phase + 0.6)
    return np.stack([wave * np.sin(turn), wave * np.sin(turn + rng.uniform(0.4, 2))])


def _compressions(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw what pressing a chest does to an ECG without beats, with a rest for two breaths in some."""
    t = np.arange(n_samples) / fs_hz
    phase = 2 * np.pi * rng.uniform(1.6, 2.1) * t
    rows = [sum(rng.uniform(0, 1) / k * np.sin(k * phase + _phase(rng)) for k in range(1, 7)) for _ in range(2)]
    rest_s = rng.uniform(0, t[-1])
    pressing = np.where(np.abs(t - rest_s) < 1.5, 0.0, 1.0) if rng.random() < 0.5 else 1.0
    wander = np.stack([_band(rng, n_samples, fs_hz, 0.1, 1.0) for _ in range(2)])
    return pressing * np.stack(rows) + rng.uniform(0, 0.3) * wander


# Signals of devices, things and equations ------------------------------------------------------


def _pacing_spikes(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw a pacemaker, of one chamber or two, that no heart follows; electrodes discharge after each spike."""
    t = np.arange(n_samples) / fs_hz
    spikes_s = _times(rng, t[-1], 60 / rng.uniform(50, 110), 0.0)
    if rng.random() < 0.5:
        spikes_s = np.concatenate([spikes_s, spikes_s + rng.uniform(0.12, 0.22)])
    decay_s, rebound = rng.uniform(0.01, 0.08), rng.uniform(0.05, 0.3)

    def spike(d: Array) -> Array:
        return np.where(np.abs(d) <= 1 / fs_hz, 1.0, -rebound * _decay(d, decay_s))

    return _at(t, spikes_s, spike, rng.normal(size=(2, 1)) * np.ones(spikes_s.size))


def _nerve_stimulator(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw bursts of pulses in both directions, as a stimulator against pain gives."""
    t = np.arange(n_samples) / fs_hz
    bursts_s = _times(rng, t[-1], 1 / rng.uniform(0.8, 4), 0.0)
    pulse_hz, last_s = rng.uniform(30, 90), rng.uniform(0.05, 0.2)

    def burst(d: Array) -> Array:
        return np.where((d >= 0) & (d < last_s), np.sign(np.sin(2 * np.pi * pulse_hz * d)), 0.0)

    return _at(t, bursts_s, burst, rng.normal(size=(2, 1)) * np.ones(bursts_s.size))


def _shocks(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw a defibrillator's biphasic shocks and the slow recovery of the input after each."""
    t = np.arange(n_samples) / fs_hz
    shocks_s = _times(rng, t[-1], rng.uniform(0.8, 3), 0.2)
    tail_s, tail = rng.uniform(0.1, 1.0), rng.uniform(0.2, 1.0)

    def shock(d: Array) -> Array:
        pulse = np.where(np.abs(d - 0.005) <= 0.005, 1.0, np.where(np.abs(d - 0.015) <= 0.005, -0.6, 0.0))
        return pulse + tail * _decay(d - 0.02, tail_s)

    return _at(t, shocks_s, shock, rng.normal(size=(2, 1)) * rng.normal(1, 0.2, shocks_s.size))


def _function_generator(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw a saw, a triangle or a square in each lead, at one heart's rate and in different phase."""
    t = np.arange(n_samples) / fs_hz
    rate_hz = rng.uniform(0.7, 2.5)
    rows = []
    for _ in range(2):
        cycle = (rate_hz * t + rng.random()) % 1
        shapes = (2 * cycle - 1, 4 * np.abs(cycle - 0.5) - 1, np.where(cycle < rng.uniform(0.1, 0.6), 1.0, -1.0))
        rows.append(shapes[rng.integers(3)] * rng.uniform(0.4, 1.5))
    return np.stack(rows)


def _siren(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw a tone that climbs anew with every period of a heart; the leads a quarter of a turn apart."""
    cycle = (rng.uniform(0.7, 2.5) * np.arange(n_samples) / fs_hz) % 1
    tone_hz = rng.uniform(1, 4) + rng.uniform(8, 30) * cycle ** rng.uniform(1, 4)
    phase = 2 * np.pi * np.cumsum(tone_hz) / fs_hz
    return np.stack([np.sin(phase), rng.uniform(0.4, 1.5) * np.cos(phase)])


def _random_wavelets(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw Gabor's wavelets at times that know nothing of each other, each of its own direction and size."""
    t = np.arange(n_samples) / fs_hz
    times_s = np.cumsum(rng.exponential(1 / rng.uniform(0.8, 3), 60))
    width_s, tone_hz, phase = rng.uniform(0.015, 0.06), rng.uniform(2, 15), _phase(rng)

    def wavelet(d: Array) -> Array:
        return np.cos(2 * np.pi * tone_hz * d + phase) * _bump(d, 0, width_s)

    return _at(t, times_s, wavelet, rng.normal(size=(2, times_s.size)))


def _looped_noise(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw one snippet of noise, played again and again at a heart's rate: every beat is like the next."""
    length = round(fs_hz * 60 / rng.uniform(45, 130))
    heard = min(round(rng.uniform(0.08, 0.9) * length), length)
    snippet = np.zeros((2, length))
    high_hz = rng.uniform(10, 40)
    snippet[:, :heard] = np.stack([_band(rng, heard, fs_hz, 1, high_hz) for _ in range(2)]) * np.hanning(heard)
    return np.tile(snippet, -(-n_samples // length))[:, :n_samples]


def _van_der_pol(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw the oscillator that was once proposed as a model of the heart: its position and its speed."""
    mu = rng.uniform(2, 8)
    # A period of relaxation is about 1.6 mu long for large mu, and 2 pi for small.
    per_second = rng.uniform(0.7, 2) * (1.61 * mu + 4)

    def flow(x: Array) -> Array:
        return np.array([x[1], mu * (1 - x[0] ** 2) * x[1] - x[0]])

    return _orbit(flow, rng.normal(size=2), n_samples, per_second / fs_hz)


def _lorenz(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Draw two coordinates of deterministic chaos."""

    def flow(x: Array) -> Array:
        return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    return _orbit(flow, rng.normal(size=3), n_samples, rng.uniform(0.6, 2.5) / fs_hz)


# Hearts, spoiled -------------------------------------------------------------------------------


def _two_hearts_at_once(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    first = _heart(rng, n_samples, fs_hz, rate_bpm=rng.uniform(50, 80))
    return first + rng.uniform(0.4, 1) * _heart(rng, n_samples, fs_hz, rate_bpm=rng.uniform(88, 130))


def _leads_of_two_hearts(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    return np.stack([_heart(rng, n_samples, fs_hz)[0], _heart(rng, n_samples, fs_hz)[1]])


def _reversed_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    return _heart(rng, n_samples, fs_hz)[:, ::-1]


def _slowed_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Play a heart at half the speed; its rate is then an ordinary one."""
    fast = _heart(rng, n_samples // 2 + 1, fs_hz, rate_bpm=rng.uniform(90, 140))
    at = np.arange(n_samples) / 2
    return np.stack([np.interp(at, np.arange(fast.shape[1]), row) for row in fast])


def _hurried_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Play a heart at three times the speed."""
    return _heart(rng, 3 * n_samples, fs_hz, rate_bpm=rng.uniform(45, 60))[:, ::3]


def _differentiated_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    heart = _heart(rng, n_samples, fs_hz)
    return _as_large_as(heart, np.gradient(heart, axis=1))


def _integrated_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    heart = _heart(rng, n_samples, fs_hz)
    return _as_large_as(heart, np.cumsum(heart - heart.mean(axis=1, keepdims=True), axis=1))


def _rectified_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    return np.abs(_heart(rng, n_samples, fs_hz))


def _quadrature_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Turn every tone of a heart by a quarter: the same spectrum in another shape."""
    spectrum = np.fft.rfft(_heart(rng, n_samples, fs_hz), axis=1)
    return np.fft.irfft(-1j * spectrum, n_samples, axis=1)


def _phase_scrambled_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Turn every tone of a heart by any angle, both leads alike."""
    spectrum = np.fft.rfft(_heart(rng, n_samples, fs_hz), axis=1)
    return np.fft.irfft(spectrum * np.exp(1j * rng.uniform(0, 2 * np.pi, spectrum.shape[1])), n_samples, axis=1)


def _pulsating_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Let a heart's size swell and fade once a second."""
    swell = 1 + rng.uniform(0.6, 1) * np.sin(2 * np.pi * np.arange(n_samples) / fs_hz + _phase(rng))
    return np.asarray(swell * _heart(rng, n_samples, fs_hz))


def _rotating_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Turn a heart's axis in the frontal plane, on and on."""
    lead_i, lead_ii = _heart(rng, n_samples, fs_hz)
    turn = np.exp(2j * np.pi * rng.uniform(0.06, 0.4) * np.arange(n_samples) / fs_hz)
    turned = (lead_i + 1j * (2 * lead_ii - lead_i) / np.sqrt(3)) * turn
    return np.stack([turned.real, (np.sqrt(3) * turned.imag + turned.real) / 2])


def _echoing_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Add a heart's own echo, a part of a beat later."""
    heart, late = _heart(rng, n_samples, fs_hz), round(rng.uniform(0.12, 0.45) * fs_hz)
    return heart + rng.uniform(0.5, 1) * np.pad(heart, ((0, 0), (late, 0)))[:, :n_samples]


def _cut_up_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Put pieces of a heart, shorter than a beat, in any order."""
    length = round(rng.uniform(0.25, 0.7) * fs_hz)
    pieces = np.split(_heart(rng, n_samples, fs_hz), np.arange(length, n_samples, length), axis=1)
    return np.concatenate([pieces[k] for k in rng.permutation(len(pieces))], axis=1)


def _random_polarity_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Invert every other beat or so, by the toss of a coin."""
    heart, _, beats_s = _heart_and_beats(rng, n_samples, fs_hz)
    borders_s = 0.35 * beats_s[:-1] + 0.65 * beats_s[1:]
    sign = rng.choice([-1.0, 1.0], beats_s.size)
    return np.asarray(heart * sign[np.searchsorted(borders_s, np.arange(n_samples) / fs_hz)])


def _heart_without_qrs(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    return _heart_and_beats(rng, n_samples, fs_hz)[1]


def _random_qrs_heart(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Give each beat a QRS of its own shape, between the heart's true P and T waves."""
    heart, rest, beats_s = _heart_and_beats(rng, n_samples, fs_hz)
    t, peak_mv = np.arange(n_samples) / fs_hz, float(np.abs(heart - rest).max())
    for beat_s in beats_s:
        for _ in range(3):
            shape = _bump(t, beat_s + rng.uniform(-0.04, 0.04), rng.uniform(0.007, 0.02))
            rest = rest + np.outer(rng.normal(0, 0.6 * peak_mv, 2), shape)
    return rest


# Every kind ------------------------------------------------------------------------------------


def _recorded(draw: NotEcg, sized: bool) -> NotEcg:
    """Add a recorder's noise, and give a signal that has no size of its own one that an ECG may have."""

    def record(rng: Rng, n_samples: int, fs_hz: float) -> Array:
        pair = draw(rng, n_samples, fs_hz)
        if not sized:
            pair = pair - pair.mean(axis=1, keepdims=True)
            pair = pair / max(float(pair.std()), 1e-9) * np.exp(rng.uniform(np.log(0.08), np.log(0.8)))
        return np.asarray(pair + rng.normal(0, rng.choice([0.003, 0.01, 0.02]), pair.shape))

    return record


_NO_BEATING_HEART: dict[str, NotEcg] = {
    "gait": _gait,
    "jugular_pulse": _jugular_pulse,
    "impedance_cardiogram": _impedance_cardiogram,
    "breath_sounds": _breath_sounds,
    "rhythmic_emg": _rhythmic_emg,
    "tremor": _tremor,
    "eye_movements": _eye_movements,
    "spike_and_wave": _spike_and_wave,
    "ventricular_fibrillation": _ventricular_fibrillation,
    "torsades": _torsades,
    "compressions": _compressions,
    "pacing_spikes": _pacing_spikes,
    "nerve_stimulator": _nerve_stimulator,
    "shocks": _shocks,
    "function_generator": _function_generator,
    "siren": _siren,
    "random_wavelets": _random_wavelets,
    "looped_noise": _looped_noise,
    "van_der_pol": _van_der_pol,
    "lorenz": _lorenz,
}
_SPOILED_HEARTS: dict[str, NotEcg] = {
    "two_hearts_at_once": _two_hearts_at_once,
    "leads_of_two_hearts": _leads_of_two_hearts,
    "reversed_heart": _reversed_heart,
    "slowed_heart": _slowed_heart,
    "hurried_heart": _hurried_heart,
    "differentiated_heart": _differentiated_heart,
    "integrated_heart": _integrated_heart,
    "rectified_heart": _rectified_heart,
    "quadrature_heart": _quadrature_heart,
    "phase_scrambled_heart": _phase_scrambled_heart,
    "pulsating_heart": _pulsating_heart,
    "rotating_heart": _rotating_heart,
    "echoing_heart": _echoing_heart,
    "cut_up_heart": _cut_up_heart,
    "random_polarity_heart": _random_polarity_heart,
    "heart_without_qrs": _heart_without_qrs,
    "random_qrs_heart": _random_qrs_heart,
}

SPOILED_HEARTS = tuple(_SPOILED_HEARTS)
"""Kinds of `UNSEEN` that begin with a simulated heart."""

UNSEEN: MappingProxyType[str, NotEcg] = MappingProxyType(
    {
        **{kind: _recorded(draw, sized=False) for kind, draw in _NO_BEATING_HEART.items()},
        **{kind: _recorded(draw, sized=True) for kind, draw in _SPOILED_HEARTS.items()},
    }
)
"""Generators ``(rng, n_samples, fs_hz) -> (2, n_samples)`` in millivolts for leads I and II."""


# Helpers ---------------------------------------------------------------------------------------


def _heart(rng: Rng, n_samples: int, fs_hz: float, **changes: Any) -> Array:
    heart = replace(random_heart(rng), **changes)
    return simulate(heart, n_samples / fs_hz, fs_hz, rng, ("I", "II")).signal_mv.astype(np.float64)


def _heart_and_beats(rng: Rng, n_samples: int, fs_hz: float) -> tuple[Array, Array, Array]:
    """Return a heart's recording, the same without QRS, and when its QRS complexes are, in seconds."""
    heart, seed = random_heart(rng), int(rng.integers(2**32))
    whole, rest = (
        simulate(one, n_samples / fs_hz, fs_hz, seed, ("I", "II")).signal_mv.astype(np.float64)
        for one in (heart, replace(heart, qrs_mv=0.0))
    )
    size = np.hypot(*(whole - rest))
    inside = np.convolve(size > 0.05 * size.max(), np.ones(round(0.1 * fs_hz)), mode="same") > 0
    edges = np.flatnonzero(np.diff(inside.astype(int), prepend=0, append=0))
    return whole, rest, (edges[::2] + edges[1::2]) / 2 / fs_hz


def _as_large_as(heart: Array, other: Array) -> Array:
    return np.asarray(other * np.abs(heart).max() / np.abs(other).max())


def _waves(
    rng: Rng, n_samples: int, fs_hz: float, waves: list[tuple[float, float, float]], period_s: float | None = None
) -> Array:
    """Repeat waves (when, how wide, how large) at a heart's rate or another; each lead sees its own mixture of them."""
    t = np.arange(n_samples) / fs_hz
    times_s = _times(rng, t[-1], period_s or 60 / rng.uniform(50, 110), rng.uniform(0.005, 0.05))
    pair = np.zeros((2, n_samples))
    for at_s, width_s, size in waves:
        seen = size * rng.uniform(0.3, 1.2, (2, 1)) * rng.normal(1, 0.05, times_s.size)
        at_s, width_s = at_s * rng.uniform(0.9, 1.1), width_s * rng.uniform(0.8, 1.2)
        pair += _at(t, times_s, partial(_bump, at_s=at_s, width_s=width_s), seen)
    return pair


def _times(rng: Rng, end_s: float, interval_s: float, jitter: float) -> Array:
    """Draw times from before the beginning until after the end; ``jitter`` is the interval's relative deviation."""
    count = int(end_s / interval_s) + 4
    return (rng.random() - 2) * interval_s + np.cumsum(
        interval_s * np.maximum(1 + jitter * rng.normal(size=count), 0.3)
    )


def _at(t: Array, times_s: Array, wave: _Wave, sizes: Array) -> Array:
    """Sum a wave at each time, in each lead as large as ``sizes`` (2, n_times) says."""
    pair = np.zeros((2, t.size))
    for at_s, size in zip(times_s, sizes.T, strict=True):
        pair += np.outer(size, wave(t - at_s))
    return pair


def _bump(t: Array, at_s: float, width_s: float) -> Array:
    return np.asarray(np.exp(-0.5 * ((t - at_s) / width_s) ** 2))


def _decay(t: Array, decay_s: float) -> Array:
    return np.where(t >= 0, np.exp(-np.maximum(t, 0) / decay_s), 0.0)


def _band(rng: Rng, n_samples: int, fs_hz: float, low_hz: float, high_hz: float) -> Array:
    """Draw noise between two frequencies, of unit deviation."""
    hertz = np.fft.rfftfreq(n_samples, 1 / fs_hz)
    spectrum = np.fft.rfft(rng.normal(size=n_samples)) * ((hertz >= low_hz) & (hertz <= max(high_hz, hertz[1])))
    noise = np.fft.irfft(spectrum, n_samples)
    return np.asarray(noise / max(float(noise.std()), 1e-12))


def _orbit(flow: _Wave, state: Array, n_samples: int, step: float) -> Array:
    """Follow a flow by the midpoint rule, after a while of settling, and return two of its coordinates."""
    fine, settling = max(int(step / 0.01) + 1, 2), 1000
    h = step / fine
    orbit = np.empty((n_samples, state.size))
    for k in range(-settling, n_samples):
        for _ in range(fine):
            state = state + h * flow(state + 0.5 * h * flow(state))
        if k >= 0:
            orbit[k] = state
    return orbit[:, :2].T


def _phase(rng: Rng) -> float:
    return float(rng.uniform(0, 2 * np.pi))
