"""Conversion to float ONNX."""

import io
import logging
import warnings
from contextlib import redirect_stdout

import torch

from lsemvae_edge.bundle import ModelFile
from lsemvae_edge.model import Student, StudentOutput, fold_batch_norm

OPSET = 18
FILE = ModelFile(
    "model.onnx", "onnx", "fp32", input="signal", mask="mask", **{name: name for name in StudentOutput._fields}
)


def to_onnx(student: Student, n_samples: int) -> bytes:
    """Convert a student to a float ONNX file with batch 1 and the tensor names of `FILE`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    n_leads = student.config.n_leads
    example = (torch.zeros(1, n_leads, 1, n_samples), torch.ones(1, n_leads))
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # The exporter warns about its own use of deprecated torch interfaces.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            fold_batch_norm(student),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=[FILE.input, FILE.mask],
            output_names=list(StudentOutput._fields),
            external_data=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
