"""What runs in a guest whose power is cut: it opens the store, says what is in it, and stores until it is gone.

It speaks lines over its serial port. ``READY``: everything is imported, no disk has been seen. Then it is told a plan,
one JSON object, and says ``ENTRY seq hash kind whole`` for every entry that is there, ``VERDICT ok entries``, ``FINDING
text`` for whatever is wrong, ``JOURNAL number bytes right`` for every journal left behind, and ``OPEN``. Then it says
``SYNCED number bytes`` when so much of a journal must be on the disk, and ``SAVED seq hash`` after every call that
stored something has returned. ``FAILED text`` tells of any error.
"""

import fcntl
import json
import subprocess
import sys
import tempfile
import termios
import traceback
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.benchmarks.guest import loaded_files
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.result import ScreeningResult, result_from_dict
from lsemvae_edge.store import Entry, Store, StoreKey, database

Say = Callable[[str], None]
RESULT = Path("/result.json")
"""In the guest: the result that every attempt is given."""
_RESEED = 0x5207
_JOURNAL_BYTES, _PART_BYTES, _SYNCED_BYTES = 10_000, 1000, 4000
_MENDED = 500_000
"""Added to the number of an attempt whose study id is corrected."""


@dataclass(frozen=True)
class Plan:
    """What the guest is to do this time.

    Parameters
    ----------
    seed : int
        Of the disk's specimens.
    first : int
        Number of the first attempt that was never begun before.
    entropy : str
        Hexadecimal; stirred into the kernel's pool, since the memory that is gone on from is always the same.
    boot : str
        Id of this start of the machine.
    sync : bool
        False: the store is told not to wait for the disk, to show that the proof finds it.
    shown : int
        Entries up to here were read whole at an earlier start, and are now only listed.
    last : int or None
        Stop before the attempt of this number, in the dry run.
    """

    seed: int
    first: int
    entropy: str
    boot: str
    sync: bool = True
    shown: int = 0
    last: int | None = None


def main() -> None:
    """Run in the guest as its first process."""
    # Not buffered: a line is out before the call returns.
    with Path("/dev/ttyS0").open("r+b", buffering=0) as port:
        tty.setraw(port.fileno(), termios.TCSANOW)

        def say(line: str) -> None:
            port.write(line.encode() + b"\n")

        try:
            result = result_from_dict(json.loads(RESULT.read_text()))
            say("READY")
            plan = Plan(**json.loads(_line(port)))
            _awake(plan)
            work(Path("/disk"), plan, result, say)
        except BaseException as error:  # noqa: BLE001 - the first process must not end; the host decides what it means
            last = traceback.extract_tb(error.__traceback__)[-1]
            say(f"FAILED {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})".replace("\n", " "))
        port.read(1)


def work(disk: Path, plan: Plan, result: ScreeningResult, say: Say) -> None:
    """Say what is in the store on a disk, then store attempts and what belongs to them.

    Parameters
    ----------
    disk : Path
        Folder that holds the store and its key.
    plan : Plan
    result : ScreeningResult
        Given to the attempts.
    say : callable
        Takes a line; what it was given counts as shown.
    """
    if not plan.sync:
        database.SYNCHRONOUS = "OFF"
    with _opened(disk) as store:
        _tell(store, plan, say)
        say("OPEN")
        number = plan.first
        while number != plan.last:
            _screen(store, plan.seed, number, result, say)
            number += 1


def _opened(disk: Path) -> Store:
    """Open the store; create it where a cut left none, or only the beginnings of one."""
    path, folder = disk / "store.key", disk / "store"
    key = StoreKey.read(path) if path.exists() else StoreKey.create(path)
    try:
        return Store.open(folder, key)
    except LsemvaeError as error:
        try:
            return Store.create(folder, key, kind="clinic")
        except LsemvaeError:
            raise error from None


def _tell(store: Store, plan: Plan, say: Say) -> None:
    """Say what is in a store."""
    for entry in store.entries():
        whole = True
        if entry.kind == "attempt" and entry.seq > plan.shown:
            whole = _is_whole(store, plan.seed, entry)
        say(f"ENTRY {entry.seq} {entry.hash} {entry.kind} {int(whole)}")
    verdict = store.verify()
    say(f"VERDICT {int(verdict.ok)} {verdict.n_entries}")
    for finding in verdict.findings:
        say(f"FINDING {finding}".replace("\n", " "))
    for left in list(store.unfinished()):
        number = specimens.number_of(left.visit.study_id)
        say(f"JOURNAL {number} {len(left.data)} {int(_journal(plan.seed, number).startswith(left.data))}")
        store.settled(left)


def _is_whole(store: Store, seed: int, entry: Entry) -> bool:
    stored = store.read(entry.seq)
    record, result = stored.attempt.record, stored.attempt.result
    number = specimens.number_of(entry.facts.get("original_study_id") or stored.attempt.visit.study_id)
    wanted = specimens.record(seed, number).sha256()
    digests = {record.sha256() if record else None, result.record.sha256 if result else wanted}
    return digests == {wanted}


def _screen(store: Store, seed: int, number: int, result: ScreeningResult, say: Say) -> None:
    """Do what one screening does, and now and then what an operator does."""

    def saved(entry: Entry) -> None:
        say(f"SAVED {entry.seq} {entry.hash}")

    made = specimens.attempt(seed, number, result if number % 5 else None)
    journal = store.journal(made.visit, 1)
    content = _journal(seed, number)
    for at in range(0, len(content), _PART_BYTES):
        journal.write(content[at : at + _PART_BYTES])
        if at % _SYNCED_BYTES == 0:
            journal.sync()
            say(f"SYNCED {number} {at + _PART_BYTES}")
    journal.close()
    entry = store.append(made)
    saved(entry)
    if number % 3 == 0:
        saved(store.note("print", {"copies": 1}, operator="op1"))
    if number % 4 == 0:
        mended = specimens.study_id(number + _MENDED)
        saved(store.amend(entry.seq, study_id=mended, reason="proof", operator="op1"))


def _journal(seed: int, number: int) -> bytes:
    """Return what a recorder sent."""
    return specimens.counts(seed, number).tobytes()[:_JOURNAL_BYTES]


def _awake(plan: Plan) -> None:
    """See the disk, which nothing of this memory has seen, with randomness and a boot id of this start."""
    entropy = bytes.fromhex(plan.entropy)
    with Path("/dev/urandom").open("wb", buffering=0) as pool:
        pool.write(entropy)
        fcntl.ioctl(pool, _RESEED)
    Path("/tmp/boot_id").write_text(f"{plan.boot}\n")  # noqa: S108 - the guest's own memory
    _busybox("mount", "--bind", "/tmp/boot_id", "/proc/sys/kernel/random/boot_id")  # noqa: S108
    for name in Path("/late/order").read_text().split():
        _busybox("insmod", f"/late/{name}")
    _busybox("mount", "-t", "ext4", "/dev/vda", "/disk")


def _busybox(*words: str) -> None:
    subprocess.run(["/bin/busybox", *words], check=True)  # noqa: S603 - our own command


def _line(port: BinaryIO) -> str:
    """Read a line from a port without buffering."""
    got = b""
    while not got.endswith(b"\n"):
        got += port.read(1) or b""
    return got.decode()


def dry_run(result: Path) -> None:
    """Do everything once in a folder of this machine, and print the files that took as JSON."""
    given = result_from_dict(json.loads(result.read_text()))
    with tempfile.TemporaryDirectory() as folder:
        for first in (0, 5):
            work(Path(folder), Plan(0, first, "00", "", last=first + 5), given, lambda _: None)
    print(json.dumps(loaded_files()))


if __name__ == "__main__":
    dry_run(Path(sys.argv[1])) if sys.argv[1:] else main()
