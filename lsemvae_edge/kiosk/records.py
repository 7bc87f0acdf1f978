"""The stores of one kiosk: that of people, that of what is no person's, and what both hold of today."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lsemvae_edge.errors import UsageError
from lsemvae_edge.kiosk import recovery
from lsemvae_edge.kiosk.flow import LOOK, NOT_NOW, Earlier
from lsemvae_edge.language import mark
from lsemvae_edge.visit import Visit

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Store

REASON = "wrong study id, corrected at the kiosk"
"""Of every correction that is made here; the audit log keeps it beside the operator's code."""
SAME_ID = mark("This visit has this study id already.")
ANOTHER_ID = mark("Type another study id, or go back.")


@dataclass(frozen=True)
class VisitOfToday:
    """What a supervisor chooses from.

    Parameters
    ----------
    visit : str
        `Visit.id`.
    study_id : str
        As it was corrected last.
    first_study_id : str or None
        The one that was taken first; None if it was never corrected.
    time : str or None
        Of the newest attempt, ``14:05``; None where the clock was not set.
    attempts : int
    """

    visit: str
    study_id: str
    first_study_id: str | None
    time: str | None
    attempts: int


class Records:
    """Both stores; the second one is opened when it is first wanted.

    Its methods read and write the disk: call them apart from a page's loop.

    Parameters
    ----------
    store : Store
        Where everything goes.
    apart : callable
        Opens the store for what is no person's.
    positive : str
        Outcome of a recording that shows the pattern.
    """

    def __init__(self, store: "Store", apart: "Callable[[], Store]", positive: str) -> None:
        self.store, self._open_apart, self._positive = store, apart, positive
        self._apart: Store | None = store if store.kind == "demo" else None

    def close(self) -> None:
        """Close what was opened here."""
        if self._apart is not None and self._apart is not self.store:
            self._apart.close()

    def store_for(self, *, simulated: bool) -> "Store":
        """Return where recordings of a recorder go: what is no person's is kept apart."""
        if not simulated:
            return self.store
        if self._apart is None:
            self._apart = self._open_apart()
            recovery.recover(self._apart)
        return self._apart

    def earlier(self, study_id: str) -> Earlier | None:
        """Return today's newest visit under an id, None if there is none."""
        newest, attempts, seen = None, 0, False
        for entry in self._today(study_id):
            visit = Visit(**entry.facts["visit"])
            newest = newest or visit
            if visit.id == newest.id:
                attempts = max(attempts, entry.facts["number"])
                result = entry.facts["result"]
                seen |= result is not None and result["outcome"] == self._positive
        return None if newest is None else Earlier(newest, attempts, seen)

    def visits(self) -> tuple[VisitOfToday, ...]:
        """Return today's visits, the newest first."""
        found: dict[str, VisitOfToday] = {}
        for entry in self._today(None):
            visit = entry.facts["visit"]
            if visit["id"] not in found:
                first = entry.facts.get("original_study_id")
                found[visit["id"]] = VisitOfToday(
                    visit["id"], visit["study_id"], first, _time(entry), entry.facts["number"]
                )
        return tuple(found.values())

    def correct(self, visit: str, study_id: str, operator: str) -> None:
        """Give all attempts of a visit of today another study id; what was stored first stays.

        Cut in the middle, it can be done again: what is corrected already is left as it is.

        Parameters
        ----------
        visit : str
        study_id : str
            Checked.
        operator : str
            Who says so, for the audit log.

        Raises
        ------
        UsageError
            If there is no such visit today, or nothing to correct.
        """
        if visit not in {one.visit for one in self.visits()}:
            raise UsageError(NOT_NOW, LOOK)
        wrong = [
            (store, entry.seq)
            for store in self._stores()
            for entry in store.attempts(visit=visit)
            if entry.facts["visit"]["study_id"] != study_id
        ]
        if not wrong:
            raise UsageError(SAME_ID, ANOTHER_ID)
        for store, seq in wrong:
            store.amend(seq, study_id=study_id, reason=REASON, operator=operator)

    def _stores(self) -> "list[Store]":
        return list(dict.fromkeys(store for store in (self.store, self._apart) if store is not None))

    def _today(self, study_id: str | None) -> "Iterator[Entry]":
        """Yield today's attempts, the newest of each store first."""
        for store in self._stores():
            for entry in store.attempts(study_id=study_id, newest_first=True):
                if not _is_today(entry):
                    break
                if not entry.damaged:
                    yield entry


def _time(entry: "Entry") -> str | None:
    return None if entry.at is None else f"{datetime.fromisoformat(entry.at).astimezone():%H:%M}"


def _is_today(entry: "Entry") -> bool:
    """Whether an entry is of today; where the clock is not set, of this start of the machine."""
    from lsemvae_edge.store import clock

    now = clock.now()
    if entry.at is None or not clock.is_set(now):
        return entry.boot == clock.boot()
    return datetime.fromisoformat(entry.at).astimezone().date() == now.astimezone().date()
