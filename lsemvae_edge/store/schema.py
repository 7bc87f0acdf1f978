"""Tables of a store's database, and how an older store gets them."""

import sqlite3

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store.database import Database

VERSION = 2

ENTRIES = (
    """CREATE TABLE store (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        key_check BLOB NOT NULL
    ) STRICT""",
    # What is long comes last, so that a list does not read it.
    """CREATE TABLE entries (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        boot TEXT NOT NULL,
        boot_seq INTEGER NOT NULL,
        at TEXT NOT NULL,
        clock_set INTEGER NOT NULL,
        previous BLOB NOT NULL,
        hash BLOB NOT NULL,
        body_sha256 BLOB NOT NULL,
        signal_sha256 BLOB,
        wrapped_key BLOB,
        body BLOB,
        signal BLOB
    ) STRICT""",
    """CREATE TRIGGER entries_stay BEFORE DELETE ON entries
        BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END""",
    # A wipe empties, a new store key wraps the record's key anew; nothing else changes.
    """CREATE TRIGGER entries_are_fixed BEFORE UPDATE ON entries
        WHEN NEW.seq IS NOT OLD.seq OR NEW.kind IS NOT OLD.kind OR NEW.boot IS NOT OLD.boot
            OR NEW.boot_seq IS NOT OLD.boot_seq OR NEW.at IS NOT OLD.at OR NEW.clock_set IS NOT OLD.clock_set
            OR NEW.previous IS NOT OLD.previous OR NEW.hash IS NOT OLD.hash
            OR NEW.body_sha256 IS NOT OLD.body_sha256 OR NEW.signal_sha256 IS NOT OLD.signal_sha256
            OR (NEW.body IS NOT OLD.body AND NEW.body IS NOT NULL)
            OR (NEW.signal IS NOT OLD.signal AND NEW.signal IS NOT NULL)
            OR (OLD.wrapped_key IS NULL AND NEW.wrapped_key IS NOT NULL)
        BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END""",
)
JOURNALS = (
    # Of recordings under way. A journal without its key here is dead.
    """CREATE TABLE journals (
        id TEXT PRIMARY KEY,
        wrapped_key BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT, WITHOUT ROWID""",
)
STEPS: tuple[tuple[str, ...], ...] = (ENTRIES, JOURNALS)
"""Statements that lead from each version, from 0, to the next."""


def known_version(database: Database) -> int:
    """Return the version of a store's tables; 0 if there are none yet.

    Raises
    ------
    StoreError
        If it is newer than this software.
    """
    with database.reading() as connection:
        version = _version(connection)
    if version > VERSION:
        raise StoreError(
            f"The store was written by newer software: it is of version {version}, and this software knows {VERSION}.",
            "Update lsemvae-edge; nothing was changed.",
        )
    return version


def bring_up_to_date(database: Database) -> None:
    """Lead a store's tables to this software's version, each step whole or not at all.

    Raises
    ------
    StoreError
        If the store is of a newer version.
    """
    version = known_version(database)
    while version < VERSION:
        with database.writing() as connection:
            # Another program may have been first.
            version = _version(connection)
            if version < VERSION:
                for statement in STEPS[version]:
                    connection.execute(statement)
                version += 1
                connection.execute(f"PRAGMA user_version = {version}")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
