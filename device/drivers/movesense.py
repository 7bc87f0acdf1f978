"""Movesense sensors with the GATT SensorData Protocol: one lead, 125 to 512 Hz.

On its chest strap the sensor measures along the chest; stuck to the skin, wherever it was stuck. Neither is a standard
lead, so the lead is called ``chest`` and never enters a table of limb leads: such a recording is read and shown, and a
screening has all limb leads masked.

Layouts follow the maker's published protocol and sample firmware; no sensor was at hand. Packets carry no number. They
are stamped in milliseconds since the sensor started, by which loss is known; the link is not encrypted. Of the two
resources ``/Meas/ECG/{rate}`` and ``/Meas/ECG/{rate}/mV`` the first is used: every firmware has it, in finer steps.
"""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from lsemvae_edge.device.driver import Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Event, Frame, Reply

SERVICE = "34802252-7185-4d5d-b431-630e7050e8f0"
COMMAND, DATA = (f"3480000{k}-7185-4d5d-b431-630e7050e8f0" for k in (1, 2))

LEADS = ("chest",)
FS_HZ = (250.0, 125.0, 128.0, 200.0, 256.0, 500.0, 512.0)
MV_PER_LSB = 50 / 2**17
"""18 bits over 100 mV."""
ADC_BITS = 18
PACKET_SAMPLES = 16
CLOCK_MODULUS_S = 2**32 / 1000

SUBSCRIBE, UNSUBSCRIBE = 1, 2
ANSWERED, SAMPLES, SECOND_PART = 1, 2, 3
"""First byte of what the sensor sends."""
REFERENCE = 101
"""Ours for the subscription; anything but 0."""
HEADER = struct.Struct("<BBI")
"""Kind, reference, milliseconds of the first sample."""
MIN_MTU = 3 + HEADER.size + 4 * PACKET_SAMPLES
"""Whole packets; below it the sensor would cut them in two."""

_FIRST_ERROR = 400
_LIMIT = 2 ** (ADC_BITS - 1)


class Movesense(Driver):
    """One chest lead."""

    description = Description(
        name="movesense",
        title="Movesense",
        # Firmware advertises one of two services of the company, or none; all of it the serial number.
        services=(),
        local_names=(r"Movesense \w+",),
        notifies=(DATA,),
        leads=LEADS,
        fs_hz=FS_HZ,
        indexed=False,
        integrity=False,
        min_mtu=MIN_MTU,
    )

    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Return a stream at the rate wanted.

        Raises
        ------
        UnsupportedRecorderError
            If the sensor has no such rate.
        """
        if fs_hz is not None and fs_hz not in FS_HZ:
            offered = ", ".join(f"{rate:g}" for rate in sorted(FS_HZ))
            raise UnsupportedRecorderError(
                f"A Movesense sensor records at {offered} Hz, not at {fs_hz:g} Hz.", "Ask for one of these rates."
            )
        rate_hz = FS_HZ[0] if fs_hz is None else fs_hz
        return Stream(rate_hz, LEADS, MV_PER_LSB, PACKET_SAMPLES / rate_hz, clock_modulus_s=CLOCK_MODULUS_S)

    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder; it keeps whether the subscription was answered, and whether a packet was lost to it."""
        return _MovesenseDecoder()

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Subscribe."""
        path = f"/Meas/ECG/{stream.fs_hz:.0f}"
        return (Write(COMMAND, bytes([SUBSCRIBE, REFERENCE]) + path.encode(), request=REFERENCE),)

    def stop(self, stream: Stream) -> Sequence[Write]:
        """Unsubscribe; older firmware does not answer to that."""
        return (Write(COMMAND, bytes([UNSUBSCRIBE, REFERENCE])),)


def decode_samples(data: bytes) -> Frame | Damaged:
    """Decode one packet of samples; ``signal_mv`` has shape (1, n)."""
    n, rest = divmod(len(data) - HEADER.size, 4)
    if n < 1 or rest:
        return Damaged(f"a packet of {len(data)} bytes", len(data))
    _, reference, milliseconds = HEADER.unpack_from(data)
    if reference != REFERENCE:
        return Damaged(f"a packet for reference {reference}", len(data))
    steps = np.frombuffer(data, "<i4", offset=HEADER.size).reshape(1, n)
    if steps.min() < -_LIMIT or steps.max() >= _LIMIT:
        return Damaged("samples beyond the converter's range", len(data))
    at_end = steps.min() == -_LIMIT or steps.max() == _LIMIT - 1
    return Frame(
        (steps * MV_PER_LSB).astype(np.float32),
        device_time_s=milliseconds / 1000,
        saturated=frozenset(LEADS) if at_end else frozenset(),
    )


class _MovesenseDecoder(Decoder):
    def __init__(self) -> None:
        self._answered = self._dropped = False

    def feed(self, uuid: str, data: bytes) -> Sequence[Event]:
        if uuid != DATA or not data:
            return (Damaged("an unknown characteristic" if uuid != DATA else "an empty packet", len(data)),)
        if data[0] == ANSWERED:
            return self._answer(data)
        if data[0] != SAMPLES:
            # Half a packet: its first part was taken for a whole one, what is missing is told with the next.
            self._dropped = True
            return (Damaged(f"a packet of kind {data[0]}", len(data)),)
        event = decode_samples(data)
        if isinstance(event, Damaged):
            self._dropped = True
            return (event,)
        if self._dropped:
            event = Frame(event.signal_mv, None, event.device_time_s, saturated=event.saturated, dropped=True)
            self._dropped = False
        if not self._answered:
            # Older firmware answers a subscription with nothing but samples.
            self._answered = True
            return Reply(REFERENCE), event
        return (event,)

    def _answer(self, data: bytes) -> Sequence[Event]:
        if len(data) < 4 or data[1] != REFERENCE:
            return (Damaged("an answer to nothing asked", len(data)),)
        if self._answered:
            # To the end of the subscription.
            return ()
        status = int.from_bytes(data[2:4], "little")
        self._answered = status < _FIRST_ERROR
        return (Reply(REFERENCE, None if self._answered else f"STATUS_{status}"),)
