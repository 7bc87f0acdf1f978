"""``bench aarch64``: the comparison itself, and what is said where it cannot run. The emulation is run by CI."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge import runtime
from lsemvae_edge.benchmarks import aarch64
from lsemvae_edge.benchmarks.aarch64 import Comparison
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode, UsageError
from lsemvae_edge.runtime import versions

ROW = Comparison("cortex-a53", "litert", "2.1.0", "2.3.0", "model.tflite", "int8", "ran", 2)


@pytest.fixture(scope="module")
def bundle():
    return bundles.default()


@pytest.fixture(scope="module")
def outputs(bundle):
    session = runtime.open_session(bundle, "litert")
    given = [session.run(signal) for signal in bundle.golden["input"]]
    return {name: np.stack([getattr(one, name) for one in given]) for name in aarch64.OF_THE_MODEL}


@pytest.mark.parametrize("tool", sorted(aarch64._TOOLS))
def test_a_missing_tool_is_a_skip_that_says_what_to_install(monkeypatch, bundle, tmp_path, tool):
    which = aarch64.shutil.which
    monkeypatch.setattr(aarch64.shutil, "which", lambda name: None if name == tool else (which(name) or name))
    with pytest.raises(UsageError, match=r"^Skipped: ") as caught:
        aarch64.compare(bundle, tmp_path / "work", aarch64.CPUS, {}, print)
    assert aarch64._TOOLS[tool] in caught.value.message + caught.value.next_step
    assert not (tmp_path / "work").exists()


def test_a_skip_is_exit_code_2_with_its_reason(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(aarch64.shutil, "which", lambda name: None)
    assert main(["bench", "aarch64", "--work", str(tmp_path / "work"), "--json"]) == ExitCode.USAGE
    assert '"message": "Skipped: ' in capsys.readouterr().out


def test_without_the_network_it_is_skipped_with_what_the_tool_said():
    command = [sys.executable, "-c", "import sys; sys.exit('could not resolve deb.debian.org')"]
    with pytest.raises(UsageError, match=r"Skipped: no Debian's packages: could not resolve deb\.debian\.org"):
        aarch64._tool(command, "Debian's packages", {})


def test_equal_outputs_are_bit_equal(bundle, outputs):
    row = aarch64._compared(ROW, bundle, outputs, outputs)
    assert row.bit_equal
    assert (row.worst_logit, row.outcomes_differ) == (0, 0)
    assert row.allowed == bundle.manifest.tolerance["int8"]["litert"]
    assert row.passed


def test_a_difference_within_tolerance_passes_and_is_not_bit_equal(bundle, outputs):
    shifted = {**outputs, "logits": outputs["logits"] + np.float32(1e-3)}
    row = aarch64._compared(ROW, bundle, outputs, shifted)
    assert not row.bit_equal
    assert row.worst_logit == pytest.approx(1e-3, rel=0.01)
    assert row.passed


def test_another_outcome_or_a_large_difference_fails(bundle, outputs):
    far = {**outputs, "logits": outputs["logits"] + np.float32(8)}
    row = aarch64._compared(ROW, bundle, outputs, far)
    assert row.outcomes_differ
    assert not row.passed
    assert not replace(row, outcomes_differ=0).passed
    assert not replace(row, worst_logit=0.0).passed


def test_one_bit_of_any_output_is_seen(bundle, outputs):
    for name in aarch64.OF_THE_MODEL:
        changed = {**outputs, name: outputs[name].copy()}
        changed[name].reshape(-1).view(np.uint8)[0] ^= 1
        assert not aarch64._compared(ROW, bundle, outputs, changed).bit_equal


def test_a_child_that_crashes_or_fails_is_a_state(monkeypatch, tmp_path):
    cases = {
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "crashed with signal 11",
        "raise SystemExit(139)": "crashed with signal 11",
        "raise ImportError('no such library')": "ImportError: no such library",
        "raise SystemExit(3)": "exit code 3",
    }
    for code, state in cases.items():
        monkeypatch.setattr(aarch64, "_CHILD", code)
        assert aarch64._run([sys.executable], [], tmp_path / "out.npz", {}) == (None, state)


def test_a_row_that_did_not_run_fails_and_shows_why():
    row = replace(ROW, state="crashed with signal 11")
    assert not row.passed
    assert "crashed with signal 11" in aarch64.table([row])


def test_inputs_are_the_golden_ones_and_hearts_of_every_kind(bundle):
    signals = aarch64.model_inputs(bundle)
    known = bundle.golden["input"]
    assert signals.shape == (len(known) + aarch64.N_HEARTS, *known.shape[1:])
    np.testing.assert_array_equal(signals[: len(known)], known)
    np.testing.assert_array_equal(signals, aarch64.model_inputs(bundle))


def test_wheels_are_those_of_the_base_install_at_the_tested_releases():
    chosen = {name: known[-1] for name, known in versions.TESTED["aarch64"].items()}
    wanted = aarch64._requirements(chosen)
    assert "ai-edge-litert==2.1.0" in wanted
    assert any(line.startswith("numpy") for line in wanted)
    assert not any("torch" in line for line in wanted)


def test_a_release_without_a_version_is_a_usage_error(capsys, tmp_path):
    assert main(["bench", "aarch64", "--work", str(tmp_path), "--release", "onnxruntime"]) == ExitCode.USAGE
    assert "NAME==VERSION" in capsys.readouterr().err
