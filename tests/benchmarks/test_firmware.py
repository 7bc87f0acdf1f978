"""``bench firmware``: the boards are chosen, measured and told; the self-tests are in tests/quantize/firmware."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lsemvae_edge import bundle as bundles
from lsemvae_edge.benchmarks import firmware, firmware_peers
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode, UsageError
from lsemvae_edge.quantize.firmware import boards
from lsemvae_edge.quantize.firmware.boards import BOARDS, Emulated

MEASURED = {
    "context_bytes": 7000,
    "arena_bytes": 16000,
    "result_bytes": 200,
    "init_stack_bytes": 128,
    "push_stack_bytes": 300,
    "run_stack_bytes": 1400,
    "run_instructions": 9_000_000,
    "encoder_instructions": 2_000_000,
    "multiply_adds": 500_000,
}
SECTIONS = {
    "start": 64,
    "proof": 50_000,
    "image": 65_000,
    "library": 20_000,
    "support": 1400,
    "example": 3000,
    "data": 8,
}


def said(one=BOARDS[0], kernels="plain", **changed) -> Emulated:  # type: ignore[no-untyped-def]
    found = Emulated(
        one.name, kernels, "fixed", "cc 12", f"-O2 -mcpu=x -DLSEMVAE_USE_{kernels.upper()} -Iinclude", "qemu -M x",
        "lsemvae selftest: PASS model=m spec=0 vectors=2", MEASURED, SECTIONS,
    )  # fmt: skip
    return replace(found, **changed)


def test_flash_is_what_a_product_keeps_and_ram_is_all_that_a_run_needs():
    found = said()
    assert found.flash_bytes == 64 + 65_000 + 20_000 + 1400 + 8
    assert found.stack_bytes == 1400
    assert found.ram_bytes == 7000 + 16_000 + 200 + 1400
    assert found.instructions_per_multiply_add == 4.0


@pytest.fixture
def emulated(monkeypatch):  # type: ignore[no-untyped-def]
    """The emulator's place is taken by figures; folders are generated as ever."""
    asked: list[tuple[str, str, str]] = []

    def emulate(folder, one, kernels, tail):  # type: ignore[no-untyped-def]
        assert (folder / "Makefile").is_file()
        assert (folder / "src/lsemvae_image.c").is_file()
        asked.append((one.name, kernels, tail))
        failed = {"selftest": "lsemvae selftest: FAIL stage=tail vector=golden 0", "measured": {}}
        return said(one, kernels, **(failed if kernels == "dsp" else {}))

    monkeypatch.setattr(firmware.boards, "emulate", emulate)
    monkeypatch.setattr(firmware.boards, "missing", lambda one: [])
    return asked


def test_every_board_runs_with_every_kernel_it_has(emulated, tmp_path):
    found = firmware.measure([bundles.default()], tmp_path, firmware.chosen(()), say=lambda _: None)
    assert emulated == [(one.name, kernels, "fixed") for one in BOARDS for kernels in one.kernels]
    assert {row["model"] for row in found} == {bundles.default().spec.id}
    text = firmware.markdown(found)
    assert "| 4.000 |" in text
    # What the flags of two kernels differ in is told by the table; the line below it stands once.
    assert text.count("`-O2 -mcpu=x -Iinclude`") == len(BOARDS)
    assert "Cortex-M4F, MPS2 AN386 with dsp kernels: lsemvae selftest: FAIL stage=tail" in text


def test_the_command_writes_what_it_prints_and_fails_with_a_self_test(emulated, tmp_path, capsys):
    out = tmp_path / "made/firmware.json"
    base = ["bench", "firmware", "--board", "mps2-an386", "--work", str(tmp_path / "work"), "--out", str(out)]
    assert main([*base, "--kernels", "plain", "--tail", "float"]) == ExitCode.DONE
    assert emulated == [("mps2-an386", "plain", "float")]
    assert capsys.readouterr().out.strip() == out.with_suffix(".md").read_text().strip()
    rows = json.loads(out.read_text())["rows"]
    assert [row["flash_bytes"] for row in rows] == [86_472]
    assert main([*base, "--json"]) == ExitCode.BUNDLE_REFUSED
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["passed"] for row in printed] == [True, False]
    assert "flash_bytes" not in printed[1]


def test_boards_that_cannot_run_here_are_left_out_unless_named(monkeypatch):
    lacking = {"mps3-an547", "riscv-virt"}
    monkeypatch.setattr(boards, "missing", lambda one: ["qemu-system-arm"] if one.name in lacking else [])
    assert [one.name for one in firmware.chosen(())] == ["mps2-an386", "mps2-an500"]
    with pytest.raises(UsageError, match=r"^Skipped: qemu-system-arm not found") as raised:
        firmware.chosen(["mps3-an547"])
    assert "qemu-system-arm" in raised.value.next_step
    lacking |= {"mps2-an386", "mps2-an500"}
    with pytest.raises(UsageError, match=r"^Skipped: "):
        firmware.chosen(())


def test_generators_that_are_not_installed_say_how_to_install_them(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError) as raised:
            firmware_peers.measure(bundles.default(), tmp_path, BOARDS, place, lambda _: None)
        assert firmware_peers.INSTALL in raised.value.next_step


@pytest.fixture
def generators(monkeypatch):  # type: ignore[no-untyped-def]
    """Each generator's place is taken by sources; what they take is told by no emulator."""
    ran: list[str] = []

    def emulated(folder, one, elf, sources, main):  # type: ignore[no-untyped-def]
        ran.append(one.name)
        return {"instructions": 100, "stack_bytes": 300, "wrong": 0, "flash_bytes": 20_000}

    monkeypatch.setattr(firmware_peers, "_emulated", emulated)
    monkeypatch.setattr(firmware_peers, "_emx", lambda *_: ("whole", [Path("model.c")], "", 1))
    monkeypatch.setattr(firmware_peers, "_bakenn", lambda *given: (f"encoders {given[3]}", [], "", 6))
    return ran


def test_other_generators_are_counted_as_whole_models_where_there_is_room(generators, emulated, tmp_path, capsys):
    base = ["bench", "firmware", "--kernels", "plain", "--work", str(tmp_path / "work"), "--generators", str(tmp_path)]
    assert main([*base, "--json"]) == ExitCode.DONE
    printed = capsys.readouterr()
    # The shipped bundle has LiteRT's file alone.
    assert "no int8 ONNX file: emx-onnx-cgen is left out" in printed.err
    rows = [json.loads(line) for line in printed.out.splitlines()]
    ours, others = ([row for row in rows if ("by" in row) == other] for other in (False, True))
    assert [(row["by"], row["board"], row["instructions"]) for row in others] == [
        (kind, name, 600) for kind in ("encoders False", "encoders True") for name in firmware_peers.BOARDS
    ]
    assert generators == [row["board"] for row in others]
    text = firmware.markdown(ours, others)
    assert firmware.OTHERS in text
    assert f"| {600 / MEASURED['multiply_adds']:.3f} |" in text
