"""Reading a whole store against its chain: what was altered, moved or taken out, and what cannot be read."""

import sqlite3
from hashlib import sha256

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import attempts
from lsemvae_edge.store import entry as kinds
from lsemvae_edge.store.chain import NOTHING, Head
from lsemvae_edge.store.database import DamagedError
from lsemvae_edge.store.entry import Verdict
from lsemvae_edge.store.log import Log, Row
from lsemvae_edge.store.shelf import Shelf

MAX_FINDINGS = 100
"""More than so many are not listed."""


def verify(log: Log, shelf: Shelf, head: Head | None) -> Verdict:
    """Return what `Store.verify` returns.

    Raises
    ------
    StoreError
        If nothing can be read at all.
    """
    check = _Check(log)
    with log.database.snapshot():
        check.file()
        check.chain()
        if head is not None:
            check.cut(head)
        check.wipes()
        findings = [*check.findings, *shelf.findings()]
    if len(findings) > MAX_FINDINGS:
        findings = [*findings[:MAX_FINDINGS], f"There are {len(findings) - MAX_FINDINGS} more findings."]
    return Verdict(not findings, check.n_entries, len(check.emptied), check.head, tuple(findings), head is not None)


class _Check:
    def __init__(self, log: Log) -> None:
        self._log = log
        self.findings: list[str] = []
        self.n_entries = 0
        self.emptied: set[int] = set()
        self.head = Head(0, NOTHING.hex())
        self._said_emptied: set[int] = set()
        self._hashes: dict[int, str] = {}

    def file(self) -> None:
        """Ask SQLite whether its file is whole."""
        with self._log.database.reading() as connection:
            try:
                found = [line for (line,) in connection.execute("PRAGMA integrity_check(10)")]
            except sqlite3.DatabaseError as error:
                found = [str(error)]
        if found != ["ok"]:
            self.findings.append(f"The store's file is damaged: {'; '.join(found)[:300]}.")

    def chain(self) -> None:
        """Go through all entries in order."""
        previous, seq, last_of_boot = NOTHING, 0, dict[str, int]()
        holes: list[range] = []
        unreadable: tuple[int, ...] = ()
        try:
            for row in self._log.rows():
                place = row.place
                if place.seq != seq + 1:
                    holes.append(range(seq + 1, place.seq))
                elif place.previous != previous:
                    self.findings.append(f"Entry {place.seq} does not follow the one before it.")
                elif place.boot_seq != last_of_boot.get(place.boot, 0) + 1:
                    self.findings.append(f"Entry {place.seq} is out of order within its start of the machine.")
                if place.hash(self._log.id, row.body_sha256, row.signal_sha256) != row.hash:
                    self.findings.append(f"Entry {place.seq} was altered: its hash does not fit.")
                last_of_boot[place.boot] = place.boot_seq
                self._content(row)
                previous, seq = row.hash, place.seq
                self.n_entries += 1
                self._hashes[seq] = row.hash.hex()
        except DamagedError as error:
            unreadable = error.seqs
            self.findings.append(error.message)
        for hole in holes:
            if not set(unreadable).issuperset(hole[:1]):
                until = f" to {hole[-1]}" if len(hole) > 1 else ""
                self.findings.append(f"Entries are missing: {hole[0]}{until}.")
        self.head = Head(seq, previous.hex())

    def cut(self, head: Head) -> None:
        """Look for the entry of which a head is known from elsewhere."""
        found = self._hashes.get(head.seq)
        if head.seq > self.head.seq:
            self.findings.append(
                f"Entries were cut off at the end: the store once had entry {head.seq}, and ends at {self.head.seq}."
            )
        elif found is None or not found.startswith(head.hash):
            self.findings.append(f"Entry {head.seq} is not the one of which the head is known.")

    def wipes(self) -> None:
        """Hold emptied entries against those that say so."""
        for seq in sorted(self.emptied - self._said_emptied):
            self.findings.append(f"Entry {seq} was emptied, and no entry says so.")
        for seq in sorted(self._said_emptied - self.emptied):
            self.findings.append(f"Entry {seq} should have been emptied.")

    def _content(self, row: Row) -> None:
        seq = row.place.seq
        if row.is_wiped:
            self.emptied.add(seq)
            return
        if sha256(row.body or b"").digest() != row.body_sha256:
            self.findings.append(f"Entry {seq} was altered: its content is not what its hash was made of.")
            return
        try:
            facts = self._log.facts(row)
            signal = self._log.signal(row)
        except StoreError:
            self.findings.append(f"Entry {seq} cannot be decrypted.")
            return
        if row.place.kind == kinds.WIPE:
            self._said_emptied.update(facts["emptied"])
        if row.place.kind == kinds.ATTEMPT and (facts["record"] is None) != (signal is None):
            self.findings.append(f"Entry {seq} has lost its recording.")
        elif signal is not None:
            try:
                is_same = attempts.to_record(signal).sha256() == facts["record"]["sha256"]
            except StoreError:
                is_same = False
            if not is_same:
                self.findings.append(f"The recording of entry {seq} is not the one that was screened.")
