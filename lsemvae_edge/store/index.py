"""What a store must find quickly, kept in memory alone, for on the disk it is encrypted."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lsemvae_edge.store import entry as kinds
from lsemvae_edge.store.chain import Place

INDEXED = (
    kinds.ATTEMPT,
    kinds.AMENDMENT,
    kinds.OVER_READ,
    kinds.OUTCOME,
    kinds.ACKNOWLEDGEMENT,
    kinds.CLOCK_CORRECTION,
    kinds.WIPE,
)
ABOUT = (kinds.AMENDMENT, kinds.OVER_READ, kinds.OUTCOME, kinds.ACKNOWLEDGEMENT)
"""Kinds that speak of another entry, whose number is ``facts["seq"]``."""


@dataclass(frozen=True)
class Known:
    """Of an attempt."""

    visit: str
    number: int
    study_id: str
    origin: str | None


@dataclass(frozen=True)
class Correction:
    """Of the clock of a start of the machine."""

    seq: int
    offset_s: float
    even_if_set: bool


class Index:
    """Grows with the store; entries are added in order.

    Attributes
    ----------
    upto : int
        Number of the newest entry that was looked at.
    attempts : dict of int to Known
        That are not wiped.
    about : dict of int to list of (int, str)
        Numbers and kinds of the entries that speak of an entry.
    acknowledged : dict of str to set of int
        What each destination has.
    wiped : dict of int to int
        Which wipe emptied an entry.
    """

    def __init__(self) -> None:
        self.upto = 0
        self.attempts: dict[int, Known] = {}
        self.about: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
        self.acknowledged: defaultdict[str, set[int]] = defaultdict(set)
        self.wiped: dict[int, int] = {}
        self._study_ids: dict[int, str] = {}
        self._corrections: defaultdict[str, list[Correction]] = defaultdict(list)

    def add(self, seq: int, kind: str, facts: Mapping[str, Any]) -> None:
        """Take notice of an entry."""
        match kind:
            case kinds.ATTEMPT:
                visit, record = facts["visit"], facts["record"] or {}
                self.attempts[seq] = Known(visit["id"], facts["number"], visit["study_id"], record.get("origin"))
            case kinds.AMENDMENT:
                self._study_ids[facts["seq"]] = facts["study_id"]
            case kinds.ACKNOWLEDGEMENT:
                self.acknowledged[facts["destination"]].add(facts["seq"])
            case kinds.CLOCK_CORRECTION:
                correction = Correction(seq, facts["offset_s"], facts["even_if_set"])
                self._corrections[facts["boot"]].append(correction)
            case kinds.WIPE:
                for gone in facts["emptied"]:
                    self.attempts.pop(gone, None)
                    self._study_ids.pop(gone, None)
                    self.wiped[gone] = seq
        if kind in ABOUT:
            self.about[facts["seq"]].append((seq, kind))

    def study_id(self, seq: int) -> str | None:
        """Return the corrected study id of an attempt; None if it was not corrected."""
        return self._study_ids.get(seq)

    def matching(self, study_id: str | None, visit: str | None) -> list[int]:
        """Return the attempts of a person or a visit, in order."""
        return [
            seq
            for seq, known in list(self.attempts.items())
            if (study_id is None or self._study_ids.get(seq, known.study_id) == study_id)
            and (visit is None or known.visit == visit)
        ]

    def at(self, place: Place) -> str | None:
        """Return when an entry was made, as well as it is known; None if it is not."""
        for correction in reversed(self._corrections.get(place.boot, ())):
            if place.seq < correction.seq and (correction.even_if_set or not place.clock_set):
                return (datetime.fromisoformat(place.at) + timedelta(seconds=correction.offset_s)).isoformat(
                    timespec="milliseconds"
                )
        return place.at if place.clock_set else None
