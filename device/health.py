"""Whether this machine's Bluetooth can be used, fact by fact, each with what to do: `lsemvae-edge doctor bluetooth`.

Needs none of the Bluetooth packages. Where a fact comes from can be replaced, so that tests build machines.
"""

import asyncio
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Literal

from lsemvae_edge.device import bluez
from lsemvae_edge.device.errors import BluetoothUnavailableError

State = Literal["ok", "warn", "bad"]
Version = tuple[int, ...]

OLDEST_BLUEZ: Version = (5, 55)
"""What bleak asks for."""
TESTED_BLUEZ: tuple[Version, ...] = ((5, 66),)
"""``tests/bluez`` passed with it."""

TESTED_PACKAGES = {
    "bleak": ("3.1.0",),
    "bleak-retry-connector": ("4.7.1",),
    "bluetooth-auto-recovery": ("1.6.4",),
    "dbus-fast": ("5.2.0",),
    "bumble": ("0.0.236",),
}
_NEEDED = ("bleak", "bleak-retry-connector")
_OPTIONAL = ("bumble",)
"""Serves virtual recorders alone."""
_LINUX_ONLY = ("bluetooth-auto-recovery", "dbus-fast")
_INSTALL = "Install it: pip install 'lsemvae-edge[device]'"
_UPGRADE = "Install another release of BlueZ."
_COMMAND_S = 5.0


@dataclass(frozen=True)
class Fault:
    """A release that was seen to fail: from ``first`` to ``last``, both included; ``source`` says where."""

    first: Version
    last: Version
    state: State
    reason: str
    source: str

    def covers(self, version: Version) -> bool:
        """Whether this release is meant."""
        return self.first <= version <= self.last


BLUEZ_FAULTS = (
    Fault(
        (5, 64), (5, 64), "warn",
        "some notifications never arrive and links drop; 5.66 mends it", "bluez#509, bleak#993",
    ),
    Fault(
        (5, 71), (5, 71), "warn",
        "keys may not be loaded as it starts, so that what was paired does not connect; 5.72 mends it", "bluez#686",
    ),
    Fault(
        (5, 87), (5, 87), "warn",
        "a scan for named services crashes it; this program scans for everything, others may not", "bluez#2282",
    ),
)  # fmt: skip
"""Known faults that matter to a kiosk. That AcquireNotify has crashed it (bluez#1383, and 5.66 in a trial of ours) does
not: notifications are asked for by StartNotify."""

KERNEL_FAULTS = (
    Fault(
        (6, 1, 192), (6, 1, 192), "warn",
        "a paired recorder that lost its keys ends bluetoothd by a fault of the kernel; 6.1.190 does not",
        "tests/bluez, scenario impostor",
    ),
)  # fmt: skip
"""Releases of Linux, by the number of the source they are built from."""


@dataclass(frozen=True)
class Finding:
    """One fact: ``ok``, ``warn`` (it can be used, but) or ``bad`` (it cannot), and what to do about it."""

    name: str
    state: State
    sentence: str
    next_step: str | None = None


def _output(command: list[str]) -> str | None:
    try:
        # Fixed commands that print a version.
        child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMMAND_S)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return child.stdout if child.returncode == 0 else None


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _ask_bluez() -> list[bluez.Adapter]:
    return asyncio.run(bluez.adapters())


@dataclass(frozen=True)
class Machine:
    """Where the facts come from.

    Parameters
    ----------
    root : Path
        Holds ``sys``, ``proc`` and ``run``.
    system, kernel : str
        As `platform` gives them; ``kernel`` holds release and version.
    output : callable
        Returns what a command prints, None if it fails.
    installed : callable
        Returns the release of an installed distribution, None if it is not.
    adapters : callable
        Returns the adapters that BlueZ has, or raises `BluetoothUnavailableError`.
    """

    root: Path = Path("/")
    system: str = field(default_factory=platform.system)
    kernel: str = field(default_factory=lambda: f"{platform.release()} {platform.version()}")
    output: Callable[[list[str]], str | None] = _output
    installed: Callable[[str], str | None] = _installed
    adapters: Callable[[], list[bluez.Adapter]] = _ask_bluez


def examine(machine: Machine | None = None) -> list[Finding]:
    """Return what was found, in the order in which it should be mended.

    Parameters
    ----------
    machine : Machine, optional
        This one by default.
    """
    machine = machine or Machine()
    if machine.system != "Linux":
        system = Finding("system", "ok", f"{machine.system} has a Bluetooth of its own, which also pairs by itself")
        return [system, *_packages(machine)]
    found: dict[str, Finding] = {}
    for look in (_kernel, _hardware, _blocks, _daemon, _powered, _packages):
        for finding in look(machine):
            # What the files told already, BlueZ's own answer need not tell again.
            found.setdefault(finding.sentence, finding)
    return list(found.values())


def usable(findings: list[Finding]) -> bool:
    """Whether Bluetooth can be used."""
    return all(finding.state != "bad" for finding in findings)


def _kernel(machine: Machine) -> Iterator[Finding]:
    # Some distributions give a release a name of their own and tell its number apart: "6.1.0-56-amd64 … 6.1.192-2".
    numbers = [_numbers(text) for text in re.findall(r"\b\d+\.\d+\.\d+", machine.kernel)]
    version = max(numbers, default=())
    name = machine.kernel.split(" ", 1)[0] + (f" ({'.'.join(map(str, version))})" if version else "")
    for fault in KERNEL_FAULTS:
        if fault.covers(version):
            yield Finding(
                "kernel", fault.state, f"Linux {name}: {fault.reason} ({fault.source})", "Install another kernel."
            )
            return
    yield Finding("kernel", "ok", f"Linux {name}")


def _hardware(machine: Machine) -> Iterator[Finding]:
    folder = machine.root / "sys/class/bluetooth"
    # Connections stand beside adapters there, as hci0:64.
    names = sorted(path.name for path in folder.glob("hci*") if path.name[3:].isdigit())
    if names:
        yield Finding("adapter", "ok", f"the kernel has {', '.join(names)}")
        return
    next_step = "Plug one in, or enable it in the firmware settings; then look for it: dmesg | grep -i bluetooth"
    if not folder.exists():
        next_step = "Load the driver: modprobe bluetooth btusb (hci_uart on a board); in a container, use the host's."
    yield Finding("adapter", "bad", "the kernel has no Bluetooth adapter", next_step)


def _blocks(machine: Machine) -> Iterator[Finding]:
    switches = sorted((machine.root / "sys/class/rfkill").glob("rfkill*"))
    blocks = [(path, _block(path)) for path in switches if _read(path / "type") == "bluetooth"]
    worst: State = "bad" if all(block for _, block in blocks) else "warn"
    for path, block in blocks:
        name = _read(path / "name") or path.name
        if block == "hard":
            yield Finding(
                "rfkill", worst, f"{name} is blocked by a switch", "Use the machine's wireless switch or key."
            )
        elif block == "soft":
            yield Finding("rfkill", worst, f"{name} is blocked by software", "Unblock it: rfkill unblock bluetooth")
        else:
            yield Finding("rfkill", "ok", f"{name} is not blocked")


def _block(switch: Path) -> Literal["hard", "soft"] | None:
    if _read(switch / "hard") == "1":
        return "hard"
    return "soft" if _read(switch / "soft") == "1" else None


def _daemon(machine: Machine) -> Iterator[Finding]:
    sockets = ("run/dbus/system_bus_socket", "var/run/dbus/system_bus_socket")
    if not any((machine.root / path).exists() for path in sockets):
        yield Finding("system bus", "bad", bluez.NO_BUS, bluez.START_BUS)
    else:
        yield Finding("system bus", "ok", "the system bus is there")
    version = _bluez_version(machine)
    if not any(_read(path) == "bluetoothd" for path in (machine.root / "proc").glob("[0-9]*/comm")):
        install = "" if version else "Install it: apt-get install bluez. "
        yield Finding("bluetoothd", "bad", bluez.NO_DAEMON, install + bluez.START_DAEMON)
    else:
        yield Finding("bluetoothd", "ok", "bluetoothd is running")
    yield _judged(version)


def _judged(version: Version | None) -> Finding:
    if version is None:
        return Finding(
            "bluez", "warn", "BlueZ does not tell its release", "Install the commands of BlueZ: bluetoothctl"
        )
    name = f"BlueZ {'.'.join(map(str, version))}"
    if version < OLDEST_BLUEZ:
        return Finding("bluez", "bad", f"{name} is too old; 5.55 is the oldest that can be used", _UPGRADE)
    for fault in BLUEZ_FAULTS:
        if fault.covers(version):
            return Finding("bluez", fault.state, f"{name}: {fault.reason} ({fault.source})", _UPGRADE)
    if version in TESTED_BLUEZ:
        return Finding("bluez", "ok", f"{name} (tested)")
    tested = ", ".join(".".join(map(str, one)) for one in TESTED_BLUEZ)
    return Finding("bluez", "ok", f"{name} (untested; tested: {tested})")


def _powered(machine: Machine) -> Iterator[Finding]:
    try:
        adapters = machine.adapters()
    except BluetoothUnavailableError as error:
        yield Finding("permission", "bad", error.reason, error.next_step)
        return
    yield Finding("permission", "ok", "this user may talk to bluetoothd")
    if not adapters:
        yield Finding("power", "bad", "bluetoothd has no adapter", bluez.RESTART_DAEMON)
    off: State = "warn" if any(adapter.powered for adapter in adapters) else "bad"
    for adapter in adapters:
        name = f"{adapter.name} ({adapter.address})"
        if adapter.powered:
            yield Finding("power", "ok", f"{name} is switched on")
            yield _open(adapter)
        else:
            yield Finding("power", off, f"{name} is switched off", "Switch it on: bluetoothctl power on")


def _open(adapter: bluez.Adapter) -> Finding:
    if adapter.pairable:
        what, command = "bonds with whatever asks", "pairable"
    elif adapter.discoverable:
        what, command = "shows itself to others", "discoverable"
    else:
        return Finding("pairing", "ok", f"{adapter.name} bonds only while a recorder is enrolled")
    return Finding("pairing", "warn", f"{adapter.name} {what}", f"Close it: bluetoothctl {command} off")


def _packages(machine: Machine) -> Iterator[Finding]:
    for name, tested in TESTED_PACKAGES.items():
        if name in _LINUX_ONLY and machine.system != "Linux":
            continue
        version = machine.installed(name)
        if version is None and name in _OPTIONAL:
            yield Finding(name, "ok", f"{name} is not installed; only simulated recorders need it")
        elif version is None:
            yield Finding(name, "bad" if name in _NEEDED else "warn", f"{name} is not installed", _INSTALL)
        elif version in tested:
            yield Finding(name, "ok", f"{name} {version} (tested)")
        else:
            yield Finding(name, "ok", f"{name} {version} (untested; tested: {', '.join(tested)})")


def _bluez_version(machine: Machine) -> Version | None:
    for command in ("bluetoothctl", "/usr/libexec/bluetooth/bluetoothd", "/usr/lib/bluetooth/bluetoothd"):
        match = re.search(r"\d+\.\d+", machine.output([command, "--version"]) or "")
        if match:
            return _numbers(match[0])
    return None


def _numbers(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
