"""A Movesense sensor without hardware."""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.drivers import movesense as layout
from lsemvae_edge.device.virtual._packets import PacketRecorder
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.polar import chest_lead
from lsemvae_edge.device.virtual.recorder import Characteristic, Message, Service
from lsemvae_edge.record import Record

ADVERTISED = "0000fdf3-0000-1000-8000-00805f9b34fb"
OK, BAD_REQUEST, NOT_FOUND, NO_ROOM = 200, 400, 404, 507
_PATH = "/Meas/ECG/"


class VirtualMovesense(PacketRecorder):
    """A sensor on its chest strap.

    Parameters
    ----------
    record : Record
        What its electrodes see: lead ``chest``, or lead I if the recording has no such lead.
    serial : str
    answers : bool
        Whether a subscription is answered before its first packet; older firmware does not.
    """

    def __init__(self, record: Record, *, serial: str = "210330000123", answers: bool = True) -> None:
        self._record, self._answers = record, answers
        self._feeds: dict[float, Feed] = {}
        self._reference = 0
        command = Characteristic(layout.COMMAND, frozenset({"write"}))
        data = Characteristic(layout.DATA, frozenset({"notify"}))
        super().__init__(
            self._feed_at(layout.FS_HZ[0]),
            layout.FS_HZ[0],
            local_name=f"Movesense {serial}",
            serial=serial,
            advertised=(ADVERTISED,),
            services=(Service(layout.SERVICE, (command, data)),),
        )

    def write(self, uuid: str, data: bytes) -> Sequence[Message]:
        """Take a command; return what is sent at once."""
        if uuid != layout.COMMAND or len(data) < 2:
            return ()
        if data[0] == layout.SUBSCRIBE:
            status = self._subscribed(data[1], data[2:].decode("ascii", errors="replace"))
        elif data[0] == layout.UNSUBSCRIBE:
            status = OK if self.running and data[1] == self._reference else NOT_FOUND
            self.running = self.running and status != OK
        else:
            status = BAD_REQUEST
        if status == OK and not self._answers:
            return ()
        return ((layout.DATA, struct.pack("<BBH", layout.ANSWERED, data[1], status)),)

    def _subscribed(self, reference: int, path: str) -> int:
        rate = path.removeprefix(_PATH)
        if not path.startswith(_PATH) or rate not in {f"{fs_hz:.0f}" for fs_hz in layout.FS_HZ}:
            return NOT_FOUND
        if self.running or reference == 0:
            return NO_ROOM if self.running else BAD_REQUEST
        self._reference, self.fs_hz = reference, float(rate)
        self.feed = self._feed_at(self.fs_hz)
        self.n_taken = int(self._clock_s * self.fs_hz + 1e-6)
        self.begin()
        return OK

    def _packet_samples(self) -> int:
        return layout.PACKET_SAMPLES

    def _packet(self, first: int, n: int) -> Sequence[Message]:
        packet = encode_samples(self._reference, int(first * 1000 / self.fs_hz), self.feed.steps(first, n))
        room = self._mtu - 3
        if len(packet) <= room:
            return ((layout.DATA, packet),)
        second = bytes([layout.SECOND_PART, self._reference]) + packet[room:]
        return (layout.DATA, packet[:room]), (layout.DATA, second[:room])

    def _feed_at(self, fs_hz: float) -> Feed:
        if fs_hz not in self._feeds:
            lead = chest_lead(self._record)
            self._feeds[fs_hz] = Feed(self._record, lead, fs_hz, layout.MV_PER_LSB, layout.ADC_BITS)
        return self._feeds[fs_hz]


def encode_samples(reference: int, milliseconds: int, steps: NDArray[np.int32]) -> bytes:
    """Make a packet; ``steps`` has shape (1, n)."""
    header = layout.HEADER.pack(layout.SAMPLES, reference, milliseconds % 2**32)
    return header + np.ascontiguousarray(steps[0], "<i4").tobytes()
