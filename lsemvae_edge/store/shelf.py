"""The journals of a store: their keys in its database, their files beside it."""

import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.errors import StoreError
from lsemvae_edge.language import mark
from lsemvae_edge.store import journals
from lsemvae_edge.store.journals import SUFFIX, SealedJournal, Unfinished, path_of
from lsemvae_edge.store.key import StoreKey
from lsemvae_edge.store.log import Log
from lsemvae_edge.store.sealing import BrokenSealError, random_key, seal, unseal
from lsemvae_edge.visit import Visit

_UNKEPT = mark("The recording cannot be kept: {reason}.")
_FREE = mark("Free space on the disk, then record again.")
_BOUND = b"lsemvae-edge/store-journal/1|"


class Shelf:
    """Journals under way, and those that were left.

    Parameters
    ----------
    folder : Path
    log : Log
    """

    def __init__(self, folder: Path, log: Log) -> None:
        self._folder, self._log = folder, log
        self._under_way: dict[str, SealedJournal] = {}
        self._ids: dict[tuple[str, int], list[str]] = {}

    def close(self) -> None:
        """Leave what is under way to the next start."""
        for journal in self._under_way.values():
            journal.release()
        self._under_way.clear()

    def begin(self, visit: Visit, number: int) -> SealedJournal:
        """Make a journal."""
        id, key = uuid.uuid4().hex, random_key()
        facts = json.dumps({"visit": asdict(visit), "number": number}, ensure_ascii=False).encode()
        journal = None
        try:
            with self._log.writing() as connection:
                # Nobody clears the folder meanwhile, for that needs a transaction, too.
                self._folder.mkdir(mode=0o700, exist_ok=True)
                journal = SealedJournal(self._folder, id, key, visit, number)
                connection.execute(
                    "INSERT INTO journals (id, wrapped_key, body) VALUES (?, ?, ?)",
                    (id, self._log.key.wrap(key, self._bound(id)), seal(key, facts, self._bound(id))),
                )
        except BaseException as error:
            if journal is not None:
                journal.release()
            with suppress(OSError):
                path_of(self._folder, id).unlink()
            if isinstance(error, OSError):
                raise StoreError(_UNKEPT.format(reason=error.strerror or error), _FREE) from error
            raise
        self._under_way[id] = journal
        self._ids.setdefault((visit.id, number), []).append(id)
        return journal

    def of(self, visit: str, number: int) -> list[str]:
        """Return the journals of an attempt: of this program, or which it was given as unfinished."""
        return list(self._ids.get((visit, number), ()))

    def destroy(self, connection: sqlite3.Connection, ids: Iterable[str]) -> None:
        """Destroy the keys of journals within a transaction."""
        connection.executemany("DELETE FROM journals WHERE id = ?", [(id,) for id in ids])

    def remove(self, ids: Iterable[str]) -> None:
        """Remove the files of journals whose keys are gone; what cannot be removed is, at a later start."""
        for id in ids:
            if (journal := self._under_way.pop(id, None)) is not None:
                journal.release()
            with suppress(OSError):
                path_of(self._folder, id).unlink()
            for key, known in list(self._ids.items()):
                if id in known:
                    del self._ids[key]

    def unfinished(self) -> Iterator[Unfinished]:
        """Yield the journals that nobody is writing; remove the files of dead ones."""
        with self._log.writing() as connection:
            rows = connection.execute("SELECT id, wrapped_key, body FROM journals ORDER BY id").fetchall()
            self._clear({id for id, _, _ in rows})
        for id, wrapped, body in rows:
            path = path_of(self._folder, id)
            if id in self._under_way or journals.is_being_written(path):
                continue
            try:
                found = self._opened(id, wrapped, body)
            except BrokenSealError:
                continue
            self._ids.setdefault((found.visit.id, found.number), []).append(id)
            yield found

    def findings(self) -> list[str]:
        """Return what is wrong with journals, one sentence each."""
        with self._log.database.reading() as connection:
            rows = connection.execute("SELECT id, wrapped_key, body FROM journals").fetchall()
        found = []
        for id, wrapped, body in rows:
            try:
                self._opened(id, wrapped, body)
            except StoreError:
                found.append(f"The journal {id} of an unfinished recording cannot be read.")
        return found

    def rewrap(self, connection: sqlite3.Connection, new_key: StoreKey) -> int:
        """Wrap the keys of all journals by another store key, within a transaction; return how many."""
        rows = connection.execute("SELECT id, wrapped_key FROM journals").fetchall()
        for id, wrapped in rows:
            anew = new_key.wrap(self._log.key.unwrap(wrapped, self._bound(id)), self._bound(id))
            connection.execute("UPDATE journals SET wrapped_key = ? WHERE id = ?", (anew, id))
        return len(rows)

    def _opened(self, id: str, wrapped: bytes, body: bytes) -> Unfinished:
        key = self._log.key.unwrap(wrapped, self._bound(id))
        facts = json.loads(unseal(key, body, self._bound(id)))
        data = journals.read(path_of(self._folder, id), id, key)
        return Unfinished(id, Visit(**facts["visit"]), facts["number"], data)

    def _clear(self, known: set[str]) -> None:
        with suppress(OSError):
            for path in self._folder.iterdir():
                id = path.name.removesuffix(SUFFIX)
                if path.name.endswith(SUFFIX) and id not in known and not journals.is_being_written(path):
                    path.unlink()

    def _bound(self, id: str) -> bytes:
        return _BOUND + f"{self._log.id}|{id}".encode()
