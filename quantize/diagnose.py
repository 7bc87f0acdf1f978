"""Where rounding costs: each layer's signal-to-noise ratio in every backend, its range, what it does to the logits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsemvae_edge.errors import UsageError
from lsemvae_edge.manifest import Quantization, Step
from lsemvae_edge.model import Student, fold_batch_norm
from lsemvae_edge.model.student import LeadEncoder
from lsemvae_edge.quantize import scheme
from lsemvae_edge.quantize.equalize import convolutions
from lsemvae_edge.quantize.reference import FloatStudent, Layer, QuantizedLayer, QuantizedStudent, ask
from lsemvae_edge.quantize.targets import Job, QuantizationError

BACKENDS = ("reference", "litert", "onnxruntime")
BINS = 64
EXACT_DB = 140.0
"""What is said of a layer that is not rounded at all: about the precision of a float."""
_NEEDED = {
    "reference": ("torchao",),
    "litert": ("litert_torch", "ai_edge_quantizer", "ai_edge_litert"),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
}
_QUANTILE = 0.999
_ALIKE_DB = 10.0

Array = NDArray[np.float32]
Layers = dict[str, Array]
"""What each layer gives (n, ...), channels first, by its name."""


@dataclass(frozen=True)
class Change:
    """How far logits move: root mean square over recordings and outputs, and the largest."""

    rms: float
    worst: float


@dataclass(frozen=True)
class Range:
    """How an activation lies in the range that its step can tell.

    Parameters
    ----------
    low, high : float
        The range.
    cut_low, cut_high : int
        Values, of ``values``, that lie more than half a step outside it. A rectified layer's are never below.
    steps : int
        Of the 256 steps, how many occur.
    reach : float
        Share of the range that 99.9 % of the values need.
    median_channel : float
        Share of the range that the channel in the middle reaches; channels have one step together.
    counts : tuple of int
        Values in ``BINS`` bins of equal width from ``low`` to ``high``.
    """

    low: float
    high: float
    values: int
    cut_low: int
    cut_high: int
    steps: int
    reach: float
    median_channel: float
    counts: tuple[int, ...]

    @property
    def cut(self) -> float:
        """Share of the values that are cut off."""
        return (self.cut_low + self.cut_high) / self.values


@dataclass(frozen=True)
class LayerDiagnosis:
    """What rounding does in one layer.

    Parameters
    ----------
    name : str
        See `scheme.layer_names`.
    in_float : bool
        Whether it was left in floating point.
    snr_db : dict of str to float
        By backend: power of what the layer gives in floating point over that of its error, with all that came before
        rounded, too. Of a layer in floating point, what the next one reads.
    weights_db : float or None
        The same of its rounded weights, in the output channel where it is worst; None without rounded weights.
    range : Range
    alone, spared : Change
        Of the logits, from floating point, if this layer alone is rounded, and if all but this one are.
    """

    name: str
    in_float: bool
    snr_db: dict[str, float]
    weights_db: float | None
    range: Range
    alone: Change
    spared: Change

    @property
    def worst_db(self) -> float:
        """The lowest ratio of any backend."""
        return min(self.snr_db.values())


@dataclass(frozen=True)
class KindDiagnosis:
    """What rounding one kind of layer in all leads does to the logits: ``alone`` and ``spared`` as of one layer."""

    name: str
    in_float: bool
    alone: Change
    spared: Change


@dataclass(frozen=True)
class Diagnosis:
    """What rounding does to a student on ``n`` recordings.

    Parameters
    ----------
    n : int
    whole : Change
        Of the logits, from floating point, as it is quantized.
    signal : Range
        Of the input.
    layers : tuple of LayerDiagnosis
        In their order in the model.
    kinds : tuple of KindDiagnosis
        ``conv1`` … ``logvar``.
    backends : tuple of str
        That ran.
    skipped : dict of str to str
        Why others did not.
    """

    n: int
    whole: Change
    signal: Range
    layers: tuple[LayerDiagnosis, ...]
    kinds: tuple[KindDiagnosis, ...]
    backends: tuple[str, ...]
    skipped: dict[str, str]

    @property
    def worst_first(self) -> tuple[LayerDiagnosis, ...]:
        """Layers by their signal-to-noise ratio."""
        return tuple(sorted(self.layers, key=lambda layer: layer.worst_db))

    @property
    def costliest_first(self) -> tuple[LayerDiagnosis, ...]:
        """Rounded layers by how far they move the logits alone."""
        return tuple(sorted((one for one in self.layers if not one.in_float), key=lambda one: -one.alone.rms))


def diagnose(
    student: Student, quantization: Quantization, signals: Array, backends: Sequence[str] = BACKENDS
) -> Diagnosis:
    """Compare a student's layers in int8 with floating point.

    Parameters
    ----------
    student : Student
    quantization : Quantization
    signals : array (n, n_leads, n_samples)
        Model inputs, all leads present.
    backends : sequence of str
        Of ``reference``, which is what ExecuTorch programs are made from and stands for them; ``litert``, with its
        reference kernels; and ``onnxruntime``, with its integer kernels. One that is not installed is skipped.

    Raises
    ------
    UsageError
        If a backend is unknown or none is installed.
    QuantizationError
        If a layer cannot be found in a converted file.
    """
    if unknown := sorted(set(backends) - set(BACKENDS)):
        raise UsageError(f"There is no backend {', '.join(unknown)}.", f"Choose among {', '.join(BACKENDS)}.")
    missing = {one: [name for name in _NEEDED[one] if find_spec(name) is None] for one in backends}
    skipped = {one: f"{', '.join(names)} not installed" for one, names in missing.items() if names}
    ran = tuple(one for one in backends if one not in skipped)
    if not ran:
        raise UsageError("No backend to look into is installed.", "pip install 'lsemvae-edge[export]'")
    measure: dict[str, Callable[[Student, Quantization, Array], Layers]] = {
        "reference": in_reference,
        "litert": in_litert,
        "onnxruntime": in_onnxruntime,
    }
    exact = {name: values.numpy() for name, values in scheme.activations(student, signals).items()}
    names = scheme.layer_names(student)
    snr: dict[str, dict[str, float]] = {name: {} for name in names}
    steps: dict[str, int] = {}
    for backend in ran:
        for name, values in measure[backend](student, quantization, signals).items():
            snr[name][backend] = snr_db(exact[name], values.reshape(exact[name].shape))
            steps.setdefault(name, len(np.unique(values)))
    weights = weights_db(student)
    ask_of = _Asking(student, quantization, signals)
    rounded = set(names) - set(quantization.float_layers)

    def layer_of(name: str) -> LayerDiagnosis:
        return LayerDiagnosis(
            name=name,
            in_float=name not in rounded,
            snr_db=snr[name],
            weights_db=weights.get(name) if name in rounded else None,
            range=range_of(exact[name], quantization.activations[name], steps[name]),
            alone=ask_of.change(set(names) - {name}),
            spared=ask_of.change({*quantization.float_layers, name}),
        )

    def kind_of(kind: str) -> KindDiagnosis:
        layers = {name for name in names if name.endswith(f".{kind}")}
        return KindDiagnosis(
            name=kind,
            in_float=not layers & rounded,
            alone=ask_of.change(set(names) - layers),
            spared=ask_of.change({*quantization.float_layers, *layers}),
        )

    signal = exact[scheme.SIGNAL]
    step = quantization.activations[scheme.SIGNAL]
    return Diagnosis(
        n=len(signals),
        whole=ask_of.change(quantization.float_layers),
        signal=range_of(signal, step, len(np.unique(_in_steps(signal, step)))),
        layers=tuple(layer_of(name) for name in names),
        kinds=tuple(kind_of(kind) for kind in dict.fromkeys(name.split(".")[1] for name in names)),
        backends=ran,
        skipped=skipped,
    )


def in_reference(student: Student, quantization: Quantization, signals: Array) -> Layers:
    """Return what the layers give in torch with their rounding written out."""
    x = torch.from_numpy(signals)[:, :, None]
    given = QuantizedStudent(student, quantization).activations(x, torch.ones(signals.shape[:2]))
    return {name: values.numpy() for name, values in given.items()}


def in_litert(student: Student, quantization: Quantization, signals: Array) -> Layers:
    """Return what the layers give in LiteRT with its reference kernels, which convert and run the student."""
    from lsemvae_edge.quantize.targets import tflite

    names = scheme.layer_names(student)
    content = tflite.convert(Job(student, signals.shape[2], quantization, ""))
    rows: dict[str, list[Array]] = {name: [] for name in names}
    for signal in signals:
        held = tflite.tensors(content, signal)
        for name in names:
            if name not in held:
                raise QuantizationError(f"The TFLite file has no tensor of {name}.")
            # Its convolutions keep channels last.
            rows[name].append(np.moveaxis(held[name], -1, 1)[0])
    given = {name: np.stack(values) for name, values in rows.items()}
    for name in quantization.float_layers:
        if set(_readers(name, student)) - set(quantization.float_layers):
            # The file rounds it in a tensor of its own.
            step = quantization.activations[name]
            given[name] = (_in_steps(given[name], step) - step.zero_point) * np.float32(step.scale)
    return given


def in_onnxruntime(student: Student, quantization: Quantization, signals: Array) -> Layers:
    """Return what the layers give in ONNX Runtime, fused as it runs them."""
    import onnx

    from lsemvae_edge.quantize.targets import onnx as target

    model = onnx.ModelProto.FromString(target.convert(Job(student, signals.shape[2], quantization, "")))
    given = {output.name for output in model.graph.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    # An integer that a layer gives can be watched without undoing the fusion of the kernel that makes it.
    steps = {
        node.output[0]: (float(constants[node.input[1]]), int(constants[node.input[2]]))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    watched = [
        *steps,
        *(node.output[0] for node in model.graph.node if node.op_type in ("Relu", "Gemm", "ReduceMean")),
    ]
    probes = signals[:4]
    held = _run_onnx(model, [name for name in watched if name not in given], steps, probes)
    chosen: dict[str, str] = {}
    for name, values in in_reference(student, quantization, probes).items():
        alike = {
            tensor: snr_db(values, candidate.reshape(values.shape))
            for tensor, candidate in held.items()
            if candidate.size == values.size
        }
        best = max(alike, key=alike.__getitem__, default=None)
        if best is None or alike[best] < _ALIKE_DB:
            raise QuantizationError(f"The ONNX file has no tensor of {name}.")
        chosen[name] = best
    held = _run_onnx(model, sorted(set(chosen.values())), steps, signals)
    return {name: held[tensor] for name, tensor in chosen.items()}


def _run_onnx(
    model: "onnx.ModelProto",  # type: ignore[name-defined]  # noqa: F821
    watched: Sequence[str],
    steps: Mapping[str, tuple[float, int]],
    signals: Array,
) -> Layers:
    """Run an ONNX model and keep tensors, as real values, by name."""
    import onnx
    import onnxruntime

    opened = onnx.ModelProto.FromString(model.SerializeToString())
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    signal, mask = (taken.name for taken in session.get_inputs())
    rows: dict[str, list[Array]] = {name: [] for name in watched}
    for row in signals:
        fed = {signal: row[None, :, None], mask: np.ones((1, len(row)), dtype=np.float32)}
        for name, values in zip(watched, session.run(list(watched), fed), strict=True):
            if name in steps:
                scale, zero_point = steps[name]
                values = (values.astype(np.float32) - zero_point) * np.float32(scale)
            rows[name].append(values[0])
    return {name: np.stack(values) for name, values in rows.items()}


def snr_db(exact: NDArray[np.floating], rounded: NDArray[np.floating]) -> float:
    """Return the power of values over the power of their error, in decibels, at most `EXACT_DB`."""
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(exact.astype(np.float64) - rounded).sum())
    if noise <= signal * 10 ** (-EXACT_DB / 10):
        return EXACT_DB
    return float(10 * np.log10(max(signal, 1e-30) / noise))


def weights_db(student: Student) -> dict[str, float]:
    """Return the signal-to-noise ratio of each layer's rounded weights, in its worst output channel."""
    found = {}
    for i, encoder in enumerate(fold_batch_norm(student).encoders):
        assert isinstance(encoder, LeadEncoder)
        layers: dict[str, Layer] = {f"conv{k + 1}": conv for k, conv in enumerate(convolutions(encoder))}
        for name, layer in {**layers, "mu": encoder.mu, "logvar": encoder.logvar}.items():
            found[f"encoder{i}.{name}"] = min(_channels_db(layer))
    return found


def range_of(values: Array, step: Step, steps: int) -> Range:
    """Say how an activation (n, channels, ...) lies in the range of its step, of which ``steps`` occur."""
    low, high = scheme.range_of(step)
    half, width = 0.5 * step.scale, high - low
    sizes = np.abs(np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)).max(axis=1)
    least, most = np.quantile(values, ((1 - _QUANTILE) / 2, (1 + _QUANTILE) / 2)) if low < 0 else (
        0.0, np.quantile(values, _QUANTILE)
    )  # fmt: skip
    counts, _ = np.histogram(values, bins=BINS, range=(low, high))
    return Range(
        low=low,
        high=high,
        values=values.size,
        cut_low=int((values < low - half).sum()),
        cut_high=int((values > high + half).sum()),
        steps=steps,
        reach=float(min((most - least) / width, 1.0)),
        median_channel=float(min(np.median(sizes) / max(-low, high), 1.0)),
        counts=tuple(int(count) for count in counts),
    )


class _Asking:
    """Asks the reference how far logits lie from floating point."""

    def __init__(self, student: Student, quantization: Quantization, signals: Array) -> None:
        self._student, self._quantization = student, quantization
        self._input = torch.from_numpy(signals)[:, :, None], torch.ones(signals.shape[:2])
        self._exact = ask(FloatStudent(student), *self._input).logits

    def change(self, float_layers: Iterable[str]) -> Change:
        mixed = replace(self._quantization, float_layers=tuple(sorted(float_layers)))
        apart = ask(QuantizedStudent(self._student, mixed), *self._input).logits - self._exact
        return Change(float(apart.square().mean().sqrt()), float(apart.abs().max()))


def _channels_db(layer: Layer) -> list[float]:
    rounded = QuantizedLayer(layer, rounded=True)
    exact = layer.weight.detach().flatten(1)
    steps, scales = rounded.weight, rounded.scales
    assert isinstance(steps, Tensor)
    assert isinstance(scales, Tensor)
    back = steps.flatten(1) * scales[:, None]
    return [snr_db(one.numpy(), other.numpy()) for one, other in zip(exact, back, strict=True)]


def _readers(name: str, student: Student) -> list[str]:
    """Return the layers that read what a layer gives; fusion is none."""
    encoder, layer = name.split(".")
    order = [*(f"conv{k + 1}" for k in range(len(student.config.channels))), "pool"]
    if layer not in order:
        return []
    after = ["mu", "logvar"] if layer == "pool" else [order[order.index(layer) + 1]]
    return [f"{encoder}.{one}" for one in after]


def _in_steps(values: Array, step: Step) -> NDArray[np.float32]:
    return np.clip(np.rint(values / np.float32(step.scale)) + step.zero_point, scheme.LOW, scheme.HIGH)
