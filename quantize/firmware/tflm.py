"""TensorFlow Lite Micro (TFLM) and Arm's Ethos-U: the encoders as C data, the operators they need, and what they take.

TFLM itself is the user's. Its Python package and Vela live in an environment of their own, named by its interpreter
(``requirements-tflite-micro.txt``), and are asked in a process of their own.
"""

import csv
import io
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import RuntimeUnavailableError, UsageError
from lsemvae_edge.quantize.firmware.folder import lay_out
from lsemvae_edge.quantize.targets import QuantizationError

TFLM_FOLDER, ETHOS_U_FOLDER = "tflm", "ethos-u"
MODEL_FILES = ("lsemvae_tflm_model.h", "lsemvae_tflm_model.cc", "lsemvae_tflm_operators.h")
INSTALL = "pip install -r requirements-tflite-micro.txt"
VELA_SCHEMA = "lsemvae-edge/vela/1"
DEFAULT_NPU = "ethos-u55-128"

_WORKER = Path(__file__).with_name("tflm_worker.py")
_TIMEOUT_S = 300
_ALIGNMENT = 16
"""Of a flatbuffer, and of what an Ethos-U reads."""
_ETHOS_U = "ethos-u"
_ADDS = {
    "ADD": "AddAdd",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEQUANTIZE": "AddDequantize",
    "DIV": "AddDiv",
    "EXP": "AddExp",
    "FULLY_CONNECTED": "AddFullyConnected",
    "LOG": "AddLog",
    "MAXIMUM": "AddMaximum",
    "MEAN": "AddMean",
    "MINIMUM": "AddMinimum",
    "MUL": "AddMul",
    "NEG": "AddNeg",
    "PAD": "AddPad",
    "QUANTIZE": "AddQuantize",
    "RESHAPE": "AddReshape",
    "SLICE": "AddSlice",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "TRANSPOSE": "AddTranspose",
    _ETHOS_U: "AddEthosU",
}
"""Methods of TFLM's MicroMutableOpResolver by operator."""
_MEMORIES = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Embedded", "Shared_Sram"),
    "ethos-u85": ("Ethos_U85_SYS_Flash_High", "Shared_Sram"),
}
"""Of Vela's own Arm/vela.ini, by family: a system configuration and a memory mode."""


def files(tflite: bytes, folder: str = TFLM_FOLDER) -> dict[str, bytes]:
    """Return what C++ compiles in order to run a TFLite file with TFLM, by path in the firmware folder.

    Parameters
    ----------
    tflite : bytes
    folder : str
        Where they go.

    Raises
    ------
    QuantizationError
        If the file is none that TFLM reads whole, or has an operator that is not in its list.
    """
    check_inside(tflite)
    source = "\n".join(_lines(tflite))
    texts = (
        _MODEL_HEADER,
        _MODEL_SOURCE.format(alignment=_ALIGNMENT, data=source),
        _operators_header(operators(tflite)),
    )
    return {f"{folder}/{name}": text.encode() for name, text in zip(MODEL_FILES, texts, strict=True)}


def check_inside(tflite: bytes) -> None:
    """Refuse a file with constants outside its flatbuffer: TFLM reads zeros there, and runs on them without a word.

    Raises
    ------
    QuantizationError
        If there is such a constant, or the file is no TFLite file.
    """
    model = _opened(tflite)
    for k, buffer in enumerate(model.buffers):
        if buffer.offset > 1 or buffer.size > 1:
            raise QuantizationError(
                f"Buffer {k} of the TFLite file lies outside the flatbuffer, at {buffer.offset}.",
                "Bring it back in, as quantize/targets/tflite.py does.",
            )
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer >= len(model.buffers):
                raise QuantizationError(f"The tensor {tensor.name.decode()} has no buffer.")


def operators(tflite: bytes) -> list[str]:
    """Return the operators that a file runs, in alphabetical order; Vela's custom one is ``ethos-u``."""
    from ai_edge_litert import schema_py_generated as schema

    model = _opened(tflite)
    names = {int(value): name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    found = set()
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            # Files of older schemas have the code in the older place alone.
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            found.add(code.customCode.decode() if name == "CUSTOM" else name)
    return sorted(found)


def measure_arena(python: Path, tflite: bytes) -> dict[str, Any]:
    """Ask the tflite-micro package what a file takes.

    Parameters
    ----------
    python : Path
        Interpreter of the environment that has it.
    tflite : bytes

    Returns
    -------
    dict
        ``used_bytes`` as the interpreter records them, of those ``activation_bytes`` and ``persistent_bytes``;
        ``smallest_bytes`` of an arena in which it starts and runs; ``tflite_micro``, ``machine``. Pointers count: a
        32-bit device takes less than a 64-bit host.

    Raises
    ------
    UsageError
        If the interpreter does not start.
    RuntimeUnavailableError
        If the package is missing or refuses the file.
    """
    with TemporaryDirectory() as temporary:
        model = Path(temporary) / "model.tflite"
        model.write_bytes(tflite)
        done = _ask(python, "tflite-micro", [str(_WORKER), "arena", str(model)])
    told = dict(json.loads(done.stdout.splitlines()[-1]))
    for name, said in (("used", "total"), ("activation", "head"), ("persistent", "tail")):
        (found,) = re.findall(rf"Arena allocation {said} (\d+) bytes", done.stderr)
        told[f"{name}_bytes"] = int(found)
    return told


def run(python: Path, tflite: bytes, quantized: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Run the encoders in TFLM.

    Parameters
    ----------
    python : Path
    tflite : bytes
        Of `lsemvae_edge.quantize.firmware.flatbuffer`.
    quantized : array (n, n_leads, n_samples), int16

    Returns
    -------
    mu, logvar : array (n, n_leads, latent_dim), int16

    Raises
    ------
    UsageError, RuntimeUnavailableError
        See `measure_arena`.
    """
    with TemporaryDirectory() as temporary:
        model, inputs, outputs = (Path(temporary) / name for name in ("model.tflite", "inputs.npy", "outputs.npz"))
        model.write_bytes(tflite)
        np.save(inputs, quantized)
        _ask(python, "tflite-micro", [str(_WORKER), "run", *map(str, (model, inputs, outputs))])
        with np.load(outputs) as made:
            stacked = np.stack([made[f"arr_{k}"] for k in range(len(made.files))], axis=1)
    pairs = stacked.reshape(len(quantized), quantized.shape[1], 2, -1)
    return pairs[:, :, 0], pairs[:, :, 1]


@dataclass(frozen=True)
class Npu:
    """An Ethos-U as Vela is told of it.

    Parameters
    ----------
    accelerator : str
        Such as ``ethos-u55-128``.
    system_config, memory_mode : str
        Sections of Vela's Arm/vela.ini.
    """

    accelerator: str
    system_config: str
    memory_mode: str


def npu(config: str) -> Npu:
    """Read ``ACCELERATOR`` or ``ACCELERATOR/SYSTEM_CONFIG/MEMORY_MODE``.

    Raises
    ------
    UsageError
        If it is neither, or the accelerator is of no known family.
    """
    accelerator, *memory = config.split("/")
    family = "-".join(accelerator.split("-")[:2])
    if family not in _MEMORIES or len(memory) not in (0, 2):
        raise UsageError(
            f"{config} names no Ethos-U.",
            f"Write {DEFAULT_NPU}, or {DEFAULT_NPU}/SYSTEM_CONFIG/MEMORY_MODE as in Vela's Arm/vela.ini.",
        )
    return Npu(accelerator, *(memory or _MEMORIES[family]))


def vela(python: Path, tflite: bytes, config: str = DEFAULT_NPU) -> dict[str, bytes]:
    """Compile a TFLite file for an Ethos-U with Vela.

    Parameters
    ----------
    python : Path
        Interpreter of the environment that has ``ethos-u-vela``.
    tflite : bytes
    config : str
        See `npu`.

    Returns
    -------
    dict of str to bytes
        By path in the firmware folder: ``ethos-u/model-ACCELERATOR.tflite``, the same as C data, and ``report.json``
        with what Vela estimates. Those are a compiler's estimates, no measurement.

    Raises
    ------
    UsageError
        If ``config`` names no Ethos-U, or the interpreter does not start.
    RuntimeUnavailableError
        If Vela is missing or refuses.
    QuantizationError
        If an operator stays outside the NPU.
    """
    chosen = npu(config)
    with TemporaryDirectory() as temporary:
        place = lay_out({"model.tflite": tflite}, Path(temporary))
        _ask(
            python,
            "Vela",
            [
                "-m", "ethosu.vela", "--config", "Arm/vela.ini", "--output-dir", str(place),
                "--accelerator-config", chosen.accelerator, "--system-config", chosen.system_config,
                "--memory-mode", chosen.memory_mode, str(place / "model.tflite"),
            ],
        )  # fmt: skip
        version = _ask(python, "Vela", ["-m", "ethosu.vela", "--version"]).stdout.strip()
        compiled = (place / "model_vela.tflite").read_bytes()
        (summary,) = place.glob("model_summary_*.csv")
        report = _report(summary.read_text(), version)
    if (left := operators(compiled)) != [_ETHOS_U]:
        raise QuantizationError(f"Vela leaves {', '.join(one for one in left if one != _ETHOS_U)} to the processor.")
    return {
        f"{ETHOS_U_FOLDER}/model-{chosen.accelerator}.tflite": compiled,
        f"{ETHOS_U_FOLDER}/report.json": (json.dumps(report, indent=1) + "\n").encode(),
        **files(compiled, ETHOS_U_FOLDER),
    }


def _report(summary: str, version: str) -> dict[str, Any]:
    (row,) = csv.DictReader(io.StringIO(summary))
    told: dict[str, Any] = {
        "schema": VELA_SCHEMA,
        "what": "estimates of the compiler, no measurement",
        "vela": version,
        **{name: row[name] for name in ("accelerator_configuration", "system_config", "memory_mode")},
        "clock_hz": round(float(row["core_clock"])),
        "inference_ms": float(row["inference_time"]) * 1000,
        "multiply_adds": round(float(row["nn_macs"])),
    }
    cycles = ("total", "npu", "sram_access", "dram_access", "on_chip_flash_access", "off_chip_flash_access")
    told["cycles"] = {name: round(float(row[f"cycles_{name}"])) for name in cycles}
    # Vela counts memory in KiB.
    memories = ("sram", "dram", "on_chip_flash", "off_chip_flash")
    told["bytes"] = {name: round(float(row[f"{name}_memory_used"]) * 1024) for name in memories}
    return told


def _ask(python: Path, what: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(  # noqa: S603  # the caller names the interpreter; no shell reads the line
            [str(python), *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise UsageError(f"{python} does not start: {error.strerror}.", "Name a Python interpreter.") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RuntimeUnavailableError(f"{python} cannot do what was asked of {what}: {said[0]:.300}", INSTALL)
    return done


def _opened(tflite: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    if tflite[4:8] != b"TFL3":
        raise QuantizationError("This is no TFLite file.")
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(tflite, 0))


def _lines(content: bytes) -> list[str]:
    return ["    " + ",".join(map(str, content[at : at + 32])) + "," for at in range(0, len(content), 32)]


def _operators_header(names: Sequence[str]) -> str:
    if unknown := [name for name in names if name not in _ADDS]:
        raise QuantizationError(f"TFLM is not known to have {', '.join(unknown)}.")
    calls = " ||\n      ".join(f"operators->{_ADDS[name]}() != kTfLiteOk" for name in names)
    return _OPERATORS_HEADER.format(count=len(names), calls=calls)


_MODEL_HEADER = """/* The TFLite file beside this one, as data. */
#ifndef LSEMVAE_TFLM_MODEL_H
#define LSEMVAE_TFLM_MODEL_H

extern const unsigned char lsemvae_tflm_model[];
extern const unsigned int lsemvae_tflm_model_bytes;

#endif
"""

_MODEL_SOURCE = """#include "lsemvae_tflm_model.h"

alignas({alignment}) const unsigned char lsemvae_tflm_model[] = {{
{data}
}};
const unsigned int lsemvae_tflm_model_bytes = sizeof lsemvae_tflm_model;
"""

_OPERATORS_HEADER = """/* Exactly the operators of the model, so that the linker drops all others. */
#ifndef LSEMVAE_TFLM_OPERATORS_H
#define LSEMVAE_TFLM_OPERATORS_H

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

using LsemvaeOperators = tflite::MicroMutableOpResolver<{count}>;

inline TfLiteStatus lsemvae_tflm_add_operators(LsemvaeOperators* operators) {{
  if ({calls}) {{
    return kTfLiteError;
  }}
  return kTfLiteOk;
}}

#endif
"""
