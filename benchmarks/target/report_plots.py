"""Drawings of a session: where the time goes, and the memory. Narrow, so that a phone shows them without scrolling.

Needs matplotlib (the extra ``train``); the rest of a report does not. The same session gives the same bytes.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from lsemvae_edge.benchmarks.drawing import COLOURS, STYLE
from lsemvae_edge.benchmarks.target.report_document import Figure
from lsemvae_edge.benchmarks.target.report_view import Case, View, count, label, number, quantity, title, value
from lsemvae_edge.benchmarks.target.session import Json
from lsemvae_edge.statistics import runs

WIDTH_IN = 4.5
LOOK = {**STYLE, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5}
RUNTIMES = ("litert", "onnxruntime", "executorch", "tflite-runtime", "executorch.runtime", "torch")
MOST_ROWS = 20
BINS = 180
"""Of a distribution, along the whole axis: finer than a screen shows."""
STAGES = {
    name: title(name) for name in ("decode_ms", "quality_ms", "preprocess_ms", "inference_ms", "decision_ms", "json_ms")
}
COLD = {
    "import_ms": "start, imports, reading, printing",
    "load_ms": "loading the model",
    "first_run_ms": "its first run",
}
GREY = "#8a8a8a"


def svg(drawing: Drawing) -> str:
    """Return a drawing as SVG, without dates and versions."""
    stream = io.StringIO()
    drawing.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def colour(runtime: str | None) -> str:
    """Return a runtime's colour, the same in every drawing."""
    return COLOURS[RUNTIMES.index(runtime)] if runtime in RUNTIMES else COLOURS[-1]


def few(cases: Sequence[Case]) -> tuple[list[Case], str]:
    """Return the cases of a drawing, by size, and a sentence on those left to the table: more threads, other sizes."""
    shown = sorted(cases, key=lambda case: case["facts"].get("size") or "")
    fewest = min((case["facts"].get("threads") or 1 for case in shown), default=1)
    if len(shown) > MOST_ROWS:
        shown = [case for case in shown if (case["facts"].get("threads") or 1) == fewest]
    if len(shown) > MOST_ROWS:
        first = cases[0]["facts"].get("size")
        shown = [case for case in shown if case["facts"].get("size") == first]
    left_out = len(cases) - len(shown)
    return shown, f" {count(left_out, 'case')} of other threads or sizes: see the table." if left_out else ""


def extremes(cases: Sequence[Case], metric: str) -> str:
    """Say in words which case has the lowest and which the highest median."""
    ordered = sorted(cases, key=lambda case: case["metrics"][metric]["p50"])
    ends = [ordered[0], ordered[-1]] if len(ordered) > 1 else ordered
    return " to ".join(f"{quantity(value(case, metric), metric)} ({label(case, cases)})" for case in ends)


def distributions(view: View, part: str, metric: str = "inference_ms") -> Figure | None:
    """Draw every sample of a metric: a row for each case, an outline for each repeat, on a logarithmic axis."""
    cases, left_out = few(view.cases(part, metric))
    if not cases:
        return None
    samples = {case["name"]: view.recorded.of(part, case["name"], metric) for case in cases}
    everything = np.concatenate([one.values for found in samples.values() for one in found])
    low, high = float(everything[everything > 0].min()), float(everything.max())
    edges = np.geomspace(low * 0.9, high * 1.12, BINS + 1)
    with mpl.rc_context(LOOK):
        drawing = Drawing((WIDTH_IN, 0.85 + 0.4 * len(cases)), layout="constrained")
        axes = drawing.subplots()
        for row, case in enumerate(cases):
            shade = colour(case["facts"].get("runtime"))
            counts = [np.histogram(one.values, edges)[0] for one in samples[case["name"]]]
            _ridges(axes, row, edges, counts, shade)
            p50, p99 = (case["metrics"][metric][name] for name in ("p50", "p99"))
            axes.plot([p50, p50], [row + 0.1, row - 0.62], color="black", lw=1.2, solid_capstyle="butt")
            axes.plot([p99, p99], [row + 0.1, row - 0.3], color="black", lw=1.0, ls=(0, (2, 1)))
            axes.annotate(
                f"{number(p50)} · {number(p99)}",
                (1.015, row - 0.15), xycoords=("axes fraction", "data"), va="center", fontsize=8.5,
            )  # fmt: skip
        axes.annotate(
            "p50 · p99 (ms)", (1.015, -0.95), xycoords=("axes fraction", "data"), va="center",
            fontsize=8, color="0.35",
        )  # fmt: skip
        rows(axes, [label(case, cases) for case in cases], top=-1.15)
        axes.set(xscale="log", xlim=(edges[0], edges[-1]), xlabel=f"{title(metric).capitalize()} (ms, logarithmic)")
        plain_log(axes)
        drawn = svg(drawing)
    fastest = min(cases, key=lambda case: value(case, metric) or 0)
    n = sum(case["metrics"][metric]["n"] for case in cases)
    return Figure(
        f"{part}-{metric.removesuffix('_ms')}".replace("_", "-"),
        f"{title(metric).capitalize()}, every sample",
        f"{n:,} samples of {len(cases)} cases; each outline is one repeat, its height the square root of the count; "
        f"solid line the median, dashed the 99th percentile. Lowest median: {label(fastest, cases)}, "
        f"{number(value(fastest, metric))} ms.{left_out}",
        drawn,
    )


def stages(view: View) -> Figure | None:
    """Draw the whole path of one recording, already warm, as stacked bars of the median of each stage."""
    cases, left_out = few(view.cases("path", "whole_ms"))
    if not cases:
        return None
    description = f"Medians of each stage, model loaded. Whole path: {extremes(cases, 'whole_ms')}"
    drawn = _stacked(view, cases, STAGES, "whole_ms", "Milliseconds, from file to JSON")
    return Figure("path-stages", "Whole path by stage", f"{description}.{left_out}", drawn)


def cold_start(view: View) -> Figure | None:
    """Draw the start of a fresh process until its first result: import, load, first run, and the rest."""
    cases, left_out = few(view.cases("path", "start_to_result_ms"))
    if not cases:
        return None
    shown = extremes(cases, "start_to_result_ms")
    description = f"Medians of fresh processes; the rest is quality, preprocessing and deciding. {shown}"
    drawn = _stacked(view, cases, COLD, "start_to_result_ms", "Milliseconds, from process start to first result")
    return Figure("path-cold-start", "Cold start", f"{description}.{left_out}", drawn)


def memory(view: View) -> Figure | None:
    """Draw peak, steady and proportional memory of each case."""
    cases, left_out = few(view.cases("memory", "peak_rss_mb"))
    if not cases:
        return None
    with mpl.rc_context(LOOK):
        drawing = Drawing((WIDTH_IN, 1.0 + 0.34 * len(cases)), layout="constrained")
        axes = drawing.subplots()
        marks = (("peak_rss_mb", None), ("steady_rss_mb", "|"), ("pss_mb", "o"))
        for row, case in enumerate(cases):
            peak = value(case, "peak_rss_mb") or 0.0
            shade = colour(case["facts"].get("runtime"))
            axes.barh(row, peak, 0.62, color=shade, alpha=0.45, lw=0, label="peak RSS" if row == 0 else None)
            for metric, marker in marks[1:]:
                found = value(case, metric)
                if found is not None:
                    axes.plot(
                        found, row, marker, ms=13 if marker == "|" else 5, mew=1.6, color="black",
                        markerfacecolor="white", label=f"{title(metric)}" if row == 0 else None,
                    )  # fmt: skip
            furthest = max(value(case, metric) or 0.0 for metric, _ in marks)
            axes.annotate(f"  {number(peak)}", (furthest, row), va="center", fontsize=8.5)
        rows(axes, [label(case, cases) for case in cases], top=-0.6)
        axes.set(xlabel="MB (10⁶ bytes)", xlim=(0, None))
        axes.margins(x=0.12)
        legend(drawing, axes)
        drawn = svg(drawing)
    shown = extremes(cases, "peak_rss_mb")
    return Figure("memory", "Memory of the process", f"Peak resident memory. {shown}.{left_out}", drawn)


def sustained(view: View) -> Figure | None:
    """Draw latency, frequency and temperature minute by minute, with the minutes in which the board throttled."""
    curve = view.facts("sustained").get("curve") or []
    if not curve:
        return None
    minute = np.array([one["minute"] for one in curve], dtype=float)
    panels = (
        (("p50_ms", "p99_ms"), ("median", "99th percentile"), "Latency (ms)"),
        (("cpu_mhz",), ("frequency",), "Frequency (MHz)"),
        (("temperature_c",), ("temperature",), "Temperature (°C)"),
    )
    throttled = _throttled(curve)
    with mpl.rc_context(LOOK):
        drawing = Drawing((WIDTH_IN, 4.8), layout="constrained")
        all_axes = drawing.subplots(3, 1, sharex=True, height_ratios=(1.5, 1, 1))
        for axes, (names, labels, what) in zip(all_axes, panels, strict=True):
            for place, (name, text) in enumerate(zip(names, labels, strict=True)):
                found = _series(curve, name)
                if np.isfinite(found).any():
                    axes.plot(minute, found, "-s" if place else "-o", ms=3, color=COLOURS[place], label=text)
            if not axes.lines:
                axes.set_yticks([])
                axes.text(0.5, 0.5, "not measured: this host does not tell", transform=axes.transAxes, ha="center",
                          va="center", color="0.35", fontsize=8.5)  # fmt: skip
            for at in throttled:
                axes.axvspan(at - 0.5, at + 0.5, color="#E69F00", alpha=0.25, lw=0, label="throttled")
            axes.set_title(what, loc="left", fontsize=9)
            axes.yaxis.set_major_locator(MaxNLocator(4))
        all_axes[0].set_ylim(0, None)
        all_axes[2].set_xlabel("Minute")
        all_axes[2].xaxis.set_major_locator(MaxNLocator(8, integer=True))
        legend(drawing, all_axes[0])
        drawn = svg(drawing)
    first, last = curve[0], curve[-1]
    text = (
        f"{count(len(curve), 'minute')}; median {number(first['p50_ms'])} ms in the first, {number(last['p50_ms'])} ms "
        f"in the last; 99th percentile {number(first['p99_ms'])} and {number(last['p99_ms'])} ms. "
        + _of_throttling(curve)
    )
    return Figure("sustained", "Sustained load", text, drawn)


def _throttled(curve: Sequence[Mapping[str, Json]]) -> list[Json]:
    return [one["minute"] for one in curve if one.get("throttled")]


def _of_throttling(curve: Sequence[Mapping[str, Json]]) -> str:
    if all(one.get("throttled") is None for one in curve):
        return "This host does not tell of throttling."
    found = _throttled(curve)
    return f"Throttled in {count(len(found), 'minute')}." if found else "No minute was throttled."


def _ridges(axes: Axes, row: int, edges: NDArray[np.float64], counts: Sequence[NDArray[np.intp]], shade: str) -> None:
    """Draw a histogram of each repeat on one line; the square root keeps a single late sample visible."""
    highest = max(int(one.max()) for one in counts)
    for one in counts:
        height = 0.78 * np.sqrt(one / highest)
        # Only what is occupied, and its neighbours: an axis of hundreds of bins is mostly empty.
        for begin, end in runs(one > 0):
            x = np.repeat(edges[begin : end + 1], 2)
            y = np.concatenate([[0.0], np.repeat(height[begin:end], 2), [0.0]])
            axes.fill(x, row - y, facecolor=shade, alpha=0.16, lw=0)
            axes.plot(x, row - y, color=shade, lw=0.6, alpha=0.9)
    axes.axhline(row, color="0.85", lw=0.6, zorder=0)


def _stacked(view: View, cases: Sequence[Case], metrics: Mapping[str, str], whole: str, axis: str) -> str:
    """Draw one bar a case, of the medians of its stages; what they do not explain of the whole is a grey piece."""
    with mpl.rc_context(LOOK):
        drawing = Drawing((WIDTH_IN, 1.15 + 0.42 * len(cases)), layout="constrained")
        axes = drawing.subplots()
        for row, case in enumerate(cases):
            left = 0.0
            for (metric, named), shade in zip(metrics.items(), COLOURS, strict=False):
                width = value(case, metric) or 0.0
                axes.barh(row, width, 0.62, left, color=shade, label=named, edgecolor="white", lw=0.6)
                left += width
            total = value(case, whole) or 0.0
            if not left:
                # What a process needs that does nothing.
                axes.barh(row, total, 0.62, color=COLOURS[0], alpha=0.4)
            elif total > left:
                axes.barh(row, total - left, 0.62, left, color="#d0d0d0", label="the rest", edgecolor="white", lw=0.6)
            axes.annotate(f" {number(total)}", (max(total, left), row), va="center", fontsize=8.5)
        rows(axes, [label(case, cases) for case in cases], top=-0.6)
        axes.set(xlabel=axis, xlim=(0, None))
        axes.margins(x=0.12)
        legend(drawing, axes)
        return svg(drawing)


def rows(axes: Axes, names: Sequence[str], top: float) -> None:
    """Name the rows of a drawing, the first one on top."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, 20) for name in names])
    axes.set_ylim(len(names) - 0.4, top)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def plain_log(axes: Axes) -> None:
    """Label logarithmic axes with numbers as they are read aloud: 0.2, not 2 × 10⁻¹."""
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if axis.get_scale() != "log":
            continue
        decades = np.log10(high / low)
        fine, middle, coarse = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,)
        axis.set_major_locator(
            LogLocator(subs=fine if decades < 0.9 else middle if decades < 2.2 else coarse, numticks=20)
        )
        axis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:,g}"))
        axis.set_minor_formatter(NullFormatter())


def legend(drawing: Drawing, axes: Axes) -> None:
    """Put a legend below, each label once, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    # Bars come first: they are what marks are set on.
    pairs = sorted(zip(labels, handles, strict=True), key=lambda pair: not isinstance(pair[1], BarContainer))
    once = dict(pairs)
    if once:
        columns = max(1, min(len(once), 54 // (max(map(len, once)) + 6)))
        drawing.legend(list(once.values()), list(once), loc="outside lower center", ncols=columns, handlelength=1.4)


def _series(curve: Sequence[dict[str, float | None]], name: str) -> NDArray[np.float64]:
    return np.array([np.nan if one.get(name) is None else one[name] for one in curve], dtype=float)
