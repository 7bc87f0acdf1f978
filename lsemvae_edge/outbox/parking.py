"""Records that a server will not take: set aside with the reason, so that the others go on."""

from collections.abc import Iterable
from dataclasses import dataclass

from lsemvae_edge import __version__
from lsemvae_edge.store import Entry, Store

NOTE = "outbox"


@dataclass(frozen=True)
class Parked:
    """A record that is not sent again by itself.

    Parameters
    ----------
    seq : int
        Of the attempt.
    reason : str
        What the server said, in an English sentence.
    """

    seq: int
    reason: str


def park(store: Store, url: str, seq: int, newest: int, reason: str) -> None:
    """Set a record aside.

    Parameters
    ----------
    seq : int
        Of the attempt.
    newest : int
        Newest entry that speaks of it: what is said later may put it right, and takes it out again.
    """
    facts = {
        "event": "parked",
        "destination": url,
        "seq": seq,
        "newest": newest,
        "reason": reason,
        "software_version": __version__,
    }
    store.note(NOTE, facts)


def release(store: Store, url: str, *, operator: str = "") -> int:
    """Let all records that were set aside be tried again; return how many there were."""
    count = len(parked(store, url))
    if count:
        store.note(NOTE, {"event": "released", "destination": url}, operator=operator)
    return count


def parked(store: Store, url: str, pending: Iterable[tuple[int, int]] | None = None) -> dict[int, Parked]:
    """Return what is set aside, by the number of the attempt.

    What another version of this software was refused is not: it may write it differently.

    Parameters
    ----------
    pending : iterable of (seq, newest), optional
        Attempts that wait, with the newest entry that speaks of each; what is said since takes a record out.
    """
    found: dict[int, tuple[int, Parked]] = {}
    for entry in store.entries(kinds=(NOTE,)):
        _apply(entry, url, found)
    if pending is None:
        return {seq: item for seq, (_, item) in found.items()}
    return {seq: found[seq][1] for seq, newest in pending if seq in found and found[seq][0] >= newest}


def _apply(entry: Entry, url: str, found: dict[int, tuple[int, Parked]]) -> None:
    facts = entry.facts
    if facts.get("destination") != url:
        return
    if facts.get("event") == "released":
        found.clear()
    elif facts.get("event") == "parked" and facts.get("software_version") == __version__:
        seq = int(facts["seq"])
        found[seq] = (int(facts["newest"]), Parked(seq, str(facts["reason"])))
