"""What the layers of a student give inside each backend, on the same inputs, so that rounding can be followed."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsemvae_edge.manifest import Quantization, Step
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import scheme
from lsemvae_edge.quantize.reference import QuantizedStudent
from lsemvae_edge.quantize.targets import Job, QuantizationError
from lsemvae_edge.runtime.onnx import session_options

EXACT_DB = 120.0
"""What is said of a layer that is not rounded at all: the kernels of a float form differ by less."""
_ALIKE_DB = 10.0
_PROBES = 4

Array = NDArray[np.float32]
Layers = dict[str, Array]
"""What each layer gives (n, ...), channels first, by its name."""


def missing(backend: str) -> list[str]:
    """Return the modules that a backend needs and that cannot be imported."""
    return [name for name in _NEEDED[backend] if find_spec(name) is None]


def in_reference(student: Student, quantization: Quantization, signals: Array) -> Layers:
    """Return what the layers give in torch with their rounding written out."""
    x = torch.from_numpy(signals)[:, :, None]
    given = QuantizedStudent(student, quantization).activations(x, torch.ones(signals.shape[:2]))
    return {name: values.numpy() for name, values in given.items()}


def in_litert(student: Student, quantization: Quantization, signals: Array) -> Layers:
    """Return what the layers give in LiteRT with its reference kernels, which convert and run the student."""
    from lsemvae_edge.quantize.targets import tflite

    names = scheme.layer_names(student)
    content = tflite.convert(Job(student, signals.shape[2], quantization, ""))
    rows: dict[str, list[Array]] = {name: [] for name in names}
    for signal in signals:
        held = tflite.tensors(content, signal)
        for name in names:
            if name not in held:
                raise QuantizationError(f"The TFLite file has no tensor of {name}.")
            # Its convolutions keep channels last.
            rows[name].append(np.moveaxis(held[name], -1, 1)[0])
    given = {name: np.stack(values) for name, values in rows.items()}
    for name in quantization.float_layers:
        if set(_readers(name, student)) - set(quantization.float_layers):
            # The file rounds it in a tensor of its own.
            step = quantization.activations[name]
            given[name] = (in_steps(given[name], step) - step.zero_point) * np.float32(step.scale)
    return given


def in_onnxruntime(student: Student, quantization: Quantization, signals: Array) -> Layers:
    """Return what the layers give in ONNX Runtime, fused as it runs them."""
    import onnx

    from lsemvae_edge.quantize.targets import onnx as target

    model = onnx.ModelProto.FromString(target.convert(Job(student, signals.shape[2], quantization, "")))
    given = {output.name for output in model.graph.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    # An integer that a layer gives can be watched without undoing the fusion of the kernel that makes it.
    steps = {
        node.output[0]: (float(constants[node.input[1]]), int(constants[node.input[2]]))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    watched = [
        *steps,
        *(node.output[0] for node in model.graph.node if node.op_type in ("Relu", "Gemm", "ReduceMean")),
    ]
    probes = signals[:_PROBES]
    held = _run_onnx(model, [name for name in watched if name not in given], steps, probes)
    chosen: dict[str, str] = {}
    for name, values in in_reference(student, quantization, probes).items():
        alike = {
            tensor: snr_db(values, candidate.reshape(values.shape))
            for tensor, candidate in held.items()
            if candidate.size == values.size
        }
        best = max(alike, key=alike.__getitem__, default=None)
        if best is None or alike[best] < _ALIKE_DB:
            raise QuantizationError(f"The ONNX file has no tensor of {name}.")
        chosen[name] = best
    held = _run_onnx(model, sorted(set(chosen.values())), steps, signals)
    return {name: held[tensor] for name, tensor in chosen.items()}


def _run_onnx(
    model: Any,
    watched: Sequence[str],
    steps: Mapping[str, tuple[float, int]],
    signals: Array,
) -> Layers:
    """Run an ONNX model and keep tensors, as real values, by name."""
    import onnx
    import onnxruntime

    opened = onnx.ModelProto.FromString(model.SerializeToString())
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched)
    content = opened.SerializeToString()
    session = onnxruntime.InferenceSession(content, session_options(), providers=["CPUExecutionProvider"])
    signal, mask = (taken.name for taken in session.get_inputs())
    rows: dict[str, list[Array]] = {name: [] for name in watched}
    for row in signals:
        fed = {signal: row[None, :, None], mask: np.ones((1, len(row)), dtype=np.float32)}
        for name, values in zip(watched, session.run(list(watched), fed), strict=True):
            if name in steps:
                scale, zero_point = steps[name]
                values = (values.astype(np.float32) - zero_point) * np.float32(scale)
            rows[name].append(values[0])
    return {name: np.stack(values) for name, values in rows.items()}


def snr_db(exact: NDArray[np.floating], rounded: NDArray[np.floating]) -> float:
    """Return the power of values over the power of their error, in decibels, at most `EXACT_DB`."""
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(exact.astype(np.float64) - rounded).sum())
    if noise <= signal * 10 ** (-EXACT_DB / 10):
        return EXACT_DB
    return float(10 * np.log10(max(signal, 1e-30) / noise))


def in_steps(values: Array, step: Step) -> Array:
    """Return the integers that values become, as floats."""
    steps: Array = np.rint(values / np.float32(step.scale)) + step.zero_point
    return steps.clip(scheme.LOW, scheme.HIGH)


def _readers(name: str, student: Student) -> list[str]:
    """Return the layers that read what a layer gives; fusion is none."""
    encoder, layer = name.split(".")
    order = [*(f"conv{k + 1}" for k in range(len(student.config.channels))), "pool"]
    if layer not in order:
        return []
    after = ["mu", "logvar"] if layer == "pool" else [order[order.index(layer) + 1]]
    return [f"{encoder}.{one}" for one in after]


BACKENDS: dict[str, Callable[[Student, Quantization, Array], Layers]] = {
    "reference": in_reference,
    "litert": in_litert,
    "onnxruntime": in_onnxruntime,
}
"""How each backend is looked into, by its name."""
_NEEDED = {
    "reference": ("torchao",),
    "litert": ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
}
