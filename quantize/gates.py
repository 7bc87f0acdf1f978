"""What a converted file must pass before it is released: its insides, its label, and its answers."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lsemvae_edge.manifest import Precision
from lsemvae_edge.quantize.parity import Agreement, Said, agreement, pairs
from lsemvae_edge.quantize.targets import Anatomy, QuantizationError, Target
from lsemvae_edge.spec import ModelSpec

FEW = 3
"""Changed outcomes that are released whatever their share: on some hundred inputs they say little."""


@dataclass(frozen=True)
class Bounds:
    """Largest differences in logits, and largest shares of changed outcomes, that are released.

    Set above what was measured on every recording of PTB-XL's folders, see ``docs/quantization.md``; a form beyond
    them is broken, or the model needs quantization-aware training or layers in floating point.
    """

    float_worst: float = 1e-4
    kernels_tail: float = 0.2
    kernels_worst: float = 0.4
    int8_tail: float = 0.5
    flips: float = 0.01
    auroc_loss: float = 0.005

    def unlike(self) -> "Bounds":
        """Return the bounds for inputs unlike those that the ranges were measured on: kernels alone must agree."""
        return replace(self, int8_tail=math.inf, flips=math.inf)


def check_inside(target: Target, anatomy: Anatomy, weighted_layers: int, label: str) -> None:
    """Refuse a file that is not inside what it is called.

    Parameters
    ----------
    target : Target
    anatomy : Anatomy
    weighted_layers : int
        Layers of the encoders that must be int8 in an int8 form.
    label : str
        The contract that the file must carry.

    Raises
    ------
    QuantizationError
        Names the gate that failed.
    """
    if anatomy.external:
        raise QuantizationError(
            f"{target.name}: constants lie outside the flatbuffer, where small runtimes read zeros without a word."
        )
    if target.format == "pte" and (anatomy.outside or anatomy.delegates != 1):
        left = ", ".join(sorted(set(anatomy.outside))) or "none"
        raise QuantizationError(
            f"{target.name}: the program has {anatomy.delegates} delegates and operators outside them ({left}); "
            "one delegate must hold everything."
        )
    if target.precision == "int8" and anatomy.int8_layers != weighted_layers:
        raise QuantizationError(
            f"{target.name}: {anatomy.int8_layers} layers are int8 inside, {weighted_layers} should be; "
            f"{anatomy.float_layers} have floating-point weights or inputs."
        )
    if unknown := sorted(set(anatomy.operators) - target.allowed):
        raise QuantizationError(f"{target.name}: operators that its runtimes may lack: {', '.join(unknown)}.")
    if not anatomy.stated:
        raise QuantizationError(f"{target.name}: the file states neither opset nor schema.")
    if anatomy.label != label:
        raise QuantizationError(f"{target.name}: the file does not carry the contract of its bundle.")


def check_answers(
    said: Mapping[str, Said], exact: Mapping[Precision, Said], precision_of: Mapping[str, Precision], bounds: Bounds
) -> dict[str, Any]:
    """Compare every form with its reference in torch, int8 with floating point, and every form with every other.

    Parameters
    ----------
    said : mapping of str to Said
        Each form's answers, by file name.
    exact : mapping
        Of torch: ``fp32`` in floating point, ``int8`` with the rounding written out.
    precision_of : mapping
        Precision of each form.
    bounds : Bounds

    Returns
    -------
    dict
        Figures by file name and by pair, plain values.

    Raises
    ------
    QuantizationError
        Names the form and the bound that it misses.
    """
    found: dict[str, Any] = {}
    if "int8" in exact:
        found["rounding"] = check_rounding("int8", exact["int8"], exact["fp32"], bounds)
    for name, answers in said.items():
        precision = precision_of[name]
        from_float = agreement(answers, exact["fp32"])
        apart = from_float if precision == "fp32" else agreement(answers, exact[precision])
        found[name] = {"reference": _plain(apart), "float": _plain(from_float)}
        if precision == "fp32":
            _below(name, "its logits lie from those of torch", apart.worst, bounds.float_worst)
        else:
            _below(name, "99.9 % of its logits lie from those of the reference", apart.tail, bounds.kernels_tail)
            _below(name, "its logits lie from those of the reference", apart.worst, bounds.kernels_worst)
            _flips(name, "floating point", from_float, bounds)
    found["pairs"] = {}
    for (one, other), apart in pairs(said).items():
        found["pairs"][f"{one} / {other}"] = _plain(apart)
        _flips(one, other, apart, bounds)
    return found


def check_rounding(name: str, rounded: Said, exact: Said, bounds: Bounds) -> dict[str, Any]:
    """Refuse a form in integers whose answers lie too far from those of floating point; return how far they do."""
    apart = agreement(rounded, exact)
    _flips(name, "floating point", apart, bounds)
    _below(name, "99.9 % of its logits lie from floating point", apart.tail, bounds.int8_tail)
    return _plain(apart)


def check_ranking(name: str, before: float, after: float, bounds: Bounds) -> None:
    """Refuse a form that ranks worse than floating point.

    Parameters
    ----------
    before, after : float
        AUROC of the primary task, in floating point and of the form.
    """
    if before - after > bounds.auroc_loss:
        raise QuantizationError(
            f"{name}: AUROC falls from {before:.4f} to {after:.4f}, more than {bounds.auroc_loss:g}.",
            "Try `--method qat`, or name layers to leave in floating point with `--float-layers`.",
        )


def label_of(spec: ModelSpec) -> str:
    """Return the contract as the JSON text that every file carries."""
    return json.dumps(asdict(spec), separators=(",", ":"))


def _below(name: str, what: str, value: float, bound: float) -> None:
    if not value <= bound:
        raise QuantizationError(
            f"{name}: {what} by up to {value:.3g}; at most {bound:g} is released.",
            "Check the calibration set; `lsemvae-edge quantize --explain` names the layers that cost most.",
        )


def _flips(one: str, other: str, apart: Agreement, bounds: Bounds) -> None:
    if apart.flipped > max(bounds.flips * apart.n, FEW):
        raise QuantizationError(
            f"{one} and {other} differ in {apart.flipped} of {apart.n} outcomes; at most {bounds.flips:.0%} may.",
            "Check the calibration set; `lsemvae-edge quantize --explain` names the layers that cost most.",
        )


def _plain(apart: Agreement) -> dict[str, Any]:
    return {name: value if isinstance(value, int) else float(f"{value:.3g}") for name, value in asdict(apart).items()}
