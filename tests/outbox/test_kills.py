"""Nothing is lost when the sender is killed anywhere, the connection is cut, and the server is killed, too."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsemvae_edge.exchange import fhir
from lsemvae_edge.store import Store, StoreKey

N_KILLS = 24
N_RECORDS = 8
SENDING = Path(__file__).with_name("sending.py")


def begin(folder, url) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, str(SENDING), str(folder), url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


@pytest.mark.slow
def test_a_sender_killed_at_random_moments_loses_nothing_and_nothing_is_there_twice(tmp_path, serve, making):
    rng = random.Random(11)
    key = StoreKey.create(tmp_path / "store.key")
    server = serve("--seed", "5")
    Store.create(tmp_path / "clinic", key, kind="clinic").close()
    expected: dict[str, None] = {}

    def add(count: int) -> None:
        with Store.open(tmp_path / "clinic", key) as store:
            for seed in range(count):
                store.append(making.attempt(making.noise(seed=seed, n_samples=2000)))

    died = 0
    for kill in range(N_KILLS):
        if kill % 3 == 0:
            add(1)
        sender = begin(tmp_path, server.url)
        time.sleep(rng.random() * 0.25)
        if kill % 6 == 5:
            server.kill()
            server.start()
        died += sender.poll() is None
        sender.kill()
        sender.communicate()
    add(N_RECORDS - N_KILLS // 3 + 1)
    sender = begin(tmp_path, server.url)
    out, err = sender.communicate(timeout=120)
    assert sender.returncode == 0, err
    assert out.split()[0] == "done"
    assert died >= N_KILLS // 4, "most senders were done before they were killed: this proves nothing"

    with Store.open(tmp_path / "clinic", key) as store:
        assert store.pending(server.url) == []
        assert store.verify().ok
        for entry in store.attempts():
            bundle = fhir.bundle(store.read(entry.seq), site="Jiri")
            expected |= dict.fromkeys(part["request"]["url"] for part in bundle["entry"])
    there = {f"{kind}/{id}" for kind, id in server.rows("SELECT kind, id FROM resources")}
    assert there == set(expected)
    assert server.counts()["DiagnosticReport"] == N_KILLS // 3 + N_RECORDS - N_KILLS // 3 + 1
    again = server.rows("SELECT request_id FROM requests")
    assert len(again) > len(set(again)), "nothing was ever sent twice: the kills did not hit"
