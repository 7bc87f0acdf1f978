"""What goes wrong with a real ECG: swapped electrodes, and recordings spoiled on the way."""

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads, solve_i_ii
from lsemvae_edge.record import Record

Array = NDArray[np.float64]
Rng = np.random.Generator
Spoiler = Callable[[Rng, Record], Record]


def _electrode_map(right_arm: int, left_arm: int, left_leg: int) -> Array:
    """Leads (I, II) seen when each electrode lies on the limb given (0 RA, 1 LA, 2 LL)."""
    potentials = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # RA as reference: LA = I, LL = II
    return np.stack([potentials[left_arm] - potentials[right_arm], potentials[left_leg] - potentials[right_arm]])


SWAPS: MappingProxyType[str, Array] = MappingProxyType(
    {
        "arms": _electrode_map(1, 0, 2),
        "left_arm_left_leg": _electrode_map(0, 2, 1),
        "right_arm_left_leg": _electrode_map(2, 1, 0),
        "rotated_forward": _electrode_map(1, 2, 0),
        "rotated_backward": _electrode_map(2, 0, 1),
        "inverted": -np.eye(2),
    }
)
"""Maps (2, 2) from the true leads (I, II) to those recorded with swapped electrodes."""


def _thousandfold(rng: Rng, record: Record) -> Record:
    return replace(record, signal_mv=record.signal_mv * np.float32(1000))


def _thousandth(rng: Rng, record: Record) -> Record:
    return replace(record, signal_mv=record.signal_mv / np.float32(1000))


def _one_lead_repeated(rng: Rng, record: Record) -> Record:
    signal = np.repeat(record.signal_mv[[rng.integers(len(record.leads))]], len(record.leads), axis=0)
    return _with_signal(record, signal)


def _shuffled(rng: Rng, record: Record) -> Record:
    six = _six_measured(record)
    order = rng.permutation(6)
    while (order == np.arange(6)).all():
        order = rng.permutation(6)
    return _with_signal(six, six.signal_mv[order])


def _one_inverted(rng: Rng, record: Record) -> Record:
    six = _six_measured(record)
    signal = six.signal_mv.copy()
    signal[rng.integers(6)] *= -1
    return replace(six, signal_mv=signal)


def _lead_of_noise(rng: Rng, record: Record) -> Record:
    signal = record.signal_mv.copy()
    row = rng.integers(signal.shape[0])
    signal[row] = rng.normal(0, max(float(np.nanstd(signal)), 1e-6), signal.shape[1])
    return replace(record, signal_mv=signal)


def _two_times(rng: Rng, record: Record) -> Record:
    """One lead comes from another moment than the rest."""
    signal = record.signal_mv.copy()
    row = rng.integers(signal.shape[0])
    signal[row] = np.roll(signal[row], int(rng.uniform(0.15, 0.85) * signal.shape[1]))
    return _with_signal(record, signal)


SPOILED: MappingProxyType[str, Spoiler] = MappingProxyType(
    {
        "thousandfold": _thousandfold,
        "thousandth": _thousandth,
        "one_lead_repeated": _one_lead_repeated,
        "shuffled": _shuffled,
        "one_inverted": _one_inverted,
        "lead_of_noise": _lead_of_noise,
        "two_times": _two_times,
    }
)
"""Ways ``(rng, record) -> record`` to spoil a real ECG. The first two mean something for calibrated records only;
``shuffled`` and ``one_inverted`` return six measured limb leads, derived if need be."""


def _six_measured(record: Record) -> Record:
    pair = solve_i_ii(record.limb())
    if pair is None:
        raise ValueError("Spoiling needs two independent limb leads.")
    return _with_signal(record, derive_limb_leads(pair[0], pair[1]), LIMB_LEADS)


def _with_signal(record: Record, signal: NDArray[np.floating[Any]], leads: tuple[str, ...] | None = None) -> Record:
    """Copy a record with other samples; its gaps are where they are not finite."""
    return replace(
        record,
        signal_mv=signal.astype(np.float32),
        leads=leads or record.leads,
        gaps=~np.isfinite(signal),
    )
