"""What happens between skin and recorder: noise that enters at electrodes, loose contacts.

Every disturbance is a potential at an electrode and reaches each lead that the electrode takes part in, so that
Einthoven's and Goldberger's equations hold for the noise as they do for the heart.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import UsageError
from lsemvae_edge.leads import LIMB_MATRIX, PRECORDIAL_LEADS, STANDARD_12
from lsemvae_edge.record import Record

Array = NDArray[np.float64]
NoiseKind = Literal["white", "muscle", "mains50", "mains60", "wander", "motion"]

ELECTRODES = ("RA", "LA", "LL", "C1", "C2", "C3", "C4", "C5", "C6")


def add_noise(record: Record, kind: NoiseKind, snr_db: float, seed: int | np.random.Generator = 0) -> Record:
    """Add noise that enters at the electrodes, independent from one to the next.

    Parameters
    ----------
    record : Record
        With leads I and II.
    kind : {"white", "muscle", "mains50", "mains60", "wander", "motion"}
        Muscle noise fills 20 to 150 Hz in bursts; wander lies below 0.5 Hz; motion is sudden shifts of an electrode's
        potential that fade, one every three seconds or so at each electrode.
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
    if kind == "motion":
        return _motion(n_rows, n_samples, fs_hz, rng)
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
        shaped *= np.exp(0.6 * smooth(rng.normal(0, 1, n_samples), 0.5 * fs_hz))
    return np.asarray(shaped / np.sqrt(np.mean(shaped**2, axis=1, keepdims=True)))


def _motion(n_rows: int, n_samples: int, fs_hz: float, rng: np.random.Generator) -> Array:
    """Shifts at random times, at least one a row, that fade within a second and ring a little."""
    time_s = np.arange(n_samples) / fs_hz
    rows = np.zeros((n_rows, n_samples))
    for row in rows:
        for begin_s in rng.uniform(0, time_s[-1], 1 + rng.poisson(time_s[-1] / 3)):
            since_s = np.maximum(time_s - begin_s, 0)
            ringing = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(1.5, 6) * since_s)
            row += np.where(time_s >= begin_s, rng.normal() * ringing * np.exp(-since_s / rng.uniform(0.1, 0.8)), 0)
    return np.asarray(rows / np.sqrt(np.mean(rows**2, axis=1, keepdims=True)))


def smooth(values: Array, width: float) -> Array:
    """Average over about ``width`` samples and scale back to unit deviation."""
    kernel = np.hanning(max(round(2 * width), 3))
    return np.asarray(np.convolve(values, kernel / np.sqrt(np.sum(kernel**2)), mode="same"))
