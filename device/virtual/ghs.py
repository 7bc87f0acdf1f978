"""A generic health sensor with an ECG, without hardware."""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.driver import GATT_HEADER_BYTES
from lsemvae_edge.device.drivers import ghs as layout
from lsemvae_edge.device.virtual._packets import PacketRecorder
from lsemvae_edge.device.virtual.feed import Feed
from lsemvae_edge.device.virtual.recorder import Characteristic, Message, Service
from lsemvae_edge.record import Record

BITS = 16
OBSERVATION_S = 0.1
LEADS = ("I", "II")
MICROVOLT = 4275
ONE = 1
"""As a float of 32 bits with exponent 0."""
TICKS = 0x29
"""A counter since the start, in milliseconds, without a break."""

_CODES = {lead: code for code, lead in layout.MDC_LEADS.items()}


class VirtualGhs(PacketRecorder):
    """A sensor that observes leads I and II ten times a second, in microvolts.

    Parameters
    ----------
    record : Record
        What the electrodes see.
    serial : str
    fs_hz : float
        A whole number.
    bundled : bool
        Whether both leads come in one message; otherwise each in its own, with the same time stamp.
    """

    def __init__(
        self, record: Record, *, serial: str = "SIMGHS01", fs_hz: float = layout.FS_HZ, bundled: bool = True
    ) -> None:
        self._bundled = bundled
        self._counter = 0
        live = Characteristic(layout.LIVE, frozenset({"notify"}), encrypted=True)
        features = Characteristic(layout.FEATURES, frozenset({"read"}), encrypted=True)
        control = Characteristic(layout.CONTROL, frozenset({"write", "indicate"}), encrypted=True)
        super().__init__(
            Feed(record, LEADS, fs_hz, layout.MV_PER_LSB, BITS),
            fs_hz,
            local_name=f"Health sensor {serial[-4:]}",
            serial=serial,
            advertised=(layout.SERVICE,),
            services=(Service(layout.SERVICE, (features, live, control)),),
        )

    def read(self, uuid: str) -> bytes:
        """Return a characteristic's value."""
        if uuid != layout.FEATURES:
            return b""
        return bytes([0, len(LEADS)]) + struct.pack(f"<{len(LEADS)}I", *(_CODES[lead] for lead in LEADS))

    def write(self, uuid: str, data: bytes) -> Sequence[Message]:
        """Take a command; return what is sent at once."""
        if uuid != layout.CONTROL or data not in (layout.START, layout.STOP):
            return ()
        if data == layout.STOP:
            self.running = False
        elif not self.running:
            self.begin()
        return ((layout.CONTROL, b"\x80"),)

    def _packet_samples(self) -> int:
        return round(self.fs_hz * OBSERVATION_S)

    def _packet(self, first: int, n: int) -> Sequence[Message]:
        stamp = struct.pack("<BQ", TICKS, round(first * 1000 / self.fs_hz))[:7] + bytes(2)
        steps = self.feed.steps(first, n)
        if self._bundled:
            arrays = [encode_array(lead, row, self.fs_hz) for lead, row in zip(LEADS, steps, strict=True)]
            messages = [encode_bundle(arrays, stamp)]
        else:
            messages = [encode_array(lead, row, self.fs_hz, stamp) for lead, row in zip(LEADS, steps, strict=True)]
        return [(layout.LIVE, segment) for message in messages for segment in self._segments(message)]

    def _segments(self, message: bytes) -> list[bytes]:
        room = self._mtu - GATT_HEADER_BYTES - 1
        starts = range(0, len(message), room)
        segments = []
        for at in starts:
            flags = (layout.FIRST if at == 0 else 0) | (layout.LAST if at + room >= len(message) else 0)
            segments.append(bytes([self._counter << 2 | flags]) + message[at : at + room])
            self._counter = (self._counter + 1) % 64
        return segments


def encode_array(lead: str, steps: NDArray[np.int32], fs_hz: float, stamp: bytes = b"") -> bytes:
    """Make a sample array of 16-bit microvolts; ``steps`` has shape (n,)."""
    flags = layout.HAS_TYPE | (layout.HAS_TIME if stamp else 0)
    value = layout.ARRAY.pack(MICROVOLT, ONE, 0, medfloat32(1 / fs_hz), 1, 2, len(steps))
    body = struct.pack("<HI", flags, _CODES[lead]) + stamp + value + np.ascontiguousarray(steps, "<i2").tobytes()
    return struct.pack("<BH", layout.SAMPLE_ARRAY, len(body)) + body


def encode_bundle(observations: Sequence[bytes], stamp: bytes) -> bytes:
    """Make a bundle."""
    body = struct.pack("<H", layout.HAS_TIME) + stamp + bytes([len(observations)]) + b"".join(observations)
    return struct.pack("<BH", layout.BUNDLE, len(body)) + body


def medfloat32(value: float) -> int:
    """Bits of a 32-bit float of IEEE 11073-20601 with seven digits; ``value`` is between 1e-6 and 1."""
    mantissa, exponent = round(value * 1e6), -6
    while mantissa < 800_000 and exponent > -12:
        exponent -= 1
        mantissa = round(value * 10.0**-exponent)
    return mantissa | (exponent & 0xFF) << 24
