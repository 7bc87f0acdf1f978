"""The open six-lead profile, version 1.0 (``docs/open-6l-profile.md``): leads I and II, indexed, bonded, encrypted.

Nothing is kept between packets: a packet says by itself where its samples belong.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.driver import GATT_HEADER_BYTES, Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.drivers import _square_wave
from lsemvae_edge.device.errors import NotOfferedError, UnsupportedRecorderError
from lsemvae_edge.device.events import ELECTRODES, ClockMark, Damaged, Event, Frame, Reply

SERVICE, DATA, CLOCK, INFO, CONTROL = (f"06bc000{k}-b3d0-4fde-ad9a-423ad5ddf3fb" for k in range(1, 6))
FIRMWARE = "00002a26-0000-1000-8000-00805f9b34fb"
"""Firmware revision, of the device information service."""

MAJOR, MINOR = 1, 0
LEADS = ("I", "II")
LAYOUT = 1
"""The one layout of Data in version 1.0: pairs of 24-bit integers."""
INDEX_MODULUS = 2**32

DATA_HEADER = struct.Struct("<BBIBB")
"""Layout, recording, index of the first sample, status, samples of each lead."""
CLOCK_MARK = struct.Struct("<IQ")
"""Sample index, microseconds since boot."""
INFO_HEAD = struct.Struct("<BBIIIIHHBBBHHB")
"""Major, minor, boot, nV per step as a fraction, full scale in uV, band in mHz and Hz, notch in Hz, electrodes,
features, test signal in uV and mHz, number of rates."""
START_PARAMETERS = struct.Struct("<BBHB")
"""Opcode, request id, rate in Hz, recording; TEST has the same."""
REPLY = struct.Struct("<BBB")
"""Opcode, request id, status."""

BYTES_PER_PAIR = 6
SATURATED_I, SATURATED_II, DROPPED, CONTACT_KNOWN = 0x10, 0x20, 0x40, 0x80
"""Bits of a packet's status above those of the electrodes, which stand in the order of `ELECTRODES`."""
CAN_IDENTIFY, CAN_TEST, CAN_TELL_CONTACT = 0x01, 0x02, 0x04
"""Bits of Info's features."""

START, STOP, IDENTIFY, TEST = 1, 2, 3, 4
STATUSES = (
    "OK",
    "UNKNOWN_OPCODE",
    "MALFORMED",
    "NOT_SUPPORTED",
    "BUSY",
    "RATE_NOT_OFFERED",
    "MTU_TOO_SMALL",
    "LOW_BATTERY",
    "FAULT",
    "TIME_LIMIT",
)
"""What a reply can say, by number."""
ENDED_BY_ITSELF = STOP << 8
"""Request of the `Reply` that tells, unasked, why a stream ended."""

PACKET_S = 0.04
"""Longest packet to send: a gap of one lost packet up to this length is bridged before analysis."""
FULL_MTU = 100
"""Below this attribute MTU a recorder streams at `SMALL_MTU_FS_HZ` at most."""
SMALL_MTU_FS_HZ = 250.0

FS_RANGE_HZ = (100, 1000)
NV_PER_LSB_RANGE = (1.0, 10_000.0)
MIN_FULL_SCALE_UV = 5_000
TEST_RANGE_UV = (100, 20_000)
TEST_RANGE_MHZ = (500, 10_000)

_NV_PER_MV = 1e6
_WORD = np.dtype("<i4")
_OFF = tuple(
    frozenset(name for bit, name in enumerate(ELECTRODES) if status >> bit & 1) if status & CONTACT_KNOWN else None
    for status in range(256)
)
_SATURATED = tuple(
    frozenset(lead for lead, bit in zip(LEADS, (SATURATED_I, SATURATED_II), strict=True) if status & bit)
    for status in range(256)
)


class Open6L(Driver):
    """Recorders that follow the open six-lead profile."""

    description = Description(
        name="open-6l",
        title="Open six-lead recorder",
        services=(SERVICE,),
        reads=(INFO, FIRMWARE),
        notifies=(CONTROL, CLOCK, DATA),
        leads=LEADS,
        fs_hz=(500.0, 250.0),
        indexed=True,
        integrity=True,
        needs_bond=True,
        can_identify=True,
        can_test=True,
    )

    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Understand Info, and choose a rate that this MTU carries.

        Raises
        ------
        UnsupportedRecorderError
            If Info is missing, damaged, of another major version, or absurd, or the rate is not to be had.
        """
        info = decode_info(reads.get(INFO, b""))
        rate_hz = _rate(info, mtu, fs_hz)
        settings: dict[str, Any] = {"minor": info.minor}
        if info.features & CAN_TEST:
            settings |= {"test_uv": info.test_uv, "test_mhz": info.test_mhz}
        firmware = reads.get(FIRMWARE, b"")[:64].decode(errors="replace").strip("\0 ")
        return Stream(
            fs_hz=float(rate_hz),
            leads=LEADS,
            mv_per_lsb=info.mv_per_lsb,
            frame_s=packet_samples(rate_hz, mtu) / rate_hz,
            index_modulus=INDEX_MODULUS,
            boot=info.boot,
            serial=info.serial,
            firmware=firmware if firmware.isprintable() and firmware else None,
            settings=settings,
        )

    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder; it keeps nothing but the scale."""
        return _Open6LDecoder(stream.mv_per_lsb, stream.settings.get("minor", MINOR) > MINOR)

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Start measuring."""
        return (_command(START, recording, START_PARAMETERS, int(stream.fs_hz), recording),)

    def stop(self, stream: Stream) -> Sequence[Write]:
        """Stop whatever streams."""
        return (_command(STOP),)

    def identify(self) -> Sequence[Write]:
        """Let it blink."""
        return (_command(IDENTIFY),)

    def test(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Stream the front end's square wave.

        Raises
        ------
        NotOfferedError
            If this recorder has none.
        """
        if "test_uv" not in stream.settings:
            raise NotOfferedError(self.description.title, "test itself")
        return (_command(TEST, recording, START_PARAMETERS, int(stream.fs_hz), recording),)

    def judge_test(self, stream: Stream, signal_mv: NDArray[np.float32]) -> str | None:
        """Compare the square wave of both leads with what Info states.

        Raises
        ------
        NotOfferedError
            If this recorder has no test signal.
        """
        if "test_uv" not in stream.settings:
            raise NotOfferedError(self.description.title, "test itself")
        peak_to_peak_mv, frequency_hz = stream.settings["test_uv"] / 1000, stream.settings["test_mhz"] / 1000
        return _square_wave.complaint(signal_mv, stream.leads, stream.fs_hz, peak_to_peak_mv, frequency_hz)


@dataclass(frozen=True)
class Info:
    """What a recorder says of itself.

    Parameters
    ----------
    major, minor : int
        Version of the profile.
    boot : int
        Another one after every start.
    nv_numerator, nv_denominator : int
        Nanovolts of one step.
    full_scale_uv : int
        Input, either way, at which a lead saturates.
    band_low_mhz, band_high_hz : int
        Pass band at -3 dB; 0 mHz is DC.
    notch_hz : int
        0 for none.
    electrodes : int
        Those it has, bits in the order of `ELECTRODES`.
    features : int
        What it can do.
    test_uv, test_mhz : int
        Peak to peak and frequency of the test signal, as the data show it.
    rates_hz : tuple of int
        The usual one first.
    serial : str
    """

    major: int
    minor: int
    boot: int
    nv_numerator: int
    nv_denominator: int
    full_scale_uv: int
    band_low_mhz: int
    band_high_hz: int
    notch_hz: int
    electrodes: int
    features: int
    test_uv: int
    test_mhz: int
    rates_hz: tuple[int, ...]
    serial: str

    @property
    def mv_per_lsb(self) -> float:
        """Millivolts of one step."""
        return self.nv_numerator / self.nv_denominator / _NV_PER_MV


def decode_info(data: bytes) -> Info:
    """Decode Info and refuse what cannot be true; what a later minor version appends is ignored.

    Raises
    ------
    UnsupportedRecorderError
    """
    if not data:
        raise UnsupportedRecorderError("The recorder does not say what it is.", "Pair with it, then try again.")
    if data[0] != MAJOR:
        raise UnsupportedRecorderError(f"The recorder speaks version {data[0]} of the open profile, not {MAJOR}.")
    try:
        *head, n_rates = INFO_HEAD.unpack_from(data)
        *rates, n_serial = struct.unpack_from(f"<{n_rates}HB", data, INFO_HEAD.size)
    except struct.error:
        raise UnsupportedRecorderError(f"The recorder's information ends after {len(data)} bytes.") from None
    at = INFO_HEAD.size + 2 * n_rates + 1
    serial = data[at : at + n_serial]
    extra = len(data) - at - n_serial
    if extra < 0 or (extra > 0 and head[1] <= MINOR):
        raise UnsupportedRecorderError(f"The recorder's information of {len(data)} bytes contradicts itself.")
    fields: list[Any] = [*head, tuple(rates), serial.decode("ascii", errors="replace")]
    info = Info(*fields)
    if (wrong := _absurd(info)) is not None:
        raise UnsupportedRecorderError(f"The recorder states {wrong}.")
    return info


def decode_data(data: bytes, mv_per_lsb: float) -> Frame | Damaged:
    """Decode one packet of samples.

    Parameters
    ----------
    data : bytes
    mv_per_lsb : float
        Millivolts of one step.

    Returns
    -------
    Frame or Damaged
        ``signal_mv`` of shape (2, n), rows I and II.
    """
    if len(data) < DATA_HEADER.size:
        return Damaged("a packet shorter than its header", len(data))
    layout, recording, index, status, n = DATA_HEADER.unpack_from(data)
    if layout != LAYOUT:
        return Damaged(f"unknown layout {layout}", len(data))
    if n == 0 or len(data) != DATA_HEADER.size + BYTES_PER_PAIR * n:
        return Damaged(f"a packet of {n} samples in {len(data)} bytes", len(data))
    # Each 24-bit number is the upper part of the 32-bit one that begins a byte earlier, still inside the packet.
    words = np.ndarray((len(LEADS), n), _WORD, data, DATA_HEADER.size - 1, (3, BYTES_PER_PAIR))
    signal_mv = ((words >> 8) * mv_per_lsb).astype(np.float32)
    return Frame(signal_mv, index, None, recording, _OFF[status], _SATURATED[status], bool(status & DROPPED))


def decode_clock(data: bytes, later_minor: bool = False) -> ClockMark | Damaged:
    """Decode the clock; ``later_minor`` tells that bytes may follow which this version does not know."""
    if not _fits(data, CLOCK_MARK.size, later_minor):
        return Damaged(f"a clock of {len(data)} bytes", len(data))
    index, microseconds = CLOCK_MARK.unpack_from(data)
    return ClockMark(index, microseconds / 1e6)


def decode_reply(data: bytes, later_minor: bool = False) -> Reply | Damaged:
    """Decode the answer to a command; see `decode_clock` for ``later_minor``."""
    if not _fits(data, REPLY.size, later_minor):
        return Damaged(f"a reply of {len(data)} bytes", len(data))
    opcode, request, status = REPLY.unpack_from(data)
    if status == 0:
        return Reply(opcode << 8 | request)
    return Reply(opcode << 8 | request, STATUSES[status] if status < len(STATUSES) else f"STATUS_{status:02X}")


def packet_samples(fs_hz: float, mtu: int) -> int:
    """Return how many samples of each lead a packet holds: those of 40 ms, or fewer if the MTU holds fewer."""
    room = (mtu - GATT_HEADER_BYTES - DATA_HEADER.size) // BYTES_PER_PAIR
    return max(min(int(fs_hz * PACKET_S), room), 1)


class _Open6LDecoder(Decoder):
    def __init__(self, mv_per_lsb: float, later_minor: bool) -> None:
        self._mv_per_lsb, self._later_minor = mv_per_lsb, later_minor

    def feed(self, uuid: str, data: bytes) -> Sequence[Event]:
        if uuid == DATA:
            return (decode_data(data, self._mv_per_lsb),)
        if uuid == CLOCK:
            return (decode_clock(data, self._later_minor),)
        if uuid == CONTROL:
            return (decode_reply(data, self._later_minor),)
        return (Damaged("an unknown characteristic", len(data)),)


def _command(opcode: int, recording: int = 0, layout: struct.Struct | None = None, *parameters: int) -> Write:
    """Make a command whose answer no other one's can be mistaken for: the `Write.request` holds its opcode as well."""
    request = 1 + recording % 255
    data = bytes([opcode, request]) if layout is None else layout.pack(opcode, request, *parameters)
    return Write(CONTROL, data, request=opcode << 8 | request)


def _fits(data: bytes, size: int, later_minor: bool) -> bool:
    return len(data) == size or (later_minor and len(data) > size)


def _rate(info: Info, mtu: int, wanted_hz: float | None) -> int:
    fastest_hz = SMALL_MTU_FS_HZ if mtu < FULL_MTU else float(FS_RANGE_HZ[1])
    carried = [rate for rate in info.rates_hz if rate <= fastest_hz]
    if wanted_hz is not None and wanted_hz not in info.rates_hz:
        offered = ", ".join(map(str, info.rates_hz))
        raise UnsupportedRecorderError(f"The recorder offers {offered} samples a second, not {wanted_hz:g}.")
    possible = carried if wanted_hz is None else [rate for rate in carried if rate == wanted_hz]
    if not possible:
        raise UnsupportedRecorderError(
            f"With {mtu} bytes a packet the recorder's rates go up to {fastest_hz:g} samples a second.",
            "Use another Bluetooth adapter, or a lower rate.",
        )
    return possible[0]


def _absurd(info: Info) -> str | None:
    """Return a statement that cannot be true, or that no recording could be trusted with."""
    if info.nv_denominator == 0:
        return "a scale divided by nothing"
    nv_per_lsb = info.nv_numerator / info.nv_denominator
    lowest, highest = NV_PER_LSB_RANGE
    if not lowest <= nv_per_lsb <= highest:
        return f"a step of {nv_per_lsb:g} nV"
    # One step more than the converter's end is the usual way of stating it.
    if not MIN_FULL_SCALE_UV <= info.full_scale_uv <= 2**23 * nv_per_lsb / 1000:
        return f"a full scale of {info.full_scale_uv} uV"
    if not info.rates_hz or len(set(info.rates_hz)) < len(info.rates_hz):
        return "no rates, or one twice"
    if any(not FS_RANGE_HZ[0] <= rate <= FS_RANGE_HZ[1] for rate in info.rates_hz):
        return f"rates of {', '.join(map(str, info.rates_hz))} Hz"
    if info.features & CAN_TEST and not (
        TEST_RANGE_UV[0] <= info.test_uv <= TEST_RANGE_UV[1] and TEST_RANGE_MHZ[0] <= info.test_mhz <= TEST_RANGE_MHZ[1]
    ):
        return f"a test signal of {info.test_uv} uV at {info.test_mhz} mHz"
    if not (info.serial and info.serial.isascii() and info.serial.isprintable()):
        return "no readable serial number"
    return None
