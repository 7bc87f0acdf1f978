"""What a model file does in one run, counted from the file: multiply-adds, bytes of weights and of activations."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lsemvae_edge.errors import BundleError


@dataclass(frozen=True)
class Operator:
    """What one operator of a file does.

    Parameters
    ----------
    kind : str
        As the format names it, in capitals: ``CONV_2D``, ``CONV``.
    precision : str
        ``int8`` if its data and weights are, else ``fp32``.
    macs : int
        Multiply-adds: those of convolutions and matrix products; of other operators, none.
    weight_bytes : int
        Of the constants that it reads.
    activation_bytes : int
        Of what it reads and writes besides.
    shape : str
        Of its weights, or of what it writes, for people.
    index : int
        Its place in the file.
    """

    kind: str
    precision: str
    macs: int
    weight_bytes: int
    activation_bytes: int
    shape: str
    index: int


@dataclass(frozen=True)
class Work:
    """What a file does in one run; ``weight_bytes`` counts a constant once, however many operators read it."""

    operators: tuple[Operator, ...]
    weight_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-adds of all operators."""
        return sum(one.macs for one in self.operators)

    @property
    def activation_bytes(self) -> int:
        """Bytes that operators read and write beside weights: what one writes and another reads counts for both."""
        return sum(one.activation_bytes for one in self.operators)

    @property
    def intensity_mac_per_byte(self) -> float:
        """Multiply-adds for each byte that is read or written, as if no cache held anything between operators."""
        return self.macs / (self.weight_bytes + self.activation_bytes)

    def macs_in(self, precision: str) -> int:
        """Multiply-adds in one precision."""
        return sum(one.macs for one in self.operators if one.precision == precision)


def count(content: bytes, format: str) -> Work:
    """Count the work of a file.

    Parameters
    ----------
    content : bytes
    format : str
        ``tflite`` or ``onnx``; the latter needs the package onnx.

    Raises
    ------
    BundleError
        If the shapes of a layer are not fixed in the file.
    """
    return COUNTERS[format](content)


def _of_tflite(content: bytes) -> Work:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    sizes = {schema.TensorType.INT8: 1, schema.TensorType.FLOAT32: 4, schema.TensorType.INT32: 4}
    (graph,) = model.subgraphs
    constant = {
        place for place, tensor in enumerate(graph.tensors)
        if model.buffers[tensor.buffer].data is not None or model.buffers[tensor.buffer].size
    }  # fmt: skip

    def length(place: int) -> int:
        return math.prod(dims(graph.tensors[place])) * sizes.get(graph.tensors[place].type, 4)

    operators = []
    for index, operator in enumerate(graph.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        kind = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        read = [int(place) for place in operator.inputs if place >= 0]
        written = [int(place) for place in operator.outputs]
        given = dims(graph.tensors[written[0]])
        layer = _TFLITE_MACS.get(kind)
        weights = dims(graph.tensors[read[1]]) if layer else []
        integers = graph.tensors[read[0]].type == schema.TensorType.INT8
        operators.append(
            Operator(
                kind=kind,
                precision="int8" if integers else "fp32",
                macs=layer(given, weights) if layer else 0,
                weight_bytes=sum(length(place) for place in read if place in constant),
                activation_bytes=sum(length(place) for place in (*read, *written) if place not in constant),
                shape=" × ".join(str(n) for n in (weights or given)),
                index=index,
            )
        )
    used = {int(place) for operator in graph.operators for place in operator.inputs if place in constant}
    by_buffer = {graph.tensors[place].buffer: length(place) for place in used}
    return Work(tuple(operators), sum(by_buffer.values()))


def dims(tensor: Any) -> list[int]:
    """Return the shape of a tensor as the file states it."""
    return [int(n) for n in tensor.shape] if tensor.shape is not None else []


_TFLITE_MACS: Final[Mapping[str, Callable[[Sequence[int], Sequence[int]], int]]] = {
    # Weights are (out, height, width, in), (1, height, width, out) and (out, in).
    "CONV_2D": lambda given, weights: math.prod(given) * math.prod(weights[1:]),
    "DEPTHWISE_CONV_2D": lambda given, weights: math.prod(given) * math.prod(weights[1:3]),
    "FULLY_CONNECTED": lambda given, weights: math.prod(given) * weights[-1],
}


def _of_onnx(content: bytes) -> Work:
    import onnx
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    constant = {one.name: (tuple(one.dims), one.data_type) for one in graph.initializer}
    known = dict(constant)
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        known.setdefault(value.name, (tuple(dim.dim_value for dim in dims), value.type.tensor_type.elem_type))
    narrow = (TensorProto.INT8, TensorProto.UINT8)

    def length(name: str) -> int:
        shape, kind = known.get(name, ((), TensorProto.FLOAT))
        return int(math.prod(shape)) * (1 if kind in narrow else 4)

    # A file with steps of quantization computes in integers what lies between two of them.
    steps = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    used: dict[str, int] = {}
    operators = []
    for index, node in enumerate(graph.node):
        read = [steps.get(name, name) for name in node.input if name]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            read = list(node.input[:1])
            if node.op_type == "DequantizeLinear" and read[0] in constant:
                # Of weights: done once, when the file is loaded.
                continue
        written = [name for name in node.output if name]
        macs, weights = _onnx_macs(node, {name: shape for name, (shape, _) in known.items()}, read)
        for name in read:
            if name in constant:
                used[name] = length(name)
        operators.append(
            Operator(
                kind=node.op_type.upper(),
                precision="int8" if read and known.get(read[0], ((), 0))[1] in narrow else "fp32",
                macs=macs,
                weight_bytes=sum(length(name) for name in read if name in constant),
                activation_bytes=sum(length(name) for name in (*read, *written) if name not in constant),
                shape=" × ".join(str(n) for n in (weights or known.get(written[0], ((), 0))[0])),
                index=index,
            )
        )
    return Work(tuple(operators), sum(used.values()))


def _onnx_macs(node: Any, shapes: Mapping[str, tuple[int, ...]], read: Sequence[str]) -> tuple[int, tuple[int, ...]]:
    """Return multiply-adds of a node, and the shape of its weights."""
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return 0, ()
    given, weights = shapes.get(node.output[0], ()), shapes[read[1]]
    if not given or not all(given):
        raise BundleError(f"The shape of {node.output[0]} is not fixed in the file.", "Export it with a fixed shape.")
    if node.op_type == "Conv":
        # Weights are (out, in of the group, height, width).
        return math.prod(given) * math.prod(weights[1:]), weights
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return math.prod(given) * (weights[-1] if transposed else weights[-2]), weights


COUNTERS: Final[Mapping[str, Callable[[bytes], Work]]] = {"tflite": _of_tflite, "onnx": _of_onnx}
