"""The store: what was recorded and done at a kiosk, appended, encrypted, chained."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from lsemvae_edge.errors import StoreError
from lsemvae_edge.language import mark
from lsemvae_edge.store import attempts, clock, making, schema, verification
from lsemvae_edge.store import entry as kinds
from lsemvae_edge.store.chain import Head
from lsemvae_edge.store.database import WAIT_S, Database
from lsemvae_edge.store.entry import Entry, Stored, Verdict
from lsemvae_edge.store.journals import FOLDER, SealedJournal, Unfinished
from lsemvae_edge.store.key import StoreKey
from lsemvae_edge.store.log import Kind, Log
from lsemvae_edge.store.shelf import Shelf
from lsemvae_edge.visit import Attempt, Visit

NOT_OF_PEOPLE = frozenset({"demo", "simulated"})
"""Origins of recordings that are nobody's: not kept in a clinic's store, and sent nowhere."""

_NOTE = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Store:
    """Records and audit log of a kiosk.

    What a method that writes returns is on the disk. Threads may share a store; programs may open the same folder at
    the same time.

    Parameters
    ----------
    folder : Path
    log : Log
        Use `Store.create` or `Store.open`.

    Attributes
    ----------
    folder : Path
    kind : {"clinic", "demo"}

    Raises
    ------
    StoreError
        Here and in every method: the disk is full, another program writes, a part is damaged, the key is wrong.
    """

    def __init__(self, folder: Path, log: Log) -> None:
        self.folder, self._log = folder, log
        self.kind: Kind = log.kind
        self._shelf = Shelf(folder / FOLDER, log)

    @classmethod
    def create(cls, folder: Path, key: StoreKey, *, kind: Kind) -> "Store":
        """Make a store; it is there whole, or not at all.

        Parameters
        ----------
        folder : Path
            Must not exist, or be empty.
        key : StoreKey
        kind : {"clinic", "demo"}
        """
        making.make(folder, key, kind)
        return cls.open(folder, key)

    @classmethod
    def open(cls, folder: Path, key: StoreKey, *, wait_s: float = WAIT_S) -> "Store":
        """Open a store, and bring an older one up to this software's version.

        Parameters
        ----------
        folder : Path
        key : StoreKey
        wait_s : float
            So long another program that writes is waited for, here and later.
        """
        with suppress(OSError):
            if os.name == "posix" and folder.stat().st_mode & 0o077:
                raise StoreError(f"Other users can enter the store {folder}.", f"Run `chmod 700 {folder}`.")
        database = Database(folder, wait_s)
        try:
            if not schema.known_version(database):
                raise StoreError(f"The store {folder} was never set up.", "Run `lsemvae-edge kiosk setup`.")
            # A wrong key changes nothing, not even the version.
            log = Log(database, key)
            schema.bring_up_to_date(database)
            return cls(folder, log)
        except BaseException:
            database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; a second time does nothing."""
        self._shelf.close()
        self._log.database.close()

    def again(self) -> "Store":
        """Open the same store once more, with a connection of its own, for another thread that works for long."""
        return Store.open(self.folder, self._log.key)

    def append(self, attempt: Attempt) -> Entry:
        """Store an attempt; its journal is destroyed in the same moment.

        Parameters
        ----------
        attempt : Attempt

        Returns
        -------
        Entry
            As it is on the disk; its `Entry.head` is what a report prints.
        """
        record = attempt.record
        if record is not None and record.origin in NOT_OF_PEOPLE and self.kind == "clinic":
            raise StoreError(_NOT_OF_PEOPLE, _DEMO)
        facts, signal = attempts.to_facts(attempt), None if record is None else attempts.to_signal(record)
        journals = self._shelf.of(attempt.visit.id, attempt.number)
        facts["journals"] = journals
        with self._log.writing() as connection:
            stored = self._log.append(connection, kinds.ATTEMPT, facts, signal)
            self._shelf.destroy(connection, journals)
        self._shelf.remove(journals)
        return stored

    def note(self, kind: str, facts: Mapping[str, Any], *, operator: str = "") -> Entry:
        """Write what was done into the audit log.

        Parameters
        ----------
        kind : str
            Small letters, digits and underscores: ``sign_in``, ``export``, ``print``. Not encrypted.
        facts : mapping
            Plain JSON values. Name a record by its number, never a person: a wipe does not reach what is noted here.
        operator : str
        """
        if not _NOTE.fullmatch(kind) or kind in kinds.OWN_KINDS:
            raise ValueError(f"{kind!r} is no kind of note")
        return self._write(kind, {**facts, "operator": operator})

    def amend(self, seq: int, *, study_id: str, reason: str, operator: str) -> Entry:
        """Correct the study id of an attempt; what was stored first stays."""
        before = self._attempt(seq).facts["visit"]["study_id"]
        facts = {"seq": seq, "study_id": study_id, "before": before, "reason": reason, "operator": operator}
        return self._write(kinds.AMENDMENT, facts)

    def correct_clock(self, boot: str, offset_s: float, *, operator: str, even_if_set: bool = False) -> Entry:
        """Say by how much the clock was wrong in a start of the machine, up to now.

        Parameters
        ----------
        boot : str
            `Entry.boot`.
        offset_s : float
            Seconds to add to what the clock showed.
        operator : str
        even_if_set : bool
            Also where the clock showed a plausible time, as one does that goes on from where it was switched off.
        """
        facts = {"boot": boot, "offset_s": float(offset_s), "even_if_set": even_if_set, "operator": operator}
        return self._write(kinds.CLOCK_CORRECTION, facts)

    def over_read(self, seq: int, reading: Mapping[str, Any], *, operator: str) -> Entry:
        """Append what a clinician read in an attempt's recording."""
        self._attempt(seq)
        return self._write(kinds.OVER_READ, {"seq": seq, "reading": dict(reading), "operator": operator})

    def outcome(self, seq: int, finding: Mapping[str, Any], *, operator: str) -> Entry:
        """Append what an echocardiogram or a catheter found in the person of an attempt."""
        self._attempt(seq)
        return self._write(kinds.OUTCOME, {"seq": seq, "finding": dict(finding), "operator": operator})

    def entries(
        self, *, kinds: Collection[str] | None = None, newest_first: bool = False, limit: int | None = None
    ) -> Iterator[Entry]:
        """Yield entries in order, also wiped and damaged ones.

        Parameters
        ----------
        kinds : collection of str, optional
            These alone.
        newest_first : bool
        limit : int, optional
        """
        wanted = None if kinds is None else tuple(kinds)
        where = "1" if wanted is None else f"kind IN ({', '.join('?' * len(wanted))})"
        for row in self._log.rows(where, wanted or (), newest_first=newest_first, limit=limit):
            yield self._log.entry(row)

    def attempts(
        self,
        *,
        study_id: str | None = None,
        visit: str | None = None,
        newest_first: bool = True,
        limit: int | None = None,
        wiped: bool = False,
    ) -> Iterator[Entry]:
        """Yield attempts, without their signals.

        Parameters
        ----------
        study_id : str, optional
            Of this person alone, by the corrected ids.
        visit : str, optional
            Of this visit alone.
        newest_first : bool
        limit : int, optional
        wiped : bool
            Also those that were wiped; whose they were is not known any more.
        """
        if study_id is None and visit is None:
            where = f"kind = '{kinds.ATTEMPT}'" + ("" if wiped else " AND wrapped_key IS NOT NULL")
            for row in self._log.rows(where, newest_first=newest_first, limit=limit):
                yield self._log.entry(row)
            return
        found = self._log.index().matching(study_id, visit)
        if newest_first:
            found.reverse()
        for seq in found[:limit]:
            yield self._log.entry(self._log.row(seq))

    def read(self, seq: int) -> Stored:
        """Return an attempt with its recording, and what was said of it later.

        Parameters
        ----------
        seq : int
            `Entry.seq`.
        """
        entry = self._attempt(seq)
        signal = self._log.signal(self._log.row(seq))
        record = None if signal is None else attempts.to_record(signal)
        about: defaultdict[str, list[Entry]] = defaultdict(list)
        for other, kind in self._log.index().about[seq]:
            if kind != kinds.ACKNOWLEDGEMENT:
                about[kind].append(self._log.entry(self._log.row(other)))
        attempt = attempts.to_attempt(entry.facts, record)
        return Stored(entry, attempt, about[kinds.AMENDMENT], about[kinds.OVER_READ], about[kinds.OUTCOME])

    def head(self) -> Head:
        """Return how far the store goes."""
        return self._log.head()

    def verify(self, head: Head | None = None) -> Verdict:
        """Read and decrypt everything, and hold it against the chain.

        Parameters
        ----------
        head : Head, optional
            From a report or a server. Without one, entries cut off at the end are not missed.
        """
        return verification.verify(self._log, self._shelf, head)

    def wipe(self, seq: int, *, reason: str, operator: str) -> Entry:
        """Destroy an attempt, and all that was said of it: keys and ciphertexts. The chain stays whole.

        Parameters
        ----------
        seq : int
            Wiped already: what may be left of it in the log file is removed.
        reason, operator : str
        """
        index = self._log.index()
        if seq in index.wiped:
            self._empty_log()
            return self._log.entry(self._log.row(index.wiped[seq]))
        if self._log.row(seq).place.kind != kinds.ATTEMPT:
            raise StoreError(f"Entry {seq} is no recording; the audit log cannot be wiped.", _LIST)
        (stored,) = self._wipe([seq], reason, operator)
        return stored

    def retain(
        self, older_than_days: float, *, operator: str = "", reason: str = "retention", unsent_to: str | None = None
    ) -> int:
        """Wipe attempts of more than so many days ago; return how many.

        Those whose time is not known stay.

        Parameters
        ----------
        older_than_days : float
        operator, reason : str
        unsent_to : str, optional
            What this destination has not acknowledged stays.
        """
        now = clock.now()
        if not clock.is_set(now):
            raise StoreError("The clock is not set, so nothing can be called old.", "Set the clock.")
        latest = now - timedelta(days=older_than_days)
        waiting = set() if unsent_to is None else self._unsent(unsent_to)
        old = [
            entry.seq
            for entry in self.attempts(newest_first=False)
            if entry.at is not None and datetime.fromisoformat(entry.at) < latest and entry.seq not in waiting
        ]
        if old:
            self._wipe(old, reason, operator)
        return len(old)

    def rotate(self, new_key: StoreKey) -> int:
        """Give the store another key: the keys of all entries and journals are wrapped anew, all or none.

        Programs that have the store open must be started again. The key's file is the caller's; see
        `lsemvae_edge.store.places.rotate`.

        Returns
        -------
        int
            How many keys were wrapped.
        """
        with self._log.writing() as connection:
            n_wrapped = self._log.rewrap(connection, new_key) + self._shelf.rewrap(connection, new_key)
            # Before the key is changed, this entry's key is wrapped by the new one, too.
            self._log.append(connection, kinds.ROTATION, {"n_wrapped": n_wrapped}, key=new_key)
        self._log.rekeyed(new_key)
        self._log.database.checkpoint()
        return n_wrapped

    def pending(self, destination: str) -> list[Entry]:
        """Return what a destination has not acknowledged, in order: attempts of people, amendments, over-reads."""
        return [self._log.entry(self._log.row(seq)) for seq in sorted(self._unsent(destination))]

    def acknowledge(self, destination: str, seq: int, receipt: Mapping[str, Any]) -> Entry:
        """Write that a destination has an entry."""
        return self._write(kinds.ACKNOWLEDGEMENT, {"destination": destination, "seq": seq, "receipt": dict(receipt)})

    def journal(self, visit: Visit, number: int) -> SealedJournal:
        """Begin the journal of an attempt; storing the attempt destroys it."""
        return self._shelf.begin(visit, number)

    def unfinished(self) -> Iterator[Unfinished]:
        """Yield the journals of attempts that were never stored, and that no program is writing.

        Store what is in each as an attempt that was interrupted, with the same visit and number; that settles it.
        """
        return self._shelf.unfinished()

    def settled(self, journal: Unfinished | SealedJournal) -> None:
        """Destroy a journal of which nothing is to be kept; one whose attempt was stored is gone already."""
        with self._log.writing() as connection:
            self._shelf.destroy(connection, [journal.id])
        self._shelf.remove([journal.id])

    def _write(self, kind: str, facts: Mapping[str, Any]) -> Entry:
        with self._log.writing() as connection:
            return self._log.append(connection, kind, facts)

    def _attempt(self, seq: int) -> Entry:
        entry = self._log.entry(self._log.row(seq))
        if entry.kind != kinds.ATTEMPT:
            raise StoreError(f"Entry {seq} is no recording.", _LIST)
        if entry.wiped:
            raise StoreError(f"Record {seq} was wiped.", "Its key is destroyed; it cannot be brought back.")
        if entry.damaged:
            raise StoreError(
                f"Record {seq} is damaged.", "Run `lsemvae-edge records verify`; other records are not affected."
            )
        return entry

    def _unsent(self, destination: str) -> set[int]:
        if self.kind != "clinic":
            return set()
        index = self._log.index()
        live = {seq for seq, known in list(index.attempts.items()) if known.origin not in NOT_OF_PEOPLE}
        said = {other for seq in live for other, kind in index.about[seq] if kind in (kinds.AMENDMENT, kinds.OVER_READ)}
        return (live | said) - index.acknowledged[destination]

    def _wipe(self, seqs: list[int], reason: str, operator: str) -> list[Entry]:
        index = self._log.index()
        stored = []
        with self._log.writing() as connection:
            for seq in seqs:
                emptied = [seq, *(other for other, _ in index.about[seq])]
                connection.executemany(
                    "UPDATE entries SET wrapped_key = NULL, body = NULL, signal = NULL WHERE seq = ?",
                    [(one,) for one in emptied],
                )
                facts = {"seq": seq, "emptied": emptied, "reason": reason, "operator": operator}
                stored.append(self._log.append(connection, kinds.WIPE, facts))
        self._empty_log()
        return stored

    def _empty_log(self) -> None:
        if not self._log.database.checkpoint():
            raise StoreError(
                "The record is wiped, but its ciphertext is still in the store's log file: another program reads it.",
                "Close the other program, then wipe the record once more.",
            )


_NOT_OF_PEOPLE = mark("A simulated recording does not belong among those of people.")
_DEMO = mark("Use the store of demonstrations.")
_LIST = "Run `lsemvae-edge records list`."
