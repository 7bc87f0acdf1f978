"""A Polar H10 without hardware."""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.drivers import polar as layout
from lsemvae_edge.device.virtual._packets import PacketRecorder
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Characteristic, Message, Service
from lsemvae_edge.record import Record

HEART_RATE = "0000180d-0000-1000-8000-00805f9b34fb"
SWITCHED_ON_NS = 599_616_000 * 10**9
"""A strap whose clock was never set begins with the year 2019."""
BITS = 24


class VirtualPolarH10(PacketRecorder):
    """A strap.

    Parameters
    ----------
    record : Record
        What its electrodes see: lead ``chest``, or lead I if the recording has no such lead.
    serial : str
    """

    def __init__(self, record: Record, *, serial: str = "0A1B2C3D") -> None:
        control = Characteristic(layout.CONTROL, frozenset({"read", "write", "indicate"}))
        data = Characteristic(layout.DATA, frozenset({"notify"}))
        super().__init__(
            Feed(record, chest_lead(record), layout.FS_HZ, layout.MV_PER_LSB, BITS),
            layout.FS_HZ,
            local_name=f"Polar H10 {serial}",
            serial=serial,
            advertised=(HEART_RATE,),
            services=(Service(layout.SERVICE, (control, data)),),
        )

    def read(self, uuid: str) -> bytes:
        """Return a characteristic's value."""
        return bytes([layout.FEATURES, 1 << layout.ECG]).ljust(17, b"\0") if uuid == layout.CONTROL else b""

    def write(self, uuid: str, data: bytes) -> Sequence[Message]:
        """Take a command; return what is sent at once."""
        if uuid != layout.CONTROL or len(data) < 2:
            return ()
        status = self._obeyed(data)
        return ((layout.CONTROL, bytes([layout.ANSWER, data[0], data[1], layout.STATUSES.index(status), 0])),)

    def _obeyed(self, data: bytes) -> str:
        if data == layout.START_ECG:
            if self.running:
                return "ALREADY_IN_STATE"
            self.begin()
            return "SUCCESS"
        if data == layout.STOP_ECG:
            self.running = False
            return "SUCCESS"
        return "INVALID_OPCODE" if data[0] not in (layout.START, layout.STOP) else "INVALID_PARAMETER"

    def _packet_samples(self) -> int:
        return layout.packet_samples(self._mtu)

    def _packet(self, first: int, n: int) -> Sequence[Message]:
        last_ns = SWITCHED_ON_NS + round((first + n - 1) * 1e9 / layout.FS_HZ)
        return ((layout.DATA, encode_data(last_ns, self.feed.steps(first, n))),)


def encode_data(last_ns: int, steps: NDArray[np.int32]) -> bytes:
    """Make a packet; ``steps`` has shape (1, n), in microvolts."""
    lower_three = np.ascontiguousarray(steps[0], "<i4").view(np.uint8).reshape(-1, 4)[:, : layout.BYTES_PER_SAMPLE]
    return struct.pack("<BQB", layout.ECG, last_ns, layout.ECG) + lower_three.tobytes()


def chest_lead(record: Record) -> tuple[str]:
    """Lead of a recording that a chest strap is attached to."""
    return ("chest",) if "chest" in record.leads else ("I",)
