"""The integer encoders as a TFLite file: int16 in, each lead's mean and log-variance out, int16.

Written operator by operator instead of converted, so that it holds the very integers of the C sources. LiteRT's
built-in reference kernels run it as the oracle, TensorFlow Lite Micro runs it on a device of its own.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.quantize.firmware.integers import IntegerLayer, IntegerModel

FILE_NAME = "model-int16x8.tflite"


def write(model: IntegerModel) -> bytes:
    """Return a TFLite file of the encoders.

    Its input ``signal`` is (1, 1, n_samples, n_leads), int16, in steps of ``model.input_scale``; its outputs are
    ``mu0``, ``logvar0`` and so on, (1, 1, 1, latent_dim) each. Tensors are named as the layers are.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema)
    lengths, n_leads = model.lengths(), len(model.encoders)
    # Leads stand one below the other, so that cutting one out is one operator.
    signal = graph.activation("signal", (1, n_leads, lengths[0], 1), model.input_scale)
    outputs = []
    for i, encoder in enumerate(model.encoders):
        x = graph.cut(signal, i, (1, 1, lengths[0], 1), f"signal{i}", model.input_scale)
        scale, channels = model.input_scale, 1
        for layer, before, after in zip(encoder.convolutions, lengths, lengths[1:], strict=False):
            x = graph.pad(x, layer.padding, (1, 1, before + 2 * layer.padding, channels), f"pad{i}.{layer.name}", scale)
            x = graph.convolve(x, layer, scale, after, f"encoder{i}.{layer.name}")
            scale, channels = layer.scale, len(layer.bias)
        x = graph.average(x, lengths[-1], (1, 1, 1, channels), f"encoder{i}.pool", scale)
        outputs += [
            graph.convolve(x, layer, scale, 1, f"encoder{i}.{layer.name}") for layer in (encoder.mu, encoder.logvar)
        ]
    graph.subgraph.inputs, graph.subgraph.outputs = [signal], outputs
    finished = graph.finished()
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(finished.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(content: bytes, quantized: NDArray[np.int16]) -> dict[str, NDArray[np.int16]]:
    """Run a file of `write` with LiteRT's built-in reference kernels.

    Parameters
    ----------
    content : bytes
    quantized : array (n_leads, n_samples), int16
        From `IntegerModel.quantized`.

    Returns
    -------
    dict of str to array (n_samples_out, n_channels), int16
        What each layer gave, by the names of `lsemvae_edge.quantize.scheme.layer_names`.
    """
    return Reference(content).run(quantized)


class Reference:
    """LiteRT's built-in reference kernels, opened once."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._opened = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        self._opened.allocate_tensors()
        self._input = self._opened.get_input_details()[0]
        self._layers = {
            detail["name"]: detail["index"]
            for detail in self._opened.get_tensor_details()
            if detail["dtype"] == np.int16 and detail["name"].startswith("encoder")
        }

    def run(self, quantized: NDArray[np.int16]) -> dict[str, NDArray[np.int16]]:
        """Give every layer's output; see `run`."""
        self._opened.set_tensor(self._input["index"], quantized[None, :, :, None])
        self._opened.invoke()
        return {name: self._opened.get_tensor(place)[0, 0] for name, place in self._layers.items()}


@dataclass
class _Graph:
    """A model under construction; methods return places of tensors."""

    schema: Any
    buffers: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    subgraph: Any = None

    def __post_init__(self) -> None:
        self.buffers.append(self.schema.BufferT())
        self.subgraph = self.schema.SubGraphT()
        self.subgraph.tensors, self.subgraph.operators = [], []

    def activation(self, name: str, shape: tuple[int, ...], scale: float) -> int:
        return self._tensor(name, shape, self.schema.TensorType.INT16, [scale])

    def cut(self, x: int, row: int, shape: tuple[int, ...], name: str, scale: float) -> int:
        begin = self._constant(f"{name}.begin", np.array([0, row, 0, 0], dtype=np.int32))
        size = self._constant(f"{name}.size", np.array(shape, dtype=np.int32))
        out = self.activation(name, shape, scale)
        options = self.schema.SliceOptionsT()
        return self._operator("SLICE", [x, begin, size], out, "SliceOptions", options)

    def pad(self, x: int, padding: int, shape: tuple[int, ...], name: str, scale: float) -> int:
        if padding == 0:
            return x
        amounts = np.array([[0, 0], [0, 0], [padding, padding], [0, 0]], dtype=np.int32)
        amount = self._constant(f"{name}.amount", amounts)
        return self._operator("PAD", [x, amount], self.activation(name, shape, scale), "PadOptions",
                              self.schema.PadOptionsT())  # fmt: skip

    def convolve(self, x: int, layer: IntegerLayer, scale_in: float, length: int, name: str) -> int:
        kinds = self.schema.TensorType
        scales = layer.weight_scale.astype(np.float64)
        weights = self._constant(f"{name}.weights", layer.weights[:, None], kinds.INT8, scales.tolist())
        bias = self._constant(f"{name}.bias", layer.bias, kinds.INT64, (scale_in * scales).tolist())
        out = self.activation(name, (1, 1, length, len(layer.bias)), layer.scale)
        options = self.schema.Conv2DOptionsT()
        options.padding = self.schema.Padding.VALID
        options.strideH, options.strideW = 1, layer.stride
        options.dilationHFactor = options.dilationWFactor = 1
        kind = self.schema.ActivationFunctionType
        options.fusedActivationFunction = kind.RELU if layer.rectified else kind.NONE
        return self._operator("CONV_2D", [x, weights, bias], out, "Conv2DOptions", options)

    def average(self, x: int, length: int, shape: tuple[int, ...], name: str, scale: float) -> int:
        options = self.schema.Pool2DOptionsT()
        options.padding = self.schema.Padding.VALID
        options.strideH = options.strideW = options.filterHeight = 1
        options.filterWidth = length
        out = self.activation(name, shape, scale)
        return self._operator("AVERAGE_POOL_2D", [x], out, "Pool2DOptions", options)

    def finished(self) -> Any:
        model = self.schema.ModelT()
        model.version, model.description = 3, "LS-EMVAE lead encoders, int16 activations and int8 weights"
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [self.subgraph], self.buffers
        return model

    def _operator(self, code: str, inputs: list[int], output: int, kind: str, options: Any) -> int:
        builtin = getattr(self.schema.BuiltinOperator, code)
        known = [one.builtinCode for one in self.codes]
        if builtin not in known:
            made = self.schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = builtin, min(builtin, 127), _VERSIONS[code]
            self.codes.append(made)
            known.append(builtin)
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = known.index(builtin), inputs, [output]
        operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
        operator.builtinOptions = options
        self.subgraph.operators.append(operator)
        return output

    def _constant(
        self, name: str, values: NDArray[Any], kind: int | None = None, scales: list[float] | None = None
    ) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        self.buffers.append(buffer)
        kind = self.schema.TensorType.INT32 if kind is None else kind
        return self._tensor(name, values.shape, kind, scales, len(self.buffers) - 1)

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, scales: list[float] | None, buffer: int = 0) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
        if scales is not None:
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = scales, [0] * len(scales)
            tensor.quantization.quantizedDimension = 0
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1


_VERSIONS = {"SLICE": 4, "PAD": 3, "CONV_2D": 4, "AVERAGE_POOL_2D": 3}
"""First versions of the operators that take int16."""
