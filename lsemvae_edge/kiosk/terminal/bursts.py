"""What a barcode reader types arrives whole, or not at all: a part of a study id may be another person's.

What is typed belongs to the place that took its first character. If none did, or if that place goes away meanwhile, all
of it is dropped, up to a pause; `static/keys.js` does the same for the page.
"""

import math
from typing import Literal

READER_S = 0.08
"""A reader types a character every few milliseconds and ends with Enter; nobody types so fast."""
PAUSE_S = 0.5
"""Nobody types anything any more after so long without a key: slow readers and people pause less within an id."""
HAND_S, HAND_KEYS = 0.03, 3
"""No hand types so many keys of a PIN that close to each other."""

Verdict = Literal["take", "drop", "early", "reader"]
"""A dropped character is ``early`` or ``reader`` when that must be said, and what the place holds be cleared: it came
before the place was there, or from a reader where a PIN is asked for."""


class Bursts:
    """Judges one key after another."""

    def __init__(self) -> None:
        self._owner: str | None = None
        self._last_s = -math.inf
        self._pause_s = PAUSE_S
        self._n_fast = 0
        self._is_lost = False

    def character(self, character: str, place: str | None, at_s: float, *, is_secret: bool = False) -> Verdict:
        """Judge a character.

        Parameters
        ----------
        character : str
        place : str or None
            What takes characters now; None if nothing does.
        at_s : float
            When the key was pressed, on a monotonic clock.
        is_secret : bool
            The place asks for a PIN.
        """
        gap_s, self._last_s = at_s - self._last_s, at_s
        if gap_s >= self._pause_s:
            self._owner, self._n_fast, self._is_lost = place, 1, place is None
        else:
            self._n_fast = self._n_fast + 1 if gap_s < HAND_S else 1
            if place != self._owner:
                self._owner = place
                return self._lost("early" if place else "drop")
        self._pause_s = PAUSE_S
        if self._is_lost:
            return "drop"
        if is_secret and (self._n_fast >= HAND_KEYS or not ("0" <= character <= "9")):
            return self._lost("reader")
        return "take"

    def enter(self, place: str | None, at_s: float) -> bool:
        """Return whether an Enter counts: one that ends what was dropped does not."""
        if at_s - self._last_s >= self._pause_s:
            return True
        if self._is_lost or place != self._owner:
            return False
        # That is the end of it; what comes at once behind it belongs to nothing that is there.
        self._is_lost, self._pause_s = True, READER_S
        return True

    def erase(self, at_s: float) -> bool:
        """Return whether a backspace counts."""
        return not self._is_lost or at_s - self._last_s >= self._pause_s

    def _lost(self, verdict: Verdict) -> Verdict:
        self._is_lost, self._pause_s = True, PAUSE_S
        return verdict
