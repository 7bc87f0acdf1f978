"""Writing on a page: sizes that fit, lines that break where a script may break, letters that are shaped.

Latin, Greek and Cyrillic text is broken and drawn by the PDF library as it is. Devanagari is shaped: the width of
a line is that of its joined letters, so lines are broken here, between words, and each is measured whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from fpdf import FPDF

from lsemvae_edge.language import Language
from lsemvae_edge.report import fonts

INK = (24, 28, 36)

Colour = tuple[int, ...]

_FAMILY = "NotoSans"


class Sheet:
    """One landscape A4 page, and how it is written on.

    Parameters
    ----------
    page : FPDF
        With both weights of the font.
    language : Language
        Of the page.
    shaped : bool
        Whether letters join.
    """

    def __init__(self, page: FPDF, language: Language, *, shaped: bool) -> None:
        self.page, self.language, self._shaped = page, language, shaped
        if shaped:
            # Named, not guessed: a line that begins with "ECG" would be taken for Latin and left unshaped.
            page.set_text_shaping(True, direction="ltr", script="Deva", language=language.code)

    def write(
        self,
        text: str,
        x_mm: float,
        y_mm: float,
        width_mm: float,
        size_pt: float,
        *,
        bold: bool = False,
        colour: Colour = INK,
        align: str = "L",
    ) -> None:
        """Write a text, in as many lines as it needs."""
        page = self.page
        page.set_font(_FAMILY, "B" if bold else "", size_pt)
        page.set_text_color(*colour)
        page.set_xy(x_mm, y_mm)
        if not self._shaped:
            page.multi_cell(width_mm, line_mm(size_pt), text, align=align, new_x="LEFT", new_y="NEXT")
            return
        for line in self._broken(text, width_mm):
            page.cell(width_mm, line_mm(size_pt), line, align=align, new_x="LEFT", new_y="NEXT")

    def fit(
        self,
        text: str,
        x_mm: float,
        y_mm: float,
        width_mm: float,
        height_mm: float,
        sizes_pt: tuple[float, ...],
        *,
        bold: bool = False,
        colour: Colour = INK,
    ) -> float:
        """Write in the largest size that fits and return the height used; what fits in none is cut, and says so."""
        if not text:
            return 0.0
        for size_pt in sizes_pt:
            used_mm = self._measure(text, width_mm, size_pt, bold=bold)
            if used_mm <= height_mm:
                break
        else:
            note = self.language("(in full in the JSON file)")
            words = text.split(" ")
            while used_mm > height_mm and len(words) > 1:
                words = words[: max(int(len(words) * 0.95), 1)]
                text = f"{' '.join(words)} … {note}"
                used_mm = self._measure(text, width_mm, size_pt, bold=bold)
        self.write(text, x_mm, y_mm, width_mm, size_pt, bold=bold, colour=colour)
        return used_mm

    def fit_line(self, text: str, width_mm: float, sizes_pt: tuple[float, ...], *, bold: bool = False) -> float:
        """Return the largest size in which a text needs one line, or the smallest of them."""
        for size_pt in sizes_pt:
            self.page.set_font(_FAMILY, "B" if bold else "", size_pt)
            if self.page.get_string_width(text) <= width_mm:
                return size_pt
        return sizes_pt[-1]

    def tag(
        self, text: str, x_mm: float, y_mm: float, size_pt: float, *, bold: bool = False, colour: Colour = INK
    ) -> None:
        """Write on white, so that the grid does not run through the letters."""
        page = self.page
        page.set_font(_FAMILY, "B" if bold else "", size_pt)
        page.set_fill_color(255, 255, 255)
        page.rect(x_mm - 0.4, y_mm, page.get_string_width(text) + 0.8, size_pt * 0.42, style="F")
        self.write(text, x_mm, y_mm - 0.1, 60, size_pt, bold=bold, colour=colour)

    def _measure(self, text: str, width_mm: float, size_pt: float, *, bold: bool) -> float:
        self.page.set_font(_FAMILY, "B" if bold else "", size_pt)
        if self._shaped:
            return len(self._broken(text, width_mm)) * line_mm(size_pt)
        lines = self.page.multi_cell(width_mm, line_mm(size_pt), text, align="L", dry_run=True, output="LINES")
        assert isinstance(lines, list)
        return len(lines) * line_mm(size_pt)

    def _broken(self, text: str, width_mm: float) -> list[str]:
        """Break between words; a word longer than a line alone is broken within, for it is a name or a number."""
        lines = []
        for paragraph in text.split("\n"):
            line = ""
            for word in paragraph.split(" "):
                longer = f"{line} {word}" if line else word
                if self.page.get_string_width(longer) <= width_mm:
                    line = longer
                    continue
                if line:
                    lines.append(line)
                *whole, line = self._cut(word, width_mm)
                lines += whole
            lines.append(line)
        return lines

    def _cut(self, word: str, width_mm: float) -> list[str]:
        pieces = [""]
        for cluster in _clusters(word):
            if pieces[-1] and self.page.get_string_width(pieces[-1] + cluster) > width_mm:
                pieces.append("")
            pieces[-1] += cluster
        return pieces


@contextmanager
def sheet(title: str, text: str, language: Language, created_at: datetime) -> Iterator[Sheet]:
    """Open a landscape A4 page.

    Parameters
    ----------
    title : str
        Of the document.
    text : str
        Everything that will be written beside plain Latin letters and digits: decides which glyphs are embedded.
    language : Language
    created_at : datetime
        The date that the document states.

    Raises
    ------
    FontError
        If the font is not installed or cannot write ``text``.
    """
    page = FPDF(orientation="landscape", unit="mm", format="A4")
    page.set_auto_page_break(False)
    page.set_margin(0)
    page.c_margin = 0
    page.set_title(title)
    page.set_creator("lsemvae-edge")
    page.set_creation_date(created_at)
    if language.code != "en":
        page.set_lang(language.code)
    with TemporaryDirectory(prefix="lsemvae-report-") as folder:
        for style, weight in (("", fonts.REGULAR), ("B", fonts.BOLD)):
            path = Path(folder) / f"NotoSans-{weight}.ttf"
            path.write_bytes(fonts.instance(weight, text))
            page.add_font(_FAMILY, style, path)
        page.add_page()
        yield Sheet(page, language, shaped=fonts.needs_shaping(text))


def line_mm(size_pt: float) -> float:
    """Return the distance of lines in a size."""
    return size_pt * 0.3528 * 1.32


def _clusters(word: str) -> list[str]:
    """Split a word where letters do not join."""
    clusters: list[str] = []
    for char in word:
        joins = clusters and (fonts.joins_before(char) or clusters[-1][-1] == fonts.VIRAMA)
        if joins:
            clusters[-1] += char
        else:
            clusters.append(char)
    return clusters
