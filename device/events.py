"""What a recorder says, decoded: the only words between drivers and the rest of this room.

Nothing here knows a radio, a clock of the host or a file.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ELECTRODES = ("RA", "LA", "LL", "RL")
"""Limb electrodes by which contact is told; RL is the reference."""

HANDS_AND_FOOT = frozenset({"RA", "LA", "LL"})
"""Those that leads I and II are measured between; without RL alone somebody is still there."""


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """Samples that belong together.

    Parameters
    ----------
    signal_mv : array (n_leads, n), float32
        Rows in the order of `Stream.leads`, in millivolts (in the recorder's own scale where it is not calibrated).
    index : int, optional
        Position of the first sample, counted by the recorder modulo `Stream.index_modulus`.
    device_time_s : float, optional
        Time of the first sample on the recorder's clock, modulo `Stream.clock_modulus_s`.
    recording : int, optional
        Number that the recorder gave to the recording, where it numbers them.
    off : frozenset of str, optional
        Electrodes without contact; None where the recorder cannot tell.
    saturated : frozenset of str
        Leads at the end of the converter's range.
    dropped : bool
        The recorder says that it lost samples before this frame.
    """

    signal_mv: NDArray[np.float32]
    index: int | None = None
    device_time_s: float | None = None
    recording: int | None = None
    off: frozenset[str] | None = None
    saturated: frozenset[str] = frozenset()
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class ClockMark:
    """The recorder's clock at one sample: ``index`` was taken ``device_time_s`` after its start."""

    index: int
    device_time_s: float


@dataclass(frozen=True, slots=True)
class Battery:
    """Charge in percent, 0 to 100."""

    percent: int


@dataclass(frozen=True, slots=True)
class Contact:
    """Electrodes without contact, told apart from samples."""

    off: frozenset[str]


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer to a command.

    Parameters
    ----------
    request : int
        The `Write.request` that is answered.
    error : str, optional
        Why it was refused, by the name the protocol gives it; None when it was obeyed.
    """

    request: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes that are no message of this protocol: dropped and counted, never guessed at."""

    reason: str
    n_bytes: int


Event = Frame | ClockMark | Battery | Contact | Reply | Damaged
