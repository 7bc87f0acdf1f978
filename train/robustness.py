"""How a model bears noise: slow wander and mains at a stated ratio, entering where real noise does, at the electrodes.

The lead voltages are differences of electrode potentials, so noise drawn for electrodes keeps Einthoven's and
Goldberger's equations, whatever the leads. It must be added before preprocessing: filters remove some of it, and a
scale of each lead breaks the equations: ``recipe.apply(add_noise(record, 10))``.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError, UnusableRecordingError
from lsemvae_edge.leads import LIMB_MATRIX, STANDARD_12, canonical_names, solve_i_ii
from lsemvae_edge.record import Record

SNRS_DB = (20.0, 10.0, 5.0)
WANDER_HZ, MAINS_HZ = 0.33, 50.0
WANDER_SHARE = 0.5
"""Part of the noise's power that is wander; the rest is mains. One half gives both the same root mean square."""

Array = NDArray[np.float64]

_N_ELECTRODES = 9  # RA, LA, LL, C1 to C6
_LIMB = np.array([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])  # I and II from RA, LA, LL
_LEADS_FROM_ELECTRODES: Array = np.block(
    [[LIMB_MATRIX @ _LIMB, np.zeros((6, 6))], [np.full((6, 3), -1 / 3), np.eye(6)]]
)


def add_noise(record: Record, snr_db: float, seed: int | None = None) -> Record:
    """Add 0.33-Hz wander and 50-Hz mains to a recording.

    Parameters
    ----------
    record : Record
        With standard leads, at more than 100 samples a second.
    snr_db : float
        Power of the recording about its median over the power of the noise, both of leads I and II (measured or
        derived; of all leads where they are not to be had) over the samples that were received. It is met exactly,
        and whatever leads a model then reads of the recording, they carry the noise of one and the same event.
    seed : int, optional
        By default it follows from the recording itself, so that each has its own noise, the same at every ratio but
        for its size, on every machine.

    Returns
    -------
    Record

    Raises
    ------
    BadInputError
        If a lead is no standard one, or the rate cannot hold 50 Hz.
    UnusableRecordingError
        If the recording is flat or nothing of it was received.
    """
    if seed is None:
        seed = _seed(record.sha256())
    signal = record.signal_mv.astype(np.float64)
    noise = _scaled(signal, record.leads, record.fs_hz, snr_db, seed)
    return replace(record, signal_mv=(signal + noise).astype(np.float32))


def add_noise_to_signals(
    signals: NDArray[np.floating], leads: Sequence[str], fs_hz: float, snr_db: float, record_ids: Sequence[str]
) -> NDArray[np.float32]:
    """Add the same kind of noise to signals that already are a batch.

    Only for signals of one scale for all leads of a record; where each lead has its own (the reference recipe's
    z-score), no noise of electrodes fits, and `add_noise` must come before preprocessing.

    Parameters
    ----------
    signals : array (batch, n_leads, n_samples)
    leads : sequence of str
        Names of the rows.
    fs_hz : float
        Above 100.
    snr_db : float
        See `add_noise`.
    record_ids : sequence of str
        One for each signal; it decides the noise.

    Returns
    -------
    array (batch, n_leads, n_samples), float32
    """
    if signals.ndim != 3 or len(record_ids) != len(signals):
        raise BadInputError(f"Signals of shape {signals.shape} do not fit {len(record_ids)} record ids.")
    names = canonical_names(leads)
    noisy = np.empty(signals.shape, dtype=np.float32)
    for row, (signal, name) in enumerate(zip(signals.astype(np.float64), record_ids, strict=True)):
        noisy[row] = signal + _scaled(signal, names, fs_hz, snr_db, _seed(sha256(str(name).encode()).hexdigest()))
    return noisy


def snr_of(signal: NDArray[np.floating], noisy: NDArray[np.floating], leads: Sequence[str]) -> float:
    """Return the ratio in decibels, as `add_noise` counts it, of a signal (n_leads, n_samples) and its noisy form."""
    names = canonical_names(leads)
    clean = np.asarray(signal, dtype=np.float64)
    noise = np.asarray(noisy, dtype=np.float64) - clean
    return float(10 * np.log10(_power(_centred(_reference(clean, names))) / _power(_reference(noise, names))))


def _scaled(signal: Array, leads: Sequence[str], fs_hz: float, snr_db: float, seed: int) -> Array:
    """Noise (n_leads, n_samples) of the power that the ratio asks for."""
    unknown = [name for name in leads if name not in STANDARD_12]
    if unknown:
        raise BadInputError(f"Noise of electrodes is not known for lead {unknown[0]}.", "Keep the standard leads only.")
    if fs_hz <= 2 * MAINS_HZ:
        raise BadInputError(
            f"{fs_hz:g} samples a second cannot hold mains at {MAINS_HZ:g} Hz.",
            "Add the noise before the recording is resampled.",
        )
    measured = _reference(signal, leads)
    if not np.isfinite(measured).any():
        raise UnusableRecordingError("Nothing of the recording was received, so that no noise can be measured by it.")
    power = _power(_centred(measured))
    if power == 0:
        raise UnusableRecordingError("The recording is flat, so that no noise can be measured by it.")
    received = np.isfinite(measured)
    rng = np.random.default_rng(seed)
    weights = _LEADS_FROM_ELECTRODES[[STANDARD_12.index(name) for name in leads]]
    total = np.zeros_like(signal)
    for hertz, share in ((WANDER_HZ, WANDER_SHARE), (MAINS_HZ, 1 - WANDER_SHARE)):
        noise = weights @ _sines(hertz, signal.shape[1], fs_hz, rng)
        total += noise * np.sqrt(share / _power(_reference(noise, leads)[received]))
    reached = _power(_reference(total, leads)[received])
    return np.asarray(total * np.sqrt(power / reached / 10 ** (snr_db / 10)))


def _sines(hertz: float, n_samples: int, fs_hz: float, rng: np.random.Generator) -> Array:
    """One sine for each electrode (9, n_samples): each skin contact has its own size and, a little, its own phase."""
    time_s = np.arange(n_samples) / fs_hz
    size = rng.uniform(0.5, 1.5, (_N_ELECTRODES, 1))
    phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5, (_N_ELECTRODES, 1))
    return np.asarray(size * np.sin(2 * np.pi * hertz * time_s + phase))


def _reference(signal: Array, leads: Sequence[str]) -> Array:
    """Leads that the ratio is measured by: I and II, so that more leads of a recording do not change its noise."""
    pair = solve_i_ii(dict(zip(leads, signal, strict=True)))
    return signal if pair is None else pair


def _centred(signal: Array) -> Array:
    rows = (row[np.isfinite(row)] for row in signal)
    middle = np.array([np.median(row) if row.size else 0.0 for row in rows])
    return np.asarray(signal - middle[:, None])


def _power(signal: Array) -> float:
    return float(np.mean(signal[np.isfinite(signal)] ** 2))


def _seed(digest: str) -> int:
    return int(digest[:16], 16)
