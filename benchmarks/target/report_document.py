"""What a report is made of, apart from how it is written: sections of text, tables and figures; and its Markdown."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"[-−+]?[\d.,]+([^\d.,\w]|$|\s|×)")
"""A cell that begins with a number; columns of such cells are set to the right."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list; ``warning`` marks what a reader must know before he believes a figure."""

    items: tuple[str, ...]
    warning: bool = False


@dataclass(frozen=True)
class Code:
    """Lines to type."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of strings; the first cell of a row names it.

    ``cards`` asks that a narrow screen shows each row as a card instead of a table to be scrolled.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    cards: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.caption}: a row of {len(row)} cells under {len(self.columns)} columns")

    def numeric(self, column: int) -> bool:
        """Return whether a column holds numbers, and nothing else but dashes."""
        return column > 0 and all(NUMBER.match(row[column]) or row[column] in ("", DASH) for row in self.rows)


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG; ``description`` says in words what it shows, for those who do not see it."""

    name: str
    title: str
    description: str
    svg: str


@dataclass(frozen=True)
class NotMeasured:
    """What is missing, and why."""

    what: str
    reason: str
    state: str = "not measured"

    def __str__(self) -> str:
        return f"{self.what}: {self.state}: {self.reason}"


Block = Text | Items | Code | Table | Figure | NotMeasured
DASH = "–"


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; the anchor of its title is `slug`."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def slug(self) -> str:
        """The title as a fragment of an address."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A report."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def figures(self) -> Iterator[Figure]:
        """Return the drawings, in their order."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, Figure))


def to_markdown(document: Document, figure_path: Callable[[Figure], str]) -> str:
    """Write a document as Markdown, its figures as links.

    Parameters
    ----------
    document : Document
    figure_path : callable
        From a figure to where its file lies, seen from the Markdown file.
    """
    lines = [f"# {_plain(document.title)}", _plain(document.subtitle)]
    for section in document.sections:
        lines.append(f"## {_plain(section.title)}")
        lines += [block_to_markdown(block, figure_path) for block in section.blocks]
    return "\n\n".join(lines) + "\n"


def block_to_markdown(block: Block, figure_path: Callable[[Figure], str] = lambda figure: figure.name) -> str:
    """Write one block as Markdown."""
    match block:
        case Text(text):
            return _plain(text)
        case Items(items, warning):
            mark = "**Note:** " if warning else ""
            return "\n".join(f"- {mark}{_plain(item)}" for item in items)
        case Code(text):
            return f"```text\n{text}\n```"
        case Figure():
            alternative = _plain(f"{block.title}. {block.description}")
            return f"![{alternative}]({figure_path(block)})\n\n*{_plain(block.title)}.* {_plain(block.description)}"
        case NotMeasured():
            return f"*{_plain(str(block))}*"
        case Table():
            return _markdown_table(block)


def _markdown_table(table: Table) -> str:
    rule = ["---:" if table.numeric(column) else "---" for column in range(len(table.columns))]
    rows: Sequence[Sequence[str]] = [table.columns, *table.rows]
    head, *body = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join([f"*{_plain(table.caption)}*", "", head, "|" + "|".join(rule) + "|", *body])


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|") or DASH


def _plain(text: str) -> str:
    """Keep a text from being read as markup, and on one line."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(text.split()))
