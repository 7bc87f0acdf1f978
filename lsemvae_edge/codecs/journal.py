r"""The journal of a live recording: every byte a recorder sent, and what its host knew, as they came.

A file is ``LSEJ``, a version byte, then entries, little-endian: kind u8, time u64 (nanoseconds of the host's monotonic
clock), length u16, content, CRC-32 (u32) of all that. It only ever grows, so a machine that stops leaves whole entries
and perhaps a torn last one. Bytes that were altered later cost the entries they belong to; reading goes on after them.

Kinds: ``header`` (JSON, first), ``up`` (JSON: a link, its MTU, what was read from the recorder), ``part`` (JSON: a new
part and the number its recorder calls it by), ``counting`` (u8: whether samples count from here on, see `COUNTING`),
``source`` (u8, text: a characteristic gets a number), ``data`` (u8, bytes: a notification of it), ``lost`` (empty),
``end`` (empty), ``polled`` (empty: the decoder was asked what it wants to ask, which changes what it understands).
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lsemvae_edge.errors import BadInputError

MAGIC = b"LSEJ\x01"
KINDS = ("header", "up", "part", "counting", "source", "data", "lost", "end", "polled")
Counting = Literal["starting", "counts", "held"]
COUNTING: tuple[Counting, ...] = get_args(Counting)
"""The recorder is being started, with a new decoder; samples count; they do not, for it may be another person's."""

SEARCHED_BYTES, SEARCHED_ENTRIES = 2**20, 4096
"""So far behind altered bytes the next whole entry is looked for, and so many candidates are checked."""
LATER_NS = 24 * 3600 * 10**9
"""It is at most so much later."""

_HEAD = struct.Struct("<BQH")
_CRC = struct.Struct("<I")
_JSON_KINDS = frozenset({"header", "up", "part"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    at_ns : int
        Monotonic clock of the host.
    content : bytes
    """

    kind: str
    at_ns: int
    content: bytes = b""

    def values(self) -> dict[str, Any]:
        """Return the JSON object of a ``header``, ``up`` or ``part``."""
        found = json.loads(self.content)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True, slots=True)
class Torn:
    """Bytes that are no whole entry: the end of a journal that was not ended, or damage."""

    n_bytes: int


def encode(entry: Entry) -> bytes:
    """Turn an entry into bytes."""
    head = _HEAD.pack(KINDS.index(entry.kind), entry.at_ns, len(entry.content))
    return head + entry.content + _CRC.pack(zlib.crc32(entry.content, zlib.crc32(head)))


def encode_values(kind: str, at_ns: int, values: dict[str, Any]) -> bytes:
    """Turn a ``header``, ``up`` or ``part`` into bytes."""
    return encode(Entry(kind, at_ns, json.dumps(values, separators=(",", ":"), allow_nan=False).encode()))


def decode(data: "bytes | memoryview") -> Iterator[Entry | Torn]:
    """Yield the entries of a journal, and `Torn` where bytes are none.

    Parameters
    ----------
    data : bytes
        The whole journal; a memory-mapped one is read as it is needed.

    Raises
    ------
    BadInputError
        If it does not begin as a journal, or its first entry is no header.
    """
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise BadInputError("The file does not begin as a journal of this version.", "Update lsemvae-edge.")
    at, entry = len(MAGIC), None
    while at < len(data):
        before, (entry, size) = entry, _entry(data, at)
        if before is None and (entry is None or entry.kind != "header"):
            raise BadInputError("The journal has no header.", "Nothing can be read from it; record again.")
        if entry is None:
            assert before is not None
            found = _next(data, at + 1, before.at_ns)
            yield Torn(found - at)
            at, entry = found, before
            continue
        yield entry
        at += size


def _next(data: "bytes | memoryview", begin: int, after_ns: int) -> int:
    """Find the next whole entry; the end of the data if there is none."""
    candidates = 0
    for at in range(begin, min(begin + SEARCHED_BYTES, len(data) - _HEAD.size - _CRC.size + 1)):
        if data[at] >= len(KINDS):
            continue
        _, at_ns, length = _HEAD.unpack_from(data, at)
        if not 0 <= at_ns - after_ns <= LATER_NS or at + _HEAD.size + length + _CRC.size > len(data):
            continue
        candidates += 1
        if _entry(data, at)[0] is not None:
            return at
        if candidates == SEARCHED_ENTRIES:
            break
    return len(data)


def _entry(data: "bytes | memoryview", at: int) -> tuple[Entry | None, int]:
    if len(data) - at < _HEAD.size + _CRC.size:
        return None, 0
    kind, at_ns, length = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if kind >= len(KINDS) or end + _CRC.size > len(data):
        return None, 0
    if zlib.crc32(data[at:end]) != _CRC.unpack_from(data, end)[0]:
        return None, 0
    content = bytes(data[at + _HEAD.size : end])
    if not _holds(KINDS[kind], content):
        return None, 0
    return Entry(KINDS[kind], at_ns, content), end + _CRC.size - at


def _holds(kind: str, content: bytes) -> bool:
    """Whether content is what its kind has; a checksum alone says that it was written, not by whom."""
    if kind in _JSON_KINDS:
        try:
            return isinstance(json.loads(content), dict)
        except (ValueError, RecursionError):
            return False
    if kind == "counting":
        return len(content) == 1 and content[0] < len(COUNTING)
    return bool(content) or kind not in ("source", "data")
