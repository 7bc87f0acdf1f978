"""What TensorFlow Lite Micro says of a file; run by the interpreter of its own environment.

    python tflm_worker.py arena MODEL
    python tflm_worker.py run MODEL INPUTS.npy OUTPUTS.npz

Needs the standard library, numpy and the ``tflite-micro`` package alone: nothing of this package is importable there.
"""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

_STEP_BYTES = 16
_ENOUGH_BYTES = 1 << 24


def main(arguments: list[str]) -> int:
    """Do what is asked and print one line of JSON."""
    task, model, *others = arguments
    content = Path(model).read_bytes()
    told = arena(content) if task == "arena" else run(content, *others)
    versions = {"tflite_micro": metadata.version("tflite-micro"), "machine": platform.machine()}
    print(json.dumps({**told, **versions}))
    return 0


def arena(content: bytes) -> dict[str, Any]:
    """Find the smallest arena in which a file runs, and have the interpreter list on standard error what it took."""
    too_small, enough = 0, _ENOUGH_BYTES // _STEP_BYTES
    while enough - too_small > 1:
        tried = (too_small + enough) // 2
        if _fits(content, tried * _STEP_BYTES):
            enough = tried
        else:
            too_small = tried
    _run_on_zeros(content, enough * _STEP_BYTES).print_allocations()
    return {"smallest_bytes": enough * _STEP_BYTES}


def run(content: bytes, inputs: str, outputs: str) -> dict[str, Any]:
    """Run each row of an array as the only input, and keep every output, stacked, as ``arr_0`` and so on."""
    opened = _open(content, None)
    detail = opened.get_input_details(0)
    kept: list[list[Any]] = []
    for row in np.load(inputs):
        opened.set_input(row.reshape(detail["shape"]).astype(detail["dtype"]), 0)
        opened.invoke()
        kept.append([np.array(opened.get_output(k)) for k in _places(opened.get_output)])
    np.savez(outputs, *(np.stack(column) for column in zip(*kept, strict=True)))
    return {"inputs": len(kept)}


def _open(content: bytes, size: int | None) -> Any:
    from tflite_micro import runtime  # type: ignore[import-not-found]  # of the other environment

    return runtime.Interpreter.from_bytes(content, arena_size=size)


def _fits(content: bytes, size: int) -> bool:
    """Try in a child, because an arena that is too small for some files ends the process instead of raising."""
    child = os.fork()
    if child == 0:
        try:
            _run_on_zeros(content, size)
        except RuntimeError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _run_on_zeros(content: bytes, size: int) -> Any:
    opened = _open(content, size)
    for k in _places(opened.get_input_details):
        detail = opened.get_input_details(k)
        opened.set_input(np.zeros(detail["shape"], dtype=detail["dtype"]), k)
    opened.invoke()
    return opened


def _places(ask: Any) -> range:
    """Return the places of inputs or outputs: the interpreter does not say how many there are."""
    k = 0
    while True:
        try:
            ask(k)
        except IndexError:
            return range(k)
        k += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
