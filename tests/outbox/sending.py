"""A sender in a process of its own, to be killed: sends until nothing waits. Usage: sending.py FOLDER URL [STEP ...].

A step is the moment before or after any call of SQLite or of a socket: only between two of them can anything change
outside this process. Of each STEP it says that it is there, goes on into what comes, and at the step after that it
waits for a line, so that whoever kills it then finds it at that place of its work, however busy the machine is.
"""

import os
import sys
import time
from pathlib import Path

from lsemvae_edge.outbox import Destination, send
from lsemvae_edge.store import Store, StoreKey

OUTSIDE = {"sqlite3", "socket", "_socket"}


class Steps:
    """Counts steps, as a profiler does, and says when it is at some of them."""

    def __init__(self, told: set[int]) -> None:
        self.n, self._told = 0, told

    def __call__(self, frame, event, function) -> None:
        if event not in ("c_call", "c_return", "c_exception"):
            return
        owner = type(getattr(function, "__self__", None)).__module__
        if owner not in OUTSIDE and function.__module__ not in OUTSIDE:
            return
        if self.n in self._told:
            sys.stdin.readline()
        self.n += 1
        if self.n in self._told:
            os.write(1, f"at {self.n}\n".encode())


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    steps = Steps({int(step) for step in sys.argv[3:]})
    destination = Destination(url, timeout_s=5.0, site="Jiri")
    with Store.open(folder / "clinic", StoreKey.read(folder / "store.key")) as store:
        print("ready", flush=True)
        sys.setprofile(steps)
        while (report := send(store, destination)).waiting:
            time.sleep(0.01)
        sys.setprofile(None)
    print("done", report.sent, len(report.parked), steps.n, flush=True)


if __name__ == "__main__":
    main()
