"""Conversion to float ONNX."""

import io
import logging
import warnings
from contextlib import redirect_stdout

import torch

from lsemvae_edge.bundle import ModelFile
from lsemvae_edge.model import Student, fold_batch_norm

OPSET = 18
FILE = ModelFile("model.onnx", "onnx", "fp32", input="signal", logits="logits", mu="mu", logvar="logvar")


def to_onnx(student: Student, window_samples: int) -> bytes:
    """Convert a student to a float ONNX file with batch 1 and the tensor names of `FILE`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    example = (torch.zeros(1, student.config.n_leads, 1, window_samples),)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # The exporter warns about its own use of deprecated torch interfaces.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            fold_batch_norm(student),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=[FILE.input],
            output_names=[FILE.logits, FILE.mu, FILE.logvar],
            external_data=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
