"""What runs in a guest whose power is cut: it opens the store, says what is in it, and stores until it is gone.

Over its serial port it says ``READY`` when everything is imported and no disk has been seen, is told a plan, one JSON
object, and then speaks the lines of `store_work`; ``FAILED text`` tells of any error.
"""

import fcntl
import json
import subprocess
import sys
import tempfile
import termios
import traceback
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.benchmarks.guest import loaded_files
from lsemvae_edge.benchmarks.store_work import Say, Work, opened
from lsemvae_edge.result import ScreeningResult, result_from_dict
from lsemvae_edge.store import database

RESULT = Path("/result.json")
"""In the guest: the result that every attempt is given."""
_RESEED = 0x5207


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
    """Say what is in the store on a disk, then store.

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
        # The store is made as it should be; what is then stored in it is not.
        opened(disk).close()
        database.SYNCHRONOUS = "OFF"
    doing = Work(plan.seed, specimens.walk, lambda _: result)
    with opened(disk) as store:
        doing.tell(store, plan.shown, say)
        number = plan.first
        while number != plan.last:
            doing.screen(store, number, say)
            number += 1


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
