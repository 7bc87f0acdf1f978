"""What firmware must pass before it is released: the C code itself, compiled here, against its oracles."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.model import Student
from lsemvae_edge.quantize import gates, parity
from lsemvae_edge.quantize.firmware import flatbuffer, oracle
from lsemvae_edge.quantize.firmware.folder import lay_out
from lsemvae_edge.quantize.firmware.generate import TFLITE, Firmware
from lsemvae_edge.quantize.firmware.host import CSession, Library
from lsemvae_edge.quantize.gates import Bounds
from lsemvae_edge.quantize.parity import Asked
from lsemvae_edge.quantize.reference import FloatStudent
from lsemvae_edge.quantize.targets import QuantizationError

EXACT = 64
"""Inputs on which every layer is compared."""


def check(
    contents: Mapping[str, bytes], made: Firmware, student: Student, asked: Asked, bounds: Bounds | None = None
) -> dict[str, Any]:
    """Compile the sources and compare: every layer bit for bit, the tail bit for bit, outcomes with floating point.

    Parameters
    ----------
    contents : mapping of str to bytes
        The folder's files.
    made : Firmware
    student : Student
    asked : Asked
        Model inputs, all leads present.
    bounds : Bounds, optional

    Returns
    -------
    dict
        ``layers`` and ``inputs`` compared, ``float`` as in `lsemvae_edge.quantize.parity.Agreement`.

    Raises
    ------
    QuantizationError
        Names the layer or the bound.
    UsageError
        If there is no C compiler.
    BundleError
        If the sources do not compile.
    """
    with TemporaryDirectory() as temporary:
        library = Library(lay_out(contents, Path(temporary) / "firmware"), Path(temporary))
        inputs, layers = every_layer(library, contents[TFLITE], made, asked.signals[:EXACT])
        said = parity.said_by_session(made.spec, CSession(library, made.model.input_scale), asked)
        exact = parity.said_by_torch(made.spec, FloatStudent(student), asked)
        return {
            "inputs": inputs,
            "layers": layers,
            "float": gates.check_rounding("c", said, exact, bounds or Bounds()),
        }


def every_layer(library: Library, tflite: bytes, made: Firmware, signals: NDArray[np.float32]) -> tuple[int, int]:
    """Hold every layer of some inputs, and of those at the edges of the contract, against their oracles.

    Parameters
    ----------
    library : Library
    tflite : bytes
        The encoders, see `lsemvae_edge.quantize.firmware.flatbuffer`.
    made : Firmware
    signals : array (n, n_leads, n_samples)

    Returns
    -------
    inputs, layers : int
        How many were compared.

    Raises
    ------
    QuantizationError
        If a number differs.
    """
    kernels = flatbuffer.Reference(tflite)
    edges = parity.extreme(made.spec)
    whole = np.concatenate([signals, edges.signals[edges.masks.all(axis=1)]])
    return len(whole), sum(same_layers(library, kernels, made, made.model.quantized(signal)) for signal in whole)


def same_layers(library: Library, kernels: flatbuffer.Reference, made: Firmware, quantized: NDArray[np.int16]) -> int:
    """Hold every layer of one input, and the tail, against their oracles; return how many layers were compared.

    Raises
    ------
    QuantizationError
        If a number differs.
    """
    layers: dict[str, NDArray[np.int16]] = {}
    mu, logvar = library.encode(quantized, layers)
    expected = kernels.run(quantized)
    if set(layers) != set(expected):
        raise QuantizationError(f"c: the layers {', '.join(sorted(set(layers) ^ set(expected)))} have no counterpart.")
    for name, values in expected.items():
        if not np.array_equal(layers[name], values.ravel()):
            apart = int(np.abs(layers[name].astype(np.int32) - values.ravel()).max())
            raise QuantizationError(f"c: {name} differs from the reference kernels by {apart}.")
    one, other = library.fuse(mu, logvar), oracle.fuse(made.image, mu, logvar)
    for name in ("logits", "contributions", "mu", "latent_distance"):
        if not np.array_equal(getattr(one, name), getattr(other, name)):
            raise QuantizationError(f"c: {name} of the fixed-point tail differ from their oracle.")
    return len(expected)
