"""Drawings of a session: accuracy against what it costs, and what the machine could do at most. Needs matplotlib."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from lsemvae_edge.benchmarks.drawing import COLOURS, MARKERS
from lsemvae_edge.benchmarks.target.report_answer import Point
from lsemvae_edge.benchmarks.target.report_document import Figure
from lsemvae_edge.benchmarks.target.report_plots import LOOK, WIDTH_IN, legend, plain_log, svg
from lsemvae_edge.benchmarks.target.report_view import TITLES, View, count, number, share
from lsemvae_edge.benchmarks.target.session import Json


def pareto(points: Sequence[Point]) -> Figure | None:
    """Draw AUROC over latency and over the size of the file; a line joins those that none beats in both."""
    if len({point.name for point in points}) < 2:
        return None
    panels: tuple[tuple[str, Callable[[Point], float | None]], ...] = (
        ("Inference, median (ms, logarithmic)", lambda point: point.latency_ms),
        ("File (MB, logarithmic)", lambda point: None if point.file_bytes is None else point.file_bytes / 1e6),
    )
    names = list(dict.fromkeys(point.name for point in points))
    with mpl.rc_context(LOOK):
        drawing = Drawing((WIDTH_IN, 4.9 + 0.2 * len(names)), layout="constrained")
        for axes, (text, cost) in zip(drawing.subplots(2, 1, sharey=True), panels, strict=True):
            drawn = [point for point in points if cost(point)]
            for point in drawn:
                _mark(axes, point, cost(point) or 0.0, names.index(point.name))
            front = _front([(cost(point) or 0.0, point.auroc) for point in drawn])
            axes.step(*zip(*front, strict=True), where="post", color="0.6", lw=0.9, zorder=0) if front else None
            axes.set(xscale="log", xlabel=text, ylabel="AUROC, 95 % interval")
            axes.margins(x=0.12)
            axes.grid(axis="y", color="0.92", lw=0.6)
            plain_log(axes)
        legend(drawing, drawing.axes[0])
        content = svg(drawing)
    shown = "; ".join(
        f"{point.name}: AUROC {point.auroc:.3f}, {number(point.latency_ms)} ms" for point in points if point.latency_ms
    )
    return Figure(
        "pareto",
        "Accuracy against latency and size",
        f"Filled marks are this toolkit's, hollow ones peers; the line joins what nothing beats in both. {shown}.",
        content,
    )


def roofline(view: View) -> Figure | None:
    """Draw each model's multiply-adds a second over its intensity, below the ceilings measured in the same session."""
    rows = [row for row in view.facts("work").get("roofline") or [] if row.get("gmac_per_s")]
    ceilings = view.cases("ceilings")
    if not rows or not ceilings:
        return None
    # More threads move both points and roofs, and would hide each other: tables have them.
    threads = min(row.get("threads") or 1 for row in rows)
    rows = [row for row in rows if (row.get("threads") or 1) == threads]
    compute: dict[tuple[str, str], float] = {}
    for case in view.cases("ceilings", "gmac_per_s"):
        facts = case["facts"]
        # Other kernels of a runtime than those that the models run with have a name of their own.
        if (facts.get("threads") or 1) == threads and facts.get("of", facts.get("runtime")) == facts.get("runtime"):
            key = (str(facts["kind"]), str(facts.get("runtime")))
            compute[key] = max(compute.get(key, 0.0), case["metrics"]["gmac_per_s"]["p50"])
    bandwidth = max(
        (case["metrics"]["gb_per_s"]["p50"] for case in ceilings if "gb_per_s" in case["metrics"]), default=None
    )
    intensities = np.array([row["intensity_mac_per_byte"] for row in rows])
    x = np.geomspace(min(intensities.min() / 4, 0.25), intensities.max() * 6, 200)
    with mpl.rc_context(LOOK):
        drawing = Drawing((WIDTH_IN, 3.6 + 0.17 * (len(rows) + len(compute))), layout="constrained")
        axes = drawing.subplots()
        shades = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(_once(rows, "runtime"))}
        marks = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(_once(rows, "size"))}
        if bandwidth is not None:
            axes.plot(
                x, x * bandwidth, color="0.35", ls=(0, (1.2, 1.2)), lw=1.2, label=f"memory, {number(bandwidth)} GB/s"
            )
        for (kind, runtime), peak in sorted(compute.items()):
            text = f"{kind}, {TITLES.get(runtime, runtime)}: {number(peak)} GMAC/s"
            roof = np.minimum(peak, x * bandwidth) if bandwidth is not None else np.full_like(x, peak)
            style = "-" if "int8" in kind else "--"
            axes.plot(x, roof, color=shades.get(runtime, "0.5"), lw=1.4, ls=style, label=text)
        for row in rows:
            text = " ".join(str(row[key]) for key in ("size", "precision") if row.get(key))
            runtime, shade = row.get("runtime"), shades[row.get("runtime")]
            axes.plot(
                row["intensity_mac_per_byte"], row["gmac_per_s"], marks[row.get("size")], ls="none", ms=6,
                color=shade, markerfacecolor=shade if row.get("precision") == "int8" else "white", mew=1.3,
                label=f"{text}, {TITLES.get(str(runtime), runtime)}: {share(row.get('fraction'))}",
            )  # fmt: skip
        axes.set(
            xscale="log", yscale="log", xlabel="Multiply-adds a byte of weights and activations",
            ylabel="Multiply-adds a second (10⁹)",
        )  # fmt: skip
        axes.set_ylim(min(row["gmac_per_s"] for row in rows) / 3, 2 * max(compute.values(), default=1.0))
        axes.grid(color="0.93", lw=0.6)
        plain_log(axes)
        legend(drawing, axes)
        content = svg(drawing)
    shown = "; ".join(
        f"{row.get('size')} {row.get('precision')} in {TITLES.get(str(row.get('runtime')), row.get('runtime'))}: "
        f"{number(row['gmac_per_s'])} of {number(row['ceiling_gmac_per_s'])} GMAC/s, {share(row.get('fraction'))}"
        for row in rows
    )
    return Figure(
        "roofline",
        "Fraction of what this machine can do",
        f"Ceilings were measured in this session, with {count(threads, 'thread')}; filled marks are int8. {shown}.",
        content,
    )


def _once(rows: Sequence[Mapping[str, Json]], fact: str) -> list[Json]:
    return list(dict.fromkeys(row.get(fact) for row in rows))


def _mark(axes: Axes, point: Point, at: float, place: int) -> None:
    shade = COLOURS[place % len(COLOURS)]
    if point.low is not None and point.high is not None:
        axes.vlines(at, point.low, point.high, color=shade, lw=1.0)
    axes.plot(
        at, point.auroc, MARKERS[place % len(MARKERS)], ls="none", ms=6.5, color=shade,
        markerfacecolor=shade if point.ours else "white", mew=1.3, label=point.name,
    )  # fmt: skip


def _front(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return, by rising cost, the pairs that are better than all cheaper ones."""
    front: list[tuple[float, float]] = []
    for cost, gain in sorted(pairs, key=lambda pair: (pair[0], -pair[1])):
        if not front or gain > front[-1][1]:
            front.append((cost, gain))
    return front
