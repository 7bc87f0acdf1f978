"""Meters of energy: what one is, those that come with this package, and those that other packages offer.

A meter is opened by a function that takes the text behind the colon in ``--meter NAME:TEXT`` (empty if there is none)
and returns a `Meter`, or raises `UsageError` with the reason if it is not there. Other packages offer such functions
under the entry point group ``lsemvae_edge.meters``.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from itertools import pairwise
from time import monotonic
from typing import Protocol

from lsemvae_edge.errors import UsageError

GROUP = "lsemvae_edge.meters"
BUILT_IN = {
    "ina2xx": "meters_kernel:ina2xx",
    "joulescope": "meters_usb:joulescope",
    "powercap": "meters_kernel:powercap",
    "ppk2": "meters_usb:ppk2",
}
"""Functions that open a meter, in the order in which they are tried."""
BY_NAME_ALONE = ("ppk2",)
"""Those that are not tried: to ask a PPK2 for its reading switches what it feeds."""
_HERE = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class Reading:
    """Energy, and for how long it was counted: a meter may cover less than the time between start and stop."""

    joules: float
    seconds: float

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


class Meter(Protocol):
    """Counts energy between start and stop, many times."""

    @property
    def name(self) -> str:
        """Name of the case's fact, the device included."""

    @property
    def measures(self) -> str:
        """What flows through it: the board's supply, the processor's package."""

    def start(self) -> None:
        """Begin to count."""

    def stop(self) -> Reading:
        """End, and return what was counted; `UsageError` if it counted too little to tell."""

    def close(self) -> None:
        """Let the device go."""


Open = Callable[[str], Meter]


def names() -> tuple[str, ...]:
    """Return the names of all meters, those of this package first."""
    return (*BUILT_IN, *sorted({entry.name for entry in entry_points(group=GROUP)} - set(BUILT_IN)))


def opened(told: str) -> Meter:
    """Open a meter by ``NAME`` or ``NAME:TEXT``.

    Raises
    ------
    UsageError
        If there is no such meter, or it cannot be read; says why.
    """
    name, _, where = told.partition(":")
    return _open_of(name)(where)


def found() -> tuple[Meter | None, dict[str, str]]:
    """Return the first meter that is there, those of other packages first, and why each one before it is not.

    A processor's own counter is tried after what measures the whole board.
    """
    lacks: dict[str, str] = {}
    for name in sorted(names(), key=lambda name: name in BUILT_IN):
        if name in BY_NAME_ALONE:
            lacks[name] = f"only by --meter {name}"
            continue
        try:
            return opened(name), lacks
        except UsageError as error:
            lacks[name] = error.message.rstrip(".")
    return None, lacks


class Sampler:
    """Reads power again and again in a thread of its own, and integrates.

    Parameters
    ----------
    watts : callable
        Returns the power now.
    every_s : float
    """

    def __init__(self, watts: Callable[[], float], every_s: float) -> None:
        self._watts, self._every_s = watts, every_s
        self._samples: list[tuple[float, float]] = []
        self._enough = threading.Event()
        self._failed: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read."""
        self._samples, self._failed = [], None
        self._enough.clear()
        self._thread = threading.Thread(target=self._read, name="meter", daemon=True)
        self._thread.start()

    def stop(self) -> Reading:
        """End, and return the energy between the first and the last reading.

        Raises
        ------
        UsageError
            If there are fewer than two readings.
        """
        assert self._thread is not None
        self._enough.set()
        self._thread.join()
        if self._failed is not None:
            raise UsageError(f"The meter can no longer be read: {self._failed}", "Look at its connection.")
        return integrated(self._samples)

    def _read(self) -> None:
        try:
            # Once more after the end, so that all of what was asked for lies between two readings.
            while True:
                last = self._enough.is_set() and len(self._samples) > 0
                watts = self._watts()
                self._samples.append((monotonic(), watts))
                if last:
                    break
                self._enough.wait(self._every_s)
        except (OSError, ValueError) as error:
            self._failed = error


def integrated(samples: list[tuple[float, float]]) -> Reading:
    """Return the energy under readings of power, by trapezoids.

    Parameters
    ----------
    samples : list of (float, float)
        Seconds and watts, in order of time.

    Raises
    ------
    UsageError
        If there are fewer than two.
    """
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        raise UsageError("The meter was read less than twice.", "Look at its connection.")
    joules = sum((late - early) * (one + other) / 2 for (early, one), (late, other) in pairwise(samples))
    return Reading(joules, samples[-1][0] - samples[0][0])


def _open_of(name: str) -> Open:
    if name in BUILT_IN:
        module, function = BUILT_IN[name].split(":")
        mine: Open = getattr(import_module(f"{_HERE}.{module}"), function)
        return mine
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                offered: Open = entry.load()
            except (ImportError, AttributeError) as error:
                raise UsageError(
                    f"The meter {name} cannot be loaded: {error}.", "Install its package again, or remove it."
                ) from error
            return offered
    raise UsageError(f"Unknown meter {name!r}.", f"Choose among {', '.join(names())}.")
