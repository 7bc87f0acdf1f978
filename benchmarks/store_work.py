"""What a kiosk does to its store, told line by line, and what must be there after it was stopped at any moment.

A worker tells lines to a judge in another process: what is in the store when it is opened, then what it has stored.
``ENTRY seq hash kind whole`` for every entry that is there, ``VERDICT ok entries``, ``FINDING text`` for whatever is
wrong, ``JOURNAL number bytes right`` for every journal left behind, ``OPEN``; then ``SYNCED number bytes`` when so much
of a journal must be on the disk, ``AT stage`` when one begins, and ``SAVED seq hash`` after every call that stored
something has returned.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.record import Record
from lsemvae_edge.result import ScreeningResult
from lsemvae_edge.store import Entry, Store, StoreKey

Say = Callable[[str], None]
_JOURNAL_BYTES, _PART_BYTES, _SYNCED_BYTES = 10_000, 1000, 4000
_MENDED = 500_000
"""Added to the number of an attempt whose study id is corrected."""


@dataclass(frozen=True)
class Work:
    """Screenings that can be made again from their numbers.

    Parameters
    ----------
    seed : int
    recorded : callable
        Takes the seed and an attempt's number, gives its recording.
    screened : callable
        Takes a recording, gives its result.
    exported : callable
        Called with the store and a stored attempt.
    """

    seed: int
    recorded: Callable[[int, int], Record]
    screened: Callable[[Record], ScreeningResult]
    exported: Callable[[Store, Entry], object] = lambda store, entry: None

    def screen(self, store: Store, number: int, say: Say) -> None:
        """Do what one screening does, and now and then what an operator does."""

        def saved(entry: Entry) -> Entry:
            say(f"SAVED {entry.seq} {entry.hash}")
            return entry

        record = self.recorded(self.seed, number)
        visit = specimens.visit(self.seed, number)
        journal = store.journal(visit, 1)
        content = journal_of(record)
        for at in range(0, len(content), _PART_BYTES):
            journal.write(content[at : at + _PART_BYTES])
            if at % _SYNCED_BYTES == 0:
                journal.sync()
                say(f"SYNCED {number} {min(len(content), at + _PART_BYTES)}")
        journal.close()
        say("AT screening")
        result = self.screened(record) if number % 5 else None
        say("AT storing")
        entry = saved(store.append(specimens.attempt(visit, record, result)))
        self.exported(store, entry)
        if number % 3 == 0:
            saved(store.note("print", {"of": entry.seq}, operator="op1"))
        if number % 4 == 0:
            mended = specimens.study_id(number + _MENDED)
            saved(store.amend(entry.seq, study_id=mended, reason="proof", operator="op1"))

    def tell(self, store: Store, shown: int, say: Say) -> None:
        """Say what is in a store; attempts up to the entry ``shown`` are listed, but not read again."""
        for entry in store.entries():
            whole = not entry.damaged
            if entry.kind == "attempt" and entry.seq > shown:
                whole = whole and self._is_whole(store, entry)
            say(f"ENTRY {entry.seq} {entry.hash} {entry.kind} {int(whole)}")
        verdict = store.verify()
        say(f"VERDICT {int(verdict.ok)} {verdict.n_entries}")
        for finding in verdict.findings:
            say(f"FINDING {finding}".replace("\n", " "))
        unfinished = list(store.unfinished())
        for left in unfinished:
            number = specimens.number_of(left.visit.study_id)
            right = journal_of(self.recorded(self.seed, number)).startswith(left.data)
            say(f"JOURNAL {number} {len(left.data)} {int(right)}")
        say("OPEN")
        # Not before all of it was told: who is stopped earlier tells it again at the next start.
        for left in unfinished:
            store.settled(left)

    def _is_whole(self, store: Store, entry: Entry) -> bool:
        stored = store.read(entry.seq)
        record, result = stored.attempt.record, stored.attempt.result
        study_id = entry.facts.get("original_study_id") or stored.attempt.visit.study_id
        wanted = self.recorded(self.seed, specimens.number_of(study_id)).sha256()
        digests = {record.sha256() if record else None, result.record.sha256 if result else wanted}
        return digests == {wanted} and (result is None) == (stored.attempt.ended == "interrupted")


def opened(folder: Path) -> Store:
    """Open the store in a folder that also holds its key; make what a stop left unmade."""
    path, place = folder / "store.key", folder / "store"
    key = StoreKey.read(path) if path.exists() else StoreKey.create(path)
    try:
        return Store.open(place, key)
    except LsemvaeError as error:
        try:
            return Store.create(place, key, kind="clinic")
        except LsemvaeError:
            raise error from None


def journal_of(record: Record) -> bytes:
    """Return what a recorder sent, as far as its journal matters here."""
    return np.nan_to_num(record.signal_mv * 1000).astype("<i2").tobytes()[:_JOURNAL_BYTES]


@dataclass
class Judge:
    """What was shown of one store, and what was found of it.

    Parameters
    ----------
    shown : dict
        Hash of every entry that was shown as saved, or found at an earlier start, by its number.
    saved : int
        Entries shown as saved.
    findings : list of str
        What must not be.
    unshown : int
        Entries found that had been stored when it was stopped, but not yet shown.
    journals : int
        Journals of recordings that were cut off, read back.
    synced : tuple of int or None
        Number of the attempt whose journal was being written, and bytes of it that must be there.
    """

    shown: dict[int, str] = field(default_factory=dict)
    saved: int = 0
    findings: list[str] = field(default_factory=list)
    unshown: int = 0
    journals: int = 0
    synced: tuple[int, int] | None = None

    def hear(self, line: str) -> None:
        """Take what is shown while it stores."""
        word, _, rest = line.partition(" ")
        if word == "SAVED":
            seq, digest = rest.split()
            self.shown[int(seq)] = digest
            self.saved += 1
            self.synced = None
        elif word == "SYNCED":
            number, n_bytes = rest.split()
            self.synced = int(number), int(n_bytes)
        elif word == "FAILED":
            self.findings.append(rest)

    def compare(self, lines: list[str]) -> None:
        """Compare what was said up to ``OPEN`` with what was shown before."""
        found: dict[int, str] = {}
        read_back: dict[int, int] = {}
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "ENTRY":
                seq, digest, kind, whole = rest.split()
                found[int(seq)] = digest
                if whole != "1":
                    self.findings.append(f"Entry {seq} ({kind}) is there, but not whole.")
            elif word == "JOURNAL":
                number, n_bytes, right = rest.split()
                read_back[int(number)] = int(n_bytes)
                if right != "1":
                    self.findings.append(f"The journal of attempt {number} is no beginning of what was received.")
            elif word == "VERDICT" and not rest.startswith("1 "):
                self.findings.append("The store does not verify.")
            elif word == "FINDING":
                self.findings.append(rest)
        for shown, digest in self.shown.items():
            if shown not in found:
                self.findings.append(f"Entry {shown} was shown as saved and is gone.")
            elif found[shown] != digest:
                self.findings.append(f"Entry {shown} was shown as saved and is another.")
        unshown = found.keys() - self.shown.keys()
        # A journal ends in the moment in which its attempt is stored.
        if self.synced is not None and not unshown and read_back.get(self.synced[0], 0) < self.synced[1]:
            self.findings.append(
                f"Of the journal of attempt {self.synced[0]}, {self.synced[1]} bytes were safe and are gone."
            )
        self.unshown += len(unshown)
        self.journals += len(read_back)
        self.shown, self.synced = found, None
