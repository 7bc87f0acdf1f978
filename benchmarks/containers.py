"""What a browser keeps in files of its own making, taken out whole: LevelDB, SQLite, and values packed with Snappy.

In such files a text may be packed, or cut in two by the end of a page or block, so that looking at the bytes is not
enough.
"""

import hashlib
import re
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SQLITE_MAGIC = b"SQLite format 3\0"
_TABLE_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
_FOOTER = 48
_JOURNAL = re.compile(r"\d+\.log|MANIFEST-\d+")
_JOURNAL_BLOCK = 32768
_JOURNAL_HEADER = struct.Struct("<IHB")
_LAST_OF_RECORD = (1, 4)
"""A whole record, or the last part of one; 2 and 3 are a first and a middle part."""
_PLAIN, _SNAPPY = 0, 1
_PACKED_VALUE = b"\xff\x11\x02"
"""Where Chromium's IndexedDB packs a large value."""
_CLOSED = b"v10"
_KNOWN_KEY = hashlib.pbkdf2_hmac("sha1", b"peanuts", b"saltysalt", 1, 16)
"""Of Chromium on Linux with ``--password-store=basic``: hides its cookies from nobody."""
_ENCODING = re.compile(rb"content-encoding:[ \t]*([a-z, -]+)", re.IGNORECASE)
_READABLE = (b"gzip", b"identity")


class ContainerError(ValueError):
    """Bytes that are not what they begin as."""


def inside(path: Path, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what is in a file of a browser, each with what it was in.

    Parameters
    ----------
    path : Path
    content : bytes
        Of the file.
    """
    if content.startswith(SQLITE_MAGIC):
        yield "SQLite rows", _rows(path)
    # Of a half-written or foreign file the bytes are looked at as they are.
    with suppress(ContainerError, IndexError):
        if content.endswith(_TABLE_MAGIC):
            yield "LevelDB table", b"\n".join(_table(content))
        elif _JOURNAL.fullmatch(path.name):
            yield "LevelDB journal", b"\n".join(_journal(content))
    if content.startswith(_PACKED_VALUE):
        yield from _unpacked_value(content)


def unreadable(content: bytes) -> list[str]:
    """Return encodings of kept answers that cannot be looked into."""
    named = {match[1].strip().lower() for match in _ENCODING.finditer(content)}
    return sorted(name.decode() for name in named if name not in _READABLE)


def unpack_snappy(data: bytes) -> bytes:
    """Unpack Snappy's raw form; what follows it is left alone, since its length stands in front.

    Raises
    ------
    ContainerError
        If it is not that.
    """
    length, at = _number(data, 0)
    out = bytearray()
    try:
        while len(out) < length:
            kind, size = data[at] & 3, data[at] >> 2
            if kind == 0:
                n_bytes = max(0, size - 59)
                size = int.from_bytes(data[at + 1 : at + 1 + n_bytes], "little") if n_bytes else size
                at += 1 + n_bytes
                out += data[at : at + size + 1]
                at += size + 1
                continue
            n_bytes = (1, 2, 4)[kind - 1]
            back = int.from_bytes(data[at + 1 : at + 1 + n_bytes], "little")
            if kind == 1:
                size, back = (size & 7) + 3, data[at] >> 5 << 8 | back
            if not 0 < back <= len(out):
                raise ContainerError("not Snappy")
            at += 1 + n_bytes
            for _ in range(size + 1):
                out.append(out[-back])
    except IndexError as error:
        raise ContainerError("not Snappy, or a part of it") from error
    if len(out) != length:
        raise ContainerError("not Snappy")
    return bytes(out)


def _rows(path: Path) -> bytes:
    """Return all values of all tables, also those that lie in the log beside the file."""
    with TemporaryDirectory(prefix="rows-") as place:
        for one in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-journal")):
            if one.exists():
                shutil.copy(one, Path(place) / one.name)
        found: list[bytes] = []
        # Of what is no sound database the pages are looked at as they are.
        with suppress(sqlite3.Error), closing(sqlite3.connect(Path(place) / path.name)) as database:
            database.text_factory = bytes
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in tables:
                quoted = name.decode().replace('"', '""')
                for row in database.execute(f'SELECT * FROM "{quoted}"'):  # noqa: S608 - the file's own table
                    found += map(_opened, row)
    return b"\n".join(found)


def _table(content: bytes) -> Iterator[bytes]:
    """Yield keys with values of a sorted table."""
    footer = content[-_FOOTER:]
    _, at = _number(footer, 0)
    _, at = _number(footer, at)
    begin, at = _number(footer, at)
    size, _ = _number(footer, at)
    for _, handle in _entries(_block(content, begin, size)):
        offset, after = _number(handle, 0)
        for key, value in _entries(_block(content, offset, _number(handle, after)[0])):
            yield key + b"\n" + value
            yield from (inner for _, inner in _unpacked_value(value))


def _block(content: bytes, begin: int, size: int) -> bytes:
    kind, data = content[begin + size], content[begin : begin + size]
    if kind == _SNAPPY:
        return unpack_snappy(data)
    if kind == _PLAIN:
        return data
    raise ContainerError("a block of another packing")


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield a block's keys, of which only what differs from the one before is written, and values."""
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        shared, at = _number(block, at)
        own, at = _number(block, at)
        size, at = _number(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + size]
        at += own + size


def _journal(content: bytes) -> Iterator[bytes]:
    """Yield the records of a journal, whose parts lie in blocks of their own."""
    parts = b""
    for begin in range(0, len(content), _JOURNAL_BLOCK):
        block, at = content[begin : begin + _JOURNAL_BLOCK], 0
        while at + _JOURNAL_HEADER.size <= len(block):
            _, size, kind = _JOURNAL_HEADER.unpack_from(block, at)
            if kind == 0:
                break
            at += _JOURNAL_HEADER.size
            parts += block[at : at + size]
            at += size
            if kind in _LAST_OF_RECORD:
                yield parts
                yield from (inner for _, inner in _unpacked_value(parts))
                parts = b""


def _unpacked_value(value: bytes) -> Iterator[tuple[str, bytes]]:
    for match in re.finditer(re.escape(_PACKED_VALUE), value):
        with suppress(ContainerError):
            yield "Snappy", unpack_snappy(value[match.end() :])


def _opened(value: object) -> bytes:
    """Return a value of a row; opened, if Chromium closed it with the key that all of them have."""
    if not isinstance(value, bytes):
        return str(value).encode()
    closed = value.removeprefix(_CLOSED)
    if closed == value or len(closed) % 16:
        return value
    cipher = Cipher(algorithms.AES(_KNOWN_KEY), modes.CBC(b" " * 16)).decryptor()
    return cipher.update(closed) + cipher.finalize()


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ContainerError("no number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
