"""The languages of everything people read: page, paper and terminal.

What the toolkit says is written in English and kept in English, also in stored results; it is put into another language
when it is shown. A sentence is translated whole. One that was filled in, such as "Record 4 more seconds.", is found
again by its template, ``"Record {n} more seconds."``, and what was filled in is translated in turn. Sentences that
stand one after another are translated one by one.
"""

import gettext
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

LANGUAGES = {"en": "English", "ne": "नेपाली", "hi": "हिन्दी", "es": "Español", "fr": "Français"}
"""Codes, and how each language calls itself."""
REVIEWED = frozenset({"en"})
"""Languages whose translation a speaker has reviewed; others show outcome and advice in English as well."""
DOMAIN = "lsemvae_edge"
FOLDER = Path(__file__).parent / "locale"

_FIELD = re.compile(r"\{(\w+)\}")
_SENTENCE_END = re.compile(r"(?<=[.?!…]) (?=\S)")
_MIN_OWN_LETTERS = 8
"""So much a template must say itself, lest "{it} cannot {what}." be found in sentences that nobody translated."""


def mark(text: str) -> str:
    """Return ``text`` as it is; it marks a string for the catalogues where it is defined."""
    return text


class Language:
    """One language.

    Parameters
    ----------
    code : str
        Of `LANGUAGES`.

    Raises
    ------
    KeyError
        If the package does not have it.
    """

    def __init__(self, code: str) -> None:
        self.code, self.name = code, LANGUAGES[code]
        self.is_reviewed = code in REVIEWED
        self._catalogue: gettext.NullTranslations = gettext.NullTranslations()
        if code != "en":
            self._catalogue = gettext.translation(DOMAIN, FOLDER, [code])

    def __call__(self, text: str, /, **values: object) -> str:
        """Translate a string of the catalogues, then fill it in."""
        translated = self._catalogue.gettext(text) if text else ""
        return translated.format(**values) if values else translated

    def sentence(self, text: str) -> str:
        """Translate whole English sentences, also filled-in ones; where one of them is not known, all stay English."""
        if self.code == "en" or not text:
            return text
        return self._found(text) or text

    @property
    def strings(self) -> dict[str, str]:
        """All strings of the catalogue, English to this language, for the page; empty for English."""
        return {key: value for key, value in self._known().items() if isinstance(key, str) and key}

    def _known(self) -> dict[str, str]:
        return getattr(self._catalogue, "_catalog", {})

    def _found(self, text: str) -> str | None:
        if known := self._known().get(text):
            return known
        loose = None
        for template in _templates(self.code):
            if template.core not in text:
                continue
            if found := template.pattern.fullmatch(text):
                values = found.groupdict()
                if not any(_SENTENCE_END.search(value) for value in values.values()):
                    return self._filled(template.text, values)
                loose = loose or (template.text, values)
        return self._one_by_one(text) or (self._filled(*loose) if loose else None)

    def _one_by_one(self, text: str) -> str | None:
        # The longest beginning first: what was translated as one text may be two sentences.
        for end in reversed([found.start() for found in _SENTENCE_END.finditer(text)]):
            if (first := self._found(text[:end])) and (rest := self._found(text[end + 1 :])):
                return f"{first} {rest}"
        return None

    def _filled(self, template: str, values: dict[str, str]) -> str:
        told = {name: self.sentence(value) for name, value in values.items()}
        return self._catalogue.gettext(template).format(**told)


@lru_cache(maxsize=len(LANGUAGES))
def get(code: str) -> Language:
    """Return a language, English if there is no such one here."""
    return Language(code if code in LANGUAGES else "en")


def can_be_found(text: str) -> bool:
    """Return whether a filled-in sentence can be told by its template: whether that says enough itself."""
    return len(re.findall(r"[^\W\d_]", _FIELD.sub("", text))) >= _MIN_OWN_LETTERS


class _Template(NamedTuple):
    text: str
    core: str
    """Longest piece without a field: where a sentence lacks it, the pattern need not be tried."""
    pattern: re.Pattern[str]


@lru_cache(maxsize=len(LANGUAGES))
def _templates(code: str) -> tuple[_Template, ...]:
    """Return the strings with fields; those that say most of their own come first."""
    with_fields = [text for text in get(code).strings if _FIELD.search(text) and can_be_found(text)]
    with_fields.sort(key=lambda text: (-len(_FIELD.sub("", text)), text))
    return tuple(
        _Template(text, max(_FIELD.sub("\0", text).split("\0"), key=len), _pattern(text)) for text in with_fields
    )


def _pattern(text: str) -> re.Pattern[str]:
    seen: set[str] = set()
    pattern = ""
    for at, part in enumerate(_FIELD.split(text)):
        if at % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>.+?)"
            seen.add(part)
    return re.compile(pattern, re.DOTALL)
