"""What virtual recorders have in common that send packets of so many samples, one after the other."""

from abc import abstractmethod
from collections.abc import Sequence

from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Message, Service, VirtualRecorder

SMALLEST_MTU = 23


class PacketRecorder(VirtualRecorder):
    """A converter that runs as long as the recorder is on, and packets of what it takes while somebody listens.

    Parameters
    ----------
    feed : Feed
        What the electrodes see.
    fs_hz : float
    local_name, serial : str
    advertised : tuple of str
    services : tuple of Service

    Attributes
    ----------
    running : bool
        Whether it sends.
    n_taken : int
        Samples of the feed that went by.
    """

    def __init__(
        self,
        feed: Feed,
        fs_hz: float,
        *,
        local_name: str,
        serial: str,
        advertised: tuple[str, ...],
        services: tuple[Service, ...],
    ) -> None:
        self.feed, self.fs_hz = feed, fs_hz
        self.local_name, self.serial, self.advertised, self.services = local_name, serial, advertised, services
        self._mtu = SMALLEST_MTU
        self.reboot()

    def connected(self, mtu: int) -> None:
        self._mtu = mtu

    def disconnected(self) -> None:
        self.running, self._mtu = False, SMALLEST_MTU

    def read(self, uuid: str) -> bytes:
        return b""

    def advance(self, seconds: float) -> Sequence[Message]:
        self._clock_s += seconds
        # Sums of ticks fall short of whole samples by rounding.
        self.n_taken = int(self._clock_s * self.fs_hz + 1e-6)
        messages: list[Message] = []
        while self.running and self.n_taken - self._next >= (n := self._packet_samples()):
            messages += self._packet(self._next, n)
            self._next += n
        return messages

    def reboot(self) -> None:
        self.running = False
        self._clock_s, self.n_taken, self._next = 0.0, 0, 0

    def begin(self) -> None:
        """Send from the next sample on."""
        self.running, self._next = True, self.n_taken

    @abstractmethod
    def _packet_samples(self) -> int:
        """Return how many samples of each lead a packet has."""

    @abstractmethod
    def _packet(self, first: int, n: int) -> Sequence[Message]:
        """Make the packet of ``n`` samples from ``first`` on."""
