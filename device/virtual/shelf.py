"""One virtual recorder for each driver, ready to be attached to a recording or to a simulated heart."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from lsemvae_edge.device import drivers
from lsemvae_edge.device.assembler import Assembler
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.device.events import Frame
from lsemvae_edge.device.virtual.feed import HEART_S, Feed
from lsemvae_edge.device.virtual.recorder import VirtualRecorder
from lsemvae_edge.device.virtual.wire import MTU, Wire
from lsemvae_edge.errors import UsageError
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.heart import random_heart, simulate

_HEART_FS_HZ = 500.0


def make(name: str, record: Record | None = None, *, seed: int = 0, **options: Any) -> VirtualRecorder:
    """Make the recorder that a driver of this package reads.

    Parameters
    ----------
    name : str
        Of a driver.
    record : Record, optional
        What is at its electrodes; by default a simulated heart.
    seed : int
        Which heart.
    **options
        For the recorder's own class.

    Raises
    ------
    UsageError
        If no virtual recorder speaks to this driver.
    """
    if name not in MADE:
        raise UsageError(f"There is no virtual recorder for {name!r}.", f"Name one of: {', '.join(MADE)}.")
    return MADE[name](person(HEART_S, seed) if record is None else record, **options)


def person(duration_s: float, seed: int | np.random.Generator, fs_hz: float = _HEART_FS_HZ) -> Record:
    """Draw an adult who holds a recorder fairly still, leads I and II."""
    rng = np.random.default_rng(seed)
    clean = simulate(random_heart(rng), duration_s, fs_hz, rng, ("I", "II"))
    return add_noise(add_noise(clean, "muscle", 28, rng), "mains50", 32, rng)


def stream(name: str) -> Stream:
    """Return what a driver makes of its virtual recorder: rate, leads, scale."""
    return Wire(make(name, person(1.0, 0)), drivers.get(name)).stream


def through(recorder: VirtualRecorder, name: str, duration_s: float, fs_hz: float | None = None) -> Record:
    """Return what arrives when a recorder records, joined to its driver in memory.

    Parameters
    ----------
    recorder : VirtualRecorder
    name : str
        Of its driver.
    duration_s : float
        How much of it, from the first sample that arrived on.
    fs_hz : float, optional
        Rate to ask for.
    """
    wire = Wire(recorder, drivers.get(name), MTU, fs_hz)
    assembler = Assembler(wire.stream, keep_s=None, indexed=wire.driver.description.indexed)
    assembler.link_up(wire.stream, 0.0)
    started = False
    for arrival in wire.record(duration_s + 2.0):
        for event in wire.decoder.feed(arrival.uuid, arrival.data):
            started |= isinstance(event, Frame)
            if started:
                assembler.add(event, arrival.at_s)
    whole = assembler.record(origin="simulated")
    n_samples = min(round(duration_s * whole.fs_hz), whole.n_samples)
    return Record(
        whole.signal_mv[:, :n_samples],
        whole.fs_hz,
        whole.leads,
        whole.gaps[:, :n_samples],
        amplitude=whole.amplitude,
        origin="simulated",
    )


def _open6l(record: Record, **options: Any) -> VirtualRecorder:
    from lsemvae_edge.device.virtual.open6l import ADC_BITS, NV_PER_LSB, VirtualOpen6L

    mv_per_lsb = options.pop("mv_per_lsb", NV_PER_LSB / 1e6)
    fs_hz = options.pop("fs_hz", _HEART_FS_HZ)
    feed = Feed(record, ("I", "II"), fs_hz, mv_per_lsb, ADC_BITS)
    return VirtualOpen6L(feed, fs_hz, mv_per_lsb=mv_per_lsb, **options)


def _of(module: str, kind: str) -> Callable[..., VirtualRecorder]:
    def made(record: Record, **options: Any) -> VirtualRecorder:
        recorder: VirtualRecorder = getattr(importlib.import_module(f"{__package__}.{module}"), kind)(record, **options)
        return recorder

    return made


MADE: dict[str, Callable[..., VirtualRecorder]] = {
    "open-6l": _open6l,
    "lepu-6l": _of("lepu", "VirtualEr3"),
    "lepu-1l": _of("lepu", "VirtualEr1"),
    "ghs": _of("ghs", "VirtualGhs"),
    "kardia-6l": _of("kardia", "VirtualKardia6L"),
    "polar-h10": _of("polar", "VirtualPolarH10"),
    "movesense": _of("movesense", "VirtualMovesense"),
}
"""How each is made, by the name of its driver."""
