"""The languages of everything people read: page, paper and terminal.

What the toolkit says is written in English and kept in English, also in stored results; it is put into another language
when it is shown. A sentence is translated whole. One that was filled in, such as "Record 4 more seconds.", is found
again by its template, ``"Record {n} more seconds."``, and what was filled in is translated in turn.
"""

import gettext
import re
from functools import lru_cache
from pathlib import Path

LANGUAGES = {"en": "English", "ne": "नेपाली", "hi": "हिन्दी", "es": "Español", "fr": "Français"}
"""Codes, and how each language calls itself."""
REVIEWED = frozenset({"en"})
"""Languages whose translation a speaker has reviewed; others show outcome and advice in English as well."""
DOMAIN = "lsemvae_edge"
FOLDER = Path(__file__).parent / "locale"


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
        """Translate a whole English sentence, also one that was filled in; what is not known stays English."""
        if self.code == "en" or not text:
            return text
        known = self._catalogue.gettext(text)
        if known != text:
            return known
        for pattern, template in self._templates():
            if found := pattern.fullmatch(text):
                values = {name: self.sentence(value) for name, value in found.groupdict().items()}
                return self._catalogue.gettext(template).format(**values)
        return text

    @property
    def strings(self) -> dict[str, str]:
        """All strings of the catalogue, English to this language, for the page; empty for English."""
        return {key: value for key, value in self._known().items() if isinstance(key, str) and key}

    def _known(self) -> dict[str, str]:
        return getattr(self._catalogue, "_catalog", {})

    def _templates(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        return _templates(self.code)


@lru_cache(maxsize=len(LANGUAGES))
def get(code: str) -> Language:
    """Return a language, English if there is no such one here."""
    return Language(code if code in LANGUAGES else "en")


@lru_cache(maxsize=len(LANGUAGES))
def _templates(code: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Patterns of the strings with fields; those that say most of their own come first."""
    made = []
    for text in get(code).strings:
        parts = re.split(r"\{(\w+)\}", text)
        if len(parts) > 1:
            seen: set[str] = set()
            pattern = ""
            for at, part in enumerate(parts):
                if at % 2 == 0:
                    pattern += re.escape(part)
                else:
                    pattern += f"(?P={part})" if part in seen else f"(?P<{part}>.+?)"
                    seen.add(part)
            own = sum(len(part) for part in parts[::2])
            made.append((own, re.compile(pattern, re.DOTALL), text))
    made.sort(key=lambda entry: -entry[0])
    return tuple((pattern, text) for _, pattern, text in made)
