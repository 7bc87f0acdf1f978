"""The journal on disk: written before anything is decoded, kept through a kill at any byte."""

import mmap
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from lsemvae_edge import __version__
from lsemvae_edge.codecs import journal as codec
from lsemvae_edge.codecs.journal import Counting, Entry, Torn
from lsemvae_edge.container import append_whole
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.errors import BadInputError, StoreError

SYNC_S = 1.0
"""A power cut loses at most so much."""


class Appendable(Protocol):
    """Where a journal grows: a plain file, or one that encrypts, such as `lsemvae_edge.store.SealedJournal`.

    Every method but ``close`` raises OSError if it cannot do its work.

    Attributes
    ----------
    path : Path
        Where it lies, for messages.
    """

    @property
    def path(self) -> Path: ...  # noqa: D102

    def write(self, data: bytes) -> None:
        """Hand to the system; all of it or, with an error, nothing."""
        ...

    def sync(self) -> None:
        """Hand to the disk what was written; called by a thread of its own."""
        ...

    def close(self) -> None:
        """End writing."""
        ...


class JournalWriter:
    """Appends to a journal that did not exist.

    Every entry is handed to the system at once, and to the disk every ``sync_s`` by a thread of its own, so that a
    slow card holds nothing up. When the journal cannot be written, the method that finds out says so, once; what is
    given to it afterwards is dropped, so that a caller may go on without a journal.

    Parameters
    ----------
    path : Path or Appendable
        Of a plain file to be made; or what to write through.
    sync_s : float
        See `SYNC_S`.

    Attributes
    ----------
    path : Path
    is_failed : bool
        Whether it could not be written.

    Raises
    ------
    StoreError
        Here and in every method, if it cannot be written.
    """

    def __init__(self, path: Path | Appendable, sync_s: float = SYNC_S) -> None:
        self._sync_s = sync_s
        self.is_failed = self._is_ended = self._is_left = False
        self._sources: dict[str, int] = {}
        self._synced_s = time.monotonic()
        self._syncing: Future[None] | None = None
        if isinstance(path, Path):
            self.path = path
            try:
                self._file: Appendable = _File(path)
            except OSError as error:
                raise _unwritable(path, error) from error
        else:
            self.path, self._file = path.path, path
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

    def leave(self) -> None:
        """Take nothing more: what was recorded is about to be kept elsewhere, and the journal may go."""
        self._is_left = True

    def end(self) -> None:
        """Write that the recording ended in order, and close; a second time does nothing."""
        if self._is_ended:
            return
        try:
            self._put(codec.encode(Entry("end", time.monotonic_ns())))
            if not (self.is_failed or self._is_left):
                self._handed_over(self._thread.submit(self._file.sync))
        finally:
            self._thread.shutdown()
            self._file.close()
            self._is_ended = True

    def _put(self, data: bytes) -> None:
        """Write whole entries."""
        if self.is_failed or self._is_ended or self._is_left:
            return
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error
        if time.monotonic() - self._synced_s >= self._sync_s:
            self._sync()

    def _sync(self) -> None:
        """Begin to hand everything to the disk, unless that is still under way."""
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._handed_over(self._syncing)
        self._synced_s = time.monotonic()
        self._syncing = self._thread.submit(self._file.sync)

    def _handed_over(self, syncing: "Future[None]") -> None:
        try:
            syncing.result()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> StoreError:
        self.is_failed = True
        return _unwritable(self.path, error)


class _File:
    """A plain file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0
        # Nobody else reads what a person's heart did.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        self._size = append_whole(self._descriptor, data, self._size)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


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
