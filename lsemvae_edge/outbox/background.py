"""Passes in the background: at once when there is something new, later and later while the server cannot be had."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.language import mark
from lsemvae_edge.outbox.destination import Destination
from lsemvae_edge.outbox.sender import Report, send
from lsemvae_edge.store import Store

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 900.0
CLOSED_WAIT_S = 900.0
"""Wait after an answer that somebody must act upon, such as a token that is not accepted."""
LONGEST_ASKED_S = 6 * 3600.0
"""Longest ``Retry-After`` that is honoured."""

STOPPED = mark("Sending has stopped because of a fault in this software.")
RESTART = mark("Start the kiosk again; the records are safe here.")
TELL = mark("Tell the person who looks after this kiosk; the records are safe here and wait.")


@dataclass
class Backoff:
    """How long to wait before the next pass: doubled after each failure, drawn between half and all of it.

    Parameters
    ----------
    draw : callable
        A number from 0 to 1; so that kiosks that lost the same server do not all come back at once.
    """

    draw: Callable[[], float] = random.random
    failures: int = field(default=0, init=False)

    def after(self, report: Report) -> float | None:
        """Return the seconds to wait after a pass; None when nothing waits."""
        if not report.reason:
            self.failures = 0
            return None
        self.failures += 1
        if report.closed:
            return self._drawn(CLOSED_WAIT_S)
        wait_s = self._drawn(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self.failures - 1, 30)))
        # A server's word is a lower bound; what is drawn is added, for it told everybody the same.
        return wait_s + min(report.retry_after_s or 0.0, LONGEST_ASKED_S)

    def _drawn(self, seconds: float) -> float:
        return seconds * (0.5 + 0.5 * self.draw())


@dataclass(frozen=True)
class Status:
    """What a kiosk shows of its outbox.

    Parameters
    ----------
    waiting, parked : int
        Records.
    sent : int
        Records since the start.
    reason : str
        Why records wait, in an English sentence; empty if none do.
    next_step : str
        What to do about it; empty if it passes by itself.
    """

    waiting: int = 0
    parked: int = 0
    sent: int = 0
    reason: str = ""
    next_step: str = ""


class Outbox:
    """Sends a store's records in a thread of its own, with a connection to the store of its own.

    Parameters
    ----------
    open_store : callable
        Opens the store; called in the thread.
    destination : Destination
    changed : callable, optional
        Called in the thread with each new `Status`.
    draw, clock : callable
        Randomness, and seconds that only grow.
    send : callable
        One pass.

    Attributes
    ----------
    changed : callable or None
        May be set before `start`.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        destination: Destination,
        *,
        changed: Callable[[Status], None] | None = None,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        send: Callable[..., Report] = send,
    ) -> None:
        self.changed = changed
        self._open_store, self._destination = open_store, destination
        self._backoff, self._clock, self._send = Backoff(draw), clock, send
        self._stop, self._woken = threading.Event(), threading.Event()
        self._last: frozenset[int] = frozenset()
        self._status = Status()
        self._thread: threading.Thread | None = None

    @property
    def status(self) -> Status:
        """What the last pass left."""
        return self._status

    def start(self) -> None:
        """Begin; a second time does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Say that something was stored; a pass begins at once, unless the server is being waited for."""
        self._woken.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the request under way, of which nothing is lost if it takes longer than ``timeout_s``."""
        self._stop.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def __enter__(self) -> "Outbox":
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._woken.clear()
                wait_s = self._pass()
                if wait_s is None:
                    self._woken.wait()
                else:
                    self._stop.wait(wait_s)
        finally:
            if not self._stop.is_set():
                self._tell(replace(self._status, reason=STOPPED, next_step=RESTART))

    def _pass(self) -> float | None:
        try:
            with self._open_store() as store:
                report = self._send(store, self._destination, stop=self._stop, last=self._last)
        except LsemvaeError as error:
            self._tell(
                Status(self._status.waiting, self._status.parked, self._status.sent, error.message, error.next_step)
            )
            return self._backoff.after(Report(0, self._status.waiting, reason=error.message))
        self._last = frozenset(report.failed) | (self._last if report.failed else frozenset())
        sent = self._status.sent + report.sent
        self._tell(Status(report.waiting, len(report.parked), sent, report.reason, TELL if report.closed else ""))
        return self._backoff.after(report)

    def _tell(self, status: Status) -> None:
        different, self._status = status != self._status, status
        if different and self.changed is not None:
            self.changed(status)
