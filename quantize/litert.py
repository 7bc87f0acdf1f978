"""Conversion to TFLite, float and int8.

Encoders become int8 (per-channel weights, static activations); expert fusion and heads stay in floating point, because
precisions span several orders of magnitude and because an int8 DIV is not in every runtime.
"""

import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsemvae_edge.bundle import ModelFile
from lsemvae_edge.errors import ExitCode, LsemvaeError
from lsemvae_edge.model import Student, StudentOutput, fold_batch_norm

FLOAT_OPERATIONS = ("DIV", "MUL", "ADD", "SUB", "MAXIMUM", "CONCATENATION", "OUTPUT")
ENCODERS = ".*LeadEncoder.*"
FILE_NAME = "model.tflite"
_OUTPUT_NUMBER = re.compile(r"output_(\d+)")


class QuantizationError(LsemvaeError):
    """A conversion failed or its result broke a gate; nothing was released."""

    code = ExitCode.BUNDLE_REFUSED
    default_next_step = "Nothing was written; the message names the gate that failed."


def to_tflite(student: Student, n_samples: int) -> bytes:
    """Convert a student to a float TFLite file with batch 1.

    Parameters
    ----------
    student : Student
        In any mode; batch norms are folded first, since the converter leaves some of them apart.
    n_samples : int
        Length of the input; the file takes the signal (1, n_leads, 1, n_samples) and the mask (1, n_leads).
    """
    with _quiet():
        import litert_torch

        n_leads = student.config.n_leads
        example = (torch.zeros(1, n_leads, 1, n_samples), torch.ones(1, n_leads))
        converted = litert_torch.convert(_Plain(fold_batch_norm(student)).eval(), example)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "student.tflite"
            converted.export(str(path))
            return path.read_bytes()


def to_int8(float_file: bytes, calibration: NDArray[np.float32]) -> bytes:
    """Quantize a float TFLite file with static ranges.

    Parameters
    ----------
    float_file : bytes
        As `to_tflite` gives it.
    calibration : array (n, n_leads, n_samples)
        Model inputs of training recordings, all leads present. Whatever a mask hides lies inside their ranges.

    Raises
    ------
    QuantizationError
        If weights were stored outside the flatbuffer or stayed in floating point.
    """
    with _quiet():
        from ai_edge_quantizer import calibrator, quantizer, recipe_manager
        from ai_edge_quantizer.qtyping import TFLOperationName

        job = quantizer.Quantizer(bytearray(float_file))
        job.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
        for name in FLOAT_OPERATIONS:
            job.update_quantization_recipe(".*", TFLOperationName(name), algorithm_key="no_quantize")
        # The heads are a hundredth of the work, and integer logits step too coarsely for a threshold.
        dense = TFLOperationName.FULLY_CONNECTED
        job.update_quantization_recipe(".*", dense, algorithm_key="no_quantize")
        job.add_static_config(ENCODERS, dense, activation_num_bits=8, weight_num_bits=8)
        key, signal, mask = _signature(float_file)
        present = np.ones((1, calibration.shape[1]), dtype=np.float32)
        samples = [{signal: sample[None, :, None, :], mask: present} for sample in calibration]
        recipe = recipe_manager.RecipeManager()
        recipe.load_quantization_recipe(job.get_quantization_recipe())
        ranges = calibrator.Calibrator(bytearray(float_file), num_threads=1, qsv_update_func=_widest)
        ranges.calibrate({key: samples}, recipe)
        result = job.quantize(ranges.get_model_qsvs())
        int8_file = bytes(result.quantized_model)
    check_int8(int8_file)
    return int8_file


def describe(file: bytes, precision: Literal["int8", "fp32"]) -> ModelFile:
    """Name the tensors of a file made here; the quantizer renames those that it touches, the order stays."""
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(model_content=file)
    signal, mask = sorted(opened.get_input_details(), key=lambda detail: -len(detail["shape"]))
    named = {int(_OUTPUT_NUMBER.findall(detail["name"])[0]): detail["name"] for detail in opened.get_output_details()}
    outputs = {name: named[position] for position, name in enumerate(StudentOutput._fields)}
    return ModelFile(FILE_NAME, "tflite", precision, input=signal["name"], mask=mask["name"], **outputs)


def check_int8(file: bytes) -> None:
    """Refuse an "int8" file that is float inside, or that keeps constants outside the flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise QuantizationError(
            "The quantized file keeps weights outside the flatbuffer, which small runtimes misread."
        )
    code = {int(value): name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = code[model.operatorCodes[operator.opcodeIndex].builtinCode]
            if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
                weight = graph.tensors[operator.inputs[1]]
                made = graph.tensors[operator.outputs[0]].name.decode()
                if weight.type != schema.TensorType.INT8 and re.match(ENCODERS, made):
                    raise QuantizationError(f"A {name} kept floating-point weights in a file that is called int8.")
            if name == "DIV" and graph.tensors[operator.inputs[0]].type == schema.TensorType.INT8:
                raise QuantizationError("The file has an int8 DIV, which tflite-runtime rejects.")


def _widest(seen: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Keep the widest range over all recordings.

    The quantizer's own rule, a moving average of extremes, saturates whatever is seldom large: the pooled features
    of unusual recordings, which are the ones looked for.
    """
    if not seen:
        return new
    return {"min": np.minimum(seen["min"], new["min"]), "max": np.maximum(seen["max"], new["max"])}


class _Plain(nn.Module):
    """A student whose outputs are a plain tuple: the converter does not know named ones."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.student(x, mask))


def _signature(file: bytes) -> tuple[str, str, str]:
    """Return the signature's key and its names of signal and mask, in the order of the student's arguments."""
    from ai_edge_litert.interpreter import Interpreter

    listed: dict[str, Any] = Interpreter(model_content=file).get_signature_list()
    ((key, value),) = listed.items()
    signal, mask = sorted(value["inputs"])
    return key, signal, mask


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters' progress bars and start-up messages off the operator's terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
