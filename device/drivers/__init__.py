"""The drivers: those that come with the package, and those that others install.

A package offers a driver under the entry-point group ``lsemvae_edge.drivers``; the name of the entry point is the
driver's name, and it points at a `Driver` class.
"""

import importlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from lsemvae_edge.device.driver import Driver
from lsemvae_edge.device.errors import UnknownRecorderError
from lsemvae_edge.errors import DeviceError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "lsemvae_edge.drivers"

BUILT_IN = {
    "open-6l": "open6l:Open6L",
    "lepu-6l": "lepu:LepuSixLead",
    "lepu-1l": "lepu:LepuOneLead",
    "ghs": "ghs:GenericHealthSensor",
    "kardia-6l": "kardia:Kardia6L",
    "polar-h10": "polar:PolarH10",
    "movesense": "movesense:Movesense",
}
"""Module and class of each driver of this package, the ones to prefer first."""


def get(name: str) -> Driver:
    """Return a driver by name.

    Raises
    ------
    UnknownRecorderError
        If no driver has this name.
    DeviceError
        If another package's driver cannot be loaded.
    """
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        return _made(name, getattr(importlib.import_module(f"{__name__}.{module}"), attribute))
    for entry in _entry_points():
        if entry.name == name:
            try:
                return _made(name, entry.load())
            except (ImportError, AttributeError, TypeError) as error:
                raise DeviceError(
                    f"The driver {name} cannot be loaded: {error}.", "Install its package again, or remove it."
                ) from error
    raise UnknownRecorderError(f"A recorder with driver {name!r}", names())


def names() -> tuple[str, ...]:
    """Names of all drivers, those of this package first."""
    return (*BUILT_IN, *sorted({entry.name for entry in _entry_points()} - set(BUILT_IN)))


def match(services: Sequence[str], local_name: str | None) -> Driver | None:
    """Return the first driver whose description fits an advertisement; one that is `opt_in` never is.

    Parameters
    ----------
    services : sequence of str
        Advertised service UUIDs, 128 bit.
    local_name : str, optional
        Advertised name.
    """
    advertised = {uuid.lower() for uuid in services}
    for name in names():
        driver = get(name)
        if not driver.description.opt_in and _fits(driver, advertised, local_name):
            return driver
    return None


def _fits(driver: Driver, advertised: set[str], local_name: str | None) -> bool:
    description = driver.description
    by_service = not description.services or bool(advertised & set(description.services))
    by_name = not description.local_names or any(
        re.fullmatch(pattern, local_name or "") for pattern in description.local_names
    )
    return bool(description.services or description.local_names) and by_service and by_name


def _made(name: str, kind: object) -> Driver:
    if not (isinstance(kind, type) and issubclass(kind, Driver)):
        raise TypeError(f"{kind!r} is no Driver class")
    driver = kind()
    if driver.description.name != name:
        raise TypeError(f"it calls itself {driver.description.name!r}")
    return driver


@lru_cache(maxsize=1)
def _entry_points() -> "tuple[EntryPoint, ...]":
    from importlib.metadata import entry_points

    return tuple(entry_points(group=GROUP))
