"""What ``manifest.json`` of a bundle holds, as frozen dataclasses; ``docs/bundle.md`` describes it in words."""

from dataclasses import dataclass
from typing import Any, Literal

from lsemvae_edge.spec import ModelSpec

Precision = Literal["int8", "fp32"]
Format = Literal["tflite", "onnx", "pte"]


@dataclass(frozen=True)
class FileInfo:
    """Size and digest of one file of a bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFile:
    """One runnable form of the model; tensors are bound by name.

    ``input`` (1, n_leads, 1, n_samples) and ``mask`` (1, n_leads) are what it takes; ``lead_mu``, ``lead_logvar`` and
    ``contributions`` hold the leads one after another. The tensors of an ExecuTorch program have no names: there each
    field holds the tensor's position among the inputs or outputs, ``"0"`` first.
    """

    path: str
    format: Format
    precision: Precision
    input: str
    mask: str
    logits: str
    mu: str
    logvar: str
    lead_mu: str
    lead_logvar: str
    contributions: str


@dataclass(frozen=True)
class Step:
    """Affine int8 quantization of one tensor: real value = scale * (integer - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class CalibrationSet:
    """The recordings that the activations' ranges were measured on; ``sha256`` is that of their model inputs."""

    sha256: str
    records: int
    drawn_from: str
    seed: int


@dataclass(frozen=True)
class Quantization:
    """How the int8 forms were made, all from the same numbers.

    Weights are symmetric, one scale for each output channel. ``activations`` holds the step of each activation that
    is rounded, by the layer that gives it; layers in ``float_layers`` were left in floating point on purpose.
    ``method`` is post-training quantization or quantization-aware training.
    """

    method: Literal["ptq", "qat"]
    calibration: CalibrationSet
    activations: dict[str, Step]
    float_layers: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """The manifest of a bundle, schema 1.

    ``name`` is the family in which ``version`` counts, so that an older bundle can be told from a newer one.
    ``tolerance`` is the largest logit difference from the known answers that a runtime may show, by precision and
    runtime. ``quantization`` is None in a bundle without an int8 form.
    """

    schema: str
    name: str
    version: int
    spec: ModelSpec
    models: tuple[ModelFile, ...]
    quantization: Quantization | None
    golden: str
    tolerance: dict[str, dict[str, float]]
    files: dict[str, FileInfo]
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    licence: str
    attribution: str
