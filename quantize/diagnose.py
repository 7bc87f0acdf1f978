"""Where rounding costs: each layer's signal-to-noise ratio in every backend, its range, what it does to the logits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsemvae_edge.errors import UsageError
from lsemvae_edge.manifest import Quantization, Step
from lsemvae_edge.model import Student, fold_batch_norm
from lsemvae_edge.model.student import LeadEncoder
from lsemvae_edge.quantize import inside, scheme
from lsemvae_edge.quantize.equalize import convolutions
from lsemvae_edge.quantize.reference import (
    FloatStudent,
    Given,
    Layer,
    QuantizedEncoder,
    QuantizedLayer,
    QuantizedStudent,
    ask,
)

BINS = 64
_QUANTILE = 0.999

Array = NDArray[np.float32]


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
    whole, weights, activations : Change
        Of the logits, from floating point, as it is quantized; if only its weights are rounded; only its activations.
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
    weights: Change
    activations: Change
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
    student: Student, quantization: Quantization, signals: Array, backends: Sequence[str] = tuple(inside.BACKENDS)
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
    if unknown := sorted(set(backends) - set(inside.BACKENDS)):
        raise UsageError(f"There is no backend {', '.join(unknown)}.", f"Choose among {', '.join(inside.BACKENDS)}.")
    skipped = {one: f"{', '.join(names)} not installed" for one in backends if (names := inside.missing(one))}
    ran = tuple(one for one in backends if one not in skipped)
    if not ran:
        raise UsageError("No backend to look into is installed.", "pip install 'lsemvae-edge[export]'")
    exact = {name: values.numpy() for name, values in scheme.activations(student, signals).items()}
    names = scheme.layer_names(student)
    snr: dict[str, dict[str, float]] = {name: {} for name in names}
    steps: dict[str, int] = {}
    for backend in ran:
        for name, values in inside.BACKENDS[backend](student, quantization, signals).items():
            snr[name][backend] = inside.snr_db(exact[name], values.reshape(exact[name].shape))
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
        weights=ask_of.change(quantization.float_layers, _WeightsAlone),
        activations=ask_of.change(quantization.float_layers, _ActivationsAlone),
        signal=range_of(signal, step, len(np.unique(inside.in_steps(signal, step)))),
        layers=tuple(layer_of(name) for name in names),
        kinds=tuple(kind_of(kind) for kind in dict.fromkeys(name.split(".")[1] for name in names)),
        backends=ran,
        skipped=skipped,
    )


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

    def change(self, float_layers: Iterable[str], form: type[QuantizedStudent] = QuantizedStudent) -> Change:
        mixed = replace(self._quantization, float_layers=tuple(sorted(float_layers)))
        apart = ask(form(self._student, mixed), *self._input).logits - self._exact
        return Change(float(apart.square().mean().sqrt()), float(apart.abs().max()))


class _InPassing(Given):
    """Leaves an activation as it is."""

    def __init__(self, values: Tensor, step: Step | None) -> None:
        super().__init__(values, step)
        self._values = values

    def read(self) -> Tensor:
        """Return real values."""
        return self._values


class _AsItIs(QuantizedLayer):
    """Leaves weights as they are."""

    def __init__(self, layer: Layer, rounded: bool) -> None:
        super().__init__(layer, rounded=False)


class _WithoutActivations(QuantizedEncoder):
    given = _InPassing


class _WithoutWeights(QuantizedEncoder):
    layer = _AsItIs


class _WeightsAlone(QuantizedStudent):
    encoder = _WithoutActivations


class _ActivationsAlone(QuantizedStudent):
    encoder = _WithoutWeights


def _channels_db(layer: Layer) -> list[float]:
    rounded = QuantizedLayer(layer, rounded=True)
    exact = layer.weight.detach().flatten(1)
    steps, scales = rounded.weight, rounded.scales
    assert isinstance(steps, Tensor)
    assert isinstance(scales, Tensor)
    back = steps.flatten(1) * scales[:, None]
    return [inside.snr_db(one.numpy(), other.numpy()) for one, other in zip(exact, back, strict=True)]
