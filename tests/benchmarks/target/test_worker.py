"""A worker holds one candidate, pinned, and what becomes of it is told in a sentence."""

import os
import sys
import tempfile

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks.target import worker as workers
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker
from lsemvae_edge.errors import RuntimeUnavailableError, UsageError

WORK = """
import os
import time

def counting(start):
    print("this is no answer", flush=True)
    held = [start]
    def run():
        held[0] += 1
        return {"count_ms": float(held[0])}
    return run

def surroundings():
    return lambda: {
        "cores": float(len(os.sched_getaffinity(0))),
        "last": float(max(os.sched_getaffinity(0))),
        "omp": float(os.environ["OMP_NUM_THREADS"]),
        "openblas": float(os.environ["OPENBLAS_NUM_THREADS"]),
    }

def failing():
    raise ValueError("no such kernel")

def leaving(after):
    left = [after]
    def run():
        left[0] -= 1
        if left[0] < 0:
            os._exit(7)
    return run

def sleeping(after, seconds):
    left = [after]
    def run():
        left[0] -= 1
        if left[0] < 0:
            time.sleep(seconds)
    return run
"""


@pytest.fixture
def candidate_of(tmp_path, monkeypatch):
    """Function that makes a candidate of a function above."""
    (tmp_path / "made_for_tests.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(function, threads=1, **arguments):
        task = {"kind": "factory", "module": "made_for_tests", "function": function, "arguments": arguments}
        return Candidate(function, task, threads=threads)

    return make


def test_every_call_is_timed_in_the_child_and_what_it_prints_is_no_answer(candidate_of):
    with Worker(candidate_of("counting", start=10)) as worker:
        assert set(worker.started) == {"start_ms", "import_ms", "load_ms", "first_run_ms"}
        assert all(value > 0 for value in worker.started.values())
        timed = worker.run(3)
        # The first run, whose time stands with the start, counted to 11.
        assert timed.stages == {"count_ms": [12.0, 13.0, 14.0]}
        assert len(timed.ms) == 3
        assert min(timed.ms) > 0
        assert worker.run(1).stages == {"count_ms": [15.0]}


def test_load_runs_for_so_long_and_counts(candidate_of):
    with Worker(candidate_of("counting", start=0)) as worker:
        loaded = worker.load(0.05)
        assert loaded.seconds >= 0.05
        # One more than was counted: the first run.
        assert worker.run(1).stages == {"count_ms": [loaded.n + 2.0]}


def test_it_is_pinned_to_the_last_cores_and_libraries_are_told_as_many_threads(candidate_of):
    usable = sorted(os.sched_getaffinity(0))
    for threads in {1, len(usable)}:
        with Worker(candidate_of("surroundings", threads=threads)) as worker:
            stages = worker.run(1).stages
        assert stages == {"cores": [threads], "last": [usable[-1]], "omp": [threads], "openblas": [threads]}


def test_more_threads_than_cores_are_refused_before_anything_starts(candidate_of):
    too_many = len(os.sched_getaffinity(0)) + 1
    with pytest.raises(UsageError, match=f"needs {too_many} cores"):
        Worker(candidate_of("surroundings", threads=too_many))


def test_a_candidate_that_fails_is_named_with_its_last_words(candidate_of):
    with pytest.raises(RuntimeUnavailableError, match=r"failing ended with 1: ValueError: no such kernel"):
        Worker(candidate_of("failing"))


def test_a_candidate_that_dies_while_it_runs_is_an_error_and_no_hang(candidate_of):
    with (
        Worker(candidate_of("leaving", after=2)) as worker,
        pytest.raises(RuntimeUnavailableError, match="leaving ended with 7: it left no word"),
    ):
        worker.run(5)


def test_a_candidate_that_says_nothing_is_given_up(candidate_of, monkeypatch):
    monkeypatch.setattr(workers, "ANSWERS_WITHIN_S", 0.1)
    with (
        Worker(candidate_of("sleeping", after=1, seconds=1.0)) as worker,
        pytest.raises(RuntimeUnavailableError, match=r"sleeping said nothing for 0\.1 s"),
    ):
        worker.run(1)
    assert worker._child.returncode is not None


def test_it_runs_a_file_of_a_bundle_and_tells_its_memory():
    bundle = bundles.default()
    task = {
        "kind": "runtime",
        "bundle": str(bundle.path),
        "file": "model-int8.tflite",
        "runtime": "litert",
        "threads": 1,
    }
    with Worker(Candidate("litert", task)) as worker:
        assert len(worker.run(5).ms) == 5
        memory = worker.memory()
    assert 0 < memory["uss_mb"] <= memory["pss_mb"] <= memory["steady_rss_mb"] <= memory["peak_rss_mb"] < 1000


def test_a_floor_runs_nothing_and_needs_less(candidate_of):
    with Worker(Candidate("nothing", {"kind": "floor", "modules": []})) as worker:
        assert set(worker.started) == {"start_ms"}
        nothing = worker.memory()
    with Worker(Candidate("numpy", {"kind": "floor", "modules": ["numpy"]})) as worker:
        assert worker.memory()["peak_rss_mb"] > nothing["peak_rss_mb"]


def test_another_interpreter_is_given_a_copy_of_the_core(tmp_path, monkeypatch):
    """The copy is gone when it has started."""
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    task = {"kind": "floor", "modules": ["lsemvae_edge.screening"]}
    with Worker(Candidate("other", task, python=str(other))) as worker:
        assert worker.memory()["peak_rss_mb"] > 1
        assert list(copies.iterdir()) == []
