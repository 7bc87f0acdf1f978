"""Study ids: typed or scanned, brought to one form, and guarded by a check character.

The check character is that of ISO 7064 Mod 37,36 (letters and digits). It finds every single wrong character, and of
neighbours that changed places all but one pair of 630: that pair is known beforehand, so `make` gives out no id in
which it could happen. A hyphen is for the eye; it does not count.
"""

import re
import unicodedata
from itertools import pairwise

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.language import mark

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEPARATOR = "-"
MAX_LENGTH = 64
"""No id is longer, whatever a site's pattern allows."""

EMPTY = mark("The study id is empty.")
TOO_LONG = mark("The study id is too long.")
FOREIGN = mark("The study id holds a character that is neither a letter, a digit nor a hyphen.")
OTHER_FORM = mark("The study id does not have the form that this site uses.")
WRONG_CHECK = mark("The study id's check character does not fit, so a character of it is wrong.")
BLIND = "Two neighbours of this id could change places unnoticed."
TYPE_OR_SCAN = mark("Type or scan the study id.")
AGAIN = mark("Type it again from the card, or scan it again.")
CARD = mark("Check that this is a study card of this site, then type or scan it again.")

_M = len(ALPHABET)
# "]Q1" and the like: what a reader may send first to say which kind of code it read (ISO/IEC 15424).
_SYMBOLOGY = re.compile(r"\][A-Za-z][0-9A-Za-z]")
# Where the remainder of one neighbour is 18 and of the other 19, changing places goes unnoticed.
_BLIND = frozenset({_M // 2, _M // 2 + 1})


def normalise(text: str) -> str:
    """Bring what was typed or scanned to one form: capitals, ASCII digits, nothing that a reader adds.

    Parameters
    ----------
    text : str
        May begin with a reader's symbology identifier, end with its Enter, and hold digits of another script.
    """
    plain = "".join(_ascii_digit(character) for character in unicodedata.normalize("NFKC", text))
    plain = _SYMBOLOGY.sub("", _stripped(plain), count=1) if _SYMBOLOGY.match(_stripped(plain)) else plain
    return _stripped(plain).upper()


def check_character(text: str) -> str:
    """Return the check character that belongs behind a text.

    Parameters
    ----------
    text : str
        Normalised; without its check character.

    Raises
    ------
    BadInputError
        If it is empty, or holds anything but letters, digits and hyphens.
    """
    return ALPHABET[(1 - _product(text)) % _M]


def checked(text: str, pattern: str, with_check: bool) -> str:
    """Return the normalised study id if it keeps the site's rules.

    Parameters
    ----------
    text : str
        As typed or scanned.
    pattern : str
        Regular expression that the whole normalised id, its check character included, must match.
    with_check : bool
        The last character is its check character.

    Raises
    ------
    BadInputError
        Says which rule was broken, and never repeats the id: messages may be logged.
    """
    found = normalise(text)
    if not found:
        raise BadInputError(EMPTY, TYPE_OR_SCAN)
    if len(found) > MAX_LENGTH:
        raise BadInputError(TOO_LONG, CARD)
    if any(character not in ALPHABET and character != SEPARATOR for character in found):
        raise BadInputError(FOREIGN, AGAIN)
    if with_check and (len(_counted(found)) < 2 or check_character(found[:-1]) != found[-1]):
        raise BadInputError(WRONG_CHECK, AGAIN)
    if not re.fullmatch(pattern, found):
        raise BadInputError(OTHER_FORM, CARD)
    return found


def make(stem: str) -> str:
    """Return a study id to give out: the stem and its check character.

    Parameters
    ----------
    stem : str
        Such as a site's letters and a number.

    Raises
    ------
    BadInputError
        If the stem cannot be one; also if two neighbours of the id could change places without being noticed, as
        about one numbered stem of fifty: take the next number.
    """
    plain = normalise(stem)
    made = plain + check_character(plain)
    if len(made) > MAX_LENGTH:
        raise BadInputError(TOO_LONG, "Choose a shorter stem.")
    if has_blind_pair(made):
        raise BadInputError(BLIND, "Take the next number.")
    return made


def has_blind_pair(text: str) -> bool:
    """Whether two unlike neighbours of an id could change places and the check character still fit."""
    counted = _counted(text)
    product = _M
    for here, there in pairwise(counted):
        pair = {_remainder(product, here), _remainder(product, there)}
        if pair == _BLIND:
            return True
        product = 2 * _remainder(product, here) % (_M + 1)
    return False


def _product(text: str) -> int:
    counted = _counted(text)
    if not counted:
        raise BadInputError(EMPTY, TYPE_OR_SCAN)
    product = _M
    for character in counted:
        product = 2 * _remainder(product, character) % (_M + 1)
    return product


def _remainder(product: int, character: str) -> int:
    """Sum modulo 36, where 36 stands for 0."""
    value = ALPHABET.find(character)
    if value < 0:
        raise BadInputError(FOREIGN, AGAIN)
    return (product + value) % _M or _M


def _counted(text: str) -> str:
    return text.replace(SEPARATOR, "")


def _stripped(text: str) -> str:
    """Cut off blanks and control characters, which readers send around a code."""
    start, stop = 0, len(text)
    while start < stop and _is_around(text[start]):
        start += 1
    while stop > start and _is_around(text[stop - 1]):
        stop -= 1
    return text[start:stop]


def _is_around(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _ascii_digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)
