"""Which releases of exporters and runtimes were seen to work, and which were seen to fail: one table of facts.

A release is *tested* if the tests and the known answers of bundles passed with it on the named processor, *known bad*
if it was seen to fail there, and otherwise *untested*, which is no fault: `lsemvae-edge doctor` then says whether it
gives a bundle's known answers here. ``.ci/newest`` finds out about releases that this table does not know.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

State = Literal["tested", "untested", "known bad"]

EXPORTERS = ("torch", "torchao", "executorch", "litert-torch", "ai-edge-quantizer", "onnx", "onnxscript")
RUNTIMES = {
    "litert": "ai-edge-litert",
    "tflite-runtime": "tflite-runtime",
    "onnxruntime": "onnxruntime",
    "executorch": "executorch",
}
"""Distribution of each runtime, by the name of its engine."""

TESTED: dict[str, dict[str, tuple[str, ...]]] = {
    # ``constraints.txt``, and requirements-tflite-runtime.txt with its own environment.
    "x86_64": {
        "torch": ("2.13.0",),
        "torchao": ("0.18.0",),
        "executorch": ("1.5.1",),
        "litert-torch": ("0.10.0",),
        "ai-edge-quantizer": ("0.10.0",),
        "onnx": ("1.23.2",),
        "onnxscript": ("0.7.2",),
        "ai-edge-litert": ("2.3.0",),
        "onnxruntime": ("1.32.0",),
        "tflite-runtime": ("2.14.0",),
    },
    # ``constraints-aarch64.txt``; by emulation, see docs/runtimes.md.
    "aarch64": {
        "executorch": ("1.5.1",),
        "ai-edge-litert": ("2.1.0",),
        "onnxruntime": ("1.23.2",),
    },
}
"""Releases of each distribution, by processor."""


@dataclass(frozen=True)
class KnownBad:
    """A release that was seen to fail, on one processor or, if that is None, on any.

    ``beside`` tells whether the failure needs another package, by a test of the numpy release.
    """

    distribution: str
    version: str
    machine: str | None
    reason: str
    beside: Callable[[str], bool] = lambda numpy: True


KNOWN_BAD = (
    KnownBad(
        "ai-edge-litert", "2.3.0", "aarch64",
        "ends with a segmentation fault as a model is opened under emulation (qemu 7.2); whether on a board too is "
        "not known; 2.1.0 runs",
    ),
    KnownBad(
        "onnxruntime", "1.32.0", "aarch64",
        "ends with a segmentation fault as it is imported under emulation (qemu 7.2); whether on a board too is "
        "not known; 1.23.2 runs",
    ),
    KnownBad(
        "tflite-runtime", "2.14.0", None,
        "its interpreter does not start beside numpy 2; ai-edge-litert is its successor",
        lambda numpy: int(numpy.partition(".")[0]) >= 2,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What is known of one installed distribution; version and state are None if it is not installed."""

    distribution: str
    version: str | None
    state: State | None
    reason: str | None


def judge(distribution: str, version: str, machine: str, numpy: str) -> Verdict:
    """Look a release up in the table.

    Parameters
    ----------
    distribution, version : str
        Name on the package index and release; a local label (``+cpu``) does not count.
    machine : str
        Processor, as `platform.machine` names it.
    numpy : str
        Release of numpy beside it.
    """
    release = version.partition("+")[0]
    for bad in KNOWN_BAD:
        here = bad.machine in (None, machine)
        if bad.distribution == distribution and bad.version == release and here and bad.beside(numpy):
            return Verdict(distribution, version, "known bad", bad.reason)
    tested = TESTED.get(machine, {}).get(distribution, ())
    if release in tested:
        return Verdict(distribution, version, "tested", None)
    known = f"tested on {machine}: {', '.join(tested)}" if tested else f"no release of it was tested on {machine}"
    return Verdict(distribution, version, "untested", known)


def installed(distribution: str) -> Verdict:
    """Say what is known of a distribution in this environment."""
    version = _version(distribution)
    if version is None:
        return Verdict(distribution, None, None, None)
    return judge(distribution, version, platform.machine(), _version("numpy") or "0")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
