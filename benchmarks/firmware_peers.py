"""The same model through two generators of C that others wrote, on the same emulated boards.

They are oracles for what is asked of a board, not opponents: each makes other choices. `emx-onnx-cgen` translates the
bundle's int8 ONNX file, whose quantized convolutions it computes in floating point, and keeps every intermediate result
apart. `BakeNN` quantizes one encoder to int8 and plans its buffers, with portable kernels or with CMSIS-NN's; six of
them are a model without its fusion.
"""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import run as started
from typing import Any

import numpy as np

from lsemvae_edge import runtime
from lsemvae_edge.benchmarks.fits import Say
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.quantize.firmware import boards
from lsemvae_edge.quantize.firmware.boards import Board

BOARDS = ("mps2-an386", "mps2-an500")
"""With room for what keeps every intermediate result on its stack."""
STACK_BYTES = 0x200000
INSTALL = "pip install --no-deps --target DIR emx-onnx-cgen==1.4.0 emx-regex-cgen==0.2.0 bakenn==1.0.0"
_SHOW = """
static void show(const char *name, uint64_t value) {
    char digits[24];
    int at = 23;
    digits[at] = 0;
    digits[--at] = '\\n';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    board_write("measured ");
    board_write(name);
    board_write(" ");
    board_write(digits + at);
}
"""
_MAIN = """#include "board.h"
#include "measure.h"
{declared}
{show}
int main(void) {{
    if (!count_calibrate()) {{
        return 98;
    }}
    stack_paint();
    count_begin();
    {call};
    show("instructions", count_end());
    show("stack_bytes", stack_used());
    {after}
    return 0;
}}
"""
_PARAMETER = re.compile(r"(const )?float (\w+)\[restrict 1\]((?:\[\d+\])+)")
_BAKENN = """
import json, sys
import bakenn, numpy as np, torch
from bakenn.backend.portable_c.selection import CBackendOptions, KernelPolicy
from bakenn.targets.profiles import CORTEX_M4
from torch import nn
from lsemvae_edge import bundle as bundles
from lsemvae_edge.model import fold_batch_norm
from lsemvae_edge.quantize import parity
from lsemvae_edge.quantize.release import restored
path, out, cmsis = sys.argv[1:]
bundle = bundles.load(path)
encoder = fold_batch_norm(restored(bundle)).encoders[0]
linear = nn.Linear(encoder.mu.in_features, 2 * encoder.mu.out_features)
linear.weight.data = torch.cat([encoder.mu.weight.data, encoder.logvar.weight.data])
linear.bias.data = torch.cat([encoder.mu.bias.data, encoder.logvar.bias.data])
kept = [layer for layer in encoder.features if isinstance(layer, (nn.Conv2d, nn.ReLU))]
model = nn.Sequential(*kept, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear).eval()
model.to(memory_format=torch.contiguous_format)
signals = torch.tensor(parity.simulated(bundle.spec, 16).signals)[:, :1, None].float()
options = CBackendOptions(kernel_policy=KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True, target=CORTEX_M4)
made = bakenn.compile_torch_ptq(
    model, signals[:1], [one[None] for one in signals], out, name="enc",
    backend_options=options if cmsis == "yes" else None,
)
quantized = bakenn.quantize_input(made.plan, signals[:1].numpy().transpose(0, 2, 3, 1))
print(json.dumps([quantized.ravel().tolist(), bakenn.run_reference(made.plan, quantized).ravel().tolist()]))
"""


def measure(bundle: Bundle, folder: Path, on: Sequence[Board], generators: Path, say: Say) -> list[dict[str, Any]]:
    """Generate, build and run each generator's C for the boards that have room for it.

    Parameters
    ----------
    bundle : Bundle
        With float weights and an int8 ONNX file.
    folder : Path
        A firmware folder of the bundle, whose boards are used.
    on : sequence of Board
    generators : Path
        Folder of the generators: see `INSTALL`.
    say : callable
        Told of progress.

    Returns
    -------
    list of dict
        One a generator and board, plain JSON values: ``by``, ``instructions``, ``stack_bytes``, ``arena_bytes``,
        ``flash_bytes``, ``wrong`` (what differs from the generator's own reference).

    Raises
    ------
    UsageError
        If a generator is not in the folder.
    BundleError
        If one refuses the model, or what it made does not build or run.
    """
    found = []
    place = folder / "build" / "others"
    for kind, sources, main, times in _made(bundle, place, generators, say):
        for one in on:
            if one.name in BOARDS:
                say(f"{bundle.spec.id} by {kind} on {one.title}")
                figures = _emulated(folder, one, place / f"{one.name}.elf", sources, main)
                figures["instructions"] *= times
                found.append({"model": bundle.spec.id, "board": one.name, "title": one.title, "by": kind, **figures})
    return found


def _made(bundle: Bundle, place: Path, generators: Path, say: Say) -> Iterator[tuple[str, Sequence[Path], str, int]]:
    """Give each generator's name, sources, the program that calls them, and how many of these a model has."""
    say(f"{bundle.spec.id}: C by other generators")
    model = next(
        (model for model in bundle.manifest.models if (model.format, model.precision) == ("onnx", "int8")), None
    )
    if model is None:
        say(f"{bundle.spec.id} has no int8 ONNX file: emx-onnx-cgen is left out")
    else:
        yield _emx(bundle, bundle.path / model.path, place / "emx", generators)
    for cmsis in (False, True):
        yield _bakenn(bundle, place / f"bakenn-{'cmsis' if cmsis else 'portable'}", generators, cmsis)


def _emx(bundle: Bundle, file: Path, place: Path, generators: Path) -> tuple[str, Sequence[Path], str, int]:
    place.mkdir(parents=True, exist_ok=True)
    source = place / "model.c"
    everything = ["--large-weight-threshold", "0", "--large-temp-threshold", "0"]
    _child(generators, "-m", "emx_onnx_cgen", "compile", *everything, str(file), str(source))
    text = source.read_text()
    signature = text[text.rindex("\nvoid model(") : text.index("{", text.rindex("\nvoid model("))].strip()
    parameters = _PARAMETER.findall(signature)
    signal = bundle.golden["input"][0]
    given = {"signal": signal, "mask": np.ones(len(signal), dtype=np.float32)}
    expected = runtime.open_session(bundle, "onnxruntime").run(signal).logits
    declared = [signature.replace("restrict ", "") + ";"]
    for constant, name, shape in parameters:
        values = f" = {{{_c(given[name].ravel())}}}" if constant else ""
        count = int(np.prod([int(n) for n in re.findall(r"\d+", shape)]))
        declared.append(f"static float given_{name}[{count}]{values};")
    arguments = ", ".join(f"(void *)given_{name}" for _, name, _ in parameters)
    declared.append(f"static const float expected[] = {{{_c(expected)}}};")
    after = (
        "uint64_t wrong = 0;\n    for (unsigned k = 0; k < sizeof expected / sizeof *expected; k++) {\n"
        "        const float apart = given_logits[k] - expected[k];\n"
        '        wrong += apart > 1e-3f || apart < -1e-3f;\n    }\n    show("wrong", wrong);'
    )
    main = _MAIN.format(declared="\n".join(declared), show=_SHOW, call=f"model({arguments})", after=after)
    return f"emx-onnx-cgen {_release(generators, 'emx_onnx_cgen')}, int8 ONNX", [source], main, 1


def _bakenn(bundle: Bundle, place: Path, generators: Path, cmsis: bool) -> tuple[str, Sequence[Path], str, int]:
    said = _child(generators, "-c", _BAKENN, str(bundle.path), str(place), "yes" if cmsis else "no")
    given, expected = json.loads(said.splitlines()[-1])
    declared = (
        '#include "bknn_enc.h"\n'
        "static uint8_t arena[BKNN_ENC_ARENA_SIZE] __attribute__((aligned(16)));\n"
        f"static const int8_t given[] = {{{_c(given)}}}, expected[] = {{{_c(expected)}}};\n"
        "static int8_t found[sizeof expected];"
    )
    after = (
        'show("arena_bytes", sizeof arena);\n    uint64_t wrong = 0;\n'
        "    for (unsigned k = 0; k < sizeof found; k++) {\n        wrong += found[k] != expected[k];\n    }\n"
        '    show("wrong", wrong);'
    )
    main = _MAIN.format(declared=declared, show=_SHOW, call="bknn_enc_infer(arena, given, found)", after=after)
    kind = f"BakeNN {_release(generators, 'bakenn')}, int8 encoders, {'CMSIS-NN' if cmsis else 'portable'}"
    return kind, sorted(place.rglob("*.c")), main, len(bundle.spec.leads)


def _emulated(folder: Path, one: Board, elf: Path, sources: Sequence[Path], main: str) -> dict[str, Any]:
    told = boards.how(folder, one)
    example = folder / "examples" / "baremetal"
    caller = elf.with_suffix(".main.c")
    caller.write_text(main)
    headers = {header.parent for source in sources for header in _root(source, elf).rglob("*.h")}
    # Of the flags those of the processor and the optimization; the language and the paths are the library's own.
    flags = [flag for flag in told["flags"].split() if not flag.startswith(("-std=", "-I"))]
    built = boards.run(
        [told["compiler"], *flags, "-std=c11", f"-I{example}", *(f"-I{header}" for header in sorted(headers)),
         str(caller), *map(str, sources), str(example / "arm.c"), str(example / "measure.c"),
         "-nostartfiles", f"-L{example / 'boards'}", f"-T{one.name}.ld", "-Wl,--gc-sections",
         f"-Wl,--defsym=STACK_BYTES={STACK_BYTES}", "-lm", "-o", str(elf)],
    )  # fmt: skip
    if built.returncode:
        raise BundleError(f"{one.title}: what another generator made does not build: {built.stderr.strip():.500}.")
    ran = boards.run([*told["emulator"].split(), "-kernel", str(elf)])
    figures = boards.measured(ran.stdout + ran.stderr)
    if ran.returncode or "wrong" not in figures:
        raise BundleError(f"{one.title}: what another generator made ends early: {(ran.stdout + ran.stderr)[-300:]}.")
    flashed = boards.sections(boards.run([told["size"], "-A", str(elf)]).stdout)
    flash = sum(flashed.get(name, 0) for name in ("start", "example", "support", "library", "data"))
    return {**figures, "flash_bytes": flash}


def _root(source: Path, elf: Path) -> Path:
    """Return the folder of one generator's files."""
    return elf.parent / source.relative_to(elf.parent).parts[0]


def _child(generators: Path, *arguments: str) -> str:
    if not generators.is_dir():
        raise UsageError(f"There is no folder {generators}.", f"Install the generators: {INSTALL}")
    path = os.pathsep.join(filter(None, [str(generators.resolve()), os.environ.get("PYTHONPATH")]))
    # The interpreter that runs this, and a generator that the user named.
    done = started(  # noqa: S603
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "No module named" in done.stderr:
        raise UsageError(f"{done.stderr.strip().splitlines()[-1]}.", f"Install the generators: {INSTALL}")
    if done.returncode:
        raise BundleError(f"Another generator refuses the model: {done.stderr.strip()[-300:]}.")
    return done.stdout


def _release(generators: Path, distribution: str) -> str:
    found = next(generators.glob(f"{distribution}-*.dist-info"), None)
    return "of unknown release" if found is None else found.name.removesuffix(".dist-info").rpartition("-")[2]


def _c(values: Any) -> str:
    return ", ".join(f"{value!r}" for value in np.asarray(values).tolist())


def row(figures: Mapping[str, Any], multiply_adds: int) -> dict[str, Any]:
    """Return one result as a row of the table."""
    return {
        "model": figures["model"],
        "board": figures["title"],
        "made_by": figures["by"],
        "instructions": figures["instructions"],
        "per_multiply_add": figures["instructions"] / multiply_adds,
        "flash": figures["flash_bytes"],
        "arena": figures.get("arena_bytes"),
        "stack": figures["stack_bytes"],
        "wrong": figures["wrong"],
    }
