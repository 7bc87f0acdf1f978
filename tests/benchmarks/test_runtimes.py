"""``bench runtimes``: which rows there are, and that a fresh process is measured."""

import json
import sys

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import runtime
from lsemvae_edge.benchmarks import runtimes
from lsemvae_edge.benchmarks.runtimes import Candidate, Cost
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode, RuntimeUnavailableError, UsageError
from lsemvae_edge.manifest import ModelFile

TENSORS = ("0", "1", "0", "1", "2", "3", "4", "5")


def test_one_process_of_each_is_measured_and_every_sample_kept(capsys, tmp_path):
    out = tmp_path / "runtimes.json"
    assert main(["bench", "runtimes", "--repeats", "2", "--out", str(out), "--json"]) == ExitCode.DONE
    rows = {row["runtime"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {"numpy", "numpy and lsemvae_edge", "litert"} <= set(rows)
    litert = rows["litert"]
    assert litert["file"] == "model-int8.tflite"
    assert set(litert["medians"]) == set(runtimes.FIGURES)
    assert all(len(values) == 2 for values in litert["samples"].values())
    assert litert["ratios"]["peak_mb"] == 1
    assert 0 < litert["medians"]["run_ms"] < litert["medians"]["process_ms"]
    assert set(rows["numpy"]["medians"]) == {"peak_mb", "process_ms"}
    assert 5 < rows["numpy"]["medians"]["peak_mb"] < litert["medians"]["peak_mb"] < 500
    assert rows["numpy"]["ratios"]["peak_mb"] < 1
    kept = json.loads(out.read_text())
    assert kept["proof"] == "runtimes"
    assert kept["versions"]["numpy"]
    assert [row["runtime"] for row in kept["rows"]] == list(rows)


def test_every_runtime_runs_every_file_of_its_format(monkeypatch, dummy_bundle, tmp_path):
    models = (
        ModelFile("int8.tflite", "tflite", "int8", *TENSORS),
        ModelFile("float.tflite", "tflite", "fp32", *TENSORS),
        ModelFile("model.pte", "pte", "int8", *TENSORS),
    )
    files = {model.path: b"" for model in models}
    bundle = dummy_bundle(models=models, files={**files, "golden.npz": b""})
    wanted = ("litert", "executorch")
    engines = tuple(engine for engine in runtime.ENGINES if engine.name in wanted)
    monkeypatch.setattr(runtime, "available", lambda: engines)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: object())
    other = tmp_path / "python"
    rows = runtimes.candidates(bundle, other)
    assert [(row.runtime, row.file) for row in rows[2:]] == [
        ("litert", "int8.tflite"),
        ("litert", "float.tflite"),
        ("tflite-runtime", "int8.tflite"),
        ("tflite-runtime", "float.tflite"),
        ("executorch", "model.pte"),
        ("executorch.runtime", "model.pte"),
    ]
    assert {row.python for row in rows if row.runtime == "tflite-runtime"} == {str(other)}
    assert {row.python for row in rows if row.runtime != "tflite-runtime"} == {sys.executable}
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert "executorch.runtime" not in {row.runtime for row in runtimes.candidates(bundle, None)}


def test_a_runtime_that_fails_is_named_with_its_last_words(monkeypatch, tmp_path):
    failing = Candidate("litert", "model.tflite", "int8", sys.executable)
    monkeypatch.setattr(runtimes, "_CHILD", "raise ValueError('no such kernel')")
    with pytest.raises(
        RuntimeUnavailableError, match=r"litert, model\.tflite fails with exit code 1: .*no such kernel"
    ):
        runtimes._process(failing, bundles.default(), str(tmp_path))


def test_no_repeats_is_a_usage_error():
    with pytest.raises(UsageError, match="At least one"):
        runtimes.measure(bundles.default(), 0, None, print)


def test_the_table_leaves_out_what_was_not_measured():
    floor = Cost("numpy", "", "", 1, {"peak_mb": 27.0, "process_ms": 90.0}, {"peak_mb": 0.5}, {})
    full = dict(zip(runtimes.FIGURES, (6.0, 0.5, 0.25, 47.0, 200.0), strict=True))
    lines = runtimes.table(
        [floor, Cost("litert", "m.tflite", "int8", 1, full, dict.fromkeys(full, 1.0), {})]
    ).splitlines()
    assert lines[2] == "| numpy | - | - | - | - | 27.0 | 90 | -, -, 0.50 |"
    assert lines[3] == "| litert | m.tflite (int8) | 6.0 | 0.50 | 0.250 | 47.0 | 200 | 1.00, 1.00, 1.00 |"
