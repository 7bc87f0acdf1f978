"""A report as one HTML file: no script, nothing fetched, drawings inside; for desk, phone, paper and screen reader."""

import re
from html import escape
from xml.etree import ElementTree

from lsemvae_edge.benchmarks.target.report_document import (
    Block,
    Code,
    Document,
    Figure,
    Items,
    NotMeasured,
    Section,
    Table,
    Text,
)

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing may be fetched, and no script may run, whatever a session's strings hold."""

CSS = """
:root { --ink: #1a1a1a; --quiet: #595959; --line: #d4d4d4; --band: #f5f6f8; --accent: #0059a0; --warn: #7a4100; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 60rem; background: #fff; color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .3rem; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-top: .9rem; border-top: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 44rem; overflow-wrap: anywhere; }
.subtitle, figcaption, .missing { color: var(--quiet); }
nav ol { list-style: none; margin: 1.2rem 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
a { color: var(--accent); text-underline-offset: .15em; }
ul { padding-left: 1.2rem; margin: .6rem 0; max-width: 44rem; overflow-wrap: anywhere; }
ul.warning { list-style: none; padding: .7rem 1rem; border-left: .3rem solid #e69f00; background: #fff8e8; }
ul.warning li + li { margin-top: .4rem; }
ul.warning li::before { content: "Note: "; font-weight: 600; color: var(--warn); }
.missing { border-left: .3rem solid var(--line); padding-left: .8rem; }
pre { padding: .8rem 1rem; background: var(--band); overflow-x: auto; font-size: .875rem; }
figure { margin: 1.5rem 0; max-width: 36rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .875rem; margin-top: .4rem; }
figcaption b { color: var(--ink); }
.scroll { overflow-x: auto; margin: 1.1rem 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; line-height: 1.4; }
table { min-width: min(100%, 24rem); }
caption { text-align: left; font-weight: 600; padding: 0 0 .4rem; }
caption span { display: block; position: sticky; left: 0; max-width: calc(100vw - 2.5rem); }
th, td { padding: .32rem .9rem .32rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e6e6e6; }
thead th { border-bottom: 1.5px solid #8a8a8a; font-weight: 600; color: var(--quiet); vertical-align: bottom; }
tbody th { font-weight: 500; }
tbody th, td { overflow-wrap: break-word; max-width: 26rem; }
.number { text-align: right; }
td.number { white-space: nowrap; }
thead th.number { min-width: 4.2em; }
table.cards tbody th { white-space: nowrap; }
table.cards tbody td.first { font-weight: 700; font-size: 1rem; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .875rem; }
@media (max-width: 40rem) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.4rem; }
  h2 { font-size: 1.15rem; margin-top: 2rem; }
  .scroll tbody th { position: sticky; left: 0; background: #fff; min-width: 6.5rem; max-width: 9rem; }
  table.cards, table.cards tbody, table.cards tr, table.cards caption { display: block; }
  table.cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.cards tr { border: 1px solid var(--line); padding: .5rem .8rem; margin-bottom: .6rem; }
  table.cards tbody th { display: block; max-width: none; white-space: normal; border: 0; padding: 0 0 .2rem;
    font-weight: 600; }
  table.cards td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .1rem 0;
    white-space: normal; text-align: right; max-width: none; }
  table.cards td::before { content: attr(data-label); color: var(--quiet); text-align: left; flex: none;
    max-width: 55%; }
}
@media print {
  @page { margin: 16mm 14mm; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  nav { display: none; }
  h2 { break-after: avoid; border-top-color: #999; }
  figure, tr, .missing, ul.warning { break-inside: avoid; }
  figure { max-width: 150mm; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; width: 100%; }
  thead { display: table-header-group; }
  td.number { white-space: normal; }
  thead th.number { min-width: 0; }
  a { color: inherit; text-decoration: none; }
  ul.warning { background: none; }
}
"""


def to_html(document: Document) -> str:
    """Write a document as one HTML file."""
    contents = "".join(f'<li><a href="#{one.slug}">{escape(one.title)}</a></li>' for one in document.sections)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(document.title)}</title>",
            f"<style>{CSS}</style>\n</head>\n<body>\n<header>\n<h1>{escape(document.title)}</h1>",
            f'<p class="subtitle">{escape(document.subtitle)}</p>\n</header>',
            f'<nav aria-label="Contents"><ol>{contents}</ol></nav>\n<main>',
            *(_section(section) for section in document.sections),
            "</main>\n</body>\n</html>\n",
        ]
    )


def inline(figure: Figure) -> str:
    """Make a drawing part of a page: scalable, with title and description, and with ids of its own.

    Ids of all drawings of a page share one name space, and matplotlib gives every drawing the same ones.
    """
    for prefix, space in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, space)
    root = ElementTree.fromstring(figure.svg)  # noqa: S314 - written by our own plots
    for child in [one for one in root if one.tag == f"{{{SVG}}}metadata"]:
        root.remove(child)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{figure.name}-{value}")
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{figure.name}-{value[1:]}")
            else:
                element.set(key, re.sub(r"url\(#", f"url(#{figure.name}-", value))
    for place, (name, text) in enumerate((("title", figure.title), ("desc", figure.description))):
        told = ElementTree.Element(f"{{{SVG}}}{name}", {"id": f"{figure.name}-{name}"})
        told.text = text
        root.insert(place, told)
    root.set("role", "img")
    root.set("aria-labelledby", f"{figure.name}-title {figure.name}-desc")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return (
        f'<section aria-labelledby="{section.slug}">\n<h2 id="{section.slug}">{escape(section.title)}</h2>\n'
        f"{blocks}\n</section>"
    )


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Items(items, warning):
            kind = ' class="warning"' if warning else ""
            return f"<ul{kind}>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Code(text):
            return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
        case NotMeasured():
            return f'<p class="missing">{escape(str(block))}</p>'
        case Figure():
            caption = f"<b>{escape(block.title)}.</b> {escape(block.description)}"
            return f"<figure>{inline(block)}<figcaption>{caption}</figcaption></figure>"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    numeric = [table.numeric(column) for column in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{_kind("number" if number else "")}>{escape(name)}</th>'
        for name, number in zip(table.columns, numeric, strict=True)
    )
    body = "\n".join(_row(table, row, numeric) for row in table.rows)
    cards = _kind("cards" if table.cards else "")
    return (
        # Focusable, so that a keyboard can scroll what is wider than the screen.
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table{cards}>'
        f"<caption><span>{escape(table.caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _row(table: Table, row: tuple[str, ...], numeric: list[bool]) -> str:
    first, *others = row
    cells = [f'<th scope="row">{escape(first)}</th>']
    for place, (name, cell, number) in enumerate(zip(table.columns[1:], others, numeric[1:], strict=True)):
        kind = _kind(*(["number"] if number else []), *(["first"] if place == 0 else []))
        cells.append(f'<td{kind} data-label="{escape(name)}">{escape(cell)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _kind(*names: str) -> str:
    shown = " ".join(name for name in names if name)
    return f' class="{shown}"' if shown else ""
