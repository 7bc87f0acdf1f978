"""Figures of the evaluation, each as PNG and SVG, the same bytes from the same numbers.

Every function takes a folder and a name, and returns both files.
"""

import csv
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks.drawing import COLOURS, STYLE, WIDTH_IN, Files, Look, grid, legend_once, looks, need, save
from lsemvae_edge.benchmarks.table_files import Row
from lsemvae_edge.benchmarks.tables import LEAD_SETS, resamples_of
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train.predictions import Predictions

SMALLEST_BIN = 20
MOST_BINS = 10


def roc_and_precision_recall(predictions: Sequence[Predictions], folder: Path, name: str) -> Files:
    """Draw both curves of every model, with their areas and intervals in the legend."""
    need(predictions)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 3.65 + 0.19 * len(predictions)), layout="constrained")
        roc, recall = figure.subplots(1, 2)
        for one, look in zip(predictions, looks(len(predictions)), strict=True):
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
        return save(figure, folder, name)


def reliability(predictions: Sequence[Predictions], folder: Path, name: str, bins: int = MOST_BINS) -> Files:
    """Draw stated probability against observed rate in bins of equal mass, with exact intervals, one panel a model."""
    need(predictions)
    with mpl.rc_context(STYLE):
        figure, panels = grid(len(predictions), height_in=2.5)
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
        return save(figure, folder, name)


def decision_curve(
    predictions: Sequence[Predictions], folder: Path, name: str, highest_threshold: float = 0.6
) -> Files:
    """Draw net benefit over threshold probability of models on the same records, beside acting on all and on none."""
    need(predictions)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH_IN, 3.4 + 0.17 * -(-len(predictions) // 3)), layout="constrained")
        axes = figure.subplots()
        thresholds = np.linspace(0.0, highest_threshold, 121)
        top = 0.0
        for one, look in zip(predictions, looks(len(predictions)), strict=True):
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
        legend_once(figure, axes)
        return save(figure, folder, name)


def training_curves(curves: Mapping[str, Path], folder: Path, name: str) -> Files:
    """Draw training and validation loss over epochs, one panel a run, from each run's ``curve.csv``.

    Raises
    ------
    BadInputError
        If a file has no columns ``epoch`` and ``train_total``, or none is given.
    """
    need(curves)
    with mpl.rc_context(STYLE):
        figure, panels = grid(len(curves), height_in=2.1)
        for (run, path), axes in zip(curves.items(), panels, strict=True):
            columns = _read_curve(path)
            for column, look, label in (
                ("train_total", Look(COLOURS[5], "-", "o"), "training"),
                ("val_total", Look(COLOURS[1], "-", "s"), "validation"),
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
        legend_once(figure, panels[0])
        return save(figure, folder, name)


def lead_forest(rows: Sequence[Row], folder: Path, name: str) -> Files:
    """Draw AUROC with its interval by set of leads, one series a model, from `lead_table` of one task and split."""
    drawn = [row for row in rows if row.get("auroc") is not None]
    need(drawn)
    with mpl.rc_context(STYLE):
        models = list(dict.fromkeys(row["model"] for row in drawn))
        there = {row["leads"] for row in drawn}
        lead_sets = [leads for leads in LEAD_SETS if leads in there] + sorted(there - set(LEAD_SETS))
        height_in = 1.1 + len(lead_sets) * (0.14 + 0.13 * len(models)) + 0.18 * -(-len(models) // 3)
        figure = Figure((WIDTH_IN, height_in), layout="constrained")
        axes = figure.subplots()
        for index, (model, look) in enumerate(zip(models, looks(len(models)), strict=True)):
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
        legend_once(figure, axes)
        return save(figure, folder, name)


def learning_curve(rows: Sequence[Row], folder: Path, name: str) -> Files:
    """Draw AUROC over the number of training recordings, one line a model and set of leads.

    Parameters
    ----------
    rows : sequence of dict
        Of `tables.learning_table`, one task and split.
    """
    drawn = [row for row in rows if row.get("auroc") is not None]
    need(drawn)
    with mpl.rc_context(STYLE):
        series = list(dict.fromkeys((row["family"], row["leads"]) for row in drawn))
        figure = Figure((WIDTH_IN, 3.2 + 0.17 * -(-len(series) // 3)), layout="constrained")
        axes = figure.subplots()
        for key, look in zip(series, looks(len(series)), strict=True):
            own = sorted(
                (row for row in drawn if (row["family"], row["leads"]) == key), key=lambda row: row["trained_on"]
            )
            x = [row["trained_on"] for row in own]
            values = np.array([[row["auroc"].value, row["auroc"].low, row["auroc"].high] for row in own])
            axes.fill_between(x, values[:, 1], values[:, 2], color=look.colour, alpha=0.12, lw=0)
            axes.plot(
                x, values[:, 0], color=look.colour, ls=look.line, marker=look.marker, ms=4.5, label=", ".join(key)
            )
        axes.set_xscale("log", base=2)
        ticks = sorted({row["trained_on"] for row in drawn})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=45, ha="right")
        axes.minorticks_off()
        axes.set(xlabel="Training recordings", ylabel="AUROC, 95 % interval")
        legend_once(figure, axes)
        return save(figure, folder, name)


def noise_lines(rows: Sequence[Row], folder: Path, name: str) -> Files:
    """Draw AUROC over the signal-to-noise ratio, one line a model and set of leads, from `tables.noise_table`."""
    drawn = [row for row in rows if row.get("auroc") is not None]
    need(drawn)
    with mpl.rc_context(STYLE):
        series = list(dict.fromkeys((row["model"], row["leads"]) for row in drawn))
        ratios = list(dict.fromkeys(row["snr_db"] for row in drawn))
        ratios.sort(key=lambda label: -np.inf if label == "clean" else -float(label))
        figure = Figure((WIDTH_IN, 3.2 + 0.17 * -(-len(series) // 3)), layout="constrained")
        axes = figure.subplots()
        for index, (key, look) in enumerate(zip(series, looks(len(series)), strict=True)):
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
        legend_once(figure, axes)
        return save(figure, folder, name)


def _label(one: Predictions) -> str:
    return f"{one.model}, {one.leads}"


def _interval(found: metrics.Interval | None) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "not given (few of a class)"


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


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
