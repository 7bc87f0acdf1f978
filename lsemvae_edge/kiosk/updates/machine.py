"""What machine this is, as far as software for it differs."""

import platform
import struct
import sys

from lsemvae_edge.errors import UsageError

_IN_32_BITS = {"aarch64": "armv7l", "arm64": "armv7l", "x86_64": "i686", "amd64": "i686"}


def python() -> str:
    """Return the release of Python that runs this, as wheels name it: ``3.11``."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def processor() -> str:
    """Return the processor's name, as wheels call it.

    Raises
    ------
    UsageError
        If the system, or this Python on it, has 32 bits.
    """
    refuse_32_bit()
    name = platform.machine().lower()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(name, name)


def refuse_32_bit(name: str | None = None, pointer_bytes: int | None = None) -> None:
    """Refuse a 32-bit system by its name: no runtime of models has wheels for one.

    Parameters
    ----------
    name : str, optional
        Of the processor; by default this machine's.
    pointer_bytes : int, optional
        Of a pointer in Python; by default in this one. 4 on a 64-bit kernel is a 32-bit system all the same.

    Raises
    ------
    UsageError
        If it is one.
    """
    name = platform.machine().lower() if name is None else name
    pointer_bytes = struct.calcsize("P") if pointer_bytes is None else pointer_bytes
    if pointer_bytes >= 8:
        return
    raise UsageError(
        f"This is a 32-bit system ({_IN_32_BITS.get(name, name)}). The kiosk's software needs a 64-bit one.",
        "Write the 64-bit Raspberry Pi OS to a card and install the kiosk on it.",
    )


def glibc() -> tuple[int, ...] | None:
    """Return the release of the GNU C library; None where there is another one."""
    kind, version = platform.libc_ver()
    if kind != "glibc":
        return None
    return tuple(int(part) for part in version.split(".") if part.isdigit())
