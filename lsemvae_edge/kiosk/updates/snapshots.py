"""Copies of a store's database as it lies there, encrypted, while others may be using it; no key is needed."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from lsemvae_edge.kiosk.updates import durable
from lsemvae_edge.kiosk.updates.durable import UpdateError
from lsemvae_edge.store.database import NAME


def exists(store: Path) -> bool:
    """Whether there is a store in a folder."""
    return (store / NAME).is_file()


def version_of(store: Path) -> int:
    """Return the version of a store's tables.

    Raises
    ------
    UpdateError
        If it cannot be read.
    """
    try:
        with closing(_opened(store)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise UpdateError(f"The store {store} cannot be read: {error}.", "Run `lsemvae-edge doctor store`.") from error
    return int(version)


def take(store: Path, target: Path) -> Path:
    """Copy a store's database to a new folder, for its owner alone, and wait until it is on disk.

    Parameters
    ----------
    store : Path
    target : Path
        Must not exist.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    UpdateError
        If it cannot be read, or there is no room.
    """
    target.mkdir(mode=0o700, parents=True)
    copy = target / NAME
    try:
        copy.touch(mode=0o600)
        with closing(_opened(store)) as database, closing(sqlite3.connect(copy)) as written:
            database.backup(written)
            # The copy becomes one file, without a log beside it that could be left behind.
            written.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        durable.discard(target)
        raise UpdateError(
            f"The records could not be copied: {error}. Nothing was changed.", "Free some space on the kiosk's card."
        ) from error
    durable.sync_file(copy)
    durable.sync_folder(target)
    durable.sync_folder(target.parent)
    return target


def _opened(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(store / NAME))}?mode=rw", uri=True, timeout=10.0)
