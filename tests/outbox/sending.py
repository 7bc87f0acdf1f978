"""A sender in a process of its own, to be killed: sends until nothing waits. Usage: sending.py FOLDER URL."""

import sys
import time
from pathlib import Path

from lsemvae_edge.outbox import Destination, send
from lsemvae_edge.store import Store, StoreKey

folder, url = Path(sys.argv[1]), sys.argv[2]
destination = Destination(url, timeout_s=5.0, site="Jiri")
with Store.open(folder / "clinic", StoreKey.read(folder / "store.key")) as store:
    print("ready", flush=True)
    while (report := send(store, destination)).waiting:
        time.sleep(0.01)
print("done", report.sent, len(report.parked), flush=True)
