"""The journal on disk: written before anything is decoded, kept through a kill at any byte."""

import mmap
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsemvae_edge.codecs import journal as codec
from lsemvae_edge.codecs.journal import Counting, Entry, Torn
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.errors import BadInputError, StoreError

SYNC_S = 1.0
"""A power cut loses at most so much."""


class JournalWriter:
    """Appends to a journal that did not exist.

    Parameters
    ----------
    path : Path
    sync_s : float
        See `SYNC_S`.

    Raises
    ------
    StoreError
        Here and in every method, if it cannot be written.
    """

    def __init__(self, path: Path, sync_s: float = SYNC_S) -> None:
        self.path, self._sync_s = path, sync_s
        self._sources: dict[str, int] = {}
        self._synced_s = time.monotonic()
        try:
            # Nobody else reads what a person's heart did.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise _unwritable(path, error) from error
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._put(codec.MAGIC)

    def header(self, values: Mapping[str, Any]) -> None:
        """Write what is known of the recording; the first entry.

        Parameters
        ----------
        values : mapping
            ``driver``, ``device``, ``id``, ``origin``, ``clock_set``, ``started_at`` (ISO 8601); plain JSON values.
        """
        self._put(codec.encode_values("header", time.monotonic_ns(), dict(values)))

    def up(self, stream: Stream, reads: Mapping[str, bytes], mtu: int, fs_hz: float | None) -> None:
        """Write that a link is up: what its driver is told, so that it understands the same again."""
        told = {"mtu": mtu, "fs_hz": fs_hz, "reads": {uuid: data.hex() for uuid, data in reads.items()}}
        self._put(codec.encode_values("up", time.monotonic_ns(), {**told, "boot": stream.boot}))

    def part(self, recording: int) -> None:
        """Write that a new part begins now, which the recorder calls ``recording``."""
        values = {"recording": recording, "began_at": datetime.now(UTC).isoformat()}
        self._put(codec.encode_values("part", time.monotonic_ns(), values))

    def counting(self, whether: Counting) -> None:
        """Write whether samples count from here on."""
        self._put(codec.encode(Entry("counting", time.monotonic_ns(), bytes([codec.COUNTING.index(whether)]))))

    def write(self, at_ns: int, uuid: str, data: bytes) -> None:
        """Write a notification as it came."""
        entries = b""
        number = self._sources.get(uuid)
        if number is None:
            number = self._sources[uuid] = len(self._sources)
            entries = codec.encode(Entry("source", at_ns, bytes([number]) + uuid.encode()))
        self._put(entries + codec.encode(Entry("data", at_ns, bytes([number]) + data)))

    def lost(self) -> None:
        """Write that the link is gone."""
        self._put(codec.encode(Entry("lost", time.monotonic_ns())))

    def end(self) -> None:
        """Write that the recording ended in order, and close; a second time does nothing."""
        if self._file.closed:
            return
        self._put(codec.encode(Entry("end", time.monotonic_ns())))
        self._sync()
        self._file.close()

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except (OSError, ValueError) as error:
            raise _unwritable(self.path, error) from error
        if time.monotonic() - self._synced_s >= self._sync_s:
            self._sync()

    def _sync(self) -> None:
        self._synced_s = time.monotonic()
        try:
            os.fdatasync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error


@contextmanager
def opened(path: Path) -> "Iterator[Iterator[Entry | Torn]]":
    """Read a journal entry by entry, without taking it into memory.

    Raises
    ------
    BadInputError
        If there is none, or it is no journal.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                yield codec.decode(view)
            finally:
                view.release()
    except (OSError, ValueError) as error:
        raise BadInputError(f"Cannot read the journal {path}: {error}.", "Check the name and the folder.") from error


def _unwritable(path: Path, error: Exception) -> StoreError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return StoreError(f"The journal {path} cannot be written: {reason}.", "Free space on the disk, then record again.")
