"""ExecuTorch programs: the whole model in one XNNPACK delegate."""

import json
import re
import struct
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.quantize.quiet import quiet
from lsemvae_edge.quantize.targets import LABEL, OUTPUTS, Anatomy, Job, QuantizationError, Target
from lsemvae_edge.runtime import Output, Session
from lsemvae_edge.runtime.session import by_lead, checked_mask

DELEGATE = "XnnpackBackend"
WEIGHTED = ("XNNConv2d", "XNNDepthwiseConv2d", "XNNFullyConnected")
_HEADER = struct.Struct("<4x4sHIIIQ")
"""Of a delegate's payload: magic, header length, offset and size of the graph, offset and size of the constants."""


def convert(job: Job) -> bytes:
    """Make an ExecuTorch program with batch 1."""
    with quiet():
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from lsemvae_edge.quantize.reference import exportable

        n_leads = job.student.config.n_leads
        example = (torch.zeros(1, n_leads, 1, job.n_samples), torch.ones(1, n_leads))
        with torch.no_grad():
            exported = torch.export.export(exportable(job.student, job.quantization), example)
            lowered = to_edge_transform_and_lower(
                exported, partitioner=[XnnpackPartitioner()], constant_methods={LABEL: job.label}
            )
        return bytes(lowered.to_executorch().buffer)


class ProgramSession:
    """A program in ExecuTorch's Python runtime, which is there wherever programs are made."""

    runtime = "executorch"

    def __init__(self, method: Any, model: ModelFile) -> None:
        self.model = model
        self._method = method

    def run(self, signal: NDArray[np.float32], mask: NDArray[np.float32] | None = None) -> Output:
        """Run the model on one input; see `Session.run`."""
        import torch

        shown = checked_mask(mask, len(signal))
        told = np.ascontiguousarray(signal)[None, :, None], np.ascontiguousarray(shown)[None]
        given = self._method.execute([torch.from_numpy(values) for values in told])
        logits, mu, logvar, _, _, contributions = (tensor.numpy()[0].copy() for tensor in given)
        return Output(logits, mu, logvar, by_lead(contributions, len(signal), logits.size), signal)


def open_session(content: bytes, model: ModelFile) -> Session:
    """Open a program in ExecuTorch's Python runtime."""
    with quiet():
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(content)
        return ProgramSession(program.load_method("forward"), model)


def inspect(content: bytes) -> Anatomy:
    """Take a program apart, its delegates too."""
    with quiet():
        from executorch.exir import schema
        from executorch.exir._serialize._program import deserialize_pte_binary

        program = deserialize_pte_binary(content).program
    by_name = {plan.name: plan for plan in program.execution_plan}
    plan = by_name["forward"]
    outside = tuple(
        plan.operators[instruction.instr_args.op_index].name
        for chain in plan.chains
        for instruction in chain.instructions
        if isinstance(instruction.instr_args, schema.KernelCall)
    )
    operators: Counter[str] = Counter(outside)
    layers: Counter[bool] = Counter()
    for delegate in plan.delegates:
        graph = _graph(program.backend_delegate_data[delegate.processed.index].data)
        operators += Counter(node["xnode_union_type"].removeprefix("XNN") for node in graph["xnodes"])
        layers += _layers(graph)
    label = by_name.get(LABEL)
    return Anatomy(
        operators=dict(operators),
        delegates=len(plan.delegates),
        outside=outside,
        int8_layers=layers[True],
        float_layers=layers[False],
        external=False,
        stated={"backend": " ".join(sorted({delegate.id for delegate in plan.delegates}))},
        label=None if label is None else label.values[label.outputs[0]].val.string_val,
    )


def _graph(payload: bytes) -> dict[str, Any]:
    """Return the graph of an XNNPACK delegate as plain values."""
    from importlib.resources import files

    from executorch.exir._serialize._flatbuffer import _flatc_decompile

    payload = bytes(payload)
    magic, _, offset, size, _, _ = _HEADER.unpack_from(payload)
    if magic != b"XH00":
        raise QuantizationError("The delegate in the program is none of XNNPACK's.")
    with TemporaryDirectory() as folder:
        schema = Path(folder) / "schema.fbs"
        schema.write_bytes(files("executorch.backends.xnnpack.serialization").joinpath("schema.fbs").read_bytes())
        binary = Path(folder) / "graph.bin"
        binary.write_bytes(payload[offset : offset + size])
        _flatc_decompile(folder, str(schema), str(binary))
        text = (Path(folder) / "graph.json").read_text()
    # The decompiler writes infinities as no JSON reader takes them.
    parsed: dict[str, Any] = json.loads(re.sub(r"\binf\b", "Infinity", text))
    return parsed


def _layers(graph: dict[str, Any]) -> Counter[bool]:
    """Count a delegate's weighted layers by whether they read integers and have int8 weights."""
    kinds = {}
    for value in graph["xvalues"]:
        tensor = value["xvalue_union"]
        tensor = tensor.get("tensor_value", tensor)
        kinds[tensor["id_out"]] = tensor["datatype"]
    layers: Counter[bool] = Counter()
    for node in graph["xnodes"]:
        if node["xnode_union_type"] in WEIGHTED:
            told = node["xnode_union"]
            layers[
                kinds[told["filter_id"]] == "xnn_datatype_qcint8" and kinds[told["input1_id"]] == "xnn_datatype_qint8"
            ] += 1
    return layers


_INSIDE = frozenset(
    {
        "Add", "Clamp", "Concatenate2", "Concatenate3", "Concatenate4", "Concatenate5", "Conv2d", "Convert",
        "DepthwiseConv2d", "Div", "Exp", "FullyConnected", "GlobalAvgPooling2d", "Log", "Multiply", "Negate",
        "StaticReshape", "StaticSlice", "StaticTranspose", "Subtract",
    }
)  # fmt: skip
_COMMON: dict[str, Any] = {
    "format": "pte",
    "runs_on": "ExecuTorch with its XNNPACK backend",
    "make": convert,
    "open": open_session,
    "inspect": inspect,
    "packages": ("torch", "torchao", "executorch"),
    "allowed": _INSIDE,
    # Its tensors have no names: positions among inputs, then among outputs.
    "tensors": ("0", "1", *(str(place) for place in range(len(OUTPUTS)))),
}
TARGETS = (Target(precision="int8", **_COMMON), Target(precision="fp32", **_COMMON))
