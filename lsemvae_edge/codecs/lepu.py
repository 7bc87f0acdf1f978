"""Lepu's (Viatom's) ECG recorders: frames of the Bluetooth link, delta code, and the files of ER3 and M12.

Everything here is bytes in, plain values out. Frames and delta code follow the vendor's published demo apps and
headers; the file layout was checked on a recording that the vendor itself decoded.

Where those leave room, the strict reading is taken. A byte 0x80 inside a sample without mask is refused: the
vendor's encoder never writes a difference of -128, and its decoder would begin the sample anew. Sums that leave
16 bits, half a sample at the end, an unknown lead type and an unknown file version are refused as well.
"""

import struct
from binascii import crc_hqx
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError

FS_HZ = 250.0
MV_PER_LSB = 0.00244
NO_CONTACT = 0x7FFF
"""Raw value that stands for a lead without contact."""

LEAD_TYPES: Mapping[int, tuple[str | None, ...]] = {
    0: ("V6", "I", "II", "V1", "V2", "V3", "V4", "V5"),
    1: ("V5", "I", "II", "V1"),
    2: (None, "I", "II", "V1"),
    3: (None, None, "II", None),
    4: (None, "I", None, None),
    5: (None, "I", "II", None),
    6: ("V5", "I", "II", None),
    7: ("V5", "I", "II", "V1"),
}
"""Lead of each channel, by the number of what the vendor calls the lead type: which cable was plugged in.

None where the vendor names none: for type 2 (five electrodes) its apps disagree whether the first channel means V5.
"""

FILE_MAGIC = 0xA55A0438
MAX_SAMPLES = int(24 * 3600 * FS_HZ)

FRAME_START = 0xA5
REQUEST, OK = 0x00, 0x01
MAX_PAYLOAD = 8192
"""More than any answer of these recorders; a length beyond it is damage."""

_HEADER = struct.Struct("<BBBBBH")
_FILE_HEADER = struct.Struct("<BBB7x")
_FILE_TAIL = struct.Struct("<IH10xI")
_FILE_VERSION = 1
_CRC_START = 0xFFFF
_LENGTH_TOLERANCE_S, _LENGTH_TOLERANCE = 10.0, 0.1

_ESCAPE = 0x80
_WIDEST = 127
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame's content.

    Parameters
    ----------
    command : int
        What is asked for or answered.
    payload : bytes
        Its data.
    kind : int
        `REQUEST`, `OK`, or an error code of the recorder.
    sequence : int
        Counts requests modulo 255.
    """

    command: int
    payload: bytes = b""
    kind: int = REQUEST
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes between frames that belong to none."""

    reason: str
    n_bytes: int


@dataclass(frozen=True, eq=False)
class Er3Recording:
    """The content of an ER3 file.

    Parameters
    ----------
    lead_type : int
        Number in `LEAD_TYPES`.
    seconds : int
        Length that the recorder states.
    samples : array (n_channels, n_samples), int16
        Converter steps; `NO_CONTACT` where a lead had none.
    """

    lead_type: int
    seconds: int
    samples: NDArray[np.int16]


def crc8(data: bytes | bytearray) -> int:
    """CRC-8 with polynomial 0x07, start 0, as at the end of every frame."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def encode_frame(packet: Packet) -> bytes:
    """Return a frame: A5, command, its complement, kind, sequence, length u16, payload, CRC-8."""
    command, size = packet.command, len(packet.payload)
    frame = _HEADER.pack(FRAME_START, command, command ^ 0xFF, packet.kind, packet.sequence, size) + packet.payload
    return frame + bytes([crc8(frame)])


class Reassembler:
    """Finds frames in notifications, across their borders; keeps less than one frame."""

    def __init__(self) -> None:
        self._kept = bytearray()

    @property
    def n_kept(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._kept)

    def feed(self, data: bytes) -> list[Packet | Junk]:
        """Take bytes; return the frames that are complete now, and what was between them.

        After damage the search goes on one byte after the start that misled, so that no intact frame is lost.
        """
        self._kept += data
        return self._parse(waits=True)

    def flush(self) -> list[Packet | Junk]:
        """Give up the frame that waits for its rest; return what was hidden behind its start."""
        return self._parse(waits=False)

    def _parse(self, waits: bool) -> list[Packet | Junk]:
        kept, found = self._kept, list[Packet | Junk]()
        position = skipped = 0
        reason = ""
        while position < len(kept):
            packet, fault = _frame_at(kept, position)
            if packet is None and fault is None and waits:
                break
            if packet is None:
                if not skipped:
                    reason = fault or "a frame that never ended"
                following = kept.find(FRAME_START, position + 1)
                following = len(kept) if following < 0 else following
                skipped += following - position
                position = following
                continue
            if skipped:
                found.append(Junk(reason, skipped))
                skipped = 0
            found.append(packet)
            position += _HEADER.size + len(packet.payload) + 1
        if skipped:
            found.append(Junk(reason, skipped))
        del kept[:position]
        return found


def encode_deltas(samples: NDArray[np.int16]) -> bytes:
    """Encode samples, shape (n_channels, n_samples) with two to eight channels, as the recorders do.

    The first sample is raw; later ones are differences, but for channels that jump by more than 127 steps.
    """
    values = np.asarray(samples, np.int16).astype(np.int32)
    steps = np.diff(values, axis=1, prepend=0)
    wide = np.abs(steps) > _WIDEST
    wide[:, :1] = True
    plain = np.ascontiguousarray(steps.T.astype(np.int8))
    pieces, done = [], 0
    for at in np.flatnonzero(wide.any(axis=0)).tolist():
        pieces.append(plain[done:at].tobytes())
        bits = wide[:, at]
        mask = 0xFF if bits.all() else int(np.packbits(bits, bitorder="little")[0])
        pieces.append(bytes([_ESCAPE, mask]))
        for bit, value, step in zip(bits, values[:, at], plain[at], strict=True):
            pieces.append(struct.pack("<h", value) if bit else struct.pack("<b", step))
        done = at + 1
    return b"".join([*pieces, plain[done:].tobytes()])


def decode_deltas(data: bytes, n_channels: int, limit: int = MAX_SAMPLES) -> NDArray[np.int16]:
    """Decode a delta stream that begins at zero.

    Each sample is one int8 difference for each channel; or 0x80, a mask, and for each channel either a raw int16
    (its bit in the mask is set) or a difference. Mask bits beyond the channels mean nothing.

    Parameters
    ----------
    data : bytes
        The whole stream.
    n_channels : int
        2 to 8; recorders with one channel use another code.
    limit : int
        Most samples to accept.

    Returns
    -------
    array (n_channels, n_samples), int16

    Raises
    ------
    BadInputError
        If the stream ends within a sample, holds 0x80 where none can be, leaves 16 bits, or exceeds ``limit``.
    """
    state = np.zeros(n_channels, np.int32)
    lengths = [2 + n_channels + (mask & ((1 << n_channels) - 1)).bit_count() for mask in range(256)]
    blocks: list[NDArray[np.int16]] = []
    position = n_samples = 0
    while position < len(data):
        marks, end = _next_block(data, position, n_channels, lengths)
        block = np.frombuffer(data, np.uint8, end - position, position)
        values = _integrate(block, np.array(marks, np.int64) - position, np.array(lengths), state)
        blocks.append(values)
        state = values[:, -1].astype(np.int32)
        position, n_samples = end, n_samples + int(values.shape[1])
        if n_samples > limit:
            raise BadInputError(f"The ER3 recording holds more than {limit} samples.")
    return _joined(blocks, n_channels, n_samples)


def decode_file(data: bytes) -> Er3Recording:
    """Decode an ER3 file: 10 bytes of header (version, type, lead type), delta stream, 20 bytes of tail.

    The tail holds the length in seconds u32, CRC-16/CCITT-FALSE of header and stream u16, and a magic u32. Length
    and reserved bytes stand under no checksum.

    Raises
    ------
    BadInputError
        If the file is cut short or altered, of an unknown lead type, or if it states twelve leads and a length that
        contradicts the number of samples by more than 10 s and 10 %, as the files of one-lead recorders do.
    """
    if len(data) <= _FILE_HEADER.size + _FILE_TAIL.size:
        raise _damaged("is cut short")
    body = len(data) - _FILE_TAIL.size
    seconds, checksum, magic = _FILE_TAIL.unpack_from(data, body)
    if magic != FILE_MAGIC:
        raise _damaged("does not end as an ER3 file")
    _, _, lead_type = _FILE_HEADER.unpack_from(data)
    if crc_hqx(memoryview(data)[:body], _CRC_START) != checksum:
        raise _damaged("has a wrong checksum")
    if lead_type not in LEAD_TYPES:
        raise BadInputError(f"The ER3 file has lead type {lead_type}, whose leads are not known.")
    samples = decode_deltas(data[_FILE_HEADER.size : body], len(LEAD_TYPES[lead_type]), MAX_SAMPLES)
    found_s = samples.shape[1] / FS_HZ
    # A one-lead file of an ER1 or ER2 has the same ends, and a zero where an ER3 states twelve leads.
    if lead_type == 0 and abs(found_s - seconds) > max(_LENGTH_TOLERANCE_S, _LENGTH_TOLERANCE * seconds):
        raise BadInputError(
            f"The file ends as a Lepu file and states {seconds} s, but read as ER3 it holds {found_s:.0f} s.",
            "Export an ER3 or M12 recording of its waves (W…); those of ER1, ER2 and of trends (T…) are not read.",
        )
    return Er3Recording(lead_type, seconds, samples)


def encode_file(samples: NDArray[np.int16], lead_type: int = 2, seconds: int | None = None) -> bytes:
    """Return the bytes of an ER3 file; ``seconds`` is by default the length of the samples, rounded down."""
    stated_s = int(samples.shape[1] / FS_HZ) if seconds is None else seconds
    body = _FILE_HEADER.pack(_FILE_VERSION, 0, lead_type) + encode_deltas(samples)
    return sealed(body, stated_s)


def sealed(body: bytes, seconds: int) -> bytes:
    """Append the tail of an ER3 file, whose checksum stands over header and stream."""
    return body + _FILE_TAIL.pack(seconds, crc_hqx(body, _CRC_START), FILE_MAGIC)


def ends_as_file(data: bytes) -> bool:
    """Whether the last bytes are those of a Lepu file."""
    return len(data) > _FILE_HEADER.size + _FILE_TAIL.size and data[-4:] == struct.pack("<I", FILE_MAGIC)


def _crc8_table() -> bytes:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc << 1) ^ (0x107 if crc & 0x80 else 0)
        table.append(crc)
    return bytes(table)


_CRC8 = _crc8_table()


def _frame_at(kept: bytearray, at: int) -> tuple[Packet | None, str | None]:
    """Return the frame that begins here, or why none can; (None, None) if its rest is not there yet."""
    if kept[at] != FRAME_START:
        return None, "no frame begins here"
    if at + 3 <= len(kept) and kept[at + 1] ^ kept[at + 2] != 0xFF:
        return None, "a command without its complement"
    if at + _HEADER.size > len(kept):
        return None, None
    _, command, _, kind, sequence, length = _HEADER.unpack_from(kept, at)
    if length > MAX_PAYLOAD:
        return None, f"a length of {length} bytes"
    end = at + _HEADER.size + length
    if end >= len(kept):
        return None, None
    if crc8(kept[at:end]) != kept[end]:
        return None, "a wrong checksum"
    return Packet(command, bytes(kept[at + _HEADER.size : end]), kind, sequence), None


def _next_block(data: bytes, start: int, n_channels: int, lengths: Sequence[int]) -> tuple[list[int], int]:
    """Walk about ``_BLOCK_BYTES`` from sample to sample; return where masks are, and where the walk ended."""
    stop = min(start + _BLOCK_BYTES, len(data))
    marks: list[int] = []
    position = start
    while position < stop:
        mark = data.find(_ESCAPE, position, stop)
        run = (stop if mark < 0 else mark) - position
        if mark < 0 and stop < len(data):
            return marks, position + run - run % n_channels
        if run % n_channels:
            raise _damaged("ends within a sample" if mark < 0 else f"has a mask within a sample, at byte {mark}")
        if mark < 0:
            return marks, stop
        if mark + 1 == len(data) or mark + lengths[data[mark + 1]] > len(data):
            raise _damaged("ends within a sample")
        marks.append(mark)
        position = mark + lengths[data[mark + 1]]
    return marks, position


def _integrate(
    block: NDArray[np.uint8], marks: NDArray[np.int64], lengths: NDArray[np.int64], state: NDArray[np.int32]
) -> NDArray[np.int16]:
    """Turn whole samples into values: sums of differences that begin anew at each raw value."""
    n_channels = state.size
    masks = block[marks + 1] if marks.size else np.zeros(0, np.uint8)
    sizes = lengths[masks]
    masked = np.zeros(block.size + 1, np.int8)
    masked[marks] += 1
    masked[marks + sizes] -= 1
    plain = block[np.cumsum(masked[:-1], dtype=np.int8) == 0].view(np.int8).reshape(-1, n_channels)
    at = (marks - (np.cumsum(sizes) - sizes)) // n_channels + np.arange(marks.size)
    is_plain = np.ones(plain.shape[0] + marks.size, bool)
    is_plain[at] = False

    values = np.empty((n_channels, is_plain.size), np.int16)
    field = marks + 2
    for channel in range(n_channels):
        raw = (masks >> channel) & 1 == 1
        low, high = block[field], block[field + raw]
        steps = np.zeros(is_plain.size, np.int32)
        steps[is_plain] = plain[:, channel]
        steps[at[~raw]] = low[~raw].view(np.int8)
        sums = np.cumsum(steps, dtype=np.int32)
        restarts = at[raw]
        words = (low[raw].astype(np.uint16) | (high[raw].astype(np.uint16) << 8)).view(np.int16)
        bases = np.concatenate([state[channel : channel + 1], words.astype(np.int32) - sums[restarts]])
        sums += np.repeat(bases, np.diff(np.concatenate([[0], restarts, [sums.size]])))
        if sums.min() < -0x8000 or sums.max() > 0x7FFF:
            raise _damaged("holds differences that leave 16 bits")
        values[channel] = sums
        field = field + 1 + raw
    return values


def _joined(blocks: list[NDArray[np.int16]], n_channels: int, n_samples: int) -> NDArray[np.int16]:
    if len(blocks) == 1:
        return blocks[0]
    samples = np.empty((n_channels, n_samples), np.int16)
    done = 0
    for block in blocks:
        samples[:, done : done + block.shape[1]] = block
        done += block.shape[1]
    return samples


def _damaged(how: str) -> BadInputError:
    return BadInputError(f"The ER3 recording {how}.", "Take the file from the recorder again.")
