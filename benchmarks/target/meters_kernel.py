"""Meters that Linux reads: TI's INA2xx on the board's supply, and the processor's own counters of energy."""

from pathlib import Path
from time import monotonic

from lsemvae_edge.benchmarks.target.kernel_files import ROOT, listed, read, whole
from lsemvae_edge.benchmarks.target.meters import Reading, Sampler
from lsemvae_edge.errors import UsageError

CHIPS = ("ina219", "ina220", "ina226", "ina230", "ina231")
"""Of the kernel's driver ``ina2xx``; see https://docs.kernel.org/hwmon/ina2xx.html."""
EVERY_S = 0.01
"""An INA219 converts voltage and current anew in about a millisecond; more readings would load the board."""


class Ina2xx:
    """A chip of the kernel's driver ``ina2xx``.

    Parameters
    ----------
    folder : Path
        Of the chip, under ``/sys/class/hwmon``.
    """

    def __init__(self, folder: Path) -> None:
        self._power = folder / "power1_input"
        self._sampler = Sampler(self._watts, EVERY_S)
        self.name = f"{read(folder / 'name')} ({folder.name})"
        self.measures = "what flows through its shunt"

    def start(self) -> None:
        """Begin to read."""
        self._sampler.start()

    def stop(self) -> Reading:
        """End, and return the energy."""
        return self._sampler.stop()

    def close(self) -> None:
        """Do nothing: files were closed after each reading."""

    def _watts(self) -> float:
        return int(self._power.read_text()) / 1e6


class Powercap:
    """Counters of energy of the processor's packages, which Linux calls ``powercap`` and Intel RAPL.

    Parameters
    ----------
    zones : list of Path
        Folders of the packages; their parts (cores, memory) are inside them already.
    """

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._begun: list[int] = []
        self._begun_s = 0.0
        self.name = "powercap: " + ", ".join(read(zone / "name") or zone.name for zone in zones)
        self.measures = "the processor's package alone, as it counts itself"

    def start(self) -> None:
        """Note the counters."""
        self._begun_s = monotonic()
        self._begun = self._counted()

    def stop(self) -> Reading:
        """Return what they counted since; one that began anew meanwhile is taken to have done so once."""
        ended, seconds = self._counted(), monotonic() - self._begun_s
        joules = 0.0
        for zone, before, after in zip(self._zones, self._begun, ended, strict=True):
            span = (whole(zone / "max_energy_range_uj") or 0) + 1
            joules += (after - before if after >= before else after - before + span) / 1e6
        if seconds <= 0:
            raise UsageError("The meter was stopped as soon as it began.", "Measure for longer.")
        return Reading(joules, seconds)

    def close(self) -> None:
        """Do nothing: files were closed after each reading."""

    def _counted(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]


def ina2xx(where: str, root: Path = ROOT) -> Ina2xx:
    """Open the first chip, or the one that is named (``ina226``, ``hwmon3``).

    Raises
    ------
    UsageError
        If there is none.
    """
    chips = [
        path.parent
        for path in listed(root, "sys/class/hwmon/hwmon[0-9]*/name")
        if read(path) in CHIPS and (not where or where in (read(path), path.parent.name))
    ]
    if not chips:
        raise UsageError(
            f"The kernel knows no {where or 'INA2xx'}.",
            "Tell it of the chip: echo ina219 0x40 > /sys/bus/i2c/devices/i2c-1/new_device",
        )
    if whole(chips[0] / "power1_input") is None:
        raise UsageError(f"{chips[0].name} tells no power.", "Look at its address and wires.")
    return Ina2xx(chips[0])


def powercap(where: str, root: Path = ROOT) -> Powercap:
    """Open the counters of all packages, or of the one that is named (``intel-rapl:0``).

    Raises
    ------
    UsageError
        If there are none, or they may not be read.
    """
    zones = [
        zone for zone in listed(root, "sys/class/powercap/*")
        if (read(zone / "name") or "").startswith("package") and where in ("", zone.name)
    ]  # fmt: skip
    if not zones:
        raise UsageError(f"The kernel knows no counter of energy {where}".rstrip() + ".", "Use another meter.")
    if any(whole(zone / "energy_uj") is None for zone in zones):
        raise UsageError(
            "The processor's counters of energy may not be read by this user.",
            "Allow it: sudo chmod a+r /sys/class/powercap/*/energy_uj",
        )
    return Powercap(zones)
