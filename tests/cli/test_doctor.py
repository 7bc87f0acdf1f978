"""``doctor`` turns what is installed, what happens when it runs, and the state of Bluetooth into sentences."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from lsemvae_edge import runtime
from lsemvae_edge.cli import doctor, main
from lsemvae_edge.device import health
from lsemvae_edge.errors import ExitCode
from lsemvae_edge.runtime import ENGINES, versions


def told(capsys, *arguments):
    code = main(["doctor", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def state_of(found, name):
    return next(row["state"] for row in found["runtimes"] if row["runtime"] == name)


@pytest.fixture
def child(monkeypatch):
    """Function that replaces the child process by another command."""
    run = subprocess.run

    def replace_by(code):
        monkeypatch.setattr(subprocess, "run", lambda command, **options: run([sys.executable, "-c", code], **options))

    return replace_by


@pytest.fixture
def verdicts(monkeypatch):
    """Function that pretends what is installed: releases by distribution."""

    def pretend(machine="x86_64", numpy="2.4.6", **releases):
        known = {name.replace("_", "-"): version for name, version in releases.items()}

        def installed(name):
            if name not in known:
                return versions.Verdict(name, None, None, None)
            return versions.judge(name, known[name], machine, numpy)

        monkeypatch.setattr(versions, "installed", installed)

    return pretend


def test_the_shipped_bundle_works_in_litert(capsys):
    code, found = told(capsys, "runtimes")
    assert code == ExitCode.DONE
    assert found["schema"] == "lsemvae-edge/doctor/1"
    assert [row["runtime"] for row in found["runtimes"]] == [engine.name for engine in ENGINES]
    assert [row["distribution"] for row in found["exporters"]] == list(versions.EXPORTERS)
    assert state_of(found, "litert") == "works"


def test_text_has_a_line_for_each_package(capsys):
    assert main(["doctor"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Runtimes"
    assert len(lines) == 2 + len(ENGINES) + len(versions.EXPORTERS)
    assert lines[1].startswith("  litert ")
    assert lines[1].endswith(": works")


def test_releases_are_tested_untested_or_known_bad_with_the_reason(capsys, verdicts, child):
    verdicts("aarch64", ai_edge_litert="2.3.0", onnx="1.99", torch="2.13.0")
    child("")
    code, found = told(capsys)
    row = found["runtimes"][0]
    assert (row["release"], row["version"]) == ("known bad", "2.3.0")
    assert "segmentation fault" in row["reason"]
    assert code == ExitCode.DONE
    exporters = {row["distribution"]: row["release"] for row in found["exporters"]}
    assert exporters["torch"] == exporters["onnx"] == "untested"
    assert exporters["torchao"] is None
    assert main(["doctor"]) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "litert 2.3.0 (known bad: ends with a segmentation fault" in text
    assert "torchao not installed" in text


def test_nothing_installed_is_a_refusal(capsys, verdicts):
    verdicts()
    code, found = told(capsys)
    assert code == ExitCode.BUNDLE_REFUSED
    assert {row["state"] for row in found["runtimes"]} == {"not installed"}


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("", "works"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "crashed with signal 11; install another version of it",
        ),
        ("raise SystemExit(9)", "runs, but its numbers are not the bundle's; do not use it"),
        ("raise ImportError('numpy.core.multiarray')", "does not run: ImportError: numpy.core.multiarray"),
        ("raise SystemExit(3)", "does not run: exit code 3"),
    ],
    ids=["works", "crash", "numbers", "error", "silent"],
)
def test_what_happens_in_the_child_becomes_a_sentence(capsys, verdicts, child, code, state):
    verdicts(ai_edge_litert="2.3.0")
    child(code)
    exit_code, found = told(capsys)
    assert state_of(found, "litert") == state
    assert exit_code == (ExitCode.DONE if state == "works" else ExitCode.BUNDLE_REFUSED)


def test_a_child_that_does_not_end_is_stopped(capsys, verdicts, child, monkeypatch):
    monkeypatch.setattr(doctor, "_PROBE_S", 0.2)
    verdicts(ai_edge_litert="2.3.0")
    child("import time; time.sleep(60)")
    assert state_of(told(capsys)[1], "litert").startswith("does not end within 0.2 s")


def test_a_runtime_without_a_file_in_the_bundle_asks_for_one(capsys, verdicts, monkeypatch):
    verdicts(ai_edge_litert="2.3.0", onnxruntime="1.32.0")
    monkeypatch.setattr(
        runtime, "ENGINES", tuple(replace(engine, package="json", ready=lambda: True) for engine in ENGINES)
    )
    assert (
        state_of(told(capsys)[1], "onnxruntime")
        == "installed; the bundle holds no .onnx to try, name one with --bundle"
    )


def test_a_wheel_without_its_shim_says_what_to_run(capsys, verdicts, monkeypatch, child):
    verdicts(executorch="1.5.1")
    child("")
    monkeypatch.setattr(runtime, "ENGINES", tuple(replace(engine, ready=lambda: False) for engine in ENGINES))
    assert "lsemvae-edge runtime build executorch" in state_of(told(capsys)[1], "executorch")


def test_a_bundle_of_ones_own_is_tried_in_every_runtime(capsys, two_format_bundle):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is the extra `onnx`")
    code, found = told(capsys, "--bundle", str(two_format_bundle.path))
    assert code == ExitCode.DONE
    assert state_of(found, "litert") == "works"
    # Its numbers are those of an int8 file elsewhere; that it ran is what counts here.
    assert state_of(found, "onnxruntime").split(";")[0] in {"works", "runs, but its numbers are not the bundle's"}


def test_a_bundle_that_is_none_is_refused(capsys, tmp_path):
    code, found = told(capsys, "--bundle", str(tmp_path / "absent"))
    assert code == ExitCode.BUNDLE_REFUSED
    assert found["schema"] == "lsemvae-edge/error/1"


@pytest.fixture
def bluetooth(monkeypatch):
    """Function that pretends what is found of Bluetooth."""
    return lambda *findings: monkeypatch.setattr(health, "examine", lambda: list(findings))


def test_bluetooth_that_can_be_used(capsys, bluetooth):
    bluetooth(
        health.Finding("adapter", "ok", "it is there"), health.Finding("pairing", "warn", "it is open", "Close it.")
    )
    code, found = told(capsys, "bluetooth")
    assert code == ExitCode.DONE
    assert found == {
        "schema": "lsemvae-edge/doctor/1",
        "usable": True,
        "bluetooth": [
            {"name": "adapter", "state": "ok", "sentence": "it is there", "next_step": None},
            {"name": "pairing", "state": "warn", "sentence": "it is open", "next_step": "Close it."},
        ],
    }
    assert main(["doctor", "bluetooth"]) == ExitCode.DONE
    assert capsys.readouterr().out.splitlines() == [
        "Bluetooth",
        "  ok   adapter: it is there",
        "  warn pairing: it is open",
        "       Close it.",
        "It can be used.",
    ]


def test_bluetooth_that_cannot_be_used_is_a_device_error(capsys, bluetooth):
    bluetooth(health.Finding("adapter", "bad", "there is none", "Plug one in."))
    code, found = told(capsys, "bluetooth")
    assert (code, found["usable"]) == (ExitCode.DEVICE, False)
    assert main(["doctor", "bluetooth"]) == ExitCode.DEVICE
    assert capsys.readouterr().out.splitlines()[-1] == "It cannot be used."
