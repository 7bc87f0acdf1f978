"""The folder's own proof on this machine: what it shows, and that it can fail."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

COMPILERS = ("gcc", "clang")


@pytest.fixture(scope="module")
def folder(firmware, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    return Path(shutil.copytree(firmware.folder("tiny"), tmp_path_factory.mktemp("proof") / "tiny"))


def make(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--no-print-directory", "-s", "-C", str(folder), *arguments],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def need(*programs: str) -> None:
    if lacking := [name for name in programs if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(lacking)} not installed")


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["fixed", "float"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_check_of_the_host_test_passes_under_sanitizers(folder, compiler, tail):
    need("make", compiler)
    build = f"BUILD=build/{compiler}-{tail}"
    done = make(folder, "test", f"CC={compiler}", f"TAIL={tail}", build)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("lsemvae selftest: PASS")]
    passed = sum(line.startswith("ok ") for line in lines)
    assert lines[-1] == f"lsemvae host test: {passed} passed, 0 failed"
    assert passed > 30
    assert "-fsanitize=address" in (folder / f"build/{compiler}-{tail}/sanitize.txt").read_text()


def test_a_compiler_without_sanitizers_still_proves(folder, tmp_path):
    need("make", "gcc")
    plain = tmp_path / "plain-cc"
    plain.write_text('#!/bin/sh\ncase "$*" in *-fsanitize*) exit 1;; esac\nexec gcc "$@"\n')
    plain.chmod(0o755)
    done = make(folder, "test", f"CC={plain}", "BUILD=build/plain", "OPTIMIZE=-O1")
    assert done.returncode == 0, done.stdout + done.stderr


# What is changed of a known answer, and the stage that has to find it.
CHANGES = {
    "window": (r"static const int16_t window_0_i\[\] = \{(-?\d+)", 5),
    "input": (r"\{window_0_i, window_0_ii\},\s*\{\{(-?\d+)", 5),
    "encoder": None,
    "tail": None,
    "decision": (r"\(lsemvae_outcome\)(\d)", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", CHANGES)
def test_a_changed_known_answer_is_found_at_its_stage(folder, tmp_path, stage):
    need("make", "cc")
    changed = Path(shutil.copytree(folder, tmp_path / "changed", ignore=shutil.ignore_patterns("build")))
    vectors = changed / "test/lsemvae_vectors.c"
    text = vectors.read_text()
    at, by = place(text, stage)
    vectors.write_text(text[: at.start(1)] + str(int(at[1]) + by) + text[at.end(1) :])
    done = make(changed, "test", "SANITIZE=", "OPTIMIZE=-O1")
    assert done.returncode != 0
    assert f"lsemvae selftest: FAIL stage={stage} vector=golden 0" in done.stdout


def place(text: str, stage: str) -> tuple[re.Match[str], int]:
    """Find a number of a stage's known answer of the first recording, and by how much to change it."""
    if change := CHANGES[stage]:
        pattern, by = change
        found = re.search(pattern, text)
    else:
        # After the input come the latents' means and log-variances, then the logits, then the outcomes.
        record = text[text.index("{window_0_i, window_0_ii}") : text.index("(lsemvae_outcome)")]
        begin = text.index(record)
        depth = [begin + match.start() for match in re.finditer(r"\n +\{\{", record)]
        logits = begin + record.rindex("\n     {", 0, record.rindex("{"))
        found = re.compile(r"(-?\d+)").search(text, depth[1] if stage == "encoder" else logits)
        by = 2
    assert found is not None
    return found, by


@pytest.mark.slow
def test_cmake_builds_the_library_and_ctest_runs_the_proof(folder, tmp_path):
    need("cmake", "ctest")
    build = tmp_path / "build"
    subprocess.run(["cmake", "-S", folder, "-B", build], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    done = subprocess.run(["ctest", "--test-dir", build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "100% tests passed, 0 tests failed out of 1" in done.stdout


def test_the_library_builds_for_a_core_without_64_bit_multiplication(folder):
    need("make", "arm-none-eabi-gcc")
    done = make(folder, "all", "sizes", "CROSS=arm-none-eabi-", "CPU=-mcpu=cortex-m0 -mthumb")
    assert done.returncode == 0, done.stderr
    assert "(TOTALS)" in done.stdout


@pytest.mark.parametrize(
    ("wrong", "said"), [("BOARD=mps9", "BOARD is one of"), ("KERNELS=fast", "KERNELS is"), ("TAIL=long", "TAIL is")]
)
def test_a_wrong_choice_is_refused_with_the_right_ones(folder, wrong, said):
    need("make")
    done = make(folder, wrong)
    assert done.returncode != 0
    assert said in done.stderr
