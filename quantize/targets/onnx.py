"""ONNX files for ONNX Runtime: float, and int8 as quantize-dequantize pairs around the encoders' layers."""

from collections import Counter
from typing import Any

from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.quantize.quiet import quiet
from lsemvae_edge.quantize.targets import INPUTS, LABEL, OUTPUTS, Anatomy, Job, Target
from lsemvae_edge.runtime import Session

OPSET = 18
WEIGHTED = ("Conv", "Gemm", "MatMul")


def convert(job: Job) -> bytes:
    """Make an ONNX file with batch 1."""
    import torch

    from lsemvae_edge.quantize.reference import exportable

    n_leads = job.student.config.n_leads
    example = (torch.zeros(1, n_leads, 1, job.n_samples), torch.ones(1, n_leads))
    with quiet():
        program = torch.onnx.export(
            exportable(job.student, job.quantization),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            external_data=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        # Where in torch a node came from is most of the file, and names folders of the machine that made it.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    model.metadata_props.add(key=LABEL, value=job.label)
    content: bytes = model.SerializeToString()
    return content


def open_session(content: bytes, model: ModelFile) -> Session:
    """Open a file in ONNX Runtime."""
    from lsemvae_edge.runtime.onnx import open_model

    return open_model(content, model, "onnxruntime")


def inspect(content: bytes) -> Anatomy:
    """Take an ONNX file apart."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}

    def in_integers(node: Any) -> bool:
        sources = [made_by[name] for name in node.input[:2] if name in made_by]
        if [source.op_type for source in sources] != ["DequantizeLinear"] * 2:
            return False
        return bool(kinds.get(sources[1].input[0]) == onnx.TensorProto.INT8)

    layers = Counter(in_integers(node) for node in model.graph.node if node.op_type in WEIGHTED)
    return Anatomy(
        operators=dict(Counter(node.op_type for node in model.graph.node)),
        delegates=0,
        outside=(),
        int8_layers=layers[True],
        float_layers=layers[False],
        external=any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer),
        stated={"opset": next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))},
        label=next((entry.value for entry in model.metadata_props if entry.key == LABEL), None),
    )


_COMMON: dict[str, Any] = {
    "format": "onnx",
    "make": convert,
    "open": open_session,
    "inspect": inspect,
    "allowed": frozenset(
        {
            "Add", "Clip", "Concat", "Constant", "Conv", "DequantizeLinear", "Div", "Exp", "Gemm", "Log", "Mul", "Neg",
            "QuantizeLinear", "ReduceMean", "Relu", "Reshape", "Slice", "Sub",
        }
    ),
}  # fmt: skip
TARGETS = (
    Target(
        precision="int8",
        runs_on="ONNX Runtime",
        packages=("torch", "torchao", "onnx", "onnxscript"),
        **_COMMON,
    ),
    Target(precision="fp32", runs_on="ONNX Runtime", packages=("torch", "onnx", "onnxscript"), **_COMMON),
)
