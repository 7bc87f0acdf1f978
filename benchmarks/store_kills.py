"""Proof by killing: what a kiosk showed as saved is there, whole, after SIGKILL at any moment of its work.

A process that has everything imported forks a worker for each kill: the worker opens the store, says what is in it, and
then records a simulated heart into a journal, screens it with the shipped model, stores, says so and exports, until it
is killed. SIGKILL leaves to the system what was written, so this says nothing of power cuts (`power_cuts`).
"""

import os
import random
import select
import signal
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from lsemvae_edge import bundle, exchange
from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.benchmarks.kills import ProofError, Say
from lsemvae_edge.benchmarks.store_work import Judge, Work, opened
from lsemvae_edge.screening import screen
from lsemvae_edge.store import Entry, Store

KILLS_PER_STORE = 25
LONGEST_S = 0.4
"""Latest kill after the store was opened."""
WHILE_OPENING_S = 0.1
"""Latest kill after the worker was forked, for one in `OPENING` of them."""
OPENING = 5
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Kill:
    """One kill: how long after the fork or, unless it was being opened, after the store was open."""

    opening: bool
    after_s: float
    during: str
    saved: int


def measure(kills: int, seed: int, say: Say) -> dict[str, Any]:
    """Kill so often.

    Parameters
    ----------
    kills : int
    seed : int
        Of the moments; how far a worker gets is the machine's.
    say : callable

    Returns
    -------
    dict
        ``kills``, ``saved`` (entries shown as saved), ``findings`` (must be empty), ``moments`` and more.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    done: list[Kill] = []
    judges: list[Judge] = []
    begun = monotonic()
    # Imported once, before anything is forked.
    shipped = bundle.default()
    with TemporaryDirectory(prefix="store-kills-") as place:
        while len(done) < kills:
            folder = Path(place) / str(len(judges))
            folder.mkdir()
            judge = Judge()
            judges.append(judge)
            work = Work(seed * 1000 + len(judges), specimens.heart, lambda record: screen(record, shipped), _exported)
            for start in range(min(KILLS_PER_STORE, kills - len(done))):
                opening = rng.randrange(OPENING) == 0
                after_s = rng.uniform(0.0, WHILE_OPENING_S if opening else LONGEST_S)
                done.append(_killed(folder, work, judge, 1000 * (start + 1), opening, after_s))
            _looked(folder, work, judge)
            if len(judges) % 4 == 0 or len(done) >= kills:
                saved, findings = sum(judge.saved for judge in judges), sum(len(judge.findings) for judge in judges)
                say(f"{len(done)} kills, {saved} entries saved, {findings} findings")
    return {
        "seed": seed,
        "kills": len(done),
        "stores": len(judges),
        "saved": sum(judge.saved for judge in judges),
        "stored_not_yet_shown": sum(judge.unshown for judge in judges),
        "journals_read_back": sum(judge.journals for judge in judges),
        "findings": [f"store {number}: {text}" for number, judge in enumerate(judges) for text in judge.findings],
        "moments": dict(sorted(Counter(kill.during for kill in done).items())),
        "seconds_per_kill": round((monotonic() - begun) / kills, 3),
        "each": [asdict(kill) for kill in done],
    }


class _Worker:
    """A forked process that works on a store and says lines."""

    def __init__(self, folder: Path, work: Work, first: int, shown: int, only_look: bool = False) -> None:
        self._reader, writer = os.pipe()
        self._rest = b""
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reader)
            _work(folder, work, first, shown, only_look, writer)
        os.close(writer)

    def line(self, deadline: float) -> str | None:
        """Return the next whole line; None at the deadline, or at the end."""
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._reader], [], [], max(0.0, deadline - monotonic()))
            part = os.read(self._reader, 65536) if ready else b""
            if not part:
                return None
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def kill(self) -> None:
        """Kill it; what it has said can still be read."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def close(self) -> None:
        """Read nothing more of it."""
        os.close(self._reader)


def _killed(folder: Path, work: Work, judge: Judge, first: int, opening: bool, after_s: float) -> Kill:
    """Fork a worker, and kill it after a time."""
    before, during = judge.saved, "opening"
    worker = _Worker(folder, work, first, max(judge.shown, default=0))
    try:
        if opening:
            sleep(after_s)
            worker.kill()
        said = _said(worker)
        if said is not None:
            judge.compare(said)
        if not opening:
            if said is None:
                raise ProofError(f"A worker ended by itself: {worker.line(0)}")
            deadline = monotonic() + after_s
            while (line := worker.line(deadline)) is not None:
                during = _next(line)
                judge.hear(line)
            worker.kill()
        elif said is not None:
            during = "recording"
        while (line := worker.line(0.0)) is not None:
            during = _next(line)
            judge.hear(line)
    finally:
        worker.close()
    return Kill(opening, round(after_s, 4), during, judge.saved - before)


def _said(worker: _Worker) -> list[str] | None:
    """Return what a worker says before it stores; None if it was killed before it had said all."""
    lines: list[str] = []
    deadline = monotonic() + _PATIENCE_S
    while (line := worker.line(deadline)) is not None:
        if line == "OPEN":
            return lines
        if line.startswith("FAILED"):
            raise ProofError(f"A worker failed: {line}")
        lines.append(line)
    return None


def _looked(folder: Path, work: Work, judge: Judge) -> None:
    worker = _Worker(folder, work, 0, 0, only_look=True)
    try:
        said = _said(worker)
        if said is None:
            raise ProofError("A worker ended by itself.")
        judge.compare(said)
        while worker.line(monotonic() + _PATIENCE_S) is not None:
            pass
    finally:
        worker.kill()
        worker.close()
    left = [path.name for path in (folder / "store").rglob("*") if path.suffix == ".lsejs"]
    if left:
        judge.findings.append(f"{len(left)} journals of stored or settled attempts are still there.")


def _work(folder: Path, work: Work, first: int, shown: int, only_look: bool, writer: int) -> None:
    """Work until killed; never returns."""

    def say(line: str) -> None:
        os.write(writer, line.encode() + b"\n")

    try:
        with opened(folder) as store:
            work.tell(store, shown, say)
            while not only_look:
                work.screen(store, first, say)
                first += 1
    except BaseException as error:  # noqa: BLE001 - a forked process must not go on as its parent
        last = traceback.extract_tb(error.__traceback__)[-1]
        say(f"FAILED {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})".replace("\n", " "))
    os._exit(0)


def _exported(store: Store, entry: Entry) -> None:
    """Make what is sent to a server and, now and then, the page that is printed."""
    stored = store.read(entry.seq)
    exchange.export(stored, "fhir")
    if stored.attempt.result is not None and entry.seq % 4 == 0:
        exchange.export(stored, "pdf")


def _next(line: str) -> str:
    """Return what is under way after a line."""
    word, _, rest = line.partition(" ")
    return {"SYNCED": "recording", "SAVED": "exporting", "AT": rest}.get(word, word)
