"""AliveCor KardiaMobile 6L, mode M2: leads I and II at 300 Hz, for owners who may use it this way.

**Not by default, and not complete.** What is here was published by owners who looked at their own device, without the
maker's help; the maker's kit needs an agreement. The driver is never chosen by discovery. The command that starts the
stream belongs to the device; it is neither shipped nor worked out here: whoever is entitled to it names it in
`START_VARIABLE`, in hexadecimal.

**What is not known.** The scale of 10 mV / 65536 was inferred from the printed range, polarity was never measured;
recordings are therefore marked uncalibrated. Packets carry no number, no time and no checksum. The link is encrypted,
which keeps bytes as they were but does not tell that a packet is missing. What the device says when it has
started is published as one byte of unknown meaning, and ignored.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from lsemvae_edge.device.driver import GATT_HEADER_BYTES, Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Event, Frame

SERVICE, COMMAND, DATA = (f"ac06000{k}-328c-a28f-9846-5a8aa212661b" for k in range(1, 4))
START_VARIABLE = "LSEMVAE_EDGE_KARDIA_START"
"""Environment variable with the start command of the operator's own device."""

LEADS = ("I", "II")
FS_HZ = 300.0
MV_PER_LSB = 10 / 65536
"""Unverified. The lowest two bits have always been seen as zero, as of 14 bits moved to the top of 16."""
PACKET_SAMPLES = 9
PACKET_BYTES = 2 * len(LEADS) * PACKET_SAMPLES
MIN_MTU = GATT_HEADER_BYTES + PACKET_BYTES
MAX_COMMAND = 20

_HIGHEST = 2**15 - 4
_LOWEST = -(2**15)


class Kardia6L(Driver):
    """Leads I and II, uncalibrated."""

    description = Description(
        name="kardia-6l",
        title="KardiaMobile 6L",
        services=(SERVICE,),
        notifies=(COMMAND, DATA),
        leads=LEADS,
        fs_hz=(FS_HZ,),
        indexed=False,
        integrity=False,
        needs_bond=True,
        min_mtu=MIN_MTU,
        opt_in=True,
    )

    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Return the one stream there is.

        Raises
        ------
        UnsupportedRecorderError
            If another rate is wanted.
        """
        if fs_hz not in (None, FS_HZ):
            raise UnsupportedRecorderError(
                f"A KardiaMobile 6L records at {FS_HZ:g} Hz, not at {fs_hz:g} Hz.", "Ask for no rate."
            )
        return Stream(FS_HZ, LEADS, MV_PER_LSB, PACKET_SAMPLES / FS_HZ, amplitude="uncalibrated")

    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder; it keeps nothing."""
        return _KardiaDecoder()

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Write what the operator gave. It ends with the connection; no command that stops it is published.

        Raises
        ------
        UnsupportedRecorderError
            If the operator gave nothing, or nothing that could be a command.
        """
        return (Write(COMMAND, _start_command()),)


def decode_data(data: bytes) -> Frame | Damaged:
    """Decode one packet: nine pairs of 16-bit integers; ``signal_mv`` has shape (2, 9), rows I and II."""
    if len(data) != PACKET_BYTES:
        return Damaged(f"a packet of {len(data)} bytes, not {PACKET_BYTES}", len(data))
    steps = np.frombuffer(data, "<i2").reshape(PACKET_SAMPLES, len(LEADS)).T
    ends = (steps >= _HIGHEST) | (steps == _LOWEST)
    return Frame(
        (steps * MV_PER_LSB).astype(np.float32),
        saturated=frozenset(lead for lead, row in zip(LEADS, ends, strict=True) if row.any()),
    )


class _KardiaDecoder(Decoder):
    def feed(self, uuid: str, data: bytes) -> Sequence[Event]:
        if uuid == DATA:
            return (decode_data(data),)
        if uuid == COMMAND:
            return ()
        return (Damaged("an unknown characteristic", len(data)),)


def _start_command() -> bytes:
    text = os.environ.get(START_VARIABLE, "")
    try:
        command = bytes.fromhex(text)
    except ValueError:
        command = b""
    if 0 < len(command) <= MAX_COMMAND:
        return command
    state = f"does not hold 1 to {MAX_COMMAND} bytes in hexadecimal" if text else "is not set"
    raise UnsupportedRecorderError(
        f"A KardiaMobile 6L starts by a command of its own, and {START_VARIABLE} {state}.",
        f"Set {START_VARIABLE} to your device's command; ask its maker for it, this software does not contain it.",
    )
