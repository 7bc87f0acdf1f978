"""Badges for a README: small SVG files with the figures of a session, which need no service to be drawn.

Each names the kind of machine beside its figure: a latency without one means nothing.
"""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from lsemvae_edge.benchmarks.target.report_answer import LINES, Line, default_case
from lsemvae_edge.benchmarks.target.report_setting import kind
from lsemvae_edge.benchmarks.target.report_view import View, label, quantity, size, value
from lsemvae_edge.errors import BadInputError

HEIGHT, MARGIN, FONT_SIZE = 20, 7, 11
NAME_FILL, FIGURE_FILL = "#3d4451", "#0059a0"
NARROW, WIDE = "fijlrtI.,:;|!'()[] ·", "mwMW@%"


@dataclass(frozen=True)
class Badge:
    """A name and its figure."""

    file: str
    name: str
    figure: str


def badges(view: View) -> list[Badge]:
    """Return the badges of a session: a figure of the default runtime each, as in the report's answer.

    Raises
    ------
    BadInputError
        If the session holds none of these figures.
    """
    found = [badge for line in LINES if (badge := _badge(view, line)) is not None]
    if not found:
        raise BadInputError(
            "The session holds no figure for a badge.", "Measure first: lsemvae-edge bench report, or bench latency."
        )
    return found


def write(view: View, folder: Path) -> list[Path]:
    """Write every badge of a session as a file, and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for badge in badges(view):
        path = folder / f"{badge.file}.svg"
        path.write_text(draw(badge), encoding="utf-8")
        written.append(path)
    return written


def draw(badge: Badge) -> str:
    """Draw a badge.

    Whatever font a reader has, ``textLength`` makes the text as wide as its field.
    """
    left, right = (round(_width(text)) for text in (badge.name, badge.figure))
    split = left + 2 * MARGIN
    total = split + right + 2 * MARGIN
    whole = escape(f"{badge.name}: {badge.figure}")
    texts = "".join(
        f'<text x="{x}" y="14" textLength="{length}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        for x, length, text in ((MARGIN, left, badge.name), (split + MARGIN, right, badge.figure))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{HEIGHT}" viewBox="0 0 {total} {HEIGHT}" '
        f'role="img" aria-label="{whole}"><title>{whole}</title>'
        f'<clipPath id="r"><rect width="{total}" height="{HEIGHT}" rx="3"/></clipPath><g clip-path="url(#r)">'
        f'<rect width="{split}" height="{HEIGHT}" fill="{NAME_FILL}"/>'
        f'<rect x="{split}" width="{total - split}" height="{HEIGHT}" fill="{FIGURE_FILL}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="{FONT_SIZE}">'
        f"{texts}</g></svg>\n"
    )


def _badge(view: View, line: Line) -> Badge | None:
    case = default_case(view, line)
    if case is None:
        return None
    runtime = label(case, [case])
    if line.metric.endswith("_bytes"):
        # A size is the same on every machine.
        return Badge(line.badge.replace(" ", "-"), line.badge, f"{size(case['facts'][line.metric])} · {runtime}")
    figure = quantity(value(case, line.metric), line.metric)
    return Badge(line.badge.replace(" ", "-"), f"{line.badge} p50", f"{figure} · {runtime} · {kind(view)}")


def _width(text: str) -> float:
    """Estimate a width in pixels at `FONT_SIZE`; a little off does no harm, for the text is fitted to it."""
    return sum(4.2 if sign in NARROW else 10.2 if sign in WIDE else 6.9 for sign in text)
