"""Polar H10 chest strap: one lead at 130 Hz, through Polar's measurement data service.

The lead runs across the chest below the breast. It resembles lead I, but it is not lead I, so it is called ``chest``
and never enters a table of limb leads: such a recording is read and shown, and a screening has all limb leads masked.

Layouts follow Polar's published measurement data specification and several open readers of it; no strap was at hand.
Packets carry no number. They are stamped with the strap's clock, by which loss is known; the link is not encrypted.
"""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from lsemvae_edge.device.driver import GATT_HEADER_BYTES, Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Event, Frame, Reply

SERVICE, CONTROL, DATA = (f"fb005c8{k}-02e7-f387-1cad-8acd2d8df0c8" for k in range(3))

LEADS = ("chest",)
FS_HZ = 130.0
RESOLUTION_BITS = 14
MV_PER_LSB = 0.001
CLOCK_MODULUS_S = 2**64 / 1e9

ECG = 0
"""The kind of measurement, and the frame type of plain 24-bit microvolts."""
START, STOP = 2, 3
START_ECG = struct.pack("<BBBBHBBH", START, ECG, 0, 1, int(FS_HZ), 1, 1, RESOLUTION_BITS)
"""Setting 0 is the rate, setting 1 the resolution; one value each."""
STOP_ECG = bytes([STOP, ECG])
FEATURES, ANSWER = 0x0F, 0xF0
"""First byte of what the control point reads as, and of what it answers."""

HEADER = struct.Struct("<BQB")
"""Kind of measurement, nanoseconds since 2000 of the last sample, frame type."""
BYTES_PER_SAMPLE = 3
PACKET_SAMPLES = 73

STATUSES = (
    "SUCCESS",
    "INVALID_OPCODE",
    "INVALID_MEASUREMENT_TYPE",
    "NOT_SUPPORTED",
    "INVALID_LENGTH",
    "INVALID_PARAMETER",
    "ALREADY_IN_STATE",
    "INVALID_RESOLUTION",
    "INVALID_SAMPLE_RATE",
    "INVALID_RANGE",
    "INVALID_MTU",
    "INVALID_NUMBER_OF_CHANNELS",
    "INVALID_STATE",
    "DEVICE_IN_CHARGER",
)
"""What an answer can say, by number."""

_NS_PER_S = 10**9


class PolarH10(Driver):
    """One chest lead."""

    description = Description(
        name="polar-h10",
        title="Polar H10",
        # It advertises the heart rate service, as every strap does.
        services=(),
        local_names=(r"Polar H10 \w+",),
        reads=(CONTROL,),
        notifies=(CONTROL, DATA),
        leads=LEADS,
        fs_hz=(FS_HZ,),
        indexed=False,
        integrity=False,
    )

    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Return the one stream there is.

        Raises
        ------
        UnsupportedRecorderError
            If another rate is wanted, or the strap says that it has no ECG.
        """
        if fs_hz not in (None, FS_HZ):
            raise UnsupportedRecorderError(
                f"A Polar H10 records at {FS_HZ:g} Hz, not at {fs_hz:g} Hz.", "Ask for no rate."
            )
        features = reads.get(CONTROL)
        if features is not None and not (len(features) > 1 and features[0] == FEATURES and features[1] & 1 << ECG):
            raise UnsupportedRecorderError(
                "The strap does not offer its ECG.", "Use a Polar H10, and update its firmware."
            )
        return Stream(FS_HZ, LEADS, MV_PER_LSB, packet_samples(mtu) / FS_HZ, clock_modulus_s=CLOCK_MODULUS_S)

    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder; it keeps nothing."""
        return _PolarDecoder()

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Start the ECG."""
        return (Write(CONTROL, START_ECG, request=START),)

    def stop(self, stream: Stream) -> Sequence[Write]:
        """Stop the ECG."""
        return (Write(CONTROL, STOP_ECG, request=STOP),)


def decode_data(data: bytes) -> Frame | Damaged:
    """Decode one packet of samples; ``signal_mv`` has shape (1, n)."""
    if len(data) < HEADER.size:
        return Damaged("a packet shorter than its header", len(data))
    kind, last_ns, frame_type = HEADER.unpack_from(data)
    if kind != ECG or frame_type != ECG:
        return Damaged(f"a measurement of kind {kind} in frames of type {frame_type:#04x}", len(data))
    n, rest = divmod(len(data) - HEADER.size, BYTES_PER_SAMPLE)
    if n == 0 or rest:
        return Damaged(f"a packet of {len(data)} bytes", len(data))
    # Each 24-bit number is the upper part of the 32-bit one that begins a byte earlier, still inside the packet.
    words = np.ndarray((1, n), "<i4", data, HEADER.size - 1, (0, BYTES_PER_SAMPLE))
    first_ns = (last_ns - round((n - 1) * _NS_PER_S / FS_HZ)) % 2**64
    return Frame(((words >> 8) * MV_PER_LSB).astype(np.float32), device_time_s=first_ns / _NS_PER_S)


def decode_answer(data: bytes) -> Reply | Damaged:
    """Decode what the control point answers to a command."""
    if len(data) < 4 or data[0] != ANSWER or data[1] not in (START, STOP) or data[2] != ECG:
        return Damaged("an answer to nothing asked", len(data))
    status = data[3]
    if status == 0:
        return Reply(data[1])
    return Reply(data[1], STATUSES[status] if status < len(STATUSES) else f"STATUS_{status:02X}")


def packet_samples(mtu: int) -> int:
    """Return the samples of a packet; a strap fills what the MTU holds, up to `PACKET_SAMPLES`."""
    room = (mtu - GATT_HEADER_BYTES - HEADER.size) // BYTES_PER_SAMPLE
    return max(min(room, PACKET_SAMPLES), 1)


class _PolarDecoder(Decoder):
    def feed(self, uuid: str, data: bytes) -> Sequence[Event]:
        if uuid == DATA:
            return (decode_data(data),)
        if uuid == CONTROL:
            return (decode_answer(data),)
        return (Damaged("an unknown characteristic", len(data)),)
