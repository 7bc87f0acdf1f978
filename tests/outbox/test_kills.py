"""Nothing is lost when the sender is killed anywhere, the connection is cut, and the server is killed, too."""

import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from lsemvae_edge.exchange import fhir
from lsemvae_edge.store import Store, StoreKey

N_KILLS = 32
N_WAITING = 3
"""So many records wait at least whenever a sender begins."""
PATIENCE_S = 300.0
SENDING = Path(__file__).with_name("sending.py")


def begin(folder, url, *steps: int) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, str(SENDING), str(folder), url, *map(str, steps)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def comes_to(sender, step: int) -> None:
    """Wait until a sender is at a step of its work; it is done nowhere before."""
    assert sender.stdout.readline() == f"at {step}\n", sender.stderr.read()


def ended(sender) -> list[str]:
    """Return what a sender says that is left alone until nothing waits."""
    out, err = sender.communicate(timeout=PATIENCE_S)
    assert sender.returncode == 0, err
    done, *facts = out.split()
    assert done == "done"
    return facts


@pytest.mark.slow
def test_a_sender_killed_at_random_moments_loses_nothing_and_nothing_is_there_twice(tmp_path, serve, making):
    rng = random.Random(11)
    n_added = 0

    def add(folder, count: int) -> None:
        nonlocal n_added
        with Store.open(folder / "clinic", StoreKey.read(folder / "store.key")) as store:
            for _ in range(count):
                store.append(making.attempt(making.noise(seed=n_added, n_samples=2000)))
                n_added += 1

    for folder in (tmp_path, tmp_path / "undisturbed"):
        folder.mkdir(exist_ok=True)
        Store.create(folder / "clinic", StoreKey.create(folder / "store.key"), kind="clinic").close()

    # The whole work on that many, undisturbed; it is not done in fewer steps.
    add(tmp_path / "undisturbed", N_WAITING)
    fair = serve(folder=tmp_path / "undisturbed" / "server")
    n_steps = int(ended(begin(tmp_path / "undisturbed", fair.url))[2])
    n_added = 0

    server = serve("--seed", "5")
    # In random order one kill in each of as many stretches of the work; after the last step nobody would wait for it.
    ends = [(n_steps - 1) * kill // N_KILLS for kill in range(N_KILLS + 1)]
    stretches = list(pairwise(ends))
    rng.shuffle(stretches)
    for kill, (first, last) in enumerate(stretches):
        step = rng.randint(first + 1, last)
        with Store.open(tmp_path / "clinic", StoreKey.read(tmp_path / "store.key")) as store:
            n_waiting = len(store.pending(server.url))
        add(tmp_path, max(N_WAITING - n_waiting, 0))
        cut = [rng.randrange(1, step)] if kill % 4 == 3 and step > 1 else []
        sender = begin(tmp_path, server.url, *cut, step)
        for before in cut:
            comes_to(sender, before)
            server.kill()
            server.options = ("--seed", str(kill))
            server.start()
            print(file=sender.stdin, flush=True)
        comes_to(sender, step)
        sender.kill()
        sender.communicate()
        assert sender.returncode < 0, "a sender that was done before it was killed proves nothing"
    ended(begin(tmp_path, server.url))

    expected = set()
    with Store.open(tmp_path / "clinic", StoreKey.read(tmp_path / "store.key")) as store:
        assert store.pending(server.url) == []
        assert store.verify().ok
        for entry in store.attempts():
            bundle = fhir.bundle(store.read(entry.seq), site="Jiri")
            expected |= {part["request"]["url"] for part in bundle["entry"]}
    there = {f"{kind}/{id}" for kind, id in server.rows("SELECT kind, id FROM resources")}
    assert there == expected
    assert server.counts()["DiagnosticReport"] == n_added
    taken = Counter(id for (id,) in server.rows("SELECT request_id FROM requests WHERE status = 200"))
    again = [id for id, n in taken.items() if n > 1]
    assert len(again) >= 3, "hardly anything that was taken was sent again: the kills did not hit"
