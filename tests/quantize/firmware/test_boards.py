"""The self-test on emulated boards, and what is counted there."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.quantize.firmware import boards
from lsemvae_edge.quantize.firmware.boards import BOARDS, Board, Emulated

CASES = [(one, kernels) for one in BOARDS for kernels in one.kernels]
TINY_FLASH_BYTES = 128 * 1024
TINY_RAM_BYTES = 64 * 1024


@pytest.fixture(scope="module")
def folder(firmware, tmp_path_factory) -> Path:  # type: ignore[no-untyped-def]
    """A folder that builds may write to."""
    return Path(shutil.copytree(firmware.folder("tiny"), tmp_path_factory.mktemp("boards") / "tiny"))


@pytest.fixture(scope="module")
def emulated(folder: Path):  # type: ignore[no-untyped-def]
    """Builds and runs each case once."""
    kept: dict[tuple[str, str, str], Emulated] = {}

    def run(one: Board, kernels: str, tail: str = "fixed") -> Emulated:
        if lacking := boards.missing(one):
            pytest.skip(f"{' and '.join(lacking)} not installed")
        key = (one.name, kernels, tail)
        if key not in kept:
            kept[key] = boards.emulate(folder, one, kernels, tail)
        return kept[key]

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("one", "kernels"), CASES, ids=lambda case: case if isinstance(case, str) else case.name)
def test_the_self_test_passes_on_every_board_with_every_kernel(one, kernels, emulated):
    found = emulated(one, kernels)
    assert found.passed, found.selftest
    assert re.search(r"vectors=[2-9]$", found.selftest)
    # A run ends with a result from the model, whatever it says of the recording.
    assert found.measured["result_state"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("one", BOARDS, ids=lambda one: one.name)
def test_what_the_smallest_student_takes_is_within_its_budget(one, emulated):
    found = emulated(one, "plain")
    assert found.flash_bytes <= TINY_FLASH_BYTES
    assert found.ram_bytes <= TINY_RAM_BYTES
    # The paint says something: no call uses none of the stack, none all of it.
    for call in ("init", "push", "run"):
        assert 128 <= found.measured[f"{call}_stack_bytes"] < found.sections["stack"]


@pytest.mark.slow
@pytest.mark.parametrize("one", [one for one in BOARDS if len(one.kernels) > 1], ids=lambda one: one.name)
def test_kernels_of_a_processor_take_fewer_instructions_than_plain_ones(one, emulated):
    taken = [emulated(one, kernels).instructions_per_multiply_add for kernels in one.kernels]
    assert taken == sorted(taken, reverse=True)
    assert taken[-1] < taken[0] / 1.3


@pytest.mark.slow
def test_instructions_are_counted_and_not_timed(emulated, folder):
    one = BOARDS[0]
    first, again = emulated(one, "plain"), boards.emulate(folder, one)
    assert first.measured == again.measured
    counted = first.measured
    parts = [counted[f"{part}_instructions"] for part in ("locked", "beats", "quality", "input", "encoder", "tail")]
    assert sum(parts) == pytest.approx(counted["run_instructions"], rel=1e-3)
    assert counted["push_mean_instructions"] < counted["push_most_instructions"]
    # No processor of these multiplies and adds, loads both factors and loops in less than an instruction.
    assert 1 < first.instructions_per_multiply_add < 30


@pytest.mark.slow
@pytest.mark.parametrize("one", [BOARDS[0], BOARDS[-1]], ids=lambda one: one.name)
def test_the_tail_in_floating_point_passes_too(one, emulated):
    found = emulated(one, "plain", "float")
    assert found.passed, found.selftest


@pytest.mark.slow
def test_a_board_finds_a_changed_weight(folder, tmp_path):
    one = BOARDS[0]
    if lacking := boards.missing(one):
        pytest.skip(f"{' and '.join(lacking)} not installed")
    changed = Path(shutil.copytree(folder, tmp_path / "changed", ignore=shutil.ignore_patterns("build")))
    image = changed / "src/lsemvae_image.c"
    text = image.read_text()
    at = text.rindex(".weights = {") + len(".weights = {")
    end = text.index(",", at)
    image.write_text(text[:at] + str((int(text[at:end]) + 1) % 100) + text[end:])
    found = boards.emulate(changed, one)
    assert not found.passed
    assert "stage=image" in found.selftest


def test_a_board_without_its_tools_says_what_to_install(folder):
    one = replace(BOARDS[0], compiler="no-such-compiler")
    assert boards.missing(one)[0] == "no-such-compiler"
    with pytest.raises(UsageError, match="no-such-compiler not found") as raised:
        boards.emulate(folder, one)
    assert "gcc-arm-none-eabi" in raised.value.next_step


def test_an_unknown_board_is_refused_with_the_known_ones():
    assert boards.board("mps2-an386") is BOARDS[0]
    with pytest.raises(UsageError) as raised:
        boards.board("mps9")
    assert all(one.name in raised.value.next_step for one in BOARDS)


def test_an_example_that_does_not_build_is_refused(folder, tmp_path):
    one = BOARDS[0]
    if lacking := boards.missing(one):
        pytest.skip(f"{' and '.join(lacking)} not installed")
    broken = Path(shutil.copytree(folder, tmp_path / "broken", ignore=shutil.ignore_patterns("build")))
    (broken / "src/lsemvae_numbers.c").write_text("#error no\n")
    with pytest.raises(BundleError, match="does not build"):
        boards.emulate(broken, one)
