"""What the C library takes on boards: flash, RAM and instructions, for each size of the student.

The boards are emulated. Counted are instructions, not cycles: how many cycles one takes depends on the core, its caches
and its flash, which an emulator does not have.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

from lsemvae_edge.benchmarks import firmware_peers, table_files
from lsemvae_edge.benchmarks.fits import Say
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import UsageError
from lsemvae_edge.quantize.firmware import boards, generate
from lsemvae_edge.quantize.firmware.boards import Board, Emulated

SECTIONS: Mapping[str, Sequence[str]] = {
    "Flash (bytes), known answers, self-test and example left out": (
        "model", "board", "kernels", "flash", "code", "model_data", "compiler_library",
    ),
    "RAM (bytes), the stack by paint": ("model", "board", "kernels", "ram", "context", "arena", "result", "stack"),
    "Instructions of one run (the emulator's count, not cycles), and of its encoders for each multiply-add": (
        "model", "board", "kernels", "run", "beats", "quality", "input", "encoders", "tail", "multiply_adds",
        "per_multiply_add",
    ),
    "Instructions of the other calls; a push is one sample of each lead": (
        "model", "board", "kernels", "push_mean", "push_most", "push_after_gap", "locked", "init",
    ),
}  # fmt: skip
"""How the table is cut for reading."""

OTHERS = "C by other generators: instructions of a model; BakeNN's flash, arena and stack are those of one encoder"


def chosen(names: Sequence[str]) -> list[Board]:
    """Return the boards of some names; without any, all that this machine can build for and emulate.

    Raises
    ------
    UsageError
        If a name is unknown, or a program is missing.
    """
    found = [boards.board(name) for name in names] or [one for one in boards.BOARDS if not boards.missing(one)]
    lacking = {tool: one for one in found or boards.BOARDS for tool in boards.missing(one)}
    if lacking:
        packages = sorted({package for one in lacking.values() for package in one.packages})
        raise UsageError(f"Skipped: {', '.join(lacking)} not found.", f"On Debian: apt install {' '.join(packages)}.")
    return found


def folder_of(bundle: Bundle, work: Path) -> Path:
    """Return where `measure` writes and builds a bundle's firmware."""
    return work / bundle.spec.id


def measure(
    bundles: Sequence[Bundle],
    work: Path,
    on: Sequence[Board],
    kernels: Sequence[str] = (),
    tail: str = "fixed",
    say: Say = print,
) -> list[dict[str, Any]]:
    """Generate each bundle's firmware, and build and run it for every board with every kernel that the board has.

    Parameters
    ----------
    bundles : sequence of Bundle
        Quantized, with float weights.
    work : Path
        Folder for the firmware folders, each named by its model; made anew.
    on : sequence of Board
        Of `chosen`.
    kernels : sequence of str
        These alone; by default all that a board's processor can run.
    tail : str
        ``fixed`` or ``float``.
    say : callable
        Told of progress.

    Returns
    -------
    list of dict
        One a model, board and kernel, plain JSON values; `row` makes a table's row of it.

    Raises
    ------
    BundleError
        If a folder does not build for a board, or ends early there.
    """
    found = []
    for bundle in bundles:
        made = generate.from_bundle(bundle)
        folder = folder_of(bundle, work)
        rmtree(folder, ignore_errors=True)
        for name, data in generate.contents(made).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        for one in on:
            for kernel in [name for name in one.kernels if not kernels or name in kernels]:
                say(f"{bundle.spec.id} on {one.title} with {kernel} kernels")
                found.append(_figures(bundle, one, boards.emulate(folder, one, kernel, tail)))
    return found


def _figures(bundle: Bundle, one: Board, emulated: Emulated) -> dict[str, Any]:
    return {
        "model": bundle.spec.id,
        "bundle_sha256": bundle.sha256,
        "board": one.name,
        "title": one.title,
        "kernels": emulated.kernels,
        "tail": emulated.tail,
        "compiler": emulated.compiler,
        "flags": emulated.flags,
        "emulator": emulated.emulator,
        "selftest": emulated.selftest,
        "passed": emulated.passed,
        "sections": emulated.sections,
        "measured": emulated.measured,
        # A board that fails its self-test stops there and measures no more.
        **(
            {
                "flash_bytes": emulated.flash_bytes,
                "ram_bytes": emulated.ram_bytes,
                "stack_bytes": emulated.stack_bytes,
                "instructions_per_multiply_add": emulated.instructions_per_multiply_add,
            }
            if emulated.passed
            else {}
        ),
    }


def row(figures: Mapping[str, Any]) -> Row:
    """Return one result as a row of the table."""
    measured, sections = figures["measured"], figures["sections"]
    counted = {
        name.removesuffix("_instructions"): value for name, value in measured.items() if name.endswith("_instructions")
    }
    return {
        "model": figures["model"],
        "board": figures["title"],
        "kernels": figures["kernels"],
        "flash": figures.get("flash_bytes"),
        "code": sections.get("library"),
        "model_data": sections.get("image"),
        "compiler_library": sections.get("support"),
        "ram": figures.get("ram_bytes"),
        **{part: measured.get(f"{part}_bytes") for part in ("context", "arena", "result")},
        "stack": figures.get("stack_bytes"),
        **counted,
        "encoders": counted.get("encoder"),
        "multiply_adds": measured.get("multiply_adds"),
        "per_multiply_add": figures.get("instructions_per_multiply_add"),
    }


def markdown(found: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """Print results as tables, those of other generators among them, and how they were built below."""
    rows = [row(figures) for figures in found]
    parts = [f"### {title}\n\n{table_files.to_markdown(rows, columns)}" for title, columns in SECTIONS.items()]
    if others:
        multiply_adds = {one["model"]: one["measured"]["multiply_adds"] for one in found if one["passed"]}
        told = [firmware_peers.row(one, multiply_adds[one["model"]]) for one in others if one["model"] in multiply_adds]
        parts.append(f"### {OTHERS}\n\n{table_files.to_markdown(told)}")
    # A kernel's own definition is told by its column.
    built = dict.fromkeys(
        f"- {one['title']}: {one['compiler']}, `{re.sub(r' -DLSEMVAE_USE_[A-Z]+', '', one['flags'])}`; "
        f"run by `{one['emulator']}`"
        for one in found
    )
    parts.append("\n".join(built))
    failed = [one for one in found if not one["passed"]]
    parts += [f"{one['model']} on {one['title']} with {one['kernels']} kernels: {one['selftest']}" for one in failed]
    return "\n\n".join(parts)
