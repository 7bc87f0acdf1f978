"""The way of one visit, screen by screen: what may be done where, how often, and when something clears by itself.

Knows no recorder, no store and no page: `lsemvae_edge.kiosk.station` does the work and tells the flow what came of it.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from lsemvae_edge.decision import SWAP_CHECK
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.kiosk.settings import Settings
from lsemvae_edge.language import mark
from lsemvae_edge.result import INCONCLUSIVE, ScreeningResult
from lsemvae_edge.visit import YOUNGEST, Visit

Screen = Literal[
    "sign_in",
    "waiting",
    "identify",
    "repeat_or_other",
    "about",
    "recorder",
    "hold",
    "recording",
    "working",
    "result",
    "retry",
    "failed",
    "corrections",
]
UNDER_WAY: frozenset[Screen] = frozenset({"recording", "working"})
"""Screens during which a recording is made or judged."""

NOT_NOW = mark("That cannot be done now.")
LOOK = mark("Look at the page, and choose again.")
NO_CONSENT = mark("Without the person's agreement nothing is recorded.")
LAST_ATTEMPT = mark("There is still no answer: refer this person, or repeat later.")


@dataclass(frozen=True)
class Earlier:
    """A visit of today under the same id.

    Parameters
    ----------
    visit : Visit
    attempts : int
        Made so far.
    seen : bool
        One of them saw the pattern.
    """

    visit: Visit
    attempts: int
    seen: bool


@dataclass(frozen=True)
class Shown:
    """A result that is saved.

    Parameters
    ----------
    result : ScreeningResult
    recording : str
        Identity of the live recording.
    seq : int
        Of the store's entry.
    attempt : int
    since_s : float
        When it was shown, on the monotonic clock.
    at : str or None
        Time of day when it was saved, ``14:05``; None where the clock is not set.
    seen_before : bool
        An earlier attempt of this visit saw the pattern.
    """

    result: ScreeningResult
    recording: str
    seq: int
    attempt: int
    since_s: float
    at: str | None
    seen_before: bool = False


@dataclass(frozen=True)
class Trouble:
    """What went wrong, in one sentence, and what to do."""

    message: str
    next_step: str


class Flow:
    """Where the kiosk stands.

    Parameters
    ----------
    settings : Settings
    with_operators : bool
        Operators sign in; without them everybody is let in, as in a demonstration.
    clock : callable
        Seconds, monotonic.

    Attributes
    ----------
    screen : str
        One of `Screen`.
    is_locked : bool
        Hidden until somebody unlocks; what is under way goes on.
    operator : str or None
    visit : Visit or None
    attempt : int
        Number of the attempt that is under way or was last, 0 before the first.
    earlier : Earlier or None
        Until it is said whether it is the same person.
    shown : Shown or None
        Only while the screen is ``result`` or ``retry``.
    trouble : Trouble or None
    electrodes_confirmed : bool
        For the next attempt.
    """

    def __init__(
        self, settings: Settings, *, with_operators: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings, self.with_operators, self._clock = settings, with_operators, clock
        self.screen: Screen = "sign_in" if with_operators else "waiting"
        self.is_locked = False
        self.operator: str | None = None
        self.visit: Visit | None = None
        self.attempt = 0
        self.earlier: Earlier | None = None
        self.shown: Shown | None = None
        self.trouble: Trouble | None = None
        self.electrodes_confirmed = False
        self._seen = False
        self._study_id = ""
        self._touched_s = clock()

    @property
    def study_id(self) -> str | None:
        """Whose turn it is; None before an id was taken."""
        if self.visit is not None:
            return self.visit.study_id
        return self._study_id or None

    @property
    def has_attempts_left(self) -> bool:
        """Whether this visit may be recorded once more."""
        return self.attempt < self.settings.attempts

    def touched(self) -> None:
        """Take notice that somebody did something."""
        self._touched_s = self._clock()

    def tick(self) -> bool:
        """Lock and clear what is due; return whether something changed."""
        now_s = self._clock()
        changed = False
        if self.shown is not None and self.screen in ("result", "retry"):
            limit_s = self.settings.result_clears_s
            if now_s - self.shown.since_s >= limit_s:
                self._leave()
                changed = True
        idle = now_s - self._touched_s >= self.settings.idle_lock_s
        if idle and not self.is_locked and self.screen != "sign_in" and not self._is_blank():
            self.is_locked = changed = True
        return changed

    def clears_in_s(self) -> float | None:
        """Return how long the result still stands."""
        if self.shown is None:
            return None
        return max(self.settings.result_clears_s - (self._clock() - self.shown.since_s), 0.0)

    def sign_in(self, operator: str) -> None:
        """Let an operator in; whoever was there is out. A visit that is not being recorded ends."""
        if self.screen not in UNDER_WAY and operator != self.operator:
            self._leave()
        if self.screen == "sign_in":
            self.screen = "waiting"
        self.operator, self.is_locked = operator, False

    def sign_out(self) -> None:
        """Let the operator out; a recording under way is not left alone."""
        self._only(*(screen for screen in get_args(Screen) if screen not in UNDER_WAY))
        self._leave()
        self.operator = None
        self.screen = "sign_in" if self.with_operators else "waiting"

    def lock(self) -> None:
        """Hide everything."""
        if self.screen != "sign_in":
            self.is_locked = True

    def unlock(self) -> None:
        """Show it again."""
        self.is_locked = False

    def start(self) -> None:
        """Begin with a person."""
        self._only("waiting")
        self._forget()
        self.screen = "identify"

    def identify(self, study_id: str, earlier: Earlier | None) -> None:
        """Take a checked study id; one that was used today is asked about."""
        self._only("identify")
        self._study_id, self.earlier = study_id, earlier
        self.screen = "about" if earlier is None else "repeat_or_other"

    def repeat(self) -> None:
        """Go on with the visit of before, or begin a new one if its attempts are used up."""
        self._only("repeat_or_other")
        assert self.earlier is not None
        if self.earlier.attempts < self.settings.attempts:
            self.visit = replace(self.earlier.visit, operator=self.operator or "")
            self.attempt, self._seen = self.earlier.attempts, self.earlier.seen
            self.screen = "recorder"
        else:
            self.screen = "about"
        self.earlier = None

    def another(self) -> None:
        """Ask for the id again: it was another person's."""
        self._only("repeat_or_other")
        self._forget()
        self.screen = "identify"

    def about(self, *, consent: bool, age_band: str, pacemaker: bool | None) -> None:
        """Take what the operator asked the person.

        Raises
        ------
        UsageError
            If the person does not agree.
        """
        self._only("about")
        if not consent:
            raise UsageError(NO_CONSENT, mark("Ask the person; if they do not agree, go back."))
        band = next((one for one in YOUNGEST if one == age_band), None)
        if band is None:
            raise BadInputError(mark("The age is missing."), mark("Choose the age."))
        self.visit = Visit(secrets.token_hex(16), self._study_id, self.operator or "", band, pacemaker, consent)
        self.screen = "recorder"

    def chosen(self) -> None:
        """Take notice that a recorder is chosen."""
        self._only("recorder")
        self.trouble = None
        self.screen = "hold"

    def begin(self) -> None:
        """Begin the next attempt."""
        self._only("hold")
        self.attempt += 1
        self.trouble = None
        self.screen = "recording"

    def working(self) -> None:
        """Take notice that the signal is there; it is judged and saved."""
        self._only("recording")
        self.screen = "working"

    def saved(
        self, result: ScreeningResult, recording: str, seq: int, at: str | None, *, ran: bool, seen: bool
    ) -> None:
        """Show a result that is on disk.

        Parameters
        ----------
        result : ScreeningResult
        recording : str
        seq : int
        at : str or None
            Time of day.
        ran : bool
            The model ran; otherwise quality refused the recording.
        seen : bool
            The answer is the primary task's positive class.
        """
        self._only("working")
        self.shown = Shown(result, recording, seq, self.attempt, self._clock(), at, self._seen)
        self._seen = self._seen or seen
        self.electrodes_confirmed = False
        self.screen = "result" if ran or not self.has_attempts_left else "retry"
        self.touched()

    def interrupted(self, trouble: Trouble, *, counts: bool = True) -> None:
        """Take notice that the recording gave up; one that never began costs no attempt."""
        self._only("recording", "working")
        if not counts:
            self.attempt -= 1
        self.trouble = trouble
        self.shown = None
        self.screen = "failed"

    def retry(self, *, electrodes_confirmed: bool = False) -> None:
        """Record the same person again.

        Raises
        ------
        UsageError
            If the attempts of this visit are used up.
        """
        self._only("result", "retry", "failed")
        if not self.can_retry:
            raise UsageError(mark("The attempts of this visit are used up."), LAST_ATTEMPT)
        self.electrodes_confirmed = electrodes_confirmed and self.asks_about_electrodes
        self.shown = self.trouble = None
        self.screen = "hold"

    @property
    def can_retry(self) -> bool:
        """Whether the same person may be recorded again: there is no answer, and attempts are left."""
        if self.visit is None or not self.has_attempts_left:
            return False
        return self.shown is None or self.shown.result.outcome == INCONCLUSIVE

    @property
    def asks_about_electrodes(self) -> bool:
        """Whether the result is withheld because the electrodes look swapped."""
        if self.shown is None:
            return False
        result = self.shown.result
        return any(task.reason == SWAP_CHECK for task in result.tasks.values())

    def next(self) -> None:
        """Leave this person."""
        self._only("result", "retry", "failed")
        self._leave()

    def cancel(self) -> None:
        """Leave what is not finished."""
        self._only("identify", "repeat_or_other", "about", "recorder", "hold", "recording", "working")
        self._leave()

    def corrections(self) -> None:
        """Show what was recorded today."""
        self._only("waiting")
        self._forget()
        self.screen = "corrections"

    def correcting(self) -> None:
        """Take notice that a study id is being corrected."""
        self._only("corrections")

    def back(self) -> None:
        """Go one step back, where that loses nothing."""
        before: dict[Screen, Screen] = {
            "identify": "waiting",
            "repeat_or_other": "identify",
            "about": "identify",
            "recorder": "about" if not self.attempt else "waiting",
            "hold": "recorder",
            "corrections": "waiting",
        }
        self._only(*before)
        to = before[self.screen]
        if to == "waiting":
            self._leave()
        else:
            self.screen = to
        self.trouble = None

    def _only(self, *screens: Screen) -> None:
        if self.screen not in screens:
            raise UsageError(NOT_NOW, LOOK)

    def _leave(self) -> None:
        self._forget()
        self.screen = "waiting" if self.operator is not None or not self.with_operators else "sign_in"

    def _forget(self) -> None:
        self.visit = self.earlier = self.shown = self.trouble = None
        self.attempt, self._seen, self._study_id = 0, False, ""
        self.electrodes_confirmed = False

    def _is_blank(self) -> bool:
        """Whether there is nothing to hide: without operators, the waiting screen."""
        return self.screen == "waiting" and not self.with_operators
