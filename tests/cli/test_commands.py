"""The other commands: ``export``, ``bench``, ``train``."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import formats
from lsemvae_edge.cli import main


@pytest.fixture
def recording(heart_record, tmp_path) -> Path:
    return formats.write(heart_record(12.0), tmp_path / "heart.csv")


# export -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    pytest.importorskip("torch", reason="the export starts from float weights, which torch restores")
    pytest.importorskip("onnxscript", reason="conversion to ONNX needs the extra `export`")
    pytest.importorskip("onnxruntime", reason="the export is proven in onnxruntime")
    out = tmp_path_factory.mktemp("export") / "with_onnx"
    assert main(["export", "--format", "onnx", "--out", str(out), "--json"]) == 0
    return out


def test_the_export_holds_both_precisions_beside_what_was_there(exported):
    made = bundles.load(exported).manifest
    assert {model.path for model in made.models} == {"model-int8.tflite", "model-int8.onnx", "model-fp32.onnx"}
    assert set(made.metrics["agreement"]["recordings"]) >= {model.path for model in made.models}
    assert made.provenance["made_from"] == bundles.default().sha256


def test_the_export_gives_the_same_outcome_in_onnxruntime(cli, exported, recording):
    runtimes = ("litert", "onnxruntime")
    found = [
        json.loads(cli("screen", recording, "--bundle", exported, "--runtime", name, "--json")[1]) for name in runtimes
    ]
    assert [result["model"]["runtime"] for result in found] == list(runtimes)
    assert found[0]["outcome"] == found[1]["outcome"]
    probabilities = [result["tasks"]["right_heart_pattern"]["probability"] for result in found]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=0.02)


def test_the_export_verifies_in_every_form_and_runtime(cli, exported):
    code, out, _ = cli("verify", exported, "--json")
    assert code == 0
    ran = {(row["runtime"], row["model"]) for row in json.loads(out)["runtimes"]}
    assert {
        ("litert", "model-int8.tflite"),
        ("onnxruntime", "model-int8.onnx"),
        ("onnxruntime", "model-fp32.onnx"),
    } <= ran


def test_an_export_does_not_overwrite(cli, exported):
    code, out, _ = cli("export", "--format", "onnx", "--out", exported, "--json")
    assert code == 5
    assert "exists" in json.loads(out)["message"]


def test_the_formats_are_listed_with_what_each_needs_here(cli):
    code, out, _ = cli("export", "--list", "--json")
    assert code == 0
    rows = {(row["format"], row["precision"]): row["state"] for row in json.loads(out)["formats"]}
    assert {of for of, _ in rows} == {"pte", "tflite", "onnx", "c"}
    assert rows["c", "fp32"].startswith("not supported: ")
    assert all(state.startswith(("works here", "needs pip install", "not supported: ")) for state in rows.values())
    code, out, _ = cli("export", "--list")
    assert code == 0
    assert "ExecuTorch with its XNNPACK backend" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "keras"), "There is no format keras"),
        (("--format", "onnx", "--precision", "int4"), "There is no precision int4"),
        (("--format", "c", "--precision", "fp32"), "not supported"),
        ((), "--format and --out are needed"),
    ],
)
def test_an_export_that_has_no_meaning_is_wrong_usage(cli, tmp_path, arguments, words):
    code, out, _ = cli("export", *arguments, *(("--out", tmp_path / "x") if arguments else ()), "--json")
    assert code == 2
    assert words in json.loads(out)["message"]
    assert list(tmp_path.glob("x*")) == []


# bench and train ----------------------------------------------------------------------------------


def test_bench_safety_without_its_stack_names_the_extra(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "lsemvae_edge.benchmarks.safety", None)
    monkeypatch.delattr("lsemvae_edge.benchmarks.safety", raising=False)
    code, out, _ = cli("bench", "safety", "--json")
    assert code == 2
    assert "lsemvae-edge[train]" in json.loads(out)["next_step"]


def test_export_without_its_stack_names_the_extra(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lsemvae_edge.quantize.release", None)
    monkeypatch.delattr("lsemvae_edge.quantize.release", raising=False)
    code, out, _ = cli("export", "--format", "onnx", "--out", tmp_path / "x", "--json")
    assert code == 2
    assert "lsemvae-edge[export]" in json.loads(out)["next_step"]


@pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="training needs the extra `export`")
@pytest.mark.parametrize("content", ["{", '{"unknown": 1}', '{"student": {"epochs": "many"}}', None])
def test_a_configuration_that_is_none_is_wrong_usage(cli, tmp_path, content):
    config = tmp_path / "config.json"
    if content is not None:
        config.write_text(content)
    code, _, err = cli("train", "bundle", "--out", tmp_path / "out", "--config", config)
    assert code == 2
    assert "no recipe of a student" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="training needs the extra `export`")
def test_training_without_data_says_how_to_name_the_folder(cli, tmp_path, monkeypatch):
    monkeypatch.delenv("LSEMVAE_EDGE_DATA", raising=False)
    code, out, _ = cli("train", "bundle", "--out", tmp_path / "out", "--json")
    assert code in {2, 3}
    assert "LSEMVAE_EDGE_DATA" in json.loads(out)["message"] + json.loads(out)["next_step"]


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for command in ("screen", "train", "export", "verify", "bundle", "bench", "doctor"):
        assert command in text


@pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="training needs the extra `export`")
def test_a_student_is_not_written_over(cli, tmp_path):
    code, _, err = cli("train", "distill", "--out", tmp_path)
    assert code == 2
    assert "exists" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="training needs the extra `export`")
def test_a_size_that_does_not_exist_is_wrong_usage(cli, tmp_path):
    code, _, err = cli("train", "distill", "--size", "huge", "--out", tmp_path / "out")
    assert code == 2
    assert "'tiny', 'small' or 'base'" in err
