"""Shards do not depend on where they are made, and no worker outlives its master."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="shards need the extra `train`")
pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.benchmarks.kills import different_files
from lsemvae_edge.errors import MissingExtraError, StoreError, UsageError
from lsemvae_edge.train.datasets import Synthetic
from lsemvae_edge.train.executors import open_workers
from lsemvae_edge.train.prepare import prepare
from lsemvae_edge.train.recipes import RECIPES

EDGE = RECIPES["edge"]
COMMAND = [str(Path(sys.executable).with_name("lsemvae-edge")), "train", "prepare", "--dataset", "synthetic"]
COMMAND += ["--option", "n_patients=5000", "--recipe", "edge", "--shard-size", "6"]
COHORT = partial(Synthetic, n_patients=20, faults=("contact_loss",), fault_share=0.3)


DYING = """
import os, signal, sys, threading, time
from pathlib import Path
from lsemvae_edge.cli import main
notes = Path(sys.argv[-1]) / "notes"
def kill():
    while not any(notes.glob("*.json")):
        time.sleep(0.02)
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
            return
threading.Thread(target=kill, daemon=True).start()
sys.exit(main(sys.argv[1:]))"""
"""Runs a command and kills one of its workers once a first shard is done."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "shards"
    return out, prepare(COHORT(), EDGE, out, shard_size=6, workers=1)


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(undisturbed, tmp_path):
    report = prepare(COHORT(), EDGE, tmp_path / "two", shard_size=6, workers=2)
    assert different_files(tmp_path / "two", undisturbed[0]) == []
    assert report.sha256 == undisturbed[1].sha256
    assert report.peak_mb.keys() == {"main", "worker"}


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bytes(undisturbed, tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is in the extra `cluster`")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        report = prepare(COHORT(), EDGE, tmp_path / "dask", shard_size=6, scheduler=cluster.scheduler_address)
    assert different_files(tmp_path / "dask", undisturbed[0]) == []
    assert report.kept == undisturbed[1].kept


def test_without_dask_a_scheduler_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError) as refused:
        prepare(COHORT(), EDGE, tmp_path / "out", scheduler="tcp://127.0.0.1:1")
    assert "lsemvae-edge[cluster]" in refused.value.next_step


def test_a_scheduler_that_does_not_answer_is_said():
    pytest.importorskip("distributed", reason="Dask is in the extra `cluster`")
    with (
        pytest.raises(UsageError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        open_workers(2, "tcp://127.0.0.1:9", patience_s=1.0),
    ):
        pass


@pytest.mark.slow
def test_a_worker_that_dies_is_said_and_the_work_goes_on_later(tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", DYING, *COMMAND[1:], "--workers", "2", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == StoreError.code, done.stderr
    assert "A worker died" in done.stderr
    assert "finished shards are kept" in done.stderr
    assert not list(out.glob("report.json"))


def test_workers_of_a_killed_process_end_too(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "--workers", "2", "--out", str(tmp_path / "out")],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _until(lambda: any((tmp_path / "out" / "notes").glob("*.json")), 60)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
        process.wait()
        _until(lambda: not any(_alive(int(child)) for child in children), 20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
