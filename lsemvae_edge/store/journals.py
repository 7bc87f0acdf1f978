"""Journals of recordings under way, encrypted as they grow.

A file is ``LSES``, a version byte, then chunks: length u32 (little-endian), and the ciphertext with its tag. The nonce
of a chunk is its number, so a chunk that was moved, repeated or altered does not open. The key is wrapped in the
store's database, and destroyed there in the very commit that stores the attempt: what is left of the file cannot be
read by anybody, whenever the power goes.
"""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from lsemvae_edge.container import append_whole
from lsemvae_edge.errors import StoreError
from lsemvae_edge.store.key import sync_folder
from lsemvae_edge.store.sealing import NONCE_BYTES, TAG_BYTES, BrokenSealError, seal_with, unseal_with
from lsemvae_edge.visit import Visit

FOLDER = "journals"
SUFFIX = ".lsejs"
MAGIC = b"LSES\x01"
UNREADABLE = b"\xff"
"""Stands for each byte of a chunk that does not open; begins no entry of a journal."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Unfinished:
    """A recording that ended without the program that made it.

    Parameters
    ----------
    id : str
        Of the journal.
    visit : Visit
    number : int
        Of the attempt.
    data : bytes
        The journal, for `lsemvae_edge.device.replay`; empty if nothing of it reached the disk.
    """

    id: str
    visit: Visit
    number: int
    data: bytes = field(repr=False)


class SealedJournal:
    """A journal that encrypts what is appended to it, as `lsemvae_edge.device.journal.JournalWriter` wants it.

    Made by `Store.journal`.

    Parameters
    ----------
    folder : Path
        Of the journals.
    id : str
        Random; also the file's name.
    key : bytes
    visit : Visit
    number : int

    Raises
    ------
    OSError
        Here and in every method, if it cannot be written.
    """

    def __init__(self, folder: Path, id: str, key: bytes, visit: Visit, number: int) -> None:
        self.path = path_of(folder, id)
        self.id, self.visit, self.number = id, visit, number
        self._key, self._count, self._size = key, 0, 0
        self._folder_synced = False
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Held as long as it is written, so that another program does not take it for unfinished.
        _lock(self._descriptor)
        self._append(MAGIC)

    def write(self, data: bytes) -> None:
        """Append; all of it or, with an error, nothing."""
        nonce = self._count.to_bytes(NONCE_BYTES, "little")
        # Never again this nonce, whatever becomes of the write.
        self._count += 1
        sealed = seal_with(self._key, nonce, data, self.id.encode())
        self._append(_LENGTH.pack(len(sealed)) + sealed)

    def sync(self) -> None:
        """Hand everything to the disk."""
        os.fdatasync(self._descriptor)
        if not self._folder_synced:
            sync_folder(self.path.parent)
            self._folder_synced = True

    def close(self) -> None:
        """End writing; the store lets go of the file once the attempt is stored."""

    def release(self) -> None:
        """Let other programs take it for unfinished; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, data: bytes) -> None:
        self._size = append_whole(self._descriptor, data, self._size)


def path_of(folder: Path, id: str) -> Path:
    """Return where a journal lies."""
    return folder / f"{id}{SUFFIX}"


def is_being_written(path: Path) -> bool:
    """Whether a program has the journal open to write it; False also if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        _lock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def read(path: Path, id: str, key: bytes) -> bytes:
    """Return what was appended to a journal.

    A torn end is left out. A chunk that does not open leaves `UNREADABLE` bytes in its place.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"A journal in {path.parent} cannot be read: {error.strerror}.", "Check the disk.") from error
    if not raw.startswith(MAGIC):
        return b""
    found, at, count = bytearray(), len(MAGIC), 0
    while at + _LENGTH.size <= len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if length < TAG_BYTES or at + length > len(raw):
            break
        try:
            found += unseal_with(key, count.to_bytes(NONCE_BYTES, "little"), raw[at : at + length], id.encode())
        except BrokenSealError:
            found += UNREADABLE * (length - TAG_BYTES)
        at, count = at + length, count + 1
    return bytes(found)


def _lock(descriptor: int) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
