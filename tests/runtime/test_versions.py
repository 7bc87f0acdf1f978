"""The table of releases: the pins of the constraints files, and what is said of any other."""

from pathlib import Path

import pytest

from lsemvae_edge.runtime import ENGINES, versions

ROOT = Path(__file__).parents[2]


def pins(name):
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return {key.lower(): value.partition("+")[0] for key, _, value in (line.partition("==") for line in lines) if value}


@pytest.mark.parametrize("distribution", sorted({*versions.EXPORTERS, "ai-edge-litert", "onnxruntime"}))
def test_what_counts_as_tested_here_is_what_the_constraints_pin(distribution):
    assert versions.TESTED["x86_64"][distribution] == (pins("constraints.txt")[distribution],)


def test_what_counts_as_tested_on_arm_is_what_its_constraints_pin():
    assert {name: (version,) for name, version in pins("constraints-aarch64.txt").items()} == versions.TESTED["aarch64"]


def test_tflite_runtime_is_tested_in_the_environment_of_its_own():
    assert versions.TESTED["x86_64"]["tflite-runtime"] == (pins("requirements-tflite-runtime.txt")["tflite-runtime"],)


def test_every_runtime_has_a_distribution():
    assert list(versions.RUNTIMES) == [engine.name for engine in ENGINES]


@pytest.mark.parametrize(
    ("distribution", "version", "machine", "numpy", "state"),
    [
        ("torch", "2.13.0", "x86_64", "2.4.6", "tested"),
        ("torch", "2.13.0+cpu", "x86_64", "2.4.6", "tested"),
        ("torch", "2.13.1", "x86_64", "2.4.6", "untested"),
        ("torch", "2.13.0", "aarch64", "2.4.6", "untested"),
        ("torch", "2.13.0", "riscv64", "2.4.6", "untested"),
        ("ai-edge-litert", "2.3.0", "x86_64", "2.4.6", "tested"),
        ("ai-edge-litert", "2.3.0", "aarch64", "2.4.6", "known bad"),
        ("ai-edge-litert", "2.1.0", "aarch64", "2.4.6", "tested"),
        ("onnxruntime", "1.32.0", "aarch64", "2.4.6", "known bad"),
        ("tflite-runtime", "2.14.0", "x86_64", "1.26.4", "tested"),
        ("tflite-runtime", "2.14.0", "x86_64", "2.0.0", "known bad"),
        ("tflite-runtime", "2.14.0", "aarch64", "2.4.6", "known bad"),
    ],
)
def test_a_release_is_tested_untested_or_known_bad(distribution, version, machine, numpy, state):
    verdict = versions.judge(distribution, version, machine, numpy)
    assert verdict.state == state
    assert verdict.version == version
    assert (verdict.reason is None) == (state == "tested")


def test_an_untested_release_names_the_tested_ones():
    assert "2.13.0" in versions.judge("torch", "3.0", "x86_64", "2.4.6").reason
    assert "no release of it was tested on riscv64" in versions.judge("torch", "3.0", "riscv64", "2.4.6").reason


def test_a_distribution_that_is_not_installed_has_no_verdict():
    assert versions.installed("no-such-distribution") == versions.Verdict("no-such-distribution", None, None, None)
    assert versions.installed("numpy").version is not None
