"""TFLite files for LiteRT, tflite-runtime and TensorFlow Lite Micro.

Encoders become int8; expert fusion and heads stay in floating point, because precisions span several orders of
magnitude and because an int8 DIV is not in every runtime.
"""

import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.manifest import ModelFile, Quantization
from lsemvae_edge.quantize.quiet import quiet
from lsemvae_edge.quantize.targets import INPUTS, LABEL, OUTPUTS, Anatomy, Job, QuantizationError, Target
from lsemvae_edge.runtime import Session

FLOAT_OPERATIONS = ("DIV", "MUL", "ADD", "SUB", "MAXIMUM", "CONCATENATION", "OUTPUT")
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
PROBES = 4
_OUTPUT_NUMBER = re.compile(r"output_(\d+)")
_ENCODER = ".*LeadEncoder.*"


def convert(job: Job) -> bytes:
    """Make a TFLite file with batch 1.

    Raises
    ------
    QuantizationError
        If a layer of the student cannot be found in the converted file.
    """
    content = _to_float(job)
    found = layer_tensors(content, job)
    if job.quantization is not None:
        content = _to_int8(content, job, job.quantization, found)
    return _finished(content, job.label, found)


def open_session(content: bytes, model: ModelFile) -> Session:
    """Open a file in LiteRT with the kernels that the kiosk uses."""
    from lsemvae_edge.runtime.litert import open_model

    return open_model(content, model, "ai_edge_litert")


def inspect(content: bytes) -> Anatomy:
    """Take a TFLite file apart."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    code = {int(value): name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    kinds = {int(value): name for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
    operators: Counter[str] = Counter()
    layers: Counter[bool] = Counter()
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = code[model.operatorCodes[operator.opcodeIndex].builtinCode]
            if name == "DIV" and kinds[graph.tensors[operator.inputs[0]].type] == "INT8":
                name = "DIV of INT8"
            operators[name] += 1
            if name in WEIGHTED:
                layers[all(kinds[graph.tensors[place].type] == "INT8" for place in operator.inputs[:2])] += 1
    label = None
    for entry in model.metadata or ():
        data = model.buffers[entry.buffer].data
        if entry.name.decode() == LABEL and data is not None:
            label = bytes(data).decode()
    return Anatomy(
        operators=dict(operators),
        delegates=0,
        outside=(),
        int8_layers=layers[True],
        float_layers=layers[False],
        external=any(buffer.offset > 1 for buffer in model.buffers),
        stated={"schema": model.version},
        label=label,
    )


def layer_tensors(content: bytes, job: Job) -> dict[str, list[str]]:
    """Find the layers of a student among the tensors of its float TFLite file, by what they hold for a few inputs.

    Names of tensors follow from the converter's inner workings and mislead: layers that look alike share one.

    Returns
    -------
    dict of str to list of str
        Names of tensors by layer, see `scheme.layer_names`; ``signal`` has those that hold the signal or one lead.
    """
    from lsemvae_edge.quantize import scheme

    shape = (PROBES, job.student.config.n_leads, job.n_samples)
    signals = np.random.default_rng(0).normal(0, 1.5, shape).astype(np.float32)
    expected = {
        name: np.stack([_sorted(values[k].numpy()) for k in range(PROBES)])
        for name, values in scheme.activations(job.student, signals).items()
    }
    leads = {f"{scheme.SIGNAL}{i}": np.stack([_sorted(one[i]) for one in signals]) for i in range(signals.shape[1])}
    held: dict[str, list[NDArray[np.float32]]] = {}
    for signal in signals:
        for name, values in tensors(content, signal).items():
            held.setdefault(name, []).append(_sorted(values))
    found: dict[str, list[str]] = {}
    for tensor, rows in held.items():
        for layer, values in {**expected, **leads}.items():
            if rows[0].size == values[0].size and np.allclose(np.stack(rows), values, atol=1e-4):
                found.setdefault(scheme.SIGNAL if layer in leads else layer, []).append(tensor)
    return found


def tensors(content: bytes, signal: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Run a TFLite file with the reference kernels and keep every floating or int8 tensor, as real values, by name.

    Parameters
    ----------
    content : bytes
    signal : array (n_leads, n_samples)
        All leads are present.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    opened = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    opened.allocate_tensors()
    for detail in opened.get_input_details():
        shape = tuple(detail["shape"])
        values = signal.reshape(shape) if len(shape) == 4 else np.ones(shape, dtype=np.float32)
        opened.set_tensor(detail["index"], _in_steps(values, detail))
    opened.invoke()
    kept: dict[str, NDArray[Any]] = {}
    for detail in opened.get_tensor_details():
        if detail["dtype"] not in (np.float32, np.int8):
            continue
        try:
            values = opened.get_tensor(detail["index"])
        except ValueError:  # a tensor that this run did not fill
            continue
        scales, zero_points = (
            detail["quantization_parameters"]["scales"],
            detail["quantization_parameters"]["zero_points"],
        )
        if detail["dtype"] == np.int8 and len(scales) == 1:
            values = (values.astype(np.float32) - zero_points[0]) * scales[0]
        kept[detail["name"]] = values.astype(np.float32)
    return kept


def _to_float(job: Job) -> bytes:
    with quiet():
        import litert_torch
        import torch

        from lsemvae_edge.quantize.reference import FloatStudent

        n_leads = job.student.config.n_leads
        example = (torch.zeros(1, n_leads, 1, job.n_samples), torch.ones(1, n_leads))
        converted = litert_torch.convert(FloatStudent(job.student), example)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "student.tflite"
            converted.export(str(path))
            return path.read_bytes()


def _to_int8(float_file: bytes, job: Job, quantization: Quantization, found: dict[str, list[str]]) -> bytes:
    """Quantize with the given steps; whatever is not a layer of the student is rounded as its input is."""
    from lsemvae_edge.quantize import scheme

    if lost := sorted(set(quantization.activations) - set(found)):
        raise QuantizationError(f"The converted file has no tensor of {lost[0]}.")
    with quiet():
        from ai_edge_quantizer import calibrator, quantizer, recipe_manager
        from ai_edge_quantizer.qtyping import TFLOperationName

        quantize = quantizer.Quantizer(bytearray(float_file))
        quantize.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        for name in FLOAT_OPERATIONS:
            quantize.update_quantization_recipe(".*", TFLOperationName(name), algorithm_key="no_quantize")
        # The heads are a hundredth of the work, and integer logits step too coarsely for a threshold.
        dense = TFLOperationName.FULLY_CONNECTED
        quantize.update_quantization_recipe(".*", dense, algorithm_key="no_quantize")
        quantize.add_static_config(_ENCODER, dense, activation_num_bits=8, weight_num_bits=8)
        if any(layer.endswith(".conv1") for layer in quantization.float_layers):
            quantize.update_quantization_recipe(".*", TFLOperationName.INPUT, algorithm_key="no_quantize")
        for tensor in _left_in_float(float_file, found, quantization.float_layers):
            # An operation is matched by the names of its outputs, each followed by a semicolon.
            quantize.update_quantization_recipe(
                f"^{re.escape(tensor)};", TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize"
            )
        recipe = recipe_manager.RecipeManager()
        recipe.load_quantization_recipe(quantize.get_quantization_recipe())
        ranges = calibrator.Calibrator(bytearray(float_file), num_threads=1)
        key, signal, mask = _signature(float_file)
        n_leads = job.student.config.n_leads
        silence = np.zeros((1, n_leads, 1, job.n_samples), dtype=np.float32)
        ranges.calibrate({key: [{signal: silence, mask: np.ones((1, n_leads), dtype=np.float32)}]}, recipe)
        widest = {name: dict(value) for name, value in ranges.get_model_qsvs().items()}
        steps = {tensor: quantization.activations[layer] for layer, names in found.items() for tensor in names}
        for tensor, step in {**steps, signal: quantization.activations[scheme.SIGNAL]}.items():
            low, high = scheme.range_of(step)
            if tensor in widest:
                shape = np.shape(widest[tensor]["min"])
                widest[tensor] |= {"min": np.full(shape, low, np.float32), "max": np.full(shape, high, np.float32)}
        return bytes(quantize.quantize(widest).quantized_model)


def _left_in_float(float_file: bytes, found: dict[str, list[str]], float_layers: tuple[str, ...]) -> list[str]:
    """Name the outputs of operations to leave in floating point.

    Those are the layers themselves and whatever pads or slices on the way to one of them from the signal or another:
    left in integers, it would round what the reference does not.
    """
    from ai_edge_litert import schema_py_generated as schema

    from lsemvae_edge.quantize.scheme import SIGNAL

    layer_of = {tensor: layer for layer, tensors_of in found.items() for tensor in tensors_of if layer != SIGNAL}
    (graph,) = schema.ModelT.InitFromObj(schema.Model.GetRootAs(float_file, 0)).subgraphs
    names = [tensor.name.decode() for tensor in graph.tensors]
    read_by: dict[str, set[str]] = {}
    rounded = set(layer_of.values()) - set(float_layers)
    comes_rounded: dict[str, bool] = {}
    for operator in reversed(graph.operators):
        (out,) = (names[place] for place in operator.outputs)
        readers = {layer_of[out]} if out in layer_of else read_by.get(out, set())
        for place in operator.inputs:
            read_by.setdefault(names[place], set()).update(readers)
    left = [tensor for layer in float_layers for tensor in found[layer]]
    for operator in graph.operators:
        (out,) = (names[place] for place in operator.outputs)
        if out in layer_of:
            comes_rounded[out] = layer_of[out] in rounded
            continue
        comes_rounded[out] = comes_rounded.get(names[operator.inputs[0]], False)
        if not comes_rounded[out] and read_by.get(out, set()) & set(float_layers):
            left.append(out)
    return left


def _finished(content: bytes, label: str, found: dict[str, list[str]]) -> bytes:
    """Give tensors plain names, add the contract, and bring constants from outside the flatbuffer back into it."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:
            # Small runtimes read what is inside the flatbuffer alone, and run on zeros without a word.
            buffer.data = np.frombuffer(content[buffer.offset : buffer.offset + buffer.size], dtype=np.uint8)
            buffer.offset, buffer.size = 0, 0
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    _rename(graph, signature, found)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(label.encode(), dtype=np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = LABEL, len(model.buffers) - 1
    model.metadata = [*(model.metadata or ()), entry]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _rename(graph: Any, signature: Any, found: dict[str, list[str]]) -> None:
    """Name tensors after the layers that give them: the converter's names fill a fifth of the file."""
    layer_of = {tensor: layer for layer, tensors_of in found.items() for tensor in tensors_of}
    used: Counter[str] = Counter()
    ends = dict(zip(sorted(graph.inputs, key=lambda i: -len(graph.tensors[i].shape)), INPUTS, strict=True))
    for place in graph.outputs:
        number = int(_OUTPUT_NUMBER.findall(graph.tensors[place].name.decode())[0])
        ends[place] = OUTPUTS[number]
    for place, tensor in enumerate(graph.tensors):
        name = ends.get(place) or layer_of.get(tensor.name.decode(), "t")
        used[name] += 1
        tensor.name = (
            name if place in ends or (used[name] == 1 and name not in (*INPUTS, "t")) else f"{name}.{used[name]}"
        )
    for told in (*signature.inputs, *signature.outputs):
        told.name = ends[told.tensorIndex]


def _in_steps(values: NDArray[np.float32], detail: dict[str, Any]) -> NDArray[Any]:
    if detail["dtype"] == np.float32:
        return values.astype(np.float32)
    scale, zero_point = detail["quantization"]
    steps: NDArray[Any] = np.clip(np.rint(values / np.float32(scale)) + zero_point, -128, 127)
    return steps.astype(np.int8)


def _sorted(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values in order of size: channels lie first in one framework and last in the other."""
    return np.sort(values, axis=None)


def _signature(content: bytes) -> tuple[str, str, str]:
    """Return the signature's key and its names of signal and mask, in the order of the student's arguments."""
    from ai_edge_litert.interpreter import Interpreter

    listed: dict[str, Any] = Interpreter(model_content=content).get_signature_list()
    ((key, value),) = listed.items()
    signal, mask = sorted(value["inputs"])
    return key, signal, mask


_ALLOWED = frozenset(
    {
        "ADD", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV", "EXP", "FULLY_CONNECTED", "LOG",
        "MAXIMUM", "MEAN", "MINIMUM", "MUL", "NEG", "PAD", "QUANTIZE", "RESHAPE", "SLICE", "SUB", "TRANSPOSE",
    }
)  # fmt: skip
"""Operators of tflite-runtime 2.14 and TensorFlow Lite Micro alike."""
_COMMON: dict[str, Any] = {
    "format": "tflite",
    "make": convert,
    "open": open_session,
    "inspect": inspect,
    "allowed": _ALLOWED,
}
INT8 = Target(
    precision="int8",
    runs_on="LiteRT, tflite-runtime, TensorFlow Lite Micro; the kiosk's default",
    packages=("torch", "torchao", "litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
    **_COMMON,
)
TARGETS = (
    INT8,
    Target(
        precision="fp32",
        runs_on="LiteRT, tflite-runtime",
        packages=("torch", "litert_torch", "ai_edge_litert"),
        **_COMMON,
    ),
)
