"""Tells systemd that the kiosk is up and still alive; without systemd every call does nothing."""

import os
import socket
from contextlib import suppress

ADDRESS_VARIABLE = "NOTIFY_SOCKET"
"""Set by systemd for services of ``Type=notify``: a path, or an abstract name that begins with ``@``."""
PERIOD_VARIABLE = "WATCHDOG_USEC"
PROCESS_VARIABLE = "WATCHDOG_PID"


def ready(status: str = "") -> bool:
    """Say that the kiosk can be used; returns whether anybody was told."""
    return notify("READY=1", *([f"STATUS={status}"] if status else []))


def alive() -> bool:
    """Say that the kiosk still works; call it from the loop whose death matters."""
    return notify("WATCHDOG=1")


def stopping() -> bool:
    """Say that the kiosk ends on purpose."""
    return notify("STOPPING=1")


def notify(*lines: str) -> bool:
    """Send one datagram to systemd.

    Parameters
    ----------
    *lines : str
        ``NAME=value``, without line breaks.

    Returns
    -------
    bool
        Whether it was sent; False where systemd does not ask for it, or is gone.
    """
    address = os.environ.get(ADDRESS_VARIABLE, "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        # A full queue must not halt the loop that reports.
        channel.setblocking(False)
        channel.sendto("\n".join(line.replace("\n", " ") for line in lines).encode(), address)
        return True
    return False


def period_s() -> float | None:
    """Return how often `alive` should be called: half of what systemd waits; None if it does not wait for us."""
    try:
        waits_s = int(os.environ.get(PERIOD_VARIABLE, "")) / 1e6
        meant = int(os.environ.get(PROCESS_VARIABLE, "") or os.getpid())
    except ValueError:
        return None
    return waits_s / 2 if waits_s > 0 and meant == os.getpid() else None
