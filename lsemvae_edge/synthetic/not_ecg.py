"""Inputs that are no ECG.

They teach the learned guard, test the quality gates and fill the safety table. Every generator draws
its own parameters, so that no gate can be tuned to one waveform.
"""

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator
NotEcg = Callable[[Rng, int, float], Array]
_Source = Callable[[Rng, Array, float], Array]

HELD_OUT_KINDS = (
    "violet_noise",
    "eeg_alpha",
    "mains_harmonics",
    "dtmf",
    "triangle",
    "wavelet_pulses",
    "ballistocardiogram",
    "electrode_pop",
)
"""Kinds of `NOT_ECG` that neither tuning nor training may see; they are only reported."""


# Noise -----------------------------------------------------------------------------------------


def _coloured(exponent: float) -> _Source:
    def noise(rng: Rng, t: Array, fs_hz: float) -> Array:
        return _shaped(rng, t.size, lambda f: np.maximum(f, fs_hz / t.size) ** exponent, fs_hz)

    return noise


def _band_noise(rng: Rng, t: Array, fs_hz: float) -> Array:
    centre_hz = np.exp(rng.uniform(np.log(1.0), np.log(40.0)))
    width = rng.uniform(0.02, 0.6)
    return _shaped(rng, t.size, lambda f: np.exp(-0.5 * ((f / centre_hz - 1) / width) ** 2), fs_hz)


def _ecg_band_noise(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Noise with the long-term spectrum of an ECG."""
    corner_hz = rng.uniform(3, 12)
    return _shaped(rng, t.size, lambda f: f / (0.5 + f) / (1 + (f / corner_hz) ** 2), fs_hz)


def _quantised_noise(rng: Rng, t: Array, fs_hz: float) -> Array:
    noise = _coloured(rng.uniform(-1, 0))(rng, t, fs_hz)
    return np.asarray(np.round(noise * rng.uniform(0.5, 2)))


def _emg_bursts(rng: Rng, t: Array, fs_hz: float) -> Array:
    return _shaped(rng, t.size, lambda f: f / (20 + f), fs_hz) * _bursts(rng, t, rng.uniform(0.1, 1.0), 0.15)


def _eeg_alpha(rng: Rng, t: Array, fs_hz: float) -> Array:
    alpha_hz = rng.uniform(8, 12)
    alpha = _shaped(rng, t.size, lambda f: np.exp(-0.5 * ((f - alpha_hz) / 0.7) ** 2), fs_hz)
    return _coloured(-1.0)(rng, t, fs_hz) + rng.uniform(0.5, 2) * alpha


# Tones -----------------------------------------------------------------------------------------


def _sine(rng: Rng, t: Array, fs_hz: float) -> Array:
    return np.asarray(np.sin(2 * np.pi * np.exp(rng.uniform(np.log(0.3), np.log(40))) * t + _phase(rng)))


def _heart_rate_sine(rng: Rng, t: Array, fs_hz: float) -> Array:
    return np.asarray(np.sin(2 * np.pi * rng.uniform(0.6, 3.0) * t + _phase(rng)))


def _harmonic_tone(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Sum a few harmonics of a heart-rate fundamental in random phase."""
    base_hz, count = rng.uniform(0.7, 2.5), int(rng.integers(2, 7))
    return _sum_of_tones(rng, t, [base_hz * (k + 1) for k in range(count)])


def _mains(rng: Rng, t: Array, fs_hz: float) -> Array:
    return np.asarray(np.sin(2 * np.pi * (rng.choice([50.0, 60.0]) + rng.normal(0, 0.02)) * t + _phase(rng)))


def _mains_harmonics(rng: Rng, t: Array, fs_hz: float) -> Array:
    base_hz = float(rng.choice([16.7, 25.0, 50.0, 60.0]))
    return _sum_of_tones(rng, t, [base_hz * k for k in range(1, 6) if base_hz * k < fs_hz / 2])


def _chirp(rng: Rng, t: Array, fs_hz: float) -> Array:
    begin_hz, end_hz = rng.uniform(0.5, 5), rng.uniform(5, 40)
    return np.asarray(np.sin(2 * np.pi * (begin_hz * t + (end_hz - begin_hz) * t**2 / (2 * t[-1])) + _phase(rng)))


def _am_tone(rng: Rng, t: Array, fs_hz: float) -> Array:
    envelope = 0.5 * (1 + np.sin(2 * np.pi * rng.uniform(0.6, 3) * t + _phase(rng)))
    return envelope ** rng.uniform(1, 8) * np.sin(2 * np.pi * rng.uniform(5, 30) * t + _phase(rng))


def _dtmf(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Pairs of tones, keyed on and off (dial tones, mapped into the ECG band)."""
    scale = rng.uniform(0.01, 0.03)
    period_s = rng.uniform(0.2, 1.0)
    key = np.floor(t / period_s).astype(int)
    low_hz = scale * rng.choice([697, 770, 852, 941], key[-1] + 1)[key]
    high_hz = scale * rng.choice([1209, 1336, 1477, 1633], key[-1] + 1)[key]
    on = (t % period_s) < rng.uniform(0.3, 0.7) * period_s
    return np.where(on, np.sin(2 * np.pi * low_hz * t) + np.sin(2 * np.pi * high_hz * t), 0.0)


def _speech(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Syllables: harmonics of a gliding pitch under slow bursts."""
    pitch_hz = rng.uniform(4, 15) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.2, 1) * t))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / fs_hz
    voiced = sum((np.sin(k * phase + _phase(rng)) / k for k in range(1, 4)), np.zeros_like(t))
    breath = 0.3 * _coloured(0.0)(rng, t, fs_hz)
    return (voiced + breath) * _bursts(rng, t, rng.uniform(0.2, 0.5), 0.08)


# Waves and pulses ------------------------------------------------------------------------------


def _square(rng: Rng, t: Array, fs_hz: float) -> Array:
    return np.where((t * rng.uniform(0.5, 8) + rng.random()) % 1 < rng.uniform(0.1, 0.9), 1.0, 0.0)


def _triangle(rng: Rng, t: Array, fs_hz: float) -> Array:
    cycle = (t * rng.uniform(0.5, 6) + rng.random()) % 1
    rise = rng.uniform(0.3, 0.7)
    return np.where(cycle < rise, cycle / rise, (1 - cycle) / (1 - rise))


def _sawtooth(rng: Rng, t: Array, fs_hz: float) -> Array:
    return float(rng.choice([-1, 1])) * ((t * rng.uniform(0.5, 8) + rng.random()) % 1)


def _steps(rng: Rng, t: Array, fs_hz: float) -> Array:
    count = int(rng.integers(3, 25))
    return np.cumsum(rng.normal(size=count + 1))[np.searchsorted(np.sort(rng.uniform(0, t[-1], count)), t)]


def _telegraph(rng: Rng, t: Array, fs_hz: float) -> Array:
    flips = rng.random(t.size) < rng.uniform(0.5, 8) / fs_hz
    return np.asarray(np.cumsum(flips) % 2, dtype=np.float64)


def _rectangular_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    width_s = rng.uniform(0.01, 0.2)
    return _train(rng, t, 0.0, lambda d: (np.abs(d) < width_s / 2).astype(np.float64))


def _gaussian_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    width_s = rng.uniform(0.008, 0.08)
    return _train(rng, t, 0.0, lambda d: np.exp(-0.5 * (d / width_s) ** 2))


def _jittered_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Pulses with a heart's variability in time and height."""
    width_s = rng.uniform(0.008, 0.08)
    return _train(rng, t, rng.uniform(0.02, 0.3), lambda d: np.exp(-0.5 * (d / width_s) ** 2), height_sd=0.1)


def _biphasic_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    width_s = rng.uniform(0.01, 0.08)
    return _train(rng, t, rng.choice([0.0, 0.05]), lambda d: -d / width_s * np.exp(-0.5 * (d / width_s) ** 2))


def _wavelet_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    width_s = rng.uniform(0.01, 0.06)
    return _train(rng, t, rng.uniform(0, 0.15), lambda d: (1 - (d / width_s) ** 2) * np.exp(-0.5 * (d / width_s) ** 2))


def _decaying_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    decay_s = rng.uniform(0.02, 0.4)
    return _train(rng, t, rng.choice([0.0, 0.1]), lambda d: np.where(d >= 0, np.exp(-np.maximum(d, 0) / decay_s), 0.0))


def _ringing_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    decay_s, ring_hz = rng.uniform(0.03, 0.3), rng.uniform(3, 25)

    def ring(d: Array) -> Array:
        after = np.maximum(d, 0)
        return np.asarray(np.sin(2 * np.pi * ring_hz * after) * np.exp(-after / decay_s))

    return _train(rng, t, rng.choice([0.0, 0.1]), ring)


def _calibration_pulses(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Draw the 1-mV test signal of an electrocardiograph, one, five or ten pulses a second."""
    rate_hz = float(rng.choice([1.0, 5.0, 10.0]))
    return np.where((t * rate_hz) % 1 < rng.choice([0.2, 0.5]), 1.0, 0.0)


# Other signals of a body, and contact faults ---------------------------------------------------


def _ppg(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Volume pulse: a fast rise, a slow fall, a dicrotic wave."""
    rise_s, notch_s = rng.uniform(0.06, 0.12), rng.uniform(0.25, 0.4)
    dicrotic = rng.uniform(0.1, 0.5)
    return _train(
        rng,
        t,
        rng.uniform(0.0, 0.08),
        lambda d: np.exp(-0.5 * (d / rise_s) ** 2) + dicrotic * np.exp(-0.5 * ((d - notch_s) / 0.1) ** 2),
    )


def _ballistocardiogram(rng: Rng, t: Array, fs_hz: float) -> Array:
    ring_hz = rng.uniform(3, 8)
    return _train(
        rng,
        t,
        rng.uniform(0.0, 0.08),
        lambda d: np.cos(2 * np.pi * ring_hz * d) * np.exp(-0.5 * (d / 0.15) ** 2),
        height_sd=0.15,
    )


def _respiration(rng: Rng, t: Array, fs_hz: float) -> Array:
    rate_hz = rng.uniform(0.15, 0.7)
    wave = np.sin(2 * np.pi * rate_hz * t + 0.5 * np.sin(2 * np.pi * rate_hz * t) + _phase(rng))
    return wave + 0.05 * _coloured(-0.5)(rng, t, fs_hz)


def _motion_bumps(rng: Rng, t: Array, fs_hz: float) -> Array:
    bumps = np.zeros_like(t)
    for _ in range(int(rng.integers(3, 15))):
        width_s = rng.uniform(0.05, 0.6)
        bumps += rng.normal() * np.exp(-0.5 * ((t - rng.uniform(0, t[-1])) / width_s) ** 2)
    return bumps + 0.03 * _coloured(-0.5)(rng, t, fs_hz)


def _electrode_pop(rng: Rng, t: Array, fs_hz: float) -> Array:
    pops = 0.05 * _coloured(-1.0)(rng, t, fs_hz)
    for _ in range(int(rng.integers(2, 12))):
        after = np.maximum(t - rng.uniform(0, t[-1]), 0)
        pops += rng.normal() * (after > 0) * np.exp(-after / rng.uniform(0.05, 1.0))
    return pops


def _clipped_walk(rng: Rng, t: Array, fs_hz: float) -> Array:
    walk = np.cumsum(rng.normal(size=t.size)) / np.sqrt(fs_hz)
    return np.asarray(np.clip(walk, -rng.uniform(0.3, 1), rng.uniform(0.3, 1)))


def _dropout(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Noise, then nothing."""
    lost = t > rng.uniform(0.3, 0.7) * t[-1]
    noise = _coloured(rng.uniform(-1, 0))(rng, t, fs_hz)
    return np.where(lost != (rng.random() < 0.5), 0.0, noise)


def _glitches(rng: Rng, t: Array, fs_hz: float) -> Array:
    """Single wild samples on a quiet line, as from corrupted packets."""
    hit = rng.random(t.size) < rng.uniform(0.3, 6) / fs_hz
    return np.where(hit, rng.normal(0, 5, t.size), 0.0) + 0.02 * rng.normal(size=t.size)


def _saturated(rng: Rng, t: Array, fs_hz: float) -> Array:
    return np.clip(20 * _coloured(-1.0)(rng, t, fs_hz), -1, 1)


def _flat(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    return np.repeat(rng.choice([0.0, rng.normal()], (2, 1)), n_samples, axis=1)


def _tiny_noise(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    return rng.normal(0, rng.uniform(0.0003, 0.004), (2, n_samples))


def _double_pulses(rng: Rng, n_samples: int, fs_hz: float) -> Array:
    """Pulses at common times whose shape differs between the leads: no straight loop gives them away."""
    t = np.arange(n_samples) / fs_hz
    clock, jitter = rng.bit_generator.state, float(rng.choice([0.0, 0.04, 0.1]))
    pair: list[Array] = []
    for _ in range(2):
        rng.bit_generator.state = clock
        shape_rng = np.random.default_rng(rng.integers(2**32) + len(pair))
        width_s, delay_s = shape_rng.uniform(0.008, 0.06), shape_rng.uniform(-0.04, 0.04)
        tilt = shape_rng.normal()

        def shape(d: Array, width_s: float = width_s, delay_s: float = delay_s, tilt: float = tilt) -> Array:
            z = (d - delay_s) / width_s
            return np.asarray((1 + tilt * z) * np.exp(-0.5 * z**2))

        pair.append(_train(rng, t, jitter, shape) * shape_rng.uniform(0.3, 1.5))
    noise_mv = float(rng.choice([0.003, 0.02, 0.05]))
    return np.asarray(np.stack(pair) + rng.normal(0, noise_mv, (2, n_samples)))


# From one waveform to two leads ----------------------------------------------------------------


def _two_leads(source: _Source) -> NotEcg:
    """Give two leads: one waveform scaled, one delayed against itself, or two unrelated draws; most with some noise."""

    def draw(rng: Rng, n_samples: int, fs_hz: float) -> Array:
        t = np.arange(n_samples) / fs_hz
        first = source(rng, t, fs_hz)
        coupling = rng.choice(["equal", "scaled", "delayed", "independent"], p=[0.15, 0.35, 0.2, 0.3])
        if coupling == "equal":
            second = first
        elif coupling == "scaled":
            second = first * rng.uniform(0.2, 2) * rng.choice([-1, 1])
        elif coupling == "delayed":
            second = np.roll(first, int(rng.uniform(0.005, 0.3) * fs_hz)) * rng.uniform(0.3, 2)
        else:
            second = source(rng, t, fs_hz)
        pair = np.stack([first, second])
        pair = pair / max(float(np.std(pair)), 1e-9) * np.exp(rng.uniform(np.log(0.08), np.log(1.5)))
        noise_mv = float(rng.choice([0.0, 0.003, 0.02, 0.05]))
        return np.asarray(pair + rng.normal(0, noise_mv, pair.shape) if noise_mv else pair)

    return draw


_SOURCES: dict[str, _Source] = {
    "white_noise": _coloured(0.0),
    "pink_noise": _coloured(-0.5),
    "brown_noise": _coloured(-1.0),
    "blue_noise": _coloured(0.5),
    "violet_noise": _coloured(1.0),
    "band_noise": _band_noise,
    "ecg_band_noise": _ecg_band_noise,
    "quantised_noise": _quantised_noise,
    "emg_bursts": _emg_bursts,
    "eeg_alpha": _eeg_alpha,
    "sine": _sine,
    "heart_rate_sine": _heart_rate_sine,
    "harmonic_tone": _harmonic_tone,
    "mains": _mains,
    "mains_harmonics": _mains_harmonics,
    "chirp": _chirp,
    "am_tone": _am_tone,
    "dtmf": _dtmf,
    "speech": _speech,
    "square": _square,
    "triangle": _triangle,
    "sawtooth": _sawtooth,
    "steps": _steps,
    "telegraph": _telegraph,
    "rectangular_pulses": _rectangular_pulses,
    "gaussian_pulses": _gaussian_pulses,
    "jittered_pulses": _jittered_pulses,
    "biphasic_pulses": _biphasic_pulses,
    "wavelet_pulses": _wavelet_pulses,
    "decaying_pulses": _decaying_pulses,
    "ringing_pulses": _ringing_pulses,
    "calibration_pulses": _calibration_pulses,
    "ppg": _ppg,
    "ballistocardiogram": _ballistocardiogram,
    "respiration": _respiration,
    "motion_bumps": _motion_bumps,
    "electrode_pop": _electrode_pop,
    "clipped_walk": _clipped_walk,
    "dropout": _dropout,
    "glitches": _glitches,
    "saturated": _saturated,
}

NOT_ECG: MappingProxyType[str, NotEcg] = MappingProxyType(
    {
        "flat": _flat,
        "tiny_noise": _tiny_noise,
        "double_pulses": _double_pulses,
        **{kind: _two_leads(source) for kind, source in _SOURCES.items()},
    }
)
"""Generators ``(rng, n_samples, fs_hz) -> (2, n_samples)`` in millivolts for leads I and II."""


# Helpers ---------------------------------------------------------------------------------------


def _shaped(rng: Rng, n_samples: int, gain: Callable[[Array], Array], fs_hz: float) -> Array:
    spectrum = np.fft.rfft(rng.normal(size=n_samples)) * gain(np.asarray(np.fft.rfftfreq(n_samples, 1 / fs_hz)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, n_samples)
    return np.asarray(noise / max(float(np.std(noise)), 1e-12))


def _sum_of_tones(rng: Rng, t: Array, frequencies_hz: Sequence[float]) -> Array:
    tones = [rng.uniform(0.2, 1) * np.sin(2 * np.pi * f * t + _phase(rng)) for f in frequencies_hz]
    return np.asarray(np.sum(tones, axis=0))


def _bursts(rng: Rng, t: Array, width_s: float, ramp_s: float) -> Array:
    envelope = np.zeros_like(t)
    for _ in range(int(rng.integers(3, 14))):
        distance = np.abs(t - rng.uniform(0, t[-1])) - width_s / 2
        envelope = np.maximum(envelope, 1 / (1 + np.exp(np.clip(distance / (ramp_s / 4), -30, 30))))
    return envelope


def _train(rng: Rng, t: Array, jitter: float, shape: Callable[[Array], Array], height_sd: float = 0.0) -> Array:
    """Sum one pulse a beat at 40-150 beats a minute; ``jitter`` is the interval's relative deviation."""
    period_s = 60 / rng.uniform(40, 150)
    wave = np.zeros_like(t)
    at_s = -rng.uniform(0, 1) * period_s
    while at_s < t[-1] + period_s:
        wave += (1 + height_sd * rng.normal()) * shape(t - at_s)
        at_s += period_s * max(0.3, 1 + jitter * rng.normal())
    return wave


def _phase(rng: Rng) -> float:
    return float(rng.uniform(0, 2 * np.pi))
