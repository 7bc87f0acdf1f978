"""Latency: which candidates there are, and that each is measured in fresh processes, in turns."""

import os
import sys
from dataclasses import replace

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import runtime
from lsemvae_edge.benchmarks.target import candidates, latency, session
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.errors import UsageError
from lsemvae_edge.manifest import ModelFile

TENSORS = ("0", "1", "0", "1", "2", "3", "4", "5")
TWO_CORES = len(os.sched_getaffinity(0)) > 1


@pytest.fixture
def opened(tmp_path):
    """A session that is written to."""
    with Session(tmp_path / "session", {}, [], 3) as one:
        yield one


@pytest.fixture
def three_files(monkeypatch, dummy_bundle):
    """A bundle of two TFLite files and a program, and engines for both formats that are said to be installed."""
    models = (
        ModelFile("int8.tflite", "tflite", "int8", *TENSORS),
        ModelFile("float.tflite", "tflite", "fp32", *TENSORS),
        ModelFile("model.pte", "pte", "int8", *TENSORS),
    )
    engines = tuple(
        engine if engine.name in ("litert", "executorch") else replace(engine, package="not_installed_anywhere")
        for engine in runtime.ENGINES
    )
    monkeypatch.setattr(runtime, "ENGINES", engines)
    monkeypatch.setattr(runtime.Engine, "installed", property(lambda engine: engine.name in ("litert", "executorch")))
    return dummy_bundle(models=models, files={**{model.path: b"" for model in models}, "golden.npz": b""})


def reasons(one):
    one._stream.flush()
    return {skipped.what: skipped.reason for skipped in session.read(one.folder).skipped}


def test_every_runtime_runs_every_file_of_its_format(opened, three_files, tmp_path):
    other = tmp_path / "python"
    found = candidates.of(opened, "latency", Plan([three_files], tflite_runtime_python=other))
    assert {(one.facts["runtime"], one.facts["file"]) for one in found} == {
        ("litert", "int8.tflite"),
        ("litert", "float.tflite"),
        ("tflite-runtime", "int8.tflite"),
        ("tflite-runtime", "float.tflite"),
        ("executorch", "model.pte"),
    }
    assert len(found) == 5
    assert {one.python for one in found if one.facts["runtime"] == "tflite-runtime"} == {str(other)}
    assert {one.python for one in found if one.facts["runtime"] != "tflite-runtime"} == {sys.executable}
    assert len({one.name for one in found}) == len(found)
    assert reasons(opened)["onnxruntime"].startswith("not installed: ")


def test_a_plan_narrows_and_says_what_it_left_out(opened, three_files):
    plan = Plan([three_files], runtimes=("litert", "executorch"), precisions=("fp32",))
    (only,) = candidates.of(opened, "latency", plan)
    assert (only.facts["runtime"], only.facts["precision"]) == ("litert", "fp32")
    (what,) = reasons(opened)
    assert what.startswith("executorch")


def test_the_binding_that_imports_torch_runs_where_it_is_named(opened, three_files):
    found = candidates.of(opened, "latency", Plan([three_files]))
    assert candidates.PYTHON_BINDING not in {one.facts["runtime"] for one in found}
    assert "--runtime executorch.runtime" in reasons(opened)[candidates.PYTHON_BINDING]
    found = candidates.of(opened, "latency", Plan([three_files], runtimes=(candidates.PYTHON_BINDING,)))
    assert [one.facts["runtime"] for one in found] == [candidates.PYTHON_BINDING]


def test_threads_are_left_out_where_they_cannot_be_had(opened, three_files):
    many = len(os.sched_getaffinity(0)) + 1
    threads = (1, 2, many) if TWO_CORES else (1, many)
    found = candidates.of(opened, "latency", Plan([three_files], threads=threads, precisions=("int8",)))
    had = {(one.facts["runtime"], one.threads) for one in found}
    assert ("litert", 1) in had
    assert ("executorch", 1) in had
    assert (("litert", 2) in had) == TWO_CORES
    assert not {(name, n) for name, n in had if name.startswith("executorch") and n > 1}
    assert not {n for _, n in had if n == many}
    told = set(reasons(opened).values())
    assert {"it runs on the calling thread", "there are not so many cores"} <= told


def test_an_unknown_runtime_and_a_plan_of_nothing_are_usage_errors(opened, three_files):
    with pytest.raises(UsageError, match="Unknown runtime 'tensorrt'"):
        candidates.of(opened, "latency", Plan([three_files], runtimes=("tensorrt",)))
    with pytest.raises(UsageError, match="Nothing of what was asked for"):
        candidates.of(opened, "latency", Plan([three_files], precisions=("int4",)))


def test_bundles_of_one_size_are_told_apart_by_digest(opened):
    bundle = bundles.default()
    other = replace(bundle, sha256="0" * 64)
    plan = Plan([bundle, other], runtimes=("litert",), precisions=("int8",))
    names = [one.name for one in candidates.of(opened, "latency", plan)]
    assert names == [
        f"litert · small {bundle.sha256[:8]} · int8 · 1 thread",
        "litert · small 00000000 · int8 · 1 thread",
    ]


def test_fresh_processes_run_in_turns_and_every_value_is_kept(tmp_path):
    bundle = bundles.default()
    plan = Plan([bundle], runtimes=("litert",), repeats=2, runs=7, threads=(1, 2) if TWO_CORES else (1,))
    with Session(tmp_path / "session", {}, plan.bundles, 4) as one:
        latency.measure(one, plan)
    recorded = session.read(tmp_path / "session")
    names = [case.name for case in recorded.cases]
    assert names[0] == "litert · small · int8 · 1 thread"
    assert len(names) == len(plan.threads)
    for case in recorded.cases:
        assert case.facts["sha256"] == bundle.sha256
        samples = recorded.of("latency", case.name, "inference_ms")
        assert [(sample.repeat, len(sample.values)) for sample in samples] == [(0, 7), (1, 7)]
        assert min(samples[0].values) > 0
        for metric in ("start_ms", "import_ms", "load_ms", "first_run_ms"):
            assert [len(sample.values) for sample in recorded.of("latency", case.name, metric)] == [1, 1]
