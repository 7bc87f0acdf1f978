"""The report's typeface: Noto Sans, from its pinned package, cut down to the characters a page needs.

The package holds one variable font of 4500 glyphs. Fixing its weight takes seconds for the whole font and a
tenth of a second after it was cut down, so that comes first.
"""

from functools import lru_cache
from io import BytesIO
from pathlib import Path

from lsemvae_edge.errors import LsemvaeError

REGULAR, BOLD = 400, 700

_BASE = frozenset(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x100)])) | frozenset("–—‘’“”•…−·")


class FontError(LsemvaeError):
    """The report's typeface is missing, or cannot write a text."""

    default_next_step = "Install it: pip install fontpkg-noto-sans==2.15"


def instance(weight: int, text: str) -> bytes:
    """Return a TrueType font of one weight that can write ``text``.

    Raises
    ------
    FontError
        If the package with the font is not installed, or the font lacks a character; a page never shows boxes.
    """
    return _instance(weight, (_BASE & _writable()) | {char for char in text if char.isprintable()})


def spell_missing(text: str) -> str:
    """Write characters the font lacks by their number, for names that come from a file or a device."""
    known = _writable()
    return "".join(char if char in known or not char.isprintable() else f"<U+{ord(char):04X}>" for char in text)


def _font_path() -> Path:
    try:
        import fontpkg_noto_sans
    except ImportError as error:
        raise FontError("The report's font, Noto Sans, is not installed.") from error
    path = Path(fontpkg_noto_sans.ROOT) / "files" / "NotoSans[wdth,wght].ttf"
    if not path.is_file():
        raise FontError(f"The report's font is not where its package should have it: {path}.")
    return path


@lru_cache(maxsize=1)
def _writable() -> frozenset[str]:
    from fontTools.ttLib import TTFont

    with TTFont(_font_path(), lazy=True) as font:
        # Scripts that need shaping are left out until pages are shaped: wrong letters are worse than none.
        return frozenset(chr(code) for code in font.getBestCmap() if code < 0x530 or 0x1E00 <= code < 0x2C00)


@lru_cache(maxsize=8)
def _instance(weight: int, characters: frozenset[str]) -> bytes:
    from fontTools import subset
    from fontTools.ttLib import TTFont
    from fontTools.varLib import instancer

    path = _font_path()
    missing = sorted(characters - _writable())
    if missing:
        raise FontError(
            f"The report's font cannot write {' '.join(missing[:5])!r}.",
            "Choose a language in Latin, Greek or Cyrillic letters for reports.",
        )
    options = subset.Options()
    options.layout_features = ["kern"]
    options.hinting = False
    options.notdef_outline = True
    options.drop_tables += ["STAT"]
    with TTFont(path, lazy=True, recalcTimestamp=False) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=[ord(char) for char in characters])
        subsetter.subset(font)
        instancer.instantiateVariableFont(font, {"wght": weight, "wdth": 100}, inplace=True)
        out = BytesIO()
        font.save(out)
    return out.getvalue()
