"""A KardiaMobile 6L without hardware, as far as it is known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.drivers import kardia as layout
from lsemvae_edge.device.virtual._packets import PacketRecorder
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Characteristic, Message, Service
from lsemvae_edge.record import Record

STAND_IN_COMMAND = b"start"
"""What this one obeys unless told otherwise; no real device does."""
STARTED = b"\x01"
BITS = 16


class VirtualKardia6L(PacketRecorder):
    """A device that starts by whatever command it is given here.

    Parameters
    ----------
    record : Record
        What the electrodes see.
    serial : str
    start_command : bytes
    """

    def __init__(self, record: Record, *, serial: str = "SIM6L001", start_command: bytes = STAND_IN_COMMAND) -> None:
        self.start_command = start_command
        command = Characteristic(layout.COMMAND, frozenset({"write", "indicate"}), encrypted=True)
        data = Characteristic(layout.DATA, frozenset({"notify"}), encrypted=True)
        super().__init__(
            Feed(record, layout.LEADS, layout.FS_HZ, layout.MV_PER_LSB, BITS),
            layout.FS_HZ,
            local_name="Kardia 6L",
            serial=serial,
            advertised=(layout.SERVICE,),
            services=(Service(layout.SERVICE, (command, data)),),
        )

    def write(self, uuid: str, data: bytes) -> Sequence[Message]:
        """Take a command; return what is sent at once."""
        if uuid != layout.COMMAND or data != self.start_command:
            return ()
        if not self.running:
            self.begin()
        return ((layout.COMMAND, STARTED),)

    def _packet_samples(self) -> int:
        return layout.PACKET_SAMPLES

    def _packet(self, first: int, n: int) -> Sequence[Message]:
        return ((layout.DATA, encode_data(self.feed.steps(first, n))),)


def encode_data(steps: NDArray[np.int32]) -> bytes:
    """Make a packet; ``steps`` has shape (2, n), rows I and II."""
    return np.ascontiguousarray(steps.T, "<i2").tobytes()
