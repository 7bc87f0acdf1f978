"""Entries in a database: chained, each encrypted under a key of its own."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import count
from typing import Any, Literal

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import clock
from lsemvae_edge.store import entry as kinds
from lsemvae_edge.store.chain import NOTHING, Head, Place
from lsemvae_edge.store.database import DamagedError, Database
from lsemvae_edge.store.entry import Entry
from lsemvae_edge.store.index import INDEXED, Index
from lsemvae_edge.store.key import StoreKey
from lsemvae_edge.store.sealing import BrokenSealError, random_key, seal, unseal

Kind = Literal["clinic", "demo"]

COLUMNS = "seq, kind, boot, boot_seq, at, clock_set, previous, hash, body_sha256, signal_sha256, wrapped_key, body"
_KEY, _BODY, _SIGNAL = b"|key", b"|body", b"|signal"
_CHECK = b"lsemvae-edge/store-key-check/1|"
_AT_ONCE = 64
_BEYOND_THE_END = 256
"""So many entries in a row on damaged pages, where the newest one's number is not known, are taken for the end."""


@dataclass(frozen=True)
class Row:
    """An entry as it lies in the database, without its signal."""

    place: Place
    hash: bytes
    body_sha256: bytes
    signal_sha256: bytes | None
    wrapped_key: bytes | None
    body: bytes | None

    @classmethod
    def of(cls, values: tuple[Any, ...]) -> "Row":
        """Return the row that has these `COLUMNS`."""
        seq, kind, boot, boot_seq, at, clock_set, previous, *rest = values
        return cls(Place(seq, kind, boot, boot_seq, at, bool(clock_set), previous), *rest)

    @property
    def is_wiped(self) -> bool:
        """Whether key and content were destroyed."""
        return self.wrapped_key is None


class Log:
    """What is appended, and read again.

    Parameters
    ----------
    database : Database
    key : StoreKey

    Attributes
    ----------
    id : str
        Of the store.
    kind : {"clinic", "demo"}

    Raises
    ------
    StoreError
        If the key is not that of the store.
    """

    def __init__(self, database: Database, key: StoreKey) -> None:
        self.database, self.key = database, key
        self._index = Index()
        with database.reading() as connection:
            found = connection.execute("SELECT id, kind, key_check FROM store").fetchone()
        if found is None:
            raise StoreError(f"The store {database.path.parent} was never set up.", "Run `lsemvae-edge kiosk setup`.")
        self.id: str = found[0]
        self.kind: Kind = found[1]
        self._check: bytes = found[2]
        try:
            unseal(key.secret, self._check, _checked(self.id, self.kind))
        except BrokenSealError as error:
            raise StoreError(
                f"The key is not that of the store {database.path.parent}.",
                "Bring the key with which the store was set up; without it no record can be read.",
            ) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within a transaction; see `Database.writing`.

        Raises
        ------
        StoreError
            Also if another program gave the store another key.
        """
        with self.database.writing() as connection:
            self._check_key(connection)
            yield connection

    def append(
        self,
        connection: sqlite3.Connection,
        kind: str,
        facts: Mapping[str, Any],
        signal: bytes | None = None,
        *,
        key: StoreKey | None = None,
    ) -> Entry:
        """Append an entry within a transaction; ``key`` wraps its own, by default the store's."""
        newest = connection.execute(f"SELECT {COLUMNS} FROM entries ORDER BY seq DESC LIMIT 1").fetchone()  # noqa: S608
        before = None if newest is None else Row.of(newest)
        now = clock.now()
        if before is not None and before.place.boot == clock.boot() and kind != kinds.CLOCK_BACK:
            back_s = (datetime.fromisoformat(before.place.at) - now).total_seconds()
            if back_s > 0:
                self.append(connection, kinds.CLOCK_BACK, {"back_s": back_s}, key=key)
                return self.append(connection, kind, facts, signal, key=key)
        place = self._next(connection, kind, now, before)
        bound, own_key = place.bound(self.id), random_key()
        body = seal(own_key, json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode(), bound + _BODY)
        sealed = None if signal is None else seal(own_key, signal, bound + _SIGNAL)
        body_sha256, signal_sha256 = sha256(body).digest(), None if sealed is None else sha256(sealed).digest()
        row = Row(
            place,
            place.hash(self.id, body_sha256, signal_sha256),
            body_sha256,
            signal_sha256,
            (key or self.key).wrap(own_key, bound + _KEY),
            body,
        )
        connection.execute(
            f"INSERT INTO entries ({COLUMNS}, signal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                place.seq,
                kind,
                place.boot,
                place.boot_seq,
                place.at,
                place.clock_set,
                place.previous,
                row.hash,
                body_sha256,
                signal_sha256,
                row.wrapped_key,
                body,
                sealed,
            ),
        )
        return Entry(
            place.seq,
            kind,
            place.boot,
            place.boot_seq,
            place.at if place.clock_set else None,
            place.clock_set,
            dict(facts),
            row.hash.hex(),
        )

    def rows(
        self, where: str = "1", values: Iterable[Any] = (), *, newest_first: bool = False, limit: int | None = None
    ) -> Iterator[Row]:
        """Yield rows in order; what is appended meanwhile may or may not be among them.

        Raises
        ------
        DamagedError
            If some cannot be read, after all others.
        """
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        values = tuple(values)
        at: int | None = None
        left = limit
        try:
            while left is None or left > 0:
                n_wanted = _AT_ONCE if left is None else min(left, _AT_ONCE)
                bounds = f"({where}) AND (? IS NULL OR seq {beyond} ?) ORDER BY seq {order} LIMIT ?"
                found = self._select(bounds, (*values, at, at, n_wanted))
                yield from found
                if len(found) < n_wanted:
                    return
                at = found[-1].place.seq
                left = None if left is None else left - len(found)
        except DamagedError:
            yield from self._one_by_one(where, values, at, newest_first, left)

    def row(self, seq: int) -> Row:
        """Return one row.

        Raises
        ------
        StoreError
            If there is none.
        """
        found = self._select("seq = ?", (seq,))
        if not found:
            raise StoreError(f"There is no record {seq} in the store.", "Run `lsemvae-edge records list`.")
        return found[0]

    def head(self) -> Head:
        """Return the newest entry's number and hash."""
        with self.database.reading() as connection:
            found = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(0, NOTHING.hex()) if found is None else Head(found[0], found[1].hex())

    def facts(self, row: Row) -> dict[str, Any]:
        """Decrypt what an entry says.

        Raises
        ------
        BrokenSealError
            If it cannot be decrypted, or was wiped.
        """
        bound = row.place.bound(self.id)
        found = json.loads(unseal(self._key_of(row, bound), row.body or b"", bound + _BODY))
        assert isinstance(found, dict)
        return found

    def signal(self, row: Row) -> bytes | None:
        """Decrypt the signal of an entry; None if it has none.

        Raises
        ------
        BrokenSealError
            See `facts`.
        """
        if row.signal_sha256 is None:
            return None
        with self.database.reading() as connection:
            (sealed,) = connection.execute("SELECT signal FROM entries WHERE seq = ?", (row.place.seq,)).fetchone()
        bound = row.place.bound(self.id)
        return unseal(self._key_of(row, bound), sealed or b"", bound + _SIGNAL)

    def index(self) -> Index:
        """Return the index, brought up to date."""
        index = self._index
        with self.database.reading():
            upto = self._newest()
            if upto is None or upto > index.upto:
                marks = ", ".join("?" * len(INDEXED))
                # What cannot be read is found by nothing; lists and `Store.verify` say so.
                with suppress(DamagedError):
                    for row in self.rows(f"seq > {index.upto} AND kind IN ({marks})", INDEXED):
                        self._take(row, index)
                index.upto = index.upto if upto is None else upto
        return index

    def entry(self, row: Row) -> Entry:
        """Return what an entry says, with later corrections."""
        place, index = row.place, self.index()
        facts: dict[str, Any] = {}
        damaged = False
        if not row.is_wiped:
            try:
                facts = self.facts(row)
            except BrokenSealError:
                self._check_key_now()
                damaged = True
        if facts and place.kind == kinds.ATTEMPT:
            facts["original_study_id"] = None
            if (corrected := index.study_id(place.seq)) is not None:
                facts["original_study_id"] = facts["visit"]["study_id"]
                facts["visit"]["study_id"] = corrected
        return Entry(
            place.seq,
            place.kind,
            place.boot,
            place.boot_seq,
            index.at(place),
            place.clock_set,
            facts,
            row.hash.hex(),
            wiped=row.is_wiped,
            damaged=damaged,
        )

    def rewrap(self, connection: sqlite3.Connection, new_key: StoreKey) -> int:
        """Wrap the keys of all entries by another store key, within a transaction; return how many."""
        n_wrapped = 0
        for row in self.rows("wrapped_key IS NOT NULL"):
            bound = row.place.bound(self.id)
            try:
                wrapped = new_key.wrap(self._key_of(row, bound), bound + _KEY)
            except BrokenSealError:
                # It is lost under the old key, too.
                continue
            connection.execute("UPDATE entries SET wrapped_key = ? WHERE seq = ?", (wrapped, row.place.seq))
            n_wrapped += 1
        connection.execute("UPDATE store SET key_check = ?", (key_check(new_key, self.id, self.kind),))
        return n_wrapped

    def rekeyed(self, new_key: StoreKey) -> None:
        """Go on with another store key, once the transaction that changed it is done."""
        self.key = new_key
        with self.database.reading() as connection:
            (self._check,) = connection.execute("SELECT key_check FROM store").fetchone()

    def _select(self, where: str, values: Iterable[Any]) -> list[Row]:
        with self.database.reading() as connection:
            found = connection.execute(f"SELECT {COLUMNS} FROM entries WHERE {where}", tuple(values)).fetchall()  # noqa: S608
        return [Row.of(one) for one in found]

    def _one_by_one(
        self, where: str, values: tuple[Any, ...], at: int | None, newest_first: bool, limit: int | None
    ) -> Iterator[Row]:
        """Yield rows around damaged pages, which take all rows of a batch with them."""
        newest = self._newest()
        if newest is None and newest_first:
            raise DamagedError(f"The newest entries in {self.database.path} cannot be read.")
        seqs: Iterable[int] = count((at or 0) + 1) if newest is None else range((at or 0) + 1, newest + 1)
        if newest_first:
            assert newest is not None
            seqs = range(newest if at is None else at - 1, 0, -1)
        lost: list[int] = []
        n_found = n_lost_in_a_row = 0
        for seq in seqs:
            if n_found == limit or n_lost_in_a_row == _BEYOND_THE_END:
                break
            try:
                for row in self._select(f"({where}) AND seq = ?", (*values, seq)):
                    n_found += 1
                    yield row
                n_lost_in_a_row = 0
            except DamagedError:
                lost.append(seq)
                n_lost_in_a_row += 1
        if lost:
            first, last = min(lost), max(lost)
            among = f"Entries between {first} and {last}" if newest is not None else f"Entries from {first} on"
            raise DamagedError(f"{among} cannot be read: a part of the store's file is damaged.", tuple(lost))

    def _newest(self) -> int | None:
        """Return the newest entry's number; None if its page is damaged."""
        try:
            return self.head().seq
        except DamagedError:
            return None

    def _take(self, row: Row, index: Index) -> None:
        if row.is_wiped:
            return
        try:
            index.add(row.place.seq, row.place.kind, self.facts(row))
        except BrokenSealError:
            # Shown as damaged where it is listed; found by nothing else.
            self._check_key_now()

    def _next(self, connection: sqlite3.Connection, kind: str, now: datetime, before: Row | None) -> Place:
        boot = clock.boot()
        boot_seq = 1
        if before is not None and before.place.boot == boot:
            boot_seq = before.place.boot_seq + 1
        elif before is not None:
            # Two starts can take turns only where a start is known by chance.
            (last,) = connection.execute("SELECT MAX(boot_seq) FROM entries WHERE boot = ?", (boot,)).fetchone()
            boot_seq = (last or 0) + 1
        return Place(
            1 if before is None else before.place.seq + 1,
            kind,
            boot,
            boot_seq,
            now.isoformat(timespec="milliseconds"),
            clock.is_set(now),
            NOTHING if before is None else before.hash,
        )

    def _key_of(self, row: Row, bound: bytes) -> bytes:
        return self.key.unwrap(row.wrapped_key or b"", bound + _KEY)

    def _check_key_now(self) -> None:
        with self.database.reading() as connection:
            self._check_key(connection)

    def _check_key(self, connection: sqlite3.Connection) -> None:
        (check,) = connection.execute("SELECT key_check FROM store").fetchone()
        if check != self._check:
            raise StoreError(
                "Another program gave the store another key.", "Start this program again, with the new key."
            )


def key_check(key: StoreKey, id: str, kind: str) -> bytes:
    """Return what tells a store's key, and the store's id and kind, from others."""
    return seal(key.secret, b"", _checked(id, kind))


def _checked(id: str, kind: str) -> bytes:
    return _CHECK + f"{kind}|{id}".encode()
