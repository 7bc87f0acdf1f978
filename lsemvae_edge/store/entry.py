"""What a store gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lsemvae_edge.language import mark
from lsemvae_edge.store.chain import Head
from lsemvae_edge.visit import Attempt

ATTEMPT, AMENDMENT, OVER_READ, OUTCOME = "attempt", "amendment", "over_read", "outcome"
ACKNOWLEDGEMENT, CLOCK_CORRECTION, CLOCK_BACK = "acknowledgement", "clock_correction", "clock_went_back"
WIPE, ROTATION, CREATED = "wipe", "key_rotation", "created"
OWN_KINDS = frozenset(
    {
        ATTEMPT,
        AMENDMENT,
        OVER_READ,
        OUTCOME,
        ACKNOWLEDGEMENT,
        CLOCK_CORRECTION,
        CLOCK_BACK,
        WIPE,
        ROTATION,
        CREATED,
    }
)
"""Kinds that the store writes itself; `Store.note` takes any other."""

TAIL_UNCHECKED = mark(
    "Whether entries were cut off at the end cannot be seen from the store alone; compare it with a head from a report."
)


@dataclass(frozen=True)
class Entry:
    """One entry of a store.

    Parameters
    ----------
    seq : int
        From 1, in the order in which entries were made.
    kind : str
        ``attempt`` and the other kinds of this module, or what `Store.note` was told.
    boot : str
        Start of the machine in which it was made.
    boot_seq : int
        Number within that start, from 1.
    at : str or None
        When, ISO 8601 in UTC; by a later correction if there is one. None: the clock was not set.
    clock_set : bool
        Whether the clock was set.
    facts : mapping
        What it says; empty if wiped or damaged.
    hash : str
        64 hexadecimal digits.
    wiped : bool
        Its key and its content were destroyed.
    damaged : bool
        Its content cannot be decrypted.
    """

    seq: int
    kind: str
    boot: str
    boot_seq: int
    at: str | None
    clock_set: bool
    facts: Mapping[str, Any]
    hash: str
    wiped: bool = False
    damaged: bool = False

    @property
    def head(self) -> Head:
        """The store's head when this entry was its newest."""
        return Head(self.seq, self.hash)


@dataclass(frozen=True, eq=False)
class Stored:
    """One attempt as it was stored, and what was said of it later.

    Parameters
    ----------
    entry : Entry
    attempt : Attempt
        With the corrected study id, if it was corrected; the first one is in ``entry.facts["original_study_id"]``.
    amendments, over_reads, outcomes : list of Entry
        In order; ``facts["seq"]`` is this entry's number.
    """

    entry: Entry
    attempt: Attempt
    amendments: list[Entry] = field(default_factory=list)
    over_reads: list[Entry] = field(default_factory=list)
    outcomes: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Verdict:
    """What `Store.verify` found.

    Parameters
    ----------
    ok : bool
        There are no findings. Without a head from elsewhere this says nothing of entries cut off at the end.
    n_entries : int
    n_wiped : int
    head : Head
        Of the store as it is.
    findings : tuple of str
        One English sentence each.
    tail_checked : bool
        Whether the store was compared with a head from elsewhere.
    """

    ok: bool
    n_entries: int
    n_wiped: int
    head: Head
    findings: tuple[str, ...]
    tail_checked: bool = False

    @property
    def caveat(self) -> str | None:
        """What was not looked at, in one sentence; None if nothing."""
        return None if self.tail_checked else TAIL_UNCHECKED
