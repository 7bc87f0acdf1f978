"""Files that hold convolutions and nothing else, made without a converter: what a runtime attains at most.

Channels are generous and every layer is like the one before it, so that a runtime has nothing to wait for. Weights are
drawn; their values do not matter to the time they take.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import numpy as np

DEPTH: Final = 3
"""Layers in a row in each file."""
SCALE: Final = 0.05


@dataclass(frozen=True)
class Shape:
    """A convolution with as many channels out as in, padded to the same size.

    Parameters
    ----------
    channels : int
    kernel, size : (int, int)
        Height and width of the weights and of the data.
    """

    channels: int
    kernel: tuple[int, int]
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """What people call it."""
        (a, b), (height, width) = self.kernel, self.size
        return f"{a}×{b}, {self.channels} channels, {height}×{width}"

    @property
    def macs(self) -> int:
        """Multiply-adds of a file of this shape."""
        (a, b), (height, width) = self.kernel, self.size
        return DEPTH * a * b * height * width * self.channels**2


SHAPES: Final = (
    Shape(256, (1, 1), (14, 14)),
    Shape(64, (3, 3), (28, 28)),
    Shape(128, (3, 3), (14, 14)),
    Shape(64, (1, 5), (1, 256)),
    Shape(128, (1, 7), (1, 128)),
)
"""Those of pictures, for which kernels are made, and those of signals, which the students have."""
QUICK_SHAPES: Final = (SHAPES[0], SHAPES[3])


def tflite(shape: Shape, precision: str, seed: int = 0) -> bytes:
    """Return a TFLite file; int8 with a scale for each output channel, data and weights as the exporter makes them."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    rng = np.random.default_rng(seed)
    kind = schema.TensorType.INT8 if precision == "int8" else schema.TensorType.FLOAT32
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, graph.tensors, graph.operators = 3, [schema.BufferT()], [], []

    def tensor(name: str, dims: tuple[int, ...], type: int, scales: Any = None, data: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(dims), type, 0
        if scales is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.asarray(scales, np.float32)
            made.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    n, (a, b), (height, width) = shape.channels, shape.kernel, shape.size
    integers = precision == "int8"
    last = tensor("in", (1, height, width, n), kind, [SCALE] if integers else None)
    graph.inputs = [last]
    for layer in range(DEPTH):
        weights, bias = _weights(rng, (n, a, b, n), integers)
        read = [
            last,
            tensor(f"w{layer}", (n, a, b, n), kind, np.full(n, _weight_scale(shape)) if integers else None, weights),
            tensor(
                f"b{layer}", (n,), schema.TensorType.INT32 if integers else kind,
                np.full(n, SCALE * _weight_scale(shape)) if integers else None, bias,
            ),
        ]  # fmt: skip
        last = tensor(f"out{layer}", (1, height, width, n), kind, [SCALE] if integers else None)
        operator, options = schema.OperatorT(), schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        options.padding = schema.Padding.SAME
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, read, [last]
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
        graph.operators.append(operator)
    graph.outputs = [last]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    # Version 3 of the operator has int8.
    code.version = 3
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def onnx(shape: Shape, precision: str, seed: int = 0) -> bytes:
    """Return an ONNX file; int8 as pairs of steps around each layer, as the exporter makes them. Needs onnx."""
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = np.random.default_rng(seed)
    n, (a, b), (height, width) = shape.channels, shape.kernel, shape.size
    integers = precision == "int8"
    nodes, held = [], []

    def constant(name: str, value: Any) -> str:
        held.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, read: list[str], written: str, **more: Any) -> str:
        nodes.append(helper.make_node(kind, read, [written], **more))
        return written

    if integers:
        steps = [constant("scale", np.float32(SCALE)), constant("zero", np.int8(0))]
        last = node("QuantizeLinear", ["in", *steps], "in.q")
    else:
        last = "in"
    for layer in range(DEPTH):
        weights, bias = _weights(rng, (n, n, a, b), integers)
        read = [constant(f"w{layer}", weights), constant(f"b{layer}", bias)]
        if integers:
            last = node("DequantizeLinear", [last, *steps], f"d{layer}")
            for place, (factor, zero) in enumerate(((1.0, np.int8), (SCALE, np.int32))):
                scale = constant(f"s{layer}.{place}", np.full(n, factor * _weight_scale(shape), np.float32))
                zeros = constant(f"z{layer}.{place}", np.zeros(n, zero))
                read[place] = node("DequantizeLinear", [read[place], scale, zeros], f"{read[place]}.d", axis=0)
        pads = [(a - 1) // 2, (b - 1) // 2, a - 1 - (a - 1) // 2, b - 1 - (b - 1) // 2]
        last = node("Conv", [last, *read], f"c{layer}", pads=pads, kernel_shape=[a, b])
        last = node("Relu", [last], f"r{layer}")
        if integers:
            last = node("QuantizeLinear", [last, *steps], f"q{layer}")
    nodes[-1].output[0] = "out"
    kind = TensorProto.INT8 if integers else TensorProto.FLOAT
    ends = [
        helper.make_tensor_value_info(name, of, [1, n, height, width])
        for name, of in (("in", TensorProto.FLOAT), ("out", kind))
    ]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


def pte(shape: Shape, precision: str, seed: int = 0) -> bytes:
    """Return an ExecuTorch program, whole in one XNNPACK delegate. Needs torch, executorch and torchao."""
    from lsemvae_edge.quantize.quiet import quiet

    with quiet():
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        torch.manual_seed(seed)
        kernel = (shape.kernel[0], shape.kernel[1])
        padding = (kernel[0] // 2, kernel[1] // 2)
        layers = [torch.nn.Conv2d(shape.channels, shape.channels, kernel, padding=padding) for _ in range(DEPTH)]
        model = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.ReLU()))).eval()
        example = (torch.randn(1, shape.channels, *shape.size).to(memory_format=torch.channels_last),)
        if precision == "int8":
            from executorch.backends.xnnpack.quantizer import xnnpack_quantizer
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

            scheme = xnnpack_quantizer.get_symmetric_quantization_config(is_per_channel=True)
            quantizer = xnnpack_quantizer.XNNPACKQuantizer().set_global(scheme)
            prepared = prepare_pt2e(torch.export.export(model, example).module(), quantizer)
            prepared(*example)
            model = convert_pt2e(prepared)
        exported = torch.export.export(model, example)
        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)


MAKERS: Final[Mapping[str, Callable[[Shape, str, int], bytes]]] = {"tflite": tflite, "onnx": onnx, "pte": pte}


def timer(
    runtime: str, files: Mapping[str, str], threads: int, quickest: bool = False
) -> Callable[[], dict[str, float]]:
    """Open files in a runtime, and return what runs each of them once and gives its milliseconds by name.

    Called in a worker's child.

    Parameters
    ----------
    runtime : str
        ``litert``, ``onnxruntime`` or ``executorch``.
    files : mapping of str to str
        Path by name.
    threads : int
    quickest : bool
        Let LiteRT use XNNPACK, and ONNX Runtime fuse int8 layers; this package's own sessions do neither.
    """
    from pathlib import Path

    opened = {name: _opened(runtime, Path(path).read_bytes(), threads, quickest) for name, path in files.items()}

    def run() -> dict[str, float]:
        took = {}
        for name, invoke in opened.items():
            begun = perf_counter()
            invoke()
            took[name] = 1e3 * (perf_counter() - begun)
        return took

    return run


def copier(n_bytes: int, times: int) -> Callable[[], dict[str, float]]:
    """Return what copies so many bytes so often, and gives the milliseconds of one copy as ``copy``."""
    taken, given = np.zeros(n_bytes, np.uint8), np.ones(n_bytes, np.uint8)

    def run() -> dict[str, float]:
        begun = perf_counter()
        for _ in range(times):
            np.copyto(given, taken)
        return {"copy": 1e3 * (perf_counter() - begun) / times}

    return run


def _opened(runtime: str, content: bytes, threads: int, quickest: bool) -> Callable[[], Any]:
    if runtime == "litert":
        return _in_litert(content, threads, quickest)
    if runtime == "onnxruntime":
        return _in_onnxruntime(content, threads, quickest)
    return _in_executorch(content)


def _in_litert(content: bytes, threads: int, quickest: bool) -> Callable[[], Any]:
    from ai_edge_litert import interpreter as litert

    kinds = litert.OpResolverType
    resolver = kinds.BUILTIN if quickest else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    opened = litert.Interpreter(model_content=content, num_threads=threads, experimental_op_resolver_type=resolver)
    opened.allocate_tensors()
    for detail in opened.get_input_details():
        opened.set_tensor(detail["index"], _drawn(tuple(detail["shape"]), detail["dtype"]))
    return lambda: opened.invoke()


def _in_onnxruntime(content: bytes, threads: int, quickest: bool) -> Callable[[], Any]:
    import onnxruntime

    from lsemvae_edge.runtime.onnx import session_options

    options = session_options(threads)
    if quickest:
        options.add_session_config_entry("session.disable_quant_qdq", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    fed = {taken.name: _drawn(tuple(taken.shape), np.float32)}
    return lambda: session.run(None, fed)


def _in_executorch(content: bytes) -> Callable[[], Any]:
    from lsemvae_edge.runtime import executorch

    program = executorch._Program(executorch._shim(), content, "forward")
    fed = [_drawn(shape, np.float32) for shape in program.shapes(outputs=False)]
    return lambda: program.run(fed)


def _drawn(shape: tuple[int, ...], dtype: Any) -> Any:
    """Return numbers of either sign in integers; in floating point between 0.5 and 1.5, for operators that divide."""
    rng = np.random.default_rng(0)
    return rng.integers(-127, 128, shape, np.int8) if dtype == np.int8 else rng.uniform(0.5, 1.5, shape).astype(dtype)


def _weight_scale(shape: Shape) -> float:
    """Return a step that keeps what comes out as large as what went in, so that nothing saturates or vanishes."""
    return 1.0 / (64 * math.sqrt(shape.channels * shape.kernel[0] * shape.kernel[1]))


def _weights(rng: np.random.Generator, dims: tuple[int, ...], integers: bool) -> tuple[Any, Any]:
    if integers:
        return rng.integers(-127, 128, dims, np.int8), np.zeros(dims[0], np.int32)
    fan_in = np.prod(dims) / dims[0]
    return (rng.normal(size=dims) / np.sqrt(fan_in / 2)).astype(np.float32), np.zeros(dims[0], np.float32)
