"""What of a machine changes while it works: clock frequency, temperature, throttling, supply voltage.

Every function takes the root of a file tree, so that the files of another board can be read here, and gives None for
what the machine does not tell.
"""

import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from lsemvae_edge.benchmarks.target.kernel_files import ROOT, listed, read, whole

THROTTLED = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""Bits of ``vcgencmd get_throttled`` that tell of now; 16 higher, the same since the machine was started."""
SINCE_START = 16

Run = Callable[[Sequence[str]], str | None]


def command(arguments: Sequence[str]) -> str | None:
    """Return what a program prints, or None if it is not there or fails."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed names of system programs
            arguments, capture_output=True, text=True, check=False, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def frequency_mhz(root: Path = ROOT) -> float | None:
    """Return the mean frequency of the cores at this moment."""
    files = listed(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    khz = [found for path in files if (found := whole(path)) is not None]
    if khz:
        return sum(khz) / len(khz) / 1e3
    mhz = []
    for line in (read(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "cpu MHz":
            try:
                mhz.append(float(value))
            except ValueError:
                return None
    if not all(map(math.isfinite, mhz)):
        return None
    return sum(mhz) / len(mhz) if mhz else None


def temperature_c(root: Path = ROOT) -> float | None:
    """Return the temperature of the hottest zone that is the processor's, or of the hottest zone of all."""
    zones: dict[str, float] = {}
    for folder in listed(root, "sys/class/thermal/thermal_zone[0-9]*"):
        millidegrees = whole(folder / "temp")
        # Some drivers give absolute zero where they have no reading.
        if millidegrees is not None and -50_000 < millidegrees < 200_000:
            name = read(folder / "type") or folder.name
            zones[name] = max(millidegrees / 1e3, zones.get(name, -50.0))
    processor = [value for name, value in zones.items() if any(part in name.lower() for part in ("cpu", "pkg", "soc"))]
    return max(processor or zones.values(), default=None)


def throttled(root: Path = ROOT, run: Run = command) -> dict[str, object] | None:
    """Return what a Raspberry Pi says of throttling, decoded.

    Returns
    -------
    dict or None
        ``bits`` as hexadecimal text; ``now`` and ``since_start``, lists of words. None on other machines.

    Notes
    -----
    Newer kernels offer the firmware's word as a file; the others are asked by ``vcgencmd get_throttled``.
    Source of the bits: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
    """
    for path in listed(root, "sys/devices/platform/soc*/soc*:firmware/get_throttled"):
        if (text := read(path)) is not None:
            return decoded(text)
    answer = run(["vcgencmd", "get_throttled"]) if root == ROOT or run is not command else None
    return decoded(answer.partition("=")[2]) if answer and answer.startswith("throttled=") else None


def decoded(text: str) -> dict[str, object] | None:
    """Decode the hexadecimal word of throttling; None if it is none."""
    try:
        bits = int(text, 16)
    except ValueError:
        return None
    return {
        "bits": f"{bits:#x}",
        "now": [name for bit, name in THROTTLED.items() if bits >> bit & 1],
        "since_start": [name for bit, name in THROTTLED.items() if bits >> (bit + SINCE_START) & 1],
    }


def under_voltage(root: Path = ROOT) -> bool | None:
    """Return whether the supply's voltage is too low now, as a Raspberry Pi's sensor says."""
    for name in listed(root, "sys/class/hwmon/hwmon[0-9]*/name"):
        if read(name) == "rpi_volt":
            alarm = whole(name.parent / "in0_lcrit_alarm")
            return None if alarm is None else bool(alarm)
    return None
