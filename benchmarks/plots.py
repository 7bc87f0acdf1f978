"""Figures of the evaluation, each as PNG and SVG, the same bytes from the same numbers.

Every function takes a folder and a name, and returns both files. Colours are those of Okabe and Ito, which any colour
vision tells apart; line styles differ beside them.
"""

import csv
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.benchmarks.tables import LEAD_SETS, resamples_of
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train.predictions import Predictions

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
STYLES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
WIDTH_IN = 7.0
"""A page's text width, about 178 mm."""
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "lsemvae-edge",
    "svg.fonttype": "path",
}
SMALLEST_BIN = 20
MOST_BINS = 10

Files = tuple[Path, Path]


@dataclass(frozen=True)
class _Look:
    colour: str
    line: Any
    marker: str


def roc_and_precision_recall(predictions: Sequence[Predictions], folder: Path, name: str) -> Files:
    """Draw both curves of every model, with their areas and intervals in the legend."""
    _need(predictions)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 3.65 + 0.19 * len(predictions)), layout="constrained")
        roc, recall = figure.subplots(1, 2)
        for one, look in zip(predictions, _looks(len(predictions)), strict=True):
            areas = [
                _interval(metrics.with_interval(metric, one.truth, one.score, resamples_of(one)))
                for metric in (metrics.auroc, metrics.average_precision)
            ]
            roc.plot(
                *metrics.roc_curve(one.truth, one.score),
                color=look.colour,
                ls=look.line,
                label=f"{_label(one)}: AUROC {areas[0]}; AP {areas[1]}",
            )
            # Precision holds until the next recall is reached.
            recall.step(
                *metrics.precision_recall_curve(one.truth, one.score), where="pre", color=look.colour, ls=look.line
            )
        roc.plot([0, 1], [0, 1], color="0.6", lw=0.8, zorder=0, label="by chance (right: the share of positives)")
        for rate in sorted({float(one.truth.mean()) for one in predictions}):
            recall.axhline(rate, color="0.6", lw=0.8, zorder=0)
        _unit_square(roc, "False positive rate (1 - specificity)", "True positive rate (sensitivity)")
        _unit_square(recall, "Recall (sensitivity)", "Precision (positive predictive value)")
        figure.legend(loc="outside lower center", ncols=1)
        return _save(figure, folder, name)


def reliability(predictions: Sequence[Predictions], folder: Path, name: str, bins: int = MOST_BINS) -> Files:
    """Draw stated probability against observed rate in bins of equal mass, with exact intervals, one panel a model."""
    _need(predictions)
    with mpl.rc_context(STYLE):
        figure, panels = _grid(len(predictions), height_in=2.5)
        for one, axes in zip(predictions, panels, strict=True):
            axes.plot([0, 1], [0, 1], color="0.75", lw=0.8, zorder=0)
            found = metrics.reliability(one.truth, one.score, max(min(bins, len(one) // SMALLEST_BIN), 1))
            limits = [metrics.exact_interval(part.positive, part.n) for part in found]
            observed = np.array([part.observed for part in found])
            reach = [
                np.abs(observed - [getattr(limit, side) for limit in limits if limit is not None])
                for side in ("low", "high")
            ]
            axes.errorbar(
                [part.stated for part in found], observed, yerr=reach, fmt="o", ms=3.5, lw=0.9, color=COLOURS[0]
            )
            rugs = np.random.default_rng(0).permutation(one.score)[:150]
            axes.plot(rugs, np.full(rugs.size, 1.02), "|", ms=4, mew=0.4, color="0.45", clip_on=False)
            ece = metrics.calibration_error(one.truth, one.score)
            axes.set_title(f"{_label(one)}\nECE {ece:.3f}", loc="left", fontsize=8)
            _unit_square(axes, "Stated probability", "Observed share")
        return _save(figure, folder, name)


def decision_curve(
    predictions: Sequence[Predictions], folder: Path, name: str, highest_threshold: float = 0.6
) -> Files:
    """Draw net benefit over threshold probability of models on the same records, beside acting on all and on none."""
    _need(predictions)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 3.4 + 0.17 * -(-len(predictions) // 3)), layout="constrained")
        axes = figure.subplots()
        thresholds = np.linspace(0.0, highest_threshold, 121)
        top = 0.0
        for one, look in zip(predictions, _looks(len(predictions)), strict=True):
            with_band = resamples_of(one) if len(predictions) <= 3 else None
            curve = metrics.decision_curve(one.truth, one.score, thresholds, with_band)
            axes.plot(thresholds, curve.model, color=look.colour, ls=look.line, label=_label(one))
            if curve.low is not None and curve.high is not None:
                axes.fill_between(thresholds, curve.low, curve.high, color=look.colour, alpha=0.12, lw=0)
                top = max(top, float(curve.high.max()))
            top = max(top, float(curve.model.max()))
        for rate in sorted({float(one.truth.mean()) for one in predictions}):
            everybody = rate - (1 - rate) * thresholds / (1 - thresholds)
            axes.plot(thresholds, everybody, color="0.55", lw=1.0, label="act on everybody")
        axes.axhline(0.0, color="0.2", lw=0.8, label="act on nobody")
        axes.set(
            xlabel="Threshold probability",
            ylabel="Net benefit (true positives per record)",
            xlim=(0, highest_threshold),
            ylim=(-0.15 * top, 1.08 * top),
        )
        _legend_once(figure, axes)
        return _save(figure, folder, name)


def training_curves(curves: Mapping[str, Path], folder: Path, name: str) -> Files:
    """Draw training and validation loss over epochs, one panel a run, from each run's ``curve.csv``.

    Raises
    ------
    BadInputError
        If a file has no columns ``epoch`` and ``train_total``, or none is given.
    """
    _need(curves)
    with mpl.rc_context(STYLE):
        figure, panels = _grid(len(curves), height_in=2.1)
        for (run, path), axes in zip(curves.items(), panels, strict=True):
            columns = _read_curve(path)
            for column, look, label in (
                ("train_total", _Look(COLOURS[5], "-", "o"), "training"),
                ("val_total", _Look(COLOURS[1], "-", "s"), "validation"),
            ):
                epoch, loss = columns.get(column, (np.empty(0), np.empty(0)))
                marker = look.marker if epoch.size < 2 else None
                axes.plot(epoch, loss, color=look.colour, ls=look.line, marker=marker, ms=3, label=label)
                if column == "val_total" and epoch.size:
                    best = int(np.argmin(loss))
                    axes.plot(epoch[best], loss[best], "v", color=look.colour, ms=5, label="lowest validation loss")
            _scale(axes, [values for _, values in columns.values()])
            axes.set_title(textwrap.fill(run, 24), loc="left")
            axes.set(xlabel="Epoch", ylabel="Loss")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        _legend_once(figure, panels[0])
        return _save(figure, folder, name)


def lead_forest(rows: Sequence[Row], folder: Path, name: str) -> Files:
    """Draw AUROC with its interval by set of leads, one series a model, from `lead_table` of one task and split."""
    drawn = [row for row in rows if row.get("auroc") is not None]
    _need(drawn)
    with mpl.rc_context(STYLE):
        models = list(dict.fromkeys(row["model"] for row in drawn))
        there = {row["leads"] for row in drawn}
        lead_sets = [leads for leads in LEAD_SETS if leads in there] + sorted(there - set(LEAD_SETS))
        height_in = 1.1 + len(lead_sets) * (0.14 + 0.13 * len(models)) + 0.18 * -(-len(models) // 3)
        figure = Figure((WIDTH_IN, height_in), layout="constrained")
        axes = figure.subplots()
        for index, (model, look) in enumerate(zip(models, _looks(len(models)), strict=True)):
            offset = 0.7 * ((index + 0.5) / len(models) - 0.5)
            own = [row for row in drawn if row["model"] == model]
            at = [lead_sets.index(row["leads"]) + offset for row in own]
            values = np.array([[row["auroc"].value, row["auroc"].low, row["auroc"].high] for row in own])
            axes.hlines(at, values[:, 1], values[:, 2], color=look.colour, lw=1.2)
            axes.plot(values[:, 0], at, look.marker, color=look.colour, ms=4.5, label=model)
        axes.axvline(0.5, color="0.75", lw=0.8, zorder=0)
        axes.set_yticks(range(len(lead_sets)), lead_sets)
        for place in range(1, len(lead_sets)):
            axes.axhline(place - 0.5, color="0.9", lw=0.6, zorder=0)
        lowest = min(row["auroc"].low for row in drawn)
        axes.set(xlabel="AUROC, 95 % interval", ylabel="Leads", ylim=(len(lead_sets) - 0.5, -0.5))
        axes.set_xlim(min(lowest - 0.01, 0.49), 1.0)
        _legend_once(figure, axes)
        return _save(figure, folder, name)


def noise_lines(rows: Sequence[Row], folder: Path, name: str) -> Files:
    """Draw AUROC over the signal-to-noise ratio, one line a model and set of leads, from `tables.noise_table`."""
    drawn = [row for row in rows if row.get("auroc") is not None]
    _need(drawn)
    with mpl.rc_context(STYLE):
        series = list(dict.fromkeys((row["model"], row["leads"]) for row in drawn))
        ratios = list(dict.fromkeys(row["snr_db"] for row in drawn))
        ratios.sort(key=lambda label: -np.inf if label == "clean" else -float(label))
        figure = Figure((WIDTH_IN, 3.2 + 0.17 * -(-len(series) // 3)), layout="constrained")
        axes = figure.subplots()
        for index, (key, look) in enumerate(zip(series, _looks(len(series)), strict=True)):
            own = sorted(
                (row for row in drawn if (row["model"], row["leads"]) == key),
                key=lambda row: ratios.index(row["snr_db"]),
            )
            # A little aside of each other, so that intervals do not hide one another.
            x = np.array([ratios.index(row["snr_db"]) for row in own]) + 0.3 * ((index + 0.5) / len(series) - 0.5)
            values = np.array([[row["auroc"].value, row["auroc"].low, row["auroc"].high] for row in own])
            axes.vlines(x, values[:, 1], values[:, 2], color=look.colour, lw=0.9)
            axes.plot(
                x, values[:, 0], color=look.colour, ls=look.line, marker=look.marker, ms=4.5, label=", ".join(key)
            )
        axes.set_xticks(range(len(ratios)), ["as recorded" if r == "clean" else f"{r} dB" for r in ratios])
        axes.set(xlabel="Signal-to-noise ratio (0.33 Hz wander and 50 Hz mains)", ylabel="AUROC, 95 % interval")
        axes.set_xlim(-0.5, len(ratios) - 0.5)
        _legend_once(figure, axes)
        return _save(figure, folder, name)


def saliency_by_lead(shares: Mapping[str, Mapping[str, float]], folder: Path, name: str) -> Files:
    """Draw each lead's share of the attribution, one group of bars a model.

    Parameters
    ----------
    shares : mapping
        From a model's name to its shares by lead (`Saliency.mean_by_lead`).
    """
    _need(shares)
    with mpl.rc_context(STYLE):
        leads = list(dict.fromkeys(lead for of_model in shares.values() for lead in of_model))
        figure = Figure((WIDTH_IN, 2.8 + 0.17 * -(-len(shares) // 3)), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / len(shares)
        for index, ((model, of_model), look) in enumerate(zip(shares.items(), _looks(len(shares)), strict=True)):
            x = np.arange(len(leads)) + (index + 0.5) * width - 0.4
            axes.bar(x, [100 * of_model.get(lead, 0.0) for lead in leads], width * 0.92, color=look.colour, label=model)
        axes.set_xticks(range(len(leads)), leads)
        axes.set(xlabel="Lead", ylabel="Share of attribution (%)")
        _legend_once(figure, axes)
        return _save(figure, folder, name)


def saliency_ecg(
    signal: NDArray[np.floating],
    attribution: NDArray[np.floating],
    leads: Sequence[str],
    fs_hz: float,
    folder: Path,
    name: str,
    *,
    title: str = "",
    start_s: float = 0.0,
    duration_s: float = 4.0,
    unit: str = "scaled",
    smooth_ms: float = 40.0,
) -> Files:
    """Draw one ECG over its attribution, one strip a lead, limb leads left and chest leads right.

    Parameters
    ----------
    signal, attribution : array (n_leads, n_samples)
        What the model read, and `Saliency.attribution` of it.
    leads : sequence of str
    fs_hz : float
    unit : str
        Of the signal, for the axis: ``"mV"`` where it is calibrated.
    smooth_ms : float
        The attribution's size is averaged over this long, because single samples flicker.
    """
    part = slice(round(start_s * fs_hz), round((start_s + duration_s) * fs_hz))
    ecg = np.asarray(signal, dtype=np.float64)[:, part]
    kernel = np.ones(max(round(smooth_ms / 1000 * fs_hz), 1))
    size = np.abs(np.asarray(attribution, dtype=np.float64))[:, part]
    size = np.stack([np.convolve(row, kernel / kernel.size, mode="same") for row in size])
    if ecg.shape != size.shape or ecg.shape[0] != len(leads) or not ecg.shape[1]:
        raise BadInputError(
            f"A signal of {ecg.shape} and an attribution of {size.shape} do not fit {len(leads)} leads."
        )
    largest = float(size.max()) or 1.0
    time_s = start_s + np.arange(ecg.shape[1]) / fs_hz
    reach = 1.08 * float(np.abs(ecg).max() or 1.0)
    columns = 2 if len(leads) > 6 else 1
    rows = -(-len(leads) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 0.75 * rows + 1.0), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.T.ravel()):
            if place >= len(leads):
                axes.set_axis_off()
                continue
            image = axes.imshow(
                size[place][None] / largest, extent=(time_s[0], time_s[-1], -reach, reach), aspect="auto",
                cmap="YlOrBr", vmin=0, vmax=1, interpolation="nearest", alpha=0.9,
            )  # fmt: skip
            axes.plot(time_s, ecg[place], color="0.1", lw=0.8)
            axes.text(0.012, 0.95, leads[place], transform=axes.transAxes, va="top", weight="bold", fontsize=8)
            axes.set_ylim(-reach, reach)
            axes.set_xlim(time_s[0], time_s[-1])
        figure.supxlabel("Time (s)", fontsize=9)
        figure.supylabel(f"Amplitude ({unit})", fontsize=9)
        figure.colorbar(image, ax=grid, label="Attribution size (share of the largest)", fraction=0.03, pad=0.01)
        if title:
            figure.suptitle(title, fontsize=9)
        return _save(figure, folder, name)


def _save(figure: Figure, folder: Path, name: str) -> Files:
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg


def _need(things: Any) -> None:
    if not len(things):
        raise BadInputError("There is nothing to draw.", "Run the models first, or give ten positives or more.")


def _grid(n: int, height_in: float) -> tuple[Figure, list[Axes]]:
    columns = min(n, 3)
    rows = -(-n // columns)
    figure = Figure((WIDTH_IN * max(columns, 2) / 3, height_in * rows + 0.3), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in panels[n:]:
        unused.set_axis_off()
    return figure, panels[:n]


def _looks(n: int) -> list[_Look]:
    return [
        _Look(
            COLOURS[index % len(COLOURS)],
            STYLES[(index + index // len(COLOURS)) % len(STYLES)],
            MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        )
        for index in range(n)
    ]


def _label(one: Predictions) -> str:
    return f"{one.model}, {one.leads}"


def _interval(found: metrics.Interval | None) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "not given (few of a class)"


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def _legend_once(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    widest = max(len(label) for label in once)
    columns = max(1, min(len(once), 100 // (widest + 7)))
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=columns)


def _read_curve(path: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Epochs and values of both losses, last value of each epoch, rows that lack one left out."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        found = {}
        for column in ("train_total", "val_total"):
            by_epoch = {float(row["epoch"]): float(row[column]) for row in rows if row.get(column)}
            found[column] = (np.array(sorted(by_epoch)), np.array([by_epoch[epoch] for epoch in sorted(by_epoch)]))
    except (OSError, KeyError, ValueError) as error:
        raise BadInputError(f"{path} is no training curve: {error}.", "Give a run's curve.csv.") from error
    if not found["train_total"][0].size:
        raise BadInputError(f"{path} holds no column train_total with values.", "Give a run's curve.csv.")
    return found


def _scale(axes: Axes, losses: Sequence[NDArray[np.float64]]) -> None:
    values = np.concatenate(losses)
    positive = values[np.isfinite(values)]
    if positive.size < 3:
        return
    *_, second, top = np.sort(positive)
    if top > 3 * second:
        # A single first epoch, before batch norms or variances have settled, would flatten all others.
        lowest, margin = positive.min(), 0.08 * (second - positive.min())
        axes.set_ylim(lowest - margin, second + margin)
        axes.annotate(f"one epoch at {top:.0f}", (0.97, 0.93), xycoords="axes fraction", ha="right", fontsize=7)
    elif positive.min() > 0 and top / positive.min() > 20:
        axes.set_yscale("log")
