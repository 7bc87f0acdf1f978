"""A kept copy of a store in its place again: verified first; what was there is moved aside, never destroyed."""

import ctypes
import errno
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.store import entry as kinds
from lsemvae_edge.store.chain import Head
from lsemvae_edge.store.database import NAME
from lsemvae_edge.store.journals import FOLDER, SUFFIX
from lsemvae_edge.store.key import StoreKey, sync_folder
from lsemvae_edge.store.store import Store

NOTE = "restored"
"""Kind of the audit log's entry."""
_REASON = "wiped after the copy was made that was restored"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@dataclass(frozen=True)
class Plan:
    """What a restoration would do.

    Parameters
    ----------
    backup, folder : Path
        The copy, and whose place it takes.
    newer : int or None
        So many entries of the store are not in the copy; None: the store cannot be read, so nobody can tell.
    wiped : mapping of int to bytes, or None
        Entries that were emptied in the store, with their hashes, so that they are in the copy as well; None as above.
    """

    backup: Path
    folder: Path
    newer: int | None
    wiped: Mapping[int, bytes] | None


@dataclass(frozen=True)
class Restored:
    """What was done.

    Parameters
    ----------
    aside : Path or None
        Where the store lies that was there before; None if there was none.
    head : Head
        Of the restored store.
    wiped : int
        So many records were wiped in it again.
    """

    aside: Path | None
    head: Head
    wiped: int


def backups(folder: Path) -> list[Path]:
    """Return the copies beside a store that updates kept, and stores that a restoration moved aside, by name."""
    names = (f"{folder.name}.before-*", f"{folder.name}.aside-*")
    return sorted(path for name in names for path in folder.parent.glob(name) if (path / NAME).is_file())


def plan(backup: Path, folder: Path) -> Plan:
    """Compare a copy with the store in whose place it shall be put; changes nothing and needs no key.

    Raises
    ------
    UsageError
        If there is no copy, or it is the store itself.
    StoreError
        If it is of another store, or cannot be read.
    """
    if not (backup / NAME).is_file():
        raise UsageError(f"There is no copy of a store in {backup}.", "Name the folder that holds `records.sqlite`.")
    if folder.exists() and backup.resolve() == folder.resolve():
        raise UsageError(f"{backup} is the store itself.", "Name a copy of it.")
    try:
        id, newest, _ = _looked_at(backup)
    except sqlite3.Error as error:
        raise StoreError(f"The copy {backup} cannot be read: {error}.", "Name another copy.") from error
    try:
        own_id, own_newest, wiped = _looked_at(folder)
    except sqlite3.Error:
        return Plan(backup, folder, None, None)
    if own_id != id:
        raise StoreError(f"{backup} is a copy of another store.", "Name a copy of this machine's store.")
    return Plan(backup, folder, max(0, own_newest - newest), wiped)


def restore(planned: Plan, key: StoreKey, *, stamp: str, operator: str) -> Restored:
    """Put a copy in the place of a store, in one step, after reading all of it.

    What was wiped in the store is wiped in the copy first. The copy itself stays as it is.

    Parameters
    ----------
    planned : Plan
    key : StoreKey
        With which the copy was made.
    stamp : str
        Makes the name of what is moved aside unique.
    operator : str

    Raises
    ------
    StoreError
        If the key is another, the copy is damaged, or the disk refuses; the store is unchanged.
    """
    folder = planned.folder
    # The exchange leaves the old store under this name; so it must not look like something to throw away.
    aside = folder.with_name(f"{folder.name}.aside-{stamp}")
    try:
        _copied(planned.backup, aside)
        try:
            head, wiped = _made_ready(aside, planned, key, operator)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        had_one = _into_place(aside, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StoreError(
            f"The copy could not be put in place: {error.strerror or error}. The store is unchanged.",
            "Free space, and run the command as the user that the kiosk runs as.",
        ) from error
    return Restored(aside if had_one else None, head, wiped)


def _looked_at(folder: Path) -> tuple[str, int, dict[int, bytes]]:
    """Return a store's id, its newest entry's number, and its emptied entries; whatever its version."""
    path = folder / NAME
    if not path.is_file():
        raise sqlite3.OperationalError("there is none")
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)) as database:
        (id,) = database.execute("SELECT id FROM store").fetchone()
        (newest,) = database.execute("SELECT COALESCE(MAX(seq), 0) FROM entries").fetchone()
        emptied = dict(database.execute("SELECT seq, hash FROM entries WHERE wrapped_key IS NULL").fetchall())
    return id, newest, emptied


def _copied(backup: Path, target: Path) -> None:
    """Copy what makes a store, file by file, for its owner alone; nothing in the copy is opened."""
    target.mkdir(mode=0o700)
    journals = target / FOLDER
    journals.mkdir(mode=0o700)
    # The shared index is made anew; the log holds the newest entries of a folder that was copied whole.
    names = [(backup / name, target / name) for name in (NAME, f"{NAME}-wal") if (backup / name).is_file()]
    names += [(path, journals / path.name) for path in (backup / FOLDER).glob(f"*{SUFFIX}") if path.is_file()]
    try:
        for source, copy in names:
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            sync_folder(copy)
        sync_folder(journals)
        sync_folder(target)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _made_ready(draft: Path, planned: Plan, key: StoreKey, operator: str) -> tuple[Head, int]:
    with Store.open(draft, key) as store:
        verdict = store.verify()
        if not verdict.ok:
            raise StoreError(
                f"The copy is damaged: {verdict.findings[0]} The store is unchanged.",
                f"See all of it: LSEMVAE_EDGE_STORE with a copy of {planned.backup} as `clinic`, `records verify`.",
            )
        # The copy of an update holds no journals; their visits went on in the store that it was made from.
        for journal in list(store.unfinished()):
            if not journal.data:
                store.settled(journal)
        n_wiped = 0
        for entry in list(store.entries(kinds=(kinds.ATTEMPT,))):
            if not entry.wiped and bytes.fromhex(entry.hash) == (planned.wiped or {}).get(entry.seq):
                store.wipe(entry.seq, reason=_REASON, operator=operator)
                n_wiped += 1
        facts = {"copy": planned.backup.name, "left_out": planned.newer, "wiped_again": n_wiped}
        return store.note(NOTE, facts, operator=operator).head, n_wiped


def _into_place(ready: Path, folder: Path) -> bool:
    """Let two folders change names, so that at every moment a store has its name; return whether there was one."""
    if not folder.exists():
        ready.rename(folder)
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    exchange = getattr(libc, "renameat2", None)
    if exchange is not None:
        names = os.fsencode(ready), os.fsencode(folder)
        if exchange(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return True
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), str(folder))
    # A file system that cannot exchange names: for a moment nothing has the store's.
    between = ready.with_name(f"{ready.name}.new")
    ready.rename(between)
    folder.rename(ready)
    between.rename(folder)
    return True
