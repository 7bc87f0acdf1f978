"""What the operator is told of a live recording while it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["connecting", "recording", "no_signal", "reconnecting", "same_person", "ended"]

LOW_PERCENT = 20


@dataclass(frozen=True)
class Progress:
    """How a live recording stands.

    Parameters
    ----------
    state : str
        One of `State`.
    seconds : float
        Length of the current part, gaps included.
    silent_s : float
        Time since the last frame.
    off : frozenset of str
        Electrodes without contact, as last told.
    battery : int or None
        Percent.
    counts : mapping of str to int
        What was received, lost and refused so far.
    message : str
        One sentence for the operator.
    part : int
        Number of the current part, from 0.
    """

    state: State
    seconds: float = 0.0
    silent_s: float = 0.0
    off: frozenset[str] = frozenset()
    battery: int | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    part: int = 0


def message(progress: Progress, recorder: str) -> str:
    """Return the sentence that goes with a state."""
    if progress.state == "recording":
        if progress.off:
            names = ", ".join(sorted(progress.off))
            return f"No contact: {names}. Moisten the skin and hold the electrodes."
        if progress.battery is not None and progress.battery < LOW_PERCENT:
            return f"The recorder's battery is at {progress.battery} %: charge it after this recording."
        return "Recording. Keep still."
    return {
        "connecting": f"Connecting to {recorder}.",
        "no_signal": "No signal. Bring the recorder closer.",
        "reconnecting": "The link to the recorder is lost. Bring it closer; it is looked for.",
        "same_person": "Is it still the same person?",
        "ended": "The recording has ended.",
    }[progress.state]
