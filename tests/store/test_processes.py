"""Programs that write at the same time, and programs that are killed while they write."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lsemvae_edge.store import Head, Store

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from lsemvae_edge.record import Record
from lsemvae_edge.store import Store, StoreKey
from lsemvae_edge.visit import Attempt, Visit
rng = np.random.default_rng(int(sys.argv[2]))
store = Store.open(Path(sys.argv[1]), StoreKey(bytes(range(32))), wait_s=30.0)
for left in store.unfinished():
    entry = store.append(Attempt(left.visit, left.number, "interrupted", None, None, "The power went."))
    print(entry.seq, entry.hash, left.visit.id, flush=True)
for number in range(int(sys.argv[3])):
    visit = Visit(rng.bytes(16).hex(), "ZQXJ7KVW93", "op7", "40-64", None, True)
    journal = store.journal(visit, 1)
    record = Record(rng.normal(size=(2, 3000)).astype(np.float32), 250.0, ("I", "II"), origin="live")
    journal.write(record.signal_mv.tobytes())
    entry = store.append(Attempt(visit, 1, "interrupted", record, None, record.sha256()))
    print(entry.seq, entry.hash, visit.id, flush=True)
store.close()
"""


def start(folder, seed, n_attempts):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(seed), str(n_attempts)], stdout=subprocess.PIPE, text=True
    )


def test_two_programs_write_at_once_into_one_chain(store):
    children = [start(store.folder, seed, 15) for seed in range(2)]
    told = [line.split() for child in children for line in child.communicate()[0].splitlines()]
    assert [child.returncode for child in children] == [0, 0]
    assert len(told) == 30
    verdict = store.verify()
    assert verdict.ok
    assert verdict.n_entries == 31
    assert {int(seq) for seq, *_ in told} == {entry.seq for entry in store.attempts()}


@pytest.mark.slow
def test_what_was_told_is_there_after_a_kill_and_nothing_is_half_there_or_twice(store, key):
    rng = random.Random(11)
    folder, told = store.folder, {}
    store.close()
    n_killed_early = 0
    for turn in range(30):
        with start(folder, 100 + turn, 10**6) as child:
            # After its first attempt, so that the kill meets writing and not the start of Python.
            lines = [child.stdout.readline()]
            time.sleep(rng.uniform(0.0, 0.03))
            os.kill(child.pid, signal.SIGKILL)
            lines += child.stdout.read().splitlines()
        for line in lines:
            if len(parts := line.split()) == 3 and len(parts[2]) == 32:
                told[int(parts[0])] = parts[1:]
        with Store.open(folder, key) as again:
            verdict = again.verify(Head(max(told), told[max(told)][0]))
            assert verdict.findings == ()
            n_killed_early += bool(list(again.unfinished()))
    with Store.open(folder, key) as again:
        attempts = {entry.seq: entry for entry in again.attempts()}
        for seq, (hash, visit) in told.items():
            assert attempts[seq].hash == hash
            assert attempts[seq].facts["visit"]["id"] == visit
        visits = [entry.facts["visit"]["id"] for entry in attempts.values()]
        assert len(set(visits)) == len(visits)
        for seq, entry in attempts.items():
            record = again.read(seq).attempt.record
            assert record is None or record.sha256() == entry.facts["detail"]
        assert n_killed_early, "no kill met a recording under way"
        assert len(list((folder / "journals").iterdir())) <= 1


@pytest.mark.parametrize("n_readers", [2])
def test_readers_see_whole_entries_while_another_program_writes(store, n_readers):
    with start(store.folder, 1, 20) as child:
        seen = 0
        while child.poll() is None:
            found = [entry.seq for entry in store.attempts(newest_first=False)]
            assert found == list(range(2, 2 + len(found)))
            seen = max(seen, len(found))
            assert store.verify().ok
    assert len(list(store.attempts())) == 20
