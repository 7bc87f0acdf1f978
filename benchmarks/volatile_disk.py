"""A disk with a write cache that is lost: an NBD server for a guest, and the moment at which the power goes.

What the guest wrote lies in the cache until the guest flushes it. At a power cut each sector that is still there holds,
independently of all others, what it held at the last flush or any of what was written to it since. That is more
hostile than a disk that keeps an order, and it is the least that a disk promises. A disk that answers a flush before it
has obeyed is not shown here: nothing a kiosk does would help against it.
"""

import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

SECTOR = 4096
"""Bytes that are written whole or not at all: what disks with sectors of that size promise. Below that, ext4's own
superblock is torn now and then, and the file system has to be repaired by hand (``tests/power_cut/README.md``)."""
Fate = Literal["lost", "mixed", "kept"]
"""What becomes of the cache: all of it is lost, each sector as chance will have it, or all of it is kept (then the
guest's own memory alone is lost)."""

_READ, _WRITE, _DISCONNECT, _FLUSH, _ZEROES = 0, 1, 2, 3, 6
_FUA = 1
_HAS_FLAGS, _SEND_FLUSH, _SEND_FUA, _SEND_ZEROES = 1, 4, 8, 64
_OPTION_MAGIC, _REPLY_MAGIC = 0x49484156454F5054, 0x0003E889045565A9
_REQUEST_MAGIC, _ANSWER_MAGIC = 0x25609513, 0x67446698
_ABORT, _INFO, _GO = 2, 6, 7
_ACKNOWLEDGED, _TOLD, _UNSUPPORTED = 1, 3, 0x80000001
_INVALID = 22


@dataclass
class Counts:
    """Requests of one connection."""

    reads: int = 0
    writes: int = 0
    flushes: int = 0
    written_bytes: int = 0

    @property
    def changing(self) -> int:
        """Writes and flushes: the requests before which a cut can matter."""
        return self.writes + self.flushes


@dataclass
class Disk:
    """Contents that survive a power cut, and those that may not.

    Parameters
    ----------
    data : bytearray
        What the last flush made durable; a whole number of sectors.
    cache : dict
        For each sector, by number, what was written to it since, oldest first.
    """

    data: bytearray
    cache: dict[int, list[bytes]] = field(default_factory=dict)

    def read(self, offset: int, length: int) -> bytes:
        """Return what the guest would see."""
        first, end = offset // SECTOR, -(-(offset + length) // SECTOR)
        found = bytearray(self.data[first * SECTOR : end * SECTOR])
        for sector in range(first, end):
            if versions := self.cache.get(sector):
                found[(sector - first) * SECTOR : (sector - first + 1) * SECTOR] = versions[-1]
        begin = offset - first * SECTOR
        return bytes(found[begin : begin + length])

    def write(self, offset: int, content: bytes, durable: bool = False) -> None:
        """Take a write of whole sectors into the cache; a durable one goes past it."""
        for at in range(0, len(content), SECTOR):
            sector, part = (offset + at) // SECTOR, content[at : at + SECTOR]
            if durable:
                self.cache.pop(sector, None)
                self.data[offset + at : offset + at + SECTOR] = part
            else:
                self.cache.setdefault(sector, []).append(part)

    def flush(self) -> None:
        """Make everything durable."""
        for sector, versions in self.cache.items():
            self.data[sector * SECTOR : (sector + 1) * SECTOR] = versions[-1]
        self.cache.clear()

    def cut(self, rng: random.Random, fate: Fate) -> int:
        """Lose the power.

        Returns
        -------
        int
            Sectors that do not hold what was written last.
        """
        lost = 0
        for sector, versions in sorted(self.cache.items()):
            durable = bytes(self.data[sector * SECTOR : (sector + 1) * SECTOR])
            held = {"lost": durable, "kept": versions[-1], "mixed": rng.choice((durable, *versions))}[fate]
            lost += held != versions[-1]
            self.data[sector * SECTOR : (sector + 1) * SECTOR] = held
        self.cache.clear()
        return lost


class Server:
    """Serves a disk to one guest at a time, over a socket in the file system.

    Parameters
    ----------
    disk : Disk
    path : Path
        Of the socket.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self.disk, self.counts = disk, Counts()
        self._before: Callable[[Counts], None] = lambda _: None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._serving: threading.Thread | None = None

    def expect(self, before: Callable[[Counts], None] = lambda _: None) -> None:
        """Wait for the next guest, in a thread.

        Parameters
        ----------
        before : callable
            Called before each write and each flush is obeyed, with the requests before it; whom it kills has no
            answer to that request.
        """
        self.counts, self._before = Counts(), before
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def wait(self, timeout_s: float = 10.0) -> None:
        """Wait until the guest is gone, and nothing of it is still to be read."""
        if self._serving is not None:
            self._serving.join(timeout_s)
            if self._serving.is_alive():
                raise TimeoutError("The guest's disk is still in use.")

    def close(self) -> None:
        """Take no further guest."""
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        # A guest that is killed breaks off anywhere.
        with connection, suppress(ConnectionError, EOFError):
            if self._agreed(connection):
                self._obey(connection)

    def _agreed(self, connection: socket.socket) -> bool:
        connection.sendall(b"NBDMAGIC" + struct.pack(">QH", _OPTION_MAGIC, 3))
        _received(connection, 4)
        while True:
            _, option, length = struct.unpack(">QII", _received(connection, 16))
            _received(connection, length)
            if option in (_GO, _INFO):
                flags = _HAS_FLAGS | _SEND_FLUSH | _SEND_FUA | _SEND_ZEROES
                told = struct.pack(">HQH", 0, len(self.disk.data), flags)
                connection.sendall(struct.pack(">QIII", _REPLY_MAGIC, option, _TOLD, len(told)) + told)
                sizes = struct.pack(">HIII", 3, SECTOR, SECTOR, 1 << 25)
                connection.sendall(struct.pack(">QIII", _REPLY_MAGIC, option, _TOLD, len(sizes)) + sizes)
                connection.sendall(struct.pack(">QIII", _REPLY_MAGIC, option, _ACKNOWLEDGED, 0))
                if option == _GO:
                    return True
            else:
                reply = _ACKNOWLEDGED if option == _ABORT else _UNSUPPORTED
                connection.sendall(struct.pack(">QIII", _REPLY_MAGIC, option, reply, 0))
                if option == _ABORT:
                    return False

    def _obey(self, connection: socket.socket) -> None:
        while True:
            magic, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", _received(connection, 28))
            if magic != _REQUEST_MAGIC or kind == _DISCONNECT:
                return
            answer, error = b"", 0
            if kind == _READ:
                self.counts.reads += 1
                answer = self.disk.read(offset, length)
            elif kind in (_WRITE, _ZEROES):
                content = _received(connection, length) if kind == _WRITE else bytes(length)
                self._before(self.counts)
                self.counts.writes += 1
                self.counts.written_bytes += length
                self.disk.write(offset, content, bool(flags & _FUA))
            elif kind == _FLUSH:
                self._before(self.counts)
                self.counts.flushes += 1
                self.disk.flush()
            else:
                error = _INVALID
            connection.sendall(struct.pack(">IIQ", _ANSWER_MAGIC, error, handle) + answer)


def _received(connection: socket.socket, length: int) -> bytes:
    """Return so many bytes.

    Raises
    ------
    EOFError
        If the connection ends before.
    """
    parts = bytearray()
    while len(parts) < length:
        part = connection.recv(length - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
