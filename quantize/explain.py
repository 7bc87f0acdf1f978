"""A diagnosis in sentences and in a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.quantize.diagnose import BINS, Diagnosis, LayerDiagnosis, Range
from lsemvae_edge.quantize.inside import EXACT_DB
from lsemvae_edge.quantize.scheme import HIGH, LOW

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

MOST = 8
"""Layers that sentences are about, of each kind of trouble."""
TITLES = {"reference": "Reference (ExecuTorch)", "litert": "LiteRT", "onnxruntime": "ONNX Runtime"}
_INSIDE = {"reference": "the reference", "litert": "LiteRT", "onnxruntime": "ONNX Runtime"}
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_NAMES = {"pool": "pooling", "mu": "mean", "logvar": "log-variance"}
_NARROW = 0.4
_APART_DB = 2
_STYLE: Any = {"font.size": 8, "axes.titlesize": 8.5, "axes.linewidth": 0.6, "savefig.dpi": 200}
_LEAD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DB_SHOWN = (25.0, 50.0)


def sentences(diagnosis: Diagnosis, leads: Sequence[str] = LIMB_LEADS, most: int = MOST) -> list[str]:
    """Say where rounding costs, worst first.

    Parameters
    ----------
    diagnosis : Diagnosis
    leads : sequence of str
        Names of the model's leads, in order.
    most : int
        Layers to name.
    """
    whole, n = diagnosis.whole, diagnosis.n
    said = [
        f"Rounding moves the logits of {n} recordings by {whole.rms:.3f} rms, {whole.worst:.3f} at most; "
        f"compared inside {_listed([_INSIDE[one] for one in diagnosis.backends])}."
    ]
    said.append(
        f"Rounded weights alone would move them by {diagnosis.weights.rms:.3f} rms, rounded activations alone by "
        f"{diagnosis.activations.rms:.3f}."
    )
    said += [f"{_capital(_INSIDE[one])} was left out: {why}." for one, why in diagnosis.skipped.items()]
    said += [_of_layer(layer, leads) for layer in diagnosis.worst_first[:most]]
    said += _costs(diagnosis, leads)
    said += _cuts(diagnosis, leads, most)
    if one := min((layer for layer in diagnosis.layers if layer.weights_db), key=_weights_db, default=None):
        said.append(
            f"Weights: the worst output channel is in {_called(one.name, leads)}, {one.weights_db:.0f} dB; "
            "each channel has a step of its own."
        )
    return said


def plot(diagnosis: Diagnosis, path: Path, leads: Sequence[str] = LIMB_LEADS) -> None:
    """Draw signal-to-noise ratios of every backend, and how activations fill their ranges.

    Parameters
    ----------
    diagnosis : Diagnosis
    path : Path
        PNG, SVG or PDF.
    leads : sequence of str
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    kinds = [kind.name for kind in diagnosis.kinds]
    with rc_context(_STYLE):
        figure = Figure((7.4, 6.4), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(1.0, 1.25), hspace=0.06)  # type: ignore[misc]
        panels = above.subplots(1, len(diagnosis.backends), sharey=True, squeeze=False)[0]
        for backend, axes in zip(diagnosis.backends, panels, strict=True):
            drawn = _heat(axes, diagnosis, backend, kinds, leads)
        bar = above.colorbar(drawn, ax=list(panels), shrink=0.9, pad=0.015, aspect=22, extend="both")
        bar.set_label("dB", labelpad=2)
        bar.outline.set_linewidth(0.4)
        above.suptitle(
            "Signal over rounding error of each layer (* in floating point)", x=0.01, ha="left", fontsize=9.5
        )
        grid = below.subplots(2, 4, sharex=True, sharey=True)
        _histogram(grid.flat[0], "signal", {"all leads": diagnosis.signal}, first=True)
        for axes, kind in zip(list(grid.flat)[1:], kinds, strict=False):
            of = {
                leads[_lead(layer.name)]: layer.range for layer in diagnosis.layers if layer.name.endswith(f".{kind}")
            }
            _histogram(axes, _short(kind), of)
        for axes in list(grid.flat)[1 + len(kinds) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("int8 value")
        for axes in grid[:, 0]:
            axes.set_ylabel("share of values")
        handles, labels = grid.flat[1].get_legend_handles_labels()
        below.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, handlelength=1.2)
        below.suptitle(
            "How activations fill their 256 steps; below each name, values cut off", x=0.01, ha="left", fontsize=9.5
        )
        figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else None)


def _of_layer(layer: LayerDiagnosis, leads: Sequence[str]) -> str:
    ratios = {backend: round(value) for backend, value in layer.snr_db.items() if value < EXACT_DB}
    if not ratios:
        return f"{_capital(_called(layer.name, leads))}: not rounded at all."
    told = f"{min(ratios.values())} dB"
    if max(ratios.values()) - min(ratios.values()) >= _APART_DB:
        told = _listed([f"{db} dB in {_INSIDE[one]}" for one, db in ratios.items()])
    parts = [f"{_capital(_called(layer.name, leads))}: {told}"]
    if layer.in_float:
        parts.append("in floating point, but rounded for the layer that reads it")
    else:
        parts.append(f"alone it moves the logits by {layer.alone.rms:.3f} rms")
    if layer.range.cut:
        parts.append(_cut(layer.range))
    if layer.range.reach < _NARROW:
        parts.append(f"99.9 % of its values lie in {layer.range.reach:.0%} of its range")
    return "; ".join(parts) + "."


def _costs(diagnosis: Diagnosis, leads: Sequence[str]) -> list[str]:
    said = []
    rounded = [kind for kind in diagnosis.kinds if not kind.in_float]
    if rounded:
        most = max(rounded, key=lambda kind: kind.alone.rms)
        least = min(rounded, key=lambda kind: kind.spared.rms)
        said.append(
            f"Of all kinds of layers, {_plural(most.name)} cost most: rounded alone, they move the logits by "
            f"{most.alone.rms:.3f} rms."
        )
        if least.spared.rms < diagnosis.whole.rms:
            said.append(
                f"Left in floating point in every lead, {_plural(least.name)} would take it from "
                f"{diagnosis.whole.rms:.3f} to {least.spared.rms:.3f} rms, more than any other kind."
            )
    if diagnosis.costliest_first:
        one = diagnosis.costliest_first[0]
        said.append(
            f"Of single layers, {_called(one.name, leads)} costs most: {one.alone.rms:.3f} rms alone; without its "
            f"rounding the whole would be at {one.spared.rms:.3f} rms."
        )
    kept = [kind.name for kind in diagnosis.kinds if kind.in_float]
    for name in kept:
        kind = next(kind for kind in diagnosis.kinds if kind.name == name)
        said.append(
            f"{_capital(_plural(name))} are in floating point; rounded alone, they would move the logits by "
            f"{kind.alone.rms:.3f} rms."
        )
    return said


def _cuts(diagnosis: Diagnosis, leads: Sequence[str], most: int) -> list[str]:
    cut = sorted((layer for layer in diagnosis.layers if layer.range.cut), key=lambda layer: -layer.range.cut)
    if not cut:
        return ["No activation leaves its range."]
    named = _listed([f"{_called(layer.name, leads)} ({_cut(layer.range)})" for layer in cut[:most]])
    rest = f", and {len(cut) - most} more" if len(cut) > most else ""
    return [f"{len(cut)} of {len(diagnosis.layers)} activations leave their range: {named}{rest}."]


def _cut(of: Range) -> str:
    where = "both bounds" if of.cut_low and of.cut_high else "the upper bound" if of.cut_high else "the lower bound"
    count = of.cut_low + of.cut_high
    return f"{count} of {of.values:,} values cut off at {where}"


def _heat(axes: "Axes", diagnosis: Diagnosis, backend: str, kinds: Sequence[str], leads: Sequence[str]) -> "AxesImage":
    values = np.full((len(leads), len(kinds)), np.nan)
    marks = np.full(values.shape, "", dtype=object)
    for layer in diagnosis.layers:
        place = _lead(layer.name), kinds.index(layer.name.split(".")[1])
        values[place] = layer.snr_db[backend]
        exact = values[place] >= EXACT_DB
        marks[place] = "exact" if exact else f"{values[place]:.0f}" + ("*" if layer.in_float else "")
    low, high = _DB_SHOWN
    drawn = axes.imshow(values, cmap="YlGnBu", vmin=low, vmax=high, aspect="auto")
    for (row, column), mark in np.ndenumerate(marks):
        dark = values[row, column] > low + 0.58 * (high - low)
        axes.text(
            column, row, mark, ha="center", va="center", fontsize=5.5 if mark == "exact" else 7,
            color="white" if dark else "0.15",
        )  # fmt: skip
    axes.set_title(TITLES[backend], loc="left")
    names = [_short(kind) for kind in kinds]
    axes.set_xticks(range(len(kinds)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(leads)), list(leads))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(0.5, len(kinds) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(leads) - 1), minor=True)
    axes.grid(which="minor", color="white", lw=1.0)
    axes.tick_params(which="minor", length=0)
    return drawn


def _histogram(axes: "Axes", title: str, ranges: dict[str, Range], first: bool = False) -> None:
    edges = np.linspace(LOW, HIGH, BINS + 1)
    for number, (label, one) in enumerate(ranges.items()):
        share: NDArray[np.float64] = np.array(one.counts) / one.values
        colour = "0.35" if first else _LEAD_COLOURS[number % len(_LEAD_COLOURS)]
        axes.stairs(np.where(share > 0, share, np.nan), edges, color=colour, lw=0.9, label=label)
    cut = sum(one.cut_low + one.cut_high for one in ranges.values())
    axes.set_title(title, loc="left", pad=9)
    told = "none cut off" if not cut else f"{cut} of {sum(one.values for one in ranges.values()):,} cut off"
    axes.text(0, 1.02, told, transform=axes.transAxes, fontsize=6.5, color="0.45" if not cut else "#B3261E")
    axes.set_yscale("log")
    axes.set(xlim=(LOW, HIGH), ylim=(3e-7, 1.5), xticks=(LOW, 0, HIGH))
    axes.grid(axis="y", color="0.93", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _lead(name: str) -> int:
    return int(name.split(".")[0].removeprefix("encoder"))


def _called(name: str, leads: Sequence[str]) -> str:
    return f"lead {leads[_lead(name)]}, {_kind(name.split('.')[1])}"


def _kind(kind: str) -> str:
    if kind.startswith("conv"):
        return f"{_ORDINALS[int(kind.removeprefix('conv')) - 1]} convolution"
    return _NAMES[kind]


def _plural(kind: str) -> str:
    return {"pool": "poolings", "mu": "means", "logvar": "log-variances"}.get(kind, f"{_kind(kind)}s")


def _short(kind: str) -> str:
    return f"conv {kind.removeprefix('conv')}" if kind.startswith("conv") else _NAMES[kind]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _weights_db(layer: LayerDiagnosis) -> float:
    return layer.weights_db or np.inf
