"""A recorder without hardware or radio: what stands behind ``screen --demo``.

An invented person holds the virtual recorder of the open six-lead profile, and what it sends goes through the
driver, as it does for ``devices simulate``; one packet may be lost on the way. Whatever such a recording says of a
person is made up, so it is of origin ``"demo"``, which every page shows in red.
"""

from hashlib import sha256

import numpy as np

from lsemvae_edge.device.assembler import Assembler
from lsemvae_edge.device.drivers.open6l import DATA, PACKET_S, Open6L
from lsemvae_edge.device.virtual import shelf
from lsemvae_edge.device.virtual.wire import Wire
from lsemvae_edge.record import Record

DEVICE_NAME = "simulated recorder"
MEASURED_LEADS = ("I", "II")
SHORTEST_DRAWN_S = 2.0
"""Bursts of muscle noise need some room; a shorter recording is the beginning of this."""


def record_demo(seed: int = 0, duration_s: float = 15.0, fs_hz: float = 500.0, *, lose_packet: bool = False) -> Record:
    """Record an invented person with the virtual recorder.

    Parameters
    ----------
    seed : int
        Chooses the person, the noise and the packet lost.
    duration_s, fs_hz : float
        Length and sampling rate; the length is rounded to whole packets of 40 ms.
    lose_packet : bool
        Lose one packet on the way, which leaves a gap.

    Returns
    -------
    Record
        Leads I and II, without a start time because this recorder does not know the date.

    Raises
    ------
    DeviceError
        If the profile has no such rate.
    """
    rng = np.random.default_rng(seed)
    packet_samples = max(int(fs_hz * PACKET_S), 1)
    n_packets = max(round(duration_s * fs_hz / packet_samples), 1)
    n_samples = n_packets * packet_samples
    person = shelf.person(max(n_samples / fs_hz, SHORTEST_DRAWN_S), rng, fs_hz)
    wire = Wire(shelf.make("open-6l", person, fs_hz=fs_hz), Open6L())
    received = list(wire.record(n_samples / fs_hz))
    if lose_packet and n_packets > 2:
        samples = [at for at, arrival in enumerate(received) if arrival.uuid == DATA]
        del received[samples[int(rng.integers(1, n_packets - 1))]]
    assembler = Assembler(wire.stream, keep_s=None)
    for arrival in received:
        for event in wire.decoder.feed(arrival.uuid, arrival.data):
            assembler.add(event, arrival.at_s)
    # At odd rates the wire's time may hold one packet more.
    signal_mv = assembler.record().signal_mv[:, :n_samples]
    name = f"demo-{sha256(signal_mv.tobytes()).hexdigest()[:8]}"
    meta = {"device": DEVICE_NAME, "id": name, "clock_set": False}
    return Record(signal_mv, fs_hz, MEASURED_LEADS, meta=meta, amplitude="calibrated", origin="demo")
