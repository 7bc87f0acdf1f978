"""Whether the samples still belong to the person who was recorded before."""

from lsemvae_edge.device.events import HANDS_AND_FOOT

SAME_PERSON_S = 10.0
"""After so long without contact or signal the operator is asked."""
ANSWER_S = 30.0
"""So long an answer is waited for; none means somebody else."""


class Presence:
    """Contact over time, and the question that its long absence raises. Times are seconds on one clock."""

    def __init__(self) -> None:
        self._here_s: float | None = None
        self._asked_s: float | None = None
        self._answer: bool | None = None

    @property
    def is_in_question(self) -> bool:
        """Whether an answer is awaited, and samples do not count."""
        return self._asked_s is not None

    def felt(self, at_s: float, off: frozenset[str]) -> None:
        """Take notice of a frame, and of the electrodes without contact in it."""
        if not off & HANDS_AND_FOOT and not self.is_in_question:
            self._here_s = at_s

    def is_doubted(self, now_s: float) -> bool:
        """Raise the question if it is time; return whether it was raised just now."""
        if self.is_in_question or self._here_s is None or now_s - self._here_s <= SAME_PERSON_S:
            return False
        self._asked_s, self._answer = now_s, None
        return True

    def confirm(self, same_person: bool) -> None:
        """Take an answer; without a question it has no meaning and is ignored."""
        if self.is_in_question:
            self._answer = same_person

    def decided(self, now_s: float) -> bool | None:
        """Return whether it is the same person, once; None while that is open."""
        if self._asked_s is None or (self._answer is None and now_s - self._asked_s < ANSWER_S):
            return None
        self._asked_s, self._here_s = None, now_s
        return bool(self._answer)
