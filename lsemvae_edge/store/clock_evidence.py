"""What speaks for this machine's clock: the kernel's word, its hardware clock, the host of a virtual machine."""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

ERROR_LIMIT_US = 16_000_000
"""The kernel's bound on its clock's error: this after a start and after the clock was set by hand, less once a service
keeps it on time. `timedatectl` goes by the same bound, and not by STA_UNSYNC, which chrony sets to guard the hardware
clock. The bound grows by 500 us a second, so that without a network it is at the limit again after nine hours."""
AGREES_WITHIN = timedelta(minutes=5)
"""A hardware clock further off than this did not set the system's clock."""
HOST_CLOCKS = frozenset({"kvm-clock", "xen"})
"""Where one of these is offered, the kernel took the time of day from the host when it started."""


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), on Linux of 64 bits."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        # What follows is not read; the kernel fills 208 bytes.
        ("rest", ctypes.c_byte * 176),
    ]


def kernel_error_us() -> int | None:
    """Return the kernel's bound on its clock's error in microseconds; None where it does not tell."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError, TypeError):
        return None
    told = _Timex()
    # With no mode set nothing is changed, and no privilege is needed.
    return int(told.maxerror) if call(ctypes.byref(told)) >= 0 else None


@dataclass(frozen=True)
class Sources:
    """Where evidence comes from; replaced in tests, which build machines.

    Parameters
    ----------
    kernel_error_us : callable
        See the function of this name.
    timesync : Path
        systemd-timesyncd makes it at the first synchronization of a start; it lies in memory.
    hardware : Path
        Folder with one of each hardware clock.
    offered : Path
        Lists the kernel's sources of time.
    """

    kernel_error_us: Callable[[], int | None] = field(default=kernel_error_us)
    timesync: Path = Path("/run/systemd/timesync/synchronized")
    hardware: Path = Path("/sys/class/rtc")
    offered: Path = Path("/sys/devices/system/clocksource/clocksource0/available_clocksource")

    def is_synchronized(self) -> bool:
        """Whether a service keeps, or kept in this start of the machine, the clock on the network's or GPS's time."""
        error_us = self.kernel_error_us()
        return (error_us is not None and error_us < ERROR_LIMIT_US) or self.timesync.exists()

    def hardware_clocks(self) -> list[int]:
        """Return what the hardware clocks show, in seconds since 1970; one whose battery failed may refuse to tell."""
        found = []
        try:
            for clock in sorted(self.hardware.iterdir()):
                try:
                    found.append(int((clock / "since_epoch").read_text()))
                except (OSError, ValueError):
                    continue
        except OSError:
            return []
        return found

    def agrees_with_hardware(self, at: datetime, earliest: datetime) -> bool:
        """Whether a hardware clock that kept its time shows what the system's clock shows.

        Parameters
        ----------
        at : datetime
            What the system's clock shows.
        earliest : datetime
            Without power a hardware clock begins again in 1970 or 2000; before this it kept nothing.
        """
        at_s, within_s = at.timestamp(), AGREES_WITHIN.total_seconds()
        return any(
            shown_s > earliest.timestamp() and abs(shown_s - at_s) <= within_s for shown_s in self.hardware_clocks()
        )

    def is_from_host(self) -> bool:
        """Whether this is a virtual machine whose kernel took the time from its host."""
        try:
            return not HOST_CLOCKS.isdisjoint(self.offered.read_text().split())
        except OSError:
            return False


def state_folder() -> Path | None:
    """Return where this user's programs keep what is no data: ``XDG_STATE_HOME``, else ``~/.local/state``."""
    try:
        base = os.environ.get("XDG_STATE_HOME")
        return (Path(base) if base else Path.home() / ".local" / "state") / "lsemvae-edge"
    except RuntimeError:
        return None
