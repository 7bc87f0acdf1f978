"""The file in which a store keeps its entries: SQLite, handed to the disk before a commit returns."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from lsemvae_edge.errors import StoreError
from lsemvae_edge.language import mark

SYNCHRONOUS = "FULL"
"""A commit returns when the disk has it."""
NAME = "records.sqlite"
WAIT_S = 5.0
"""So long another program that writes is waited for."""
APPLICATION_ID = 0x4C534553
"""Marks the file as a store's, in its header."""

_NEARLY_NOTHING_BYTES = 256 * 1024
_BUSY = mark("Another program is writing to the store.")
_WAIT = mark("Wait until it is done, or close it; nothing was lost, but this was not stored.")
_FULL = mark("The disk is full: this was not stored. Earlier records are intact.")
_FREE = mark("Free space on the disk.")
_READ_ONLY = mark("The store can only be read here.")
_MINE = mark("Start it as the user that the kiosk runs as, on a disk that can be written.")


class DamagedError(StoreError):
    """A page of the file is not as it was written.

    Parameters
    ----------
    message : str
    seqs : tuple of int
        Entries that cannot be read for it, as far as is known.
    """

    default_next_step = (
        "Copy the store's folder, then run `lsemvae-edge records verify` to see which records can be read."
    )

    def __init__(self, message: str, seqs: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.seqs = seqs


class Database:
    """A connection that threads share, one at a time.

    Parameters
    ----------
    folder : Path
    wait_s : float
        So long another program that writes is waited for.

    Raises
    ------
    StoreError
        Here and in every method, for whatever SQLite has to say.
    """

    def __init__(self, folder: Path, wait_s: float) -> None:
        self.path = folder / NAME
        self._lock = threading.RLock()
        with self._told():
            if not self.path.is_file():
                raise StoreError(f"There is no store in {folder}.", "Run `lsemvae-edge kiosk setup`.")
            self._connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=rw",
                uri=True,
                timeout=wait_s,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self.reading() as connection:
                self._set_up(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close; a second time does nothing."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to read with."""
        with self._lock, self._told():
            yield self._connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read one moment of the store, whatever other programs write meanwhile."""
        with self._lock, self._told():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within a transaction: all of it is on the disk afterwards, or none.

        Whatever fails, the connection can be used again.
        """
        with self._lock, self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite rolls back by itself where a disk is full.
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise

    def checkpoint(self) -> bool:
        """Bring everything from the log into the file and empty the log; return False if another program reads."""
        with self.reading() as connection:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def _set_up(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise StoreError(f"{self.path} is no store of this software.", "Name the store's folder.")
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        # What is freed is overwritten, so that nothing wiped can be read from the file.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _meaning(error, self.path) from error
        except PermissionError as error:
            raise StoreError(f"The store {self.path.parent} cannot be read: {error.strerror}.", _MINE) from error


def new_file(folder: Path) -> None:
    """Make the empty database of a new store.

    Raises
    ------
    StoreError
        For whatever SQLite has to say.
    """
    path = folder / NAME
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise _meaning(error, path) from error
    finally:
        connection.close()


def _meaning(error: sqlite3.Error, path: Path) -> StoreError:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(_BUSY, _WAIT)
    if name == "SQLITE_FULL" or (name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and _is_full(path)):
        return StoreError(_FULL, _FREE)
    if name.startswith("SQLITE_READONLY") or (name.startswith("SQLITE_CANTOPEN") and _is_read_only(path)):
        return StoreError(_READ_ONLY, _MINE)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DamagedError(f"A part of the store's file {path} is damaged.")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")):
        return StoreError(
            f"The disk does not read or write the store's file: {error}.",
            "Check the disk; copy the store's folder to another one.",
        )
    return StoreError(f"The store's database refuses: {error}.", "Run `lsemvae-edge doctor store`.")


def _is_full(path: Path) -> bool:
    with suppress(OSError):
        free = os.statvfs(path.parent)
        return free.f_bavail * free.f_frsize < _NEARLY_NOTHING_BYTES
    return False


def _is_read_only(path: Path) -> bool:
    with suppress(OSError):
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    return False
