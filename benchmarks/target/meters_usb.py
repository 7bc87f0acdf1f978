"""Meters on USB, through their makers' Python packages: written from those packages' code, not tried with a device."""

from importlib import import_module
from typing import Any

from lsemvae_edge.benchmarks.target.meters import Reading
from lsemvae_edge.errors import UsageError

PPK2_SAMPLES_PER_S = 100_000
SUPPLY_MV = 5000
PPK2_MV = (800, 5000)
"""What a PPK2 can be told of the supply that it measures."""
BUFFER_S = 60


class Joulescope:
    """A Joulescope JS110 or JS220 by the package ``joulescope`` (1.x).

    The instrument sums energy itself and reports twice a second; what lies between the first and the last report of a
    measurement is counted.

    Parameters
    ----------
    device : joulescope.Device
        Opened.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._reports: list[tuple[float, float]] = []
        self.name = f"Joulescope {getattr(device, 'model', '')}".rstrip()
        self.measures = "what flows through it"

    def start(self) -> None:
        """Begin to listen to its reports."""
        self._reports = []
        self._device.statistics_callback_register(self._take, "sensor")

    def stop(self) -> Reading:
        """End, and return the energy between the first and the last report."""
        self._device.statistics_callback_unregister(self._take, "sensor")
        if len(self._reports) < 2:
            raise UsageError("The Joulescope reported less than twice.", "Measure for longer: --window 5")
        (early, before), (late, after) = self._reports[0], self._reports[-1]
        return Reading(after - before, late - early)

    def close(self) -> None:
        """Let the device go."""
        self._device.close()

    def _take(self, report: dict[str, Any]) -> None:
        # The energy at the end of what the report covers.
        self._reports.append((report["time"]["range"]["value"][1], report["accumulators"]["energy"]["value"]))


class Ppk2:
    """A Nordic Power Profiler Kit II as ampere meter by the package ``ppk2-api`` (0.9).

    It knows the current alone; the supply's voltage is what it is told. It measures up to 1 A.

    Parameters
    ----------
    device : ppk2_api.PPK2_MP
        Opened.
    supply_mv : int
    """

    def __init__(self, device: Any, supply_mv: int) -> None:
        self._device, self._supply_mv = device, supply_mv
        self.name = f"PPK2, {supply_mv} mV"
        self.measures = "what flows through it, at the voltage it was told"
        device.get_modifiers()
        device.use_ampere_meter()
        device.set_source_voltage(supply_mv)
        device.toggle_DUT_power("ON")

    def start(self) -> None:
        """Begin to keep its stream; it is parted into samples when all is over, for that is work as well."""
        self._device.remainder = {"sequence": b"", "len": 0}
        self._device.start_measuring()

    def stop(self) -> Reading:
        """End, and return the energy."""
        # To stop throws away what was not fetched.
        stream = self._device.get_data()
        self._device.stop_measuring()
        microamperes = self._device.get_samples(stream)[0] if stream else []
        if not microamperes:
            raise UsageError("The PPK2 sent nothing.", "Look at its connection.")
        watts = 1e-6 * sum(microamperes) / len(microamperes) * 1e-3 * self._supply_mv
        seconds = len(microamperes) / PPK2_SAMPLES_PER_S
        return Reading(watts * seconds, seconds)

    def close(self) -> None:
        """Let the device go; what it feeds stays on."""
        self._device.ser.close()


def joulescope(where: str) -> Joulescope:
    """Open the only Joulescope.

    Raises
    ------
    UsageError
        If the package is not installed, or there is no device, or several.
    """
    package = _package("joulescope", "joulescope")
    try:
        device = package.scan_require_one(name=where or None, config="auto")
        device.open()
    except Exception as error:
        raise UsageError(f"No Joulescope can be opened: {error}", "Connect one, and give this user access.") from error
    return Joulescope(device)


def ppk2(where: str) -> Ppk2:
    """Open the only PPK2; ``where`` is the supply's voltage in mV.

    Raises
    ------
    UsageError
        If the package is not installed, the voltage is none, or there is not one device.
    """
    if where and not (where.isascii() and where.isdigit() and PPK2_MV[0] <= int(where) <= PPK2_MV[1]):
        raise UsageError(f"{where!r} is no supply's voltage.", f"Give mV, {PPK2_MV[0]} to {PPK2_MV[1]}: ppk2:5000")
    package = _package("ppk2_api.ppk2_api", "ppk2-api")
    try:
        ports = package.PPK2_API.list_devices()
        if len(ports) != 1:
            raise UsageError(f"{len(ports)} PPK2 are connected.", "Connect one.")
        # Newer releases name the serial number beside the port.
        port = ports[0] if isinstance(ports[0], str) else ports[0][0]
        device = package.PPK2_MP(port, buffer_max_size_seconds=BUFFER_S, timeout=1, write_timeout=1)
        return Ppk2(device, int(where or SUPPLY_MV))
    except OSError as error:
        raise UsageError(f"The PPK2 cannot be opened: {error}", "Give this user access to its port.") from error


def _package(module: str, name: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"The package {name} is not installed.", f"pip install {name}") from error
