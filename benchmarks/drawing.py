"""What all figures share: colours, style, panels, legends, and writing PNG and SVG.

Colours are those of Okabe and Ito, which any colour vision tells apart; line styles differ beside them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsemvae_edge.errors import BadInputError

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

Files = tuple[Path, Path]


@dataclass(frozen=True)
class Look:
    """How one series is drawn."""

    colour: str
    line: Any
    marker: str


def save(figure: Figure, folder: Path, name: str) -> Files:
    """Write a figure as PNG and SVG, without dates or versions, so that the same numbers give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg


def need(things: Any) -> None:
    """Refuse to draw nothing."""
    if not len(things):
        raise BadInputError("There is nothing to draw.", "Run the models first, or give ten positives or more.")


def grid(n: int, height_in: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels, three in a row."""
    columns = min(n, 3)
    rows = -(-n // columns)
    figure = Figure((WIDTH_IN * max(columns, 2) / 3, height_in * rows + 0.3), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in panels[n:]:
        unused.set_axis_off()
    return figure, panels[:n]


def looks(n: int) -> list[Look]:
    """Return colour, line and marker of each of several series."""
    return [
        Look(
            COLOURS[index % len(COLOURS)],
            STYLES[(index + index // len(COLOURS)) % len(STYLES)],
            MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        )
        for index in range(n)
    ]


def legend_once(figure: Figure, axes: Axes) -> None:
    """Put a legend below, in which each label stands once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    widest = max(len(label) for label in once)
    columns = max(1, min(len(once), 100 // (widest + 7)))
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=columns)
