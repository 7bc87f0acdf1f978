"""The report of a session: `report.md`, `report.html` and the drawings, a function of the session's folder alone.

What a session does not hold is said to be not measured, and why; nothing is left out without a word.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from lsemvae_edge.benchmarks.target import session as sessions
from lsemvae_edge.benchmarks.target.report_answer import answer
from lsemvae_edge.benchmarks.target.report_document import Document, Section, to_markdown
from lsemvae_edge.benchmarks.target.report_html import to_html
from lsemvae_edge.benchmarks.target.report_parts import PARTS, not_measured, repeat, undrawn
from lsemvae_edge.benchmarks.target.report_setting import machine, machine_in_full, measured_what, warnings
from lsemvae_edge.benchmarks.target.report_view import View

FIGURES = "figures"


@dataclass(frozen=True)
class Files:
    """What was written."""

    markdown: Path
    html: Path
    figures: tuple[Path, ...]


def write(session: Path, out: Path | None = None) -> Files:
    """Write the report of a session.

    Parameters
    ----------
    session : Path
        Folder of the session.
    out : Path, optional
        Folder to write to; by default the session's own.

    Raises
    ------
    BadInputError
        If the folder holds no session.
    """
    document = compose(View(sessions.read(session)))
    folder = out or session
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    drawn = []
    for figure in document.figures():
        path = folder / FIGURES / f"{figure.name}.svg"
        path.write_text(figure.svg, encoding="utf-8")
        drawn.append(path)
    markdown, html = folder / "report.md", folder / "report.html"
    markdown.write_text(to_markdown(document, lambda figure: f"{FIGURES}/{figure.name}.svg"), encoding="utf-8")
    html.write_text(to_html(document), encoding="utf-8")
    return Files(markdown, html, tuple(drawn))


def compose(view: View) -> Document:
    """Make the document of a session."""
    made = (
        ("What was measured", measured_what(view)),
        ("Before you believe a figure", chain(warnings(view), undrawn())),
        ("The answer", answer(view)),
        *((title, part(view)) for title, part in PARTS),
        ("The machine", machine_in_full(view)),
        ("Not measured", not_measured(view)),
        ("How to repeat this", repeat(view)),
    )
    sections = tuple(Section(title, blocks) for title, found in made if (blocks := tuple(found)))
    names = ", ".join(bundle["id"] for bundle in view.summary["bundles"])
    date = str(view.summary.get("date", ""))[:10]
    return Document(f"Benchmark of {names}", f"On {machine(view)}, {date}.", sections)
