"""Generic Health Sensor 1.0 (Bluetooth SIG, 2023): ECG leads as sample arrays of the SIG's one service for all sensors.

Read here are live observations of class sample array whose type is an ECG lead of IEEE 11073-10101 and whose unit is a
voltage. A lead comes as an observation of its own, since the channels of a multi-channel array have no names. Leads
that belong together come either in one bundle, or one after the other with the same time stamp, which must then be as
fine as a millisecond; what finds no partner before the next time stamp is dropped and counted. Observations of anything
else are passed over.

Layouts are those of the specification as firmware of others has them; no sensor was at hand. Taken to be so, and **to
be confirmed on hardware**: samples are signed; a value is ``scale * sample + offset``; the time stamp is that of the
first sample. The sampling rate stands in the observations alone, so it has to be known beforehand: any other is refused
and named.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.device.driver import Decoder, Description, Driver, Stream, Write
from lsemvae_edge.device.errors import UnsupportedRecorderError
from lsemvae_edge.device.events import Damaged, Event, Frame, Reply
from lsemvae_edge.leads import STANDARD_12

SERVICE, LIVE, FEATURES, CONTROL = (
    f"0000{short:04x}-0000-1000-8000-00805f9b34fb" for short in (0x1840, 0x2B8B, 0x2BF3, 0x2BF4)
)

MDC_LEADS = {
    131329: "I",
    131330: "II",
    131389: "III",
    131390: "aVR",
    131391: "aVL",
    131392: "aVF",
    **{131330 + k: f"V{k}" for k in range(1, 7)},
}
"""MDC_ECG_ELEC_POTL_* of IEEE 11073-10101: partition 2, code 256 and the number of the lead."""
MDC_UNITS_MV = {4256: 1e3, 4274: 1.0, 4275: 1e-3, 4276: 1e-6}
"""Millivolts of MDC_DIM_VOLT, _MILLI_VOLT, _MICRO_VOLT and _NANO_VOLT, without their partition."""

SAMPLE_ARRAY, BUNDLE = 4, 0xFF
"""Classes of observation."""
HAS_TYPE, HAS_TIME, HAS_DURATION, HAS_STATUS, HAS_ID, HAS_PATIENT, HAS_SUPPLEMENT, HAS_SOURCE, HAS_MEMBER = (
    1 << bit for bit in range(9)
)
"""Flags of an observation, in the order of the fields."""
FIRST, LAST = 1, 2
"""Flags of a segment; above them a counter of 6 bits."""

OBSERVATION = struct.Struct("<BHH")
"""Class, length of what follows the length, flags."""
ARRAY = struct.Struct("<HIIIBBI")
"""Unit, scale, offset, period in seconds, samples in a period, bytes of a sample, number of samples."""
TIME_BYTES = 9
"""Flags, 48 bits, source of the time, offset of the zone."""
TIME_STEPS_S = (1.0, 0.1, 1e-3, 1e-4)
"""By bits 2 and 3 of the flags; the last two are fine enough to place samples."""
COARSEST_STEP_S = 1e-3

START, STOP = bytes([1]), bytes([2])
REQUEST = 1
"""Answers do not say to which command; only one is ever awaited."""
ANSWERS = {0x80: None, 0x81: "SERVER_BUSY", 0x82: "LIVE_OBSERVATIONS_NOT_ENABLED"}

FS_HZ = 250.0
FS_RANGE_HZ = (100.0, 1000.0)
FS_TOLERANCE = 1e-4
"""A period has seven digits."""
MV_PER_LSB = 0.001
"""Nominal: every observation states its own step."""
MV_PER_LSB_RANGE = (1e-7, 0.1)
MAX_OFFSET_MV = 1e4
FRAME_S = 0.25

MAX_MESSAGE = 16_384
MAX_SAMPLES = 4096

_COUNTERS = 64
_SAME_BUNDLE = b"bundle"
_NO_NUMBERS = frozenset({0x7FFFFE, 0x7FFFFF, 0x800000, 0x800001, 0x800002})


class GenericHealthSensor(Driver):
    """Recorders of the SIG's own service that measure an ECG."""

    description = Description(
        name="ghs",
        title="Generic health sensor",
        services=(SERVICE,),
        reads=(FEATURES,),
        notifies=(CONTROL, LIVE),
        leads=("I", "II"),
        fs_hz=(FS_HZ,),
        indexed=False,
        integrity=True,
        needs_bond=True,
    )

    def stream(self, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None = None) -> Stream:
        """Take the leads from the features; the rate is believed until the first observation.

        Raises
        ------
        UnsupportedRecorderError
            If the features are missing or damaged, name no ECG lead, or the rate is absurd.
        """
        leads = decode_features(reads.get(FEATURES, b""))
        rate_hz = FS_HZ if fs_hz is None else fs_hz
        if not FS_RANGE_HZ[0] <= rate_hz <= FS_RANGE_HZ[1]:
            raise UnsupportedRecorderError(f"No ECG is read at {rate_hz:g} Hz.", "Ask for the recorder's own rate.")
        return Stream(rate_hz, leads, MV_PER_LSB, FRAME_S, clock_modulus_s=2**48 * TIME_STEPS_S[-2])

    def decoder(self, stream: Stream) -> Decoder:
        """Make a decoder; it keeps half a message, and the leads that wait for their partners."""
        return _GhsDecoder(stream.leads, stream.fs_hz)

    def start(self, stream: Stream, recording: int) -> Sequence[Write]:
        """Let live observations be sent."""
        return (Write(CONTROL, START, request=REQUEST),)

    def stop(self, stream: Stream) -> Sequence[Write]:
        """Let no more be sent."""
        return (Write(CONTROL, STOP, request=REQUEST),)


@dataclass(frozen=True, eq=False, slots=True)
class Array:
    """One lead's samples.

    Parameters
    ----------
    lead : str
    signal_mv : array (n,), float32
    time : bytes
        The time stamp as it came; empty if there was none.
    stamp : bytes
        What arrays that belong together have in common.
    """

    lead: str
    signal_mv: NDArray[np.float32]
    time: bytes
    stamp: bytes


class NotUnderstoodError(Exception):
    """A message that is none of this protocol, or none that is read here; never leaves the decoder."""


def decode_features(data: bytes) -> tuple[str, ...]:
    """Return the ECG leads among the observation types that a recorder supports, in standard order.

    Raises
    ------
    UnsupportedRecorderError
    """
    if len(data) < 2 or len(data) < 2 + 4 * data[1]:
        raise UnsupportedRecorderError("The recorder does not say what it measures.", "Pair with it, then try again.")
    types = struct.unpack_from(f"<{data[1]}I", data, 2)
    found = {MDC_LEADS[code] for code in types if code in MDC_LEADS}
    if not found:
        raise UnsupportedRecorderError("The health sensor measures no ECG lead.", "Choose another recorder.")
    return tuple(lead for lead in STANDARD_12 if lead in found)


def decode_message(data: bytes, fs_hz: float) -> list[Array]:
    """Decode one whole message: a sample array, or a bundle of several.

    Raises
    ------
    NotUnderstoodError
    """
    arrays, end = _observation(data, 0, fs_hz, inside=False)
    if end != len(data):
        raise NotUnderstoodError(f"{len(data) - end} bytes after an observation")
    return arrays


def medfloat32(bits: int) -> float:
    """Value of a 32-bit float of IEEE 11073-20601, NaN for its reserved values."""
    mantissa, exponent = bits & 0xFFFFFF, bits >> 24
    if mantissa in _NO_NUMBERS:
        return math.nan
    mantissa -= 1 << 24 if mantissa >> 23 else 0
    exponent -= 1 << 8 if exponent >> 7 else 0
    # Decimal, so that 1 and -3 give the very float that 0.001 is.
    return float(f"{mantissa}e{exponent}")


class _GhsDecoder(Decoder):
    def __init__(self, leads: tuple[str, ...], fs_hz: float) -> None:
        self._leads, self._fs_hz = leads, fs_hz
        self._message = bytearray()
        self._inside = False
        self._counter: int | None = None
        self._newest = b""
        self._waiting: dict[str, Array] = {}
        self._dropped = False

    def feed(self, uuid: str, data: bytes) -> Sequence[Event]:
        if uuid == CONTROL:
            return (_answer(data),)
        if uuid != LIVE:
            return (Damaged("an unknown characteristic", len(data)),)
        if len(data) < 2:
            return (Damaged("a segment without content", len(data)),)
        if data == self._newest:
            return (Damaged("a repeated segment", len(data)),)
        self._newest = data[: MAX_MESSAGE + 1]
        events = self._continuity(data)
        if not self._inside:
            self._dropped = True
            return [*events, Damaged("a segment of an unknown message", len(data))]
        self._message += data[1:]
        if len(self._message) > MAX_MESSAGE:
            return [*events, self._lost("a message without end")]
        return [*events, *self._whole()] if data[0] & LAST else events

    def _continuity(self, data: bytes) -> list[Event]:
        """Follow the counter; begin a message, or give up the one under way."""
        events: list[Event] = []
        counter = data[0] >> 2
        follows = self._counter is None or counter == (self._counter + 1) % _COUNTERS
        self._counter = counter
        is_first = bool(data[0] & FIRST)
        # Some recorders count anew with every message.
        if not follows and not (is_first and counter == 0):
            self._dropped = True
        if self._inside and (is_first or not follows):
            events.append(self._lost("a message cut short"))
        if is_first:
            self._message, self._inside = bytearray(), True
        return events

    def _lost(self, reason: str) -> Damaged:
        n, self._message, self._inside, self._dropped = len(self._message), bytearray(), False, True
        return Damaged(reason, n)

    def _whole(self) -> list[Event]:
        message, self._message, self._inside = bytes(self._message), bytearray(), False
        try:
            arrays = decode_message(message, self._fs_hz)
        except NotUnderstoodError as fault:
            self._dropped = True
            return [Damaged(str(fault), len(message))]
        events: list[Event] = []
        for array in arrays:
            events += self._matched(array)
        if any(waiting.stamp == _SAME_BUNDLE for waiting in self._waiting.values()):
            events.append(self._abandoned())
        return events

    def _abandoned(self) -> Damaged:
        alone, self._waiting, self._dropped = self._waiting, {}, True
        n_bytes = sum(array.signal_mv.nbytes for array in alone.values())
        return Damaged(f"lead {', '.join(alone)} without the others", n_bytes)

    def _matched(self, array: Array) -> list[Event]:
        """Wait until all leads of one time are there."""
        if array.lead not in self._leads:
            return [Damaged(f"lead {array.lead}, which was not announced", array.signal_mv.nbytes)]
        events: list[Event] = []
        if self._waiting and (array.lead in self._waiting or not _belongs(array, self._waiting)):
            events.append(self._abandoned())
        if len(self._leads) > 1 and array.stamp != _SAME_BUNDLE and _seconds(array.stamp) is None:
            self._dropped = True
            return [*events, Damaged("a lead by itself without a time stamp to pair it by", array.signal_mv.nbytes)]
        self._waiting[array.lead] = array
        if len(self._waiting) == len(self._leads):
            rows = [self._waiting[lead].signal_mv for lead in self._leads]
            dropped, self._waiting, self._dropped = self._dropped, {}, False
            events.append(Frame(np.stack(rows), device_time_s=_seconds(array.time), dropped=dropped))
        return events


def _belongs(array: Array, waiting: Mapping[str, Array]) -> bool:
    return all(a.stamp == array.stamp and a.signal_mv.size == array.signal_mv.size for a in waiting.values())


def _observation(data: bytes, at: int, fs_hz: float, inside: bool) -> tuple[list[Array], int]:
    """Decode the observation at ``at``; return its arrays and where it ends."""
    if len(data) - at < OBSERVATION.size:
        raise NotUnderstoodError("an observation shorter than its header")
    kind, length, flags = OBSERVATION.unpack_from(data, at)
    end = at + 3 + length
    if end > len(data) or length < 2:
        raise NotUnderstoodError(f"an observation of {length} bytes, of which {len(data) - at - 3} came")
    if kind not in (SAMPLE_ARRAY, BUNDLE):
        return [], end
    if kind == BUNDLE and inside:
        raise NotUnderstoodError("a bundle in a bundle")
    code, stamp, at = _attributes(data, at + OBSERVATION.size, end, flags)
    if kind == BUNDLE:
        return _bundle(data, at, end, stamp, fs_hz), end
    if not flags & HAS_TYPE:
        raise NotUnderstoodError("a sample array of no type")
    lead = MDC_LEADS.get(code)
    return ([] if lead is None else [Array(lead, _samples(data, at, end, fs_hz), stamp, stamp)]), end


def _bundle(data: bytes, at: int, end: int, stamp: bytes, fs_hz: float) -> list[Array]:
    if at == end:
        raise NotUnderstoodError("a bundle without its number of observations")
    n, at = data[at], at + 1
    arrays: list[Array] = []
    for _ in range(n):
        found, at = _observation(data[:end], at, fs_hz, inside=True)
        arrays += [replace(array, time=array.time or stamp, stamp=_SAME_BUNDLE) for array in found]
    if at != end:
        raise NotUnderstoodError(f"{end - at} bytes too many in a bundle")
    return arrays


def _attributes(data: bytes, at: int, end: int, flags: int) -> tuple[int, bytes, int]:
    """Return type, time stamp and where the value begins."""
    if flags >> 9:
        raise NotUnderstoodError(f"an observation with flags {flags:#06x}")
    code, stamp = 0, b""
    sizes = {HAS_TYPE: 4, HAS_TIME: TIME_BYTES, HAS_DURATION: 4, HAS_STATUS: 2, HAS_ID: 4, HAS_PATIENT: 1}
    for flag in (1 << bit for bit in range(9)):
        if not flags & flag:
            continue
        # The last three are lists of codes.
        size = sizes[flag] if flag in sizes else 1 + 4 * (data[at] if at < end else 0)
        if at + size > end:
            raise NotUnderstoodError("an observation shorter than its attributes")
        if flag == HAS_TYPE:
            code = int.from_bytes(data[at : at + size], "little")
        if flag == HAS_TIME:
            stamp = data[at : at + size]
        at += size
    return code, stamp, at


def _samples(data: bytes, at: int, end: int, fs_hz: float) -> NDArray[np.float32]:
    """Decode the value of a sample array, shape (n,), in millivolts."""
    if end - at < ARRAY.size:
        raise NotUnderstoodError("a sample array shorter than its header")
    unit, scale_bits, offset_bits, period_bits, per_period, n_bytes, n = ARRAY.unpack_from(data, at)
    at += ARRAY.size
    unit_mv, period_s = MDC_UNITS_MV.get(unit), medfloat32(period_bits)
    if unit_mv is None:
        raise NotUnderstoodError(f"a sample array in unit {unit}, which is no voltage")
    if per_period != 1:
        raise NotUnderstoodError(f"{per_period} channels without names")
    if not 1 <= n <= MAX_SAMPLES or not 1 <= n_bytes <= 4 or end - at != n * n_bytes:
        raise NotUnderstoodError(f"{n} samples of {n_bytes} bytes in {end - at} bytes")
    if not abs(period_s * fs_hz - 1) <= FS_TOLERANCE:
        raise NotUnderstoodError(f"a sample every {period_s:g} s, where {fs_hz:g} Hz was expected")
    mv_per_lsb, offset_mv = medfloat32(scale_bits) * unit_mv, medfloat32(offset_bits) * unit_mv
    if not MV_PER_LSB_RANGE[0] <= mv_per_lsb <= MV_PER_LSB_RANGE[1] or not abs(offset_mv) <= MAX_OFFSET_MV:
        raise NotUnderstoodError(f"a step of {mv_per_lsb:g} mV from {offset_mv:g} mV on")
    return (_integers(data[at:end], n_bytes) * mv_per_lsb + offset_mv).astype(np.float32)


def _integers(data: bytes, n_bytes: int) -> NDArray[np.int32]:
    """Signed integers of 1 to 4 bytes."""
    raw = np.frombuffer(data, np.uint8).reshape(-1, n_bytes)
    words = np.zeros((len(raw), 4), np.uint8)
    words[:, 4 - n_bytes :] = raw
    return words.view("<i4")[:, 0] >> (8 * (4 - n_bytes))


def _seconds(stamp: bytes) -> float | None:
    if len(stamp) != TIME_BYTES:
        return None
    step_s = TIME_STEPS_S[stamp[0] >> 2 & 3]
    return int.from_bytes(stamp[1:7], "little") * step_s if step_s <= COARSEST_STEP_S else None


def _answer(data: bytes) -> Reply | Damaged:
    if len(data) != 1:
        return Damaged(f"an answer of {len(data)} bytes", len(data))
    return Reply(REQUEST, ANSWERS[data[0]] if data[0] in ANSWERS else f"ANSWER_{data[0]:02X}")
