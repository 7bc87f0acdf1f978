"""A recorder without hardware: what stands behind ``screen --demo``.

A simulated heart reaches the toolkit the way a hand-held six-lead recorder delivers it: two measured
leads, quantised, in numbered packets of which one may be lost. Whatever it says of a person is invented,
so its recordings are of origin ``"demo"``, which every page shows in red.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import DeviceError
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.heart import random_heart, simulate

DEVICE_NAME = "simulated recorder"
MEASURED_LEADS = ("I", "II")

ADC_BITS = 24
NV_PER_LSB = 48.0
"""Nanovolts in one step; 24 bits then reach +-402 mV, as common ECG front ends do at a gain of six."""

PACKET_SAMPLES = 25
"""Samples of each lead in one packet: 50 ms at 500 Hz."""

_NV_PER_MV = 1_000_000


@dataclass(frozen=True, eq=False)
class Packet:
    """One packet: its number since the start, and signed steps, shape (2, n), for leads I and II."""

    index: int
    steps: NDArray[np.int32]


def record_demo(seed: int = 0, duration_s: float = 15.0, fs_hz: float = 500.0, *, lose_packet: bool = False) -> Record:
    """Record an invented person with the simulated recorder.

    Parameters
    ----------
    seed : int
        Chooses the person, the noise and the packet lost.
    duration_s, fs_hz : float
        Length and sampling rate; the length is rounded to whole packets.
    lose_packet : bool
        Lose one packet on the way, which leaves a gap.

    Returns
    -------
    Record
        Leads I and II, without a start time because this recorder has no clock.
    """
    rng = np.random.default_rng(seed)
    n_packets = max(round(duration_s * fs_hz / PACKET_SAMPLES), 1)
    packets = list(_packets(_person(n_packets * PACKET_SAMPLES / fs_hz, fs_hz, rng)))
    if lose_packet and n_packets > 2:
        del packets[int(rng.integers(1, n_packets - 1))]
    signal_mv = _assemble(packets, n_packets)
    name = f"demo-{sha256(signal_mv.tobytes()).hexdigest()[:8]}"
    meta = {"device": DEVICE_NAME, "id": name, "clock_set": False}
    return Record(signal_mv, fs_hz, MEASURED_LEADS, meta=meta, amplitude="calibrated", origin="demo")


def _person(duration_s: float, fs_hz: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw an adult who holds the recorder fairly still, shape (2, n_samples), millivolts."""
    clean = simulate(random_heart(rng), duration_s, fs_hz, rng, MEASURED_LEADS)
    noisy = add_noise(add_noise(clean, "muscle", 28, rng), "mains50", 32, rng)
    return noisy.signal_mv.astype(np.float64)


def _packets(signal_mv: NDArray[np.float64]) -> Iterator[Packet]:
    """Quantise and cut as the recorder does; the converter stops at its ends."""
    limit = 2 ** (ADC_BITS - 1)
    steps = np.clip(np.rint(signal_mv * (_NV_PER_MV / NV_PER_LSB)), -limit, limit - 1).astype(np.int32)
    for index, start in enumerate(range(0, steps.shape[1], PACKET_SAMPLES)):
        yield Packet(index, steps[:, start : start + PACKET_SAMPLES])


def _assemble(packets: Iterable[Packet], n_packets: int) -> NDArray[np.float32]:
    """Place packets by number; where one is missing the signal stays NaN, which `Record` takes as a gap."""
    signal_mv = np.full((len(MEASURED_LEADS), n_packets * PACKET_SAMPLES), np.nan, dtype=np.float32)
    for packet in packets:
        if not 0 <= packet.index < n_packets:
            raise DeviceError(f"The recorder sent packet {packet.index} of {n_packets}.")
        start = packet.index * PACKET_SAMPLES
        signal_mv[:, start : start + packet.steps.shape[1]] = packet.steps * (NV_PER_LSB / _NV_PER_MV)
    return signal_mv
