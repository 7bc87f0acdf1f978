"""The report's typeface: Noto Sans, from its pinned package, cut down to the characters a page needs.

The package holds one variable font of 4500 glyphs, Devanagari among them. Fixing its weight takes seconds for the
whole font and a tenth of a second after it was cut down, so that comes first. Of Devanagari, whatever its letters
can turn into when they join is kept as well.
"""

import unicodedata
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from lsemvae_edge.errors import LsemvaeError

REGULAR, BOLD = 400, 700

_BASE = frozenset(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x100)])) | frozenset("–—‘’“”•…−·")


_DEVANAGARI = range(0x0900, 0x0980)
VIRAMA = "\u094d"
"""Sign that binds a consonant to the next."""
_STEERING = frozenset("\u200c\u200d")
"""Invisible characters that choose between forms of joined letters."""
_SHAPING = [
    *("ccmp", "locl", "nukt", "akhn", "rphf", "rkrf", "blwf", "half", "cjct", "pres", "abvs", "blws", "psts", "liga"),
    *("dist", "abvm", "blwm"),
]
"""Features of the font that Devanagari needs; kerning of other scripts would cost seconds."""


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
    characters = (_BASE & _writable()) | {char for char in text if char.isprintable()}
    if needs_shaping(text):
        characters |= _writable() & (frozenset(map(chr, _DEVANAGARI)) | _STEERING)
    return _instance(weight, characters)


def spell_missing(text: str) -> str:
    """Write characters the font lacks by their number, for names that come from a file or a device."""
    known = _writable()
    return "".join(char if char in known or not char.isprintable() else f"<U+{ord(char):04X}>" for char in text)


def needs_shaping(text: str) -> bool:
    """Return whether letters of a text join."""
    return any(ord(char) in _DEVANAGARI for char in text)


def joins_before(char: str) -> bool:
    """Return whether a character is written onto the one before it."""
    return unicodedata.category(char) in ("Mn", "Mc", "Cf")


def path() -> Path:
    """Return where the variable font lies."""
    try:
        import fontpkg_noto_sans
    except ImportError as error:
        raise FontError("The report's font, Noto Sans, is not installed.") from error
    file = Path(fontpkg_noto_sans.ROOT) / "files" / "NotoSans[wdth,wght].ttf"
    if not file.is_file():
        raise FontError(f"The report's font is not where its package should have it: {file}.")
    return file


@lru_cache(maxsize=1)
def _writable() -> frozenset[str]:
    from fontTools.ttLib import TTFont

    with TTFont(path(), lazy=True) as font:
        # Of the scripts that need shaping, pages are shaped for Devanagari: wrong letters are worse than none.
        return frozenset(
            chr(code) for code in font.getBestCmap() if code < 0x530 or code in _DEVANAGARI or 0x1E00 <= code < 0x2C00
        )


@lru_cache(maxsize=8)
def _instance(weight: int, characters: frozenset[str]) -> bytes:
    from fontTools import subset
    from fontTools.ttLib import TTFont
    from fontTools.varLib import instancer

    missing = sorted(characters - _writable())
    if missing:
        raise FontError(
            f"The report's font cannot write {' '.join(missing[:5])!r}.",
            "Choose a language in Latin, Greek, Cyrillic or Devanagari letters for reports.",
        )
    options = subset.Options()
    options.layout_features = _SHAPING if needs_shaping("".join(characters)) else ["kern"]
    options.hinting = False
    options.notdef_outline = True
    options.drop_tables += ["STAT"]
    with TTFont(path(), lazy=True, recalcTimestamp=False) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=[ord(char) for char in characters])
        subsetter.subset(font)
        instancer.instantiateVariableFont(font, {"wght": weight, "wdth": 100}, inplace=True)
        out = BytesIO()
        font.save(out)
    return out.getvalue()
