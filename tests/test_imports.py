"""What an import may load: the kiosk starts cold on a small board."""

import json
import os
import subprocess
import sys

import pytest


def loaded_by(statement, tmp_path):
    """Return the modules that a fresh interpreter holds after a statement."""
    command = [sys.executable, "-c", f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy(tmp_path):
    loaded = loaded_by("import lsemvae_edge", tmp_path)
    assert "lsemvae_edge" in loaded
    assert not {"numpy", "torch", "lsemvae_edge.record"} & loaded


TRAINING_STACK = {"torch", "scipy", "pandas", "matplotlib", "pydantic", "litert_torch", "onnx", "sklearn"}
ON_DEMAND = {"fpdf", "pydicom", "edfio", "onnxruntime", "ai_edge_litert", "tflite_runtime"}


def test_the_kiosks_path_loads_no_training_stack_and_readers_only_on_demand(tmp_path):
    loaded = loaded_by("import lsemvae_edge.screening, lsemvae_edge.formats, lsemvae_edge.report", tmp_path)
    assert {"numpy", "lsemvae_edge.decision", "lsemvae_edge.preprocess"} <= loaded
    assert not TRAINING_STACK & loaded
    assert not ON_DEMAND & loaded
    rooms = ("lsemvae_edge.model", "lsemvae_edge.train", "lsemvae_edge.quantize", "lsemvae_edge.benchmarks")
    assert not {name for name in loaded if name.startswith(rooms)}


@pytest.mark.parametrize("module", [f"lsemvae_edge.{name}" for name in ("cli", "device", "quality", "synthetic.heart")])
def test_no_part_of_the_core_loads_the_training_stack(tmp_path, module):
    assert not (TRAINING_STACK | ON_DEMAND) & loaded_by(f"import {module}", tmp_path)


def test_screening_a_recording_loads_no_training_stack(tmp_path, small_bundle):
    statement = f"""
from lsemvae_edge import bundle, screening
from lsemvae_edge.synthetic.heart import Heart, simulate
result = screening.screen(simulate(Heart()), bundle.load({str(small_bundle.path)!r}))
assert result.model.runtime == "litert", result"""
    loaded = loaded_by(statement, tmp_path)
    assert "ai_edge_litert" in loaded
    assert not TRAINING_STACK & loaded
    assert not {"fpdf", "pydicom", "edfio", "onnxruntime"} & loaded


def test_reading_a_format_loads_that_formats_library_alone(tmp_path, heart_record):
    from lsemvae_edge import formats

    path = formats.write(heart_record(), tmp_path / "record.hea", format="wfdb")
    loaded = loaded_by(f"from lsemvae_edge import formats\nformats.read({str(path)!r})", tmp_path)
    assert not (TRAINING_STACK | ON_DEMAND) & loaded
