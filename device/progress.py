"""What the operator is told of a live recording while it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.language import mark
from lsemvae_edge.record import Amplitude

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


@dataclass(frozen=True, eq=False)
class Traces:
    """A stretch of a live recording, to be drawn.

    Parameters
    ----------
    part : int
        Number of the part that it belongs to.
    first : int
        Number of its first sample within the part, from 0.
    fs_hz : float
    leads : tuple of str
    signal_mv : array (n_leads, n_samples), float32
        NaN where nothing was received.
    amplitude : str
        See `lsemvae_edge.record.Record`.
    """

    part: int
    first: int
    fs_hz: float
    leads: tuple[str, ...]
    signal_mv: NDArray[np.float32]
    amplitude: Amplitude


NO_CONTACT = mark("No contact: {electrodes}. Moisten the skin and hold the electrodes.")
_BATTERY = mark("The recorder's battery is at {percent} %: charge it after this recording.")
_RECORDING = mark("Recording. Keep still.")
_SENTENCES: dict[State, str] = {
    "connecting": mark("Connecting to {recorder}."),
    "no_signal": mark("No signal. Bring the recorder closer."),
    "reconnecting": mark("The link to the recorder is lost. Bring it closer; it is looked for."),
    "same_person": mark("Is it still the same person?"),
    "ended": mark("The recording has ended."),
}


def message(progress: Progress, recorder: str) -> str:
    """Return the sentence that goes with a state."""
    if progress.state != "recording":
        return _SENTENCES[progress.state].format(recorder=recorder)
    if progress.off:
        return NO_CONTACT.format(electrodes=", ".join(sorted(progress.off)))
    if progress.battery is not None and progress.battery < LOW_PERCENT:
        return _BATTERY.format(percent=progress.battery)
    return _RECORDING
