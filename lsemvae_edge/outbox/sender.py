"""One pass: what a destination has not acknowledged is sent, one transaction for each attempt, oldest first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Event
from typing import Any
from uuid import uuid5

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.exchange import fhir
from lsemvae_edge.exchange.exported import NAMESPACE
from lsemvae_edge.language import mark
from lsemvae_edge.outbox.client import Answer, post
from lsemvae_edge.outbox.destination import Destination
from lsemvae_edge.outbox.parking import Parked, park, parked
from lsemvae_edge.screening import SIMULATED_ORIGINS
from lsemvae_edge.store import Entry, Store
from lsemvae_edge.store.entry import ATTEMPT

Post = Callable[[Destination, Mapping[str, Any], str], Answer]

DEMONSTRATION = mark("Demonstrations are sent nowhere.")
_GIVE_UP_AFTER = 2
"""So many records in a row that a server cannot take now, and the pass ends; one alone may be at fault itself."""


@dataclass(frozen=True)
class Report:
    """What came of a pass.

    Parameters
    ----------
    sent : int
        Records that the server has now.
    waiting : int
        Records still to be sent.
    parked : tuple of Parked
        Records that the server refuses, each with the reason.
    reason : str
        Why records wait, in an English sentence; empty if none do.
    closed : bool
        Nothing goes to this server until somebody acts.
    retry_after_s : float or None
        What the server asks to wait.
    failed : tuple of int
        Attempts that the server could not take now.
    """

    sent: int
    waiting: int
    parked: tuple[Parked, ...] = ()
    reason: str = ""
    closed: bool = False
    retry_after_s: float | None = None
    failed: tuple[int, ...] = ()


def send(
    store: Store,
    destination: Destination,
    *,
    stop: Event | None = None,
    last: frozenset[int] = frozenset(),
    post: Post = post,
) -> Report:
    """Send what a destination has not acknowledged.

    Each record is acknowledged in the store when the server has said that it holds it, and not before. Killed
    anywhere, the next pass sends again what was not acknowledged, under the same ids.

    Parameters
    ----------
    store : Store
    destination : Destination
    stop : Event, optional
        Set: no further record is begun.
    last : frozenset of int
        Attempts that come last, for they failed before.
    post : callable
        What sends one transaction.

    Raises
    ------
    UsageError
        If the store is one of demonstrations, or the destination's token or certificate cannot be used.
    StoreError
        If the store cannot be read or written.
    """
    if store.kind != "clinic":
        raise UsageError(DEMONSTRATION, "Open the clinic's store.")
    waiting = _waiting(store, destination.url)
    aside = parked(store, destination.url, [(seq, about[-1].seq) for seq, about in waiting.items()])
    sent, failed = 0, []
    reason, retry_after_s, closed = "", None, False
    for seq in sorted(waiting, key=lambda seq: (seq in last, seq)):
        if stop is not None and stop.is_set():
            break
        if seq in aside:
            continue
        answer = _send_one(store, destination, seq, post)
        match answer.meaning:
            case "done":
                for entry in waiting[seq]:
                    store.acknowledge(destination.url, entry.seq, _receipt(store, answer))
                sent += 1
            case "refused":
                if answer.status is not None:
                    park(store, destination.url, seq, waiting[seq][-1].seq, answer.reason)
                aside[seq] = Parked(seq, answer.reason)
            case _:
                failed.append(seq)
                reason, retry_after_s, closed = answer.reason, answer.retry_after_s, answer.meaning == "closed"
                if closed or answer.status is None or retry_after_s is not None or len(failed) >= _GIVE_UP_AFTER:
                    break
    return Report(
        sent=sent,
        waiting=len(waiting) - sent - len(aside),
        parked=tuple(aside[seq] for seq in sorted(aside)),
        reason=reason,
        closed=closed,
        retry_after_s=retry_after_s,
        failed=tuple(failed),
    )


def _waiting(store: Store, url: str) -> dict[int, list[Entry]]:
    """Entries to be acknowledged, by the attempt that they are or speak of; no recording that is nobody's."""
    waiting: dict[int, list[Entry]] = {}
    for entry in store.pending(url):
        if entry.kind != ATTEMPT:
            waiting.setdefault(int(entry.facts["seq"]), []).append(entry)
        elif (entry.facts.get("record") or {}).get("origin") not in SIMULATED_ORIGINS:
            waiting.setdefault(entry.seq, []).append(entry)
    return waiting


def _send_one(store: Store, destination: Destination, seq: int, post: Post) -> Answer:
    try:
        stored = store.read(seq)
    except StoreError as error:
        # Wiped a moment ago, or damaged; the others are not held up by it.
        return Answer("refused", error.message)
    if stored.attempt.record is not None and stored.attempt.record.origin in SIMULATED_ORIGINS:
        return Answer("refused", DEMONSTRATION)
    try:
        transaction = fhir.bundle(stored, site=destination.site)
    except UsageError as error:
        return Answer("refused", error.message)
    answer = post(destination, transaction, str(uuid5(NAMESPACE, f"request/{stored.entry.hash}")))
    # A note in the audit log outlives a wipe, so a server's words must not bring the study id into it.
    return replace(answer, reason=answer.reason.replace(stored.attempt.visit.study_id, "…"))


def _receipt(store: Store, answer: Answer) -> dict[str, Any]:
    head = store.head()
    return {
        "status": answer.status,
        "server_time": answer.server_time,
        "versions": dict(answer.versions),
        "head": {"seq": head.seq, "hash": head.hash},
    }
