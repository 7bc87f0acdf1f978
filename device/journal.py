"""The journal on disk: written before anything is decoded, kept through a kill at any byte."""

import mmap
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsemvae_edge import __version__
from lsemvae_edge.codecs import journal as codec
from lsemvae_edge.codecs.journal import Counting, Entry, Torn
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.errors import BadInputError, StoreError

SYNC_S = 1.0
"""A power cut loses at most so much."""


class JournalWriter:
    """Appends to a journal that did not exist.

    Every entry is handed to the system at once, and to the disk every ``sync_s`` by a thread of its own, so that a
    slow card holds nothing up. When the journal cannot be written, the method that finds out says so, once; what is
    given to it afterwards is dropped, so that a caller may go on without a journal.

    Parameters
    ----------
    path : Path
    sync_s : float
        See `SYNC_S`.

    Attributes
    ----------
    is_failed : bool
        Whether it could not be written.

    Raises
    ------
    StoreError
        Here and in every method, if it cannot be written.
    """

    def __init__(self, path: Path, sync_s: float = SYNC_S) -> None:
        self.path, self._sync_s = path, sync_s
        self.is_failed = False
        self._sources: dict[str, int] = {}
        self._size = 0
        self._synced_s = time.monotonic()
        self._syncing: Future[None] | None = None
        try:
            # Nobody else reads what a person's heart did.
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(path, error) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._put(codec.MAGIC)

    def header(self, values: Mapping[str, Any]) -> None:
        """Write what is known of the recording; the first entry.

        Parameters
        ----------
        values : mapping
            ``driver``, ``device``, ``id``, ``origin``, ``clock_set``, ``started_at`` (ISO 8601); plain JSON values.
        """
        told = {"software_version": __version__, **values}
        self._put(codec.encode_values("header", time.monotonic_ns(), told))

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

    def polled(self) -> None:
        """Write that the decoder was asked what it wants to ask."""
        self._put(codec.encode(Entry("polled", time.monotonic_ns())))

    def lost(self) -> None:
        """Write that the link is gone."""
        self._put(codec.encode(Entry("lost", time.monotonic_ns())))

    def end(self) -> None:
        """Write that the recording ended in order, and close; a second time does nothing."""
        if self._descriptor < 0:
            return
        try:
            self._put(codec.encode(Entry("end", time.monotonic_ns())))
            if not self.is_failed:
                self._handed_over(self._thread.submit(os.fdatasync, self._descriptor))
        finally:
            self._thread.shutdown()
            os.close(self._descriptor)
            self._descriptor = -1

    def _put(self, data: bytes) -> None:
        """Write whole entries."""
        if self.is_failed or self._descriptor < 0:
            return
        done = 0
        try:
            while done < len(data):
                # A disk that is nearly full takes a part, and says nothing.
                done += os.write(self._descriptor, data[done:])
        except OSError as error:
            raise self._failed(error) from error
        self._size += done
        if time.monotonic() - self._synced_s >= self._sync_s:
            self._sync()

    def _sync(self) -> None:
        """Begin to hand everything to the disk, unless that is still under way."""
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._handed_over(self._syncing)
        self._synced_s = time.monotonic()
        self._syncing = self._thread.submit(os.fdatasync, self._descriptor)

    def _handed_over(self, syncing: "Future[None]") -> None:
        try:
            syncing.result()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StoreError:
        self.is_failed = True
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
        return _unwritable(self.path, error)


@contextmanager
def opened(path: Path) -> "Iterator[Iterator[Entry | Torn]]":
    """Read a journal entry by entry, without taking it into memory.

    Raises
    ------
    BadInputError
        If there is none, or it is no journal.
    """
    with _mapped(path) as mapped, memoryview(mapped) as view:
        yield codec.decode(view)


def _mapped(path: Path) -> mmap.mmap:
    try:
        if not path.is_file():
            raise BadInputError(f"There is no journal {path}.", "Check the name and the folder.")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise BadInputError(f"Cannot read the journal {path}: {error}.", "Check the name and the folder.") from error


def holds_data(path: Path) -> bool:
    """Whether there is a journal with at least one notification in it."""
    try:
        with opened(path) as entries:
            return any(isinstance(entry, Entry) and entry.kind == "data" for entry in entries)
    except BadInputError:
        return False


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The journal {path} cannot be written: {error.strerror or error}.",
        "Free space on the disk, then record again.",
    )
