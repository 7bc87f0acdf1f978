"""What a virtual recorder is: the firmware of a recorder, without radio and without a clock of its own.

`lsemvae_edge.device.virtual.wire` joins one to a driver in memory; `lsemvae_edge.device.virtual.host` puts one on
a Bluetooth controller, virtual or real.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Property = Literal["read", "write", "write-without-response", "notify", "indicate"]
Message = tuple[str, bytes]
"""A characteristic's UUID and what is notified (or indicated) on it."""

MANUFACTURER = "lsemvae-edge simulator"
"""What every virtual recorder states in its device information; whoever reads it marks the recording as simulated."""


@dataclass(frozen=True)
class Characteristic:
    """A row of the attribute table; ``encrypted`` ones answer over an encrypted link alone."""

    uuid: str
    properties: frozenset[Property]
    encrypted: bool = False


@dataclass(frozen=True)
class Service:
    """A service of the attribute table."""

    uuid: str
    characteristics: tuple[Characteristic, ...]


class VirtualRecorder(ABC):
    """The firmware of one recorder.

    Its host calls `connected`, then `read` and `write` as the other side asks, then `advance` as time passes, then
    `disconnected`. Time is the recorder's own: a host that drifts calls `advance` with drifted seconds.
    """

    local_name: str
    """Advertised name."""
    advertised: tuple[str, ...]
    """Advertised service UUIDs."""
    services: tuple[Service, ...]
    """Attribute table, without device information and battery, which the host adds."""
    serial: str
    """Serial number in the device information."""
    battery_percent: int = 80

    @abstractmethod
    def connected(self, mtu: int) -> None:
        """Take notice of a link with this attribute MTU; called again when the MTU changes."""

    @abstractmethod
    def disconnected(self) -> None:
        """Take notice that the link is gone."""

    @abstractmethod
    def read(self, uuid: str) -> bytes:
        """Return a characteristic's value."""

    @abstractmethod
    def write(self, uuid: str, data: bytes) -> Sequence[Message]:
        """Take a written value; return what is sent at once."""

    @abstractmethod
    def advance(self, seconds: float) -> Sequence[Message]:
        """Let time pass; return what is sent meanwhile, in order."""

    @abstractmethod
    def reboot(self) -> None:
        """Start anew, as after a drained battery or a watchdog reset."""
