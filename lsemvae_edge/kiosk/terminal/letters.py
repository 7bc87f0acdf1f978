"""Large letters made of half blocks, for what must be read from a metre away: the id, the time, the attempt."""

_DOTS = {
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e", "4": "02060a121f0202",
    "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c",
    "A": "0e1111111f1111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1c12111111121c", "E": "1f10101e10101f",
    "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111", "I": "0e04040404040e", "J": "0702020202120c",
    "K": "11121418141211", "L": "1010101010101f", "M": "111b1515111111", "N": "11111915131111", "O": "0e11111111110e",
    "P": "1e11111e101010", "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "1111111515150a", "X": "11110a040a1111", "Y": "1111110a040404",
    "Z": "1f01020408101f", "-": "0000001f000000", ":": "000c0c000c0c00", "/": "00010204081000", ".": "00000000000c0c",
    " ": "00000000000000",
}  # fmt: skip
"""Seven rows of five dots, each row as a hexadecimal byte."""
COLUMNS, ROWS = 6, 4
"""Cells that one letter takes, the space behind it included."""
_CELLS = " ▄▀█"


def large(text: str, width: int) -> list[str]:
    """Return ``text`` in large letters; one bold line with wide spaces if that does not fit or has other letters.

    Parameters
    ----------
    text : str
    width : int
        In cells.

    Returns
    -------
    list of str
        `ROWS` lines, or one.
    """
    if COLUMNS * len(text) > width or set(text) - set(_DOTS):
        return [" ".join(text) if 2 * len(text) <= width else text]
    glyphs = [bytes.fromhex(_DOTS[letter]) + b"\0" for letter in text]
    lines = []
    for row in range(0, 2 * ROWS, 2):
        cells = (
            _CELLS[2 * (glyph[row] >> dot & 1) + (glyph[row + 1] >> dot & 1)]
            for glyph in glyphs
            for dot in (4, 3, 2, 1, 0, 7)
        )
        lines.append("".join(cells))
    return lines
