"""From a live recording to one that can be screened: judge what came in, stop when it is good."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lsemvae_edge.device.errors import NoContactError
from lsemvae_edge.device.events import HANDS_AND_FOOT
from lsemvae_edge.device.progress import Progress
from lsemvae_edge.leads import LIMB_LEADS, solve_i_ii
from lsemvae_edge.record import Record
from lsemvae_edge.screening import assess
from lsemvae_edge.spec import ModelSpec
from lsemvae_edge.statistics import runs

NEWEST_S = 30.0
"""How much of the newest signal is judged."""

EVERY_S = 1.0
"""How often it is judged."""


class Live(Protocol):
    """What `capture` needs of a live recording."""

    def __aiter__(self) -> AsyncIterator[Progress]: ...

    def record(self, last_s: float | None = None) -> Record:
        """Return the newest seconds."""


@dataclass(frozen=True)
class Judged:
    """How a live recording stands.

    Parameters
    ----------
    progress : Progress
        What the link says.
    clean_s : float
        Longest stretch without a gap among the newest seconds.
    lost : float
        Share of the newest seconds that was not received.
    advice : str or None
        What quality asks for; None before there is enough to judge, and when it is good.
    usable : bool
        The recording holds a window that can be analysed.
    poor : tuple of str
        Leads that were not good enough when they were last judged.
    """

    progress: Progress
    clean_s: float
    lost: float
    advice: str | None
    usable: bool
    poor: tuple[str, ...] = ()


async def capture(live: Live, spec: ModelSpec, limit_s: float, tell: Callable[[Judged], None]) -> Record:
    """Record until quality finds a window it would give to the model, or until ``limit_s``.

    The window is sought in the newest `NEWEST_S` seconds, by quality alone; no model runs here.

    Parameters
    ----------
    live : LiveRecording
    spec : ModelSpec
        Of the model that will be asked.
    limit_s : float
        Longest recording in seconds.
    tell : callable
        Told at every step of progress.

    Returns
    -------
    Record
        The seconds that were found good, or else the newest: screening then says why they are unusable.

    Raises
    ------
    NoContactError
        If electrodes have no contact, and too little was recorded while they had.
    UnusableRecordingError
        If nothing was received.
    """
    now = Judged(Progress("connecting"), 0.0, 0.0, None, False)
    judged_at_s = 0.0
    record = None
    async for progress in live:
        now = replace(now, progress=progress)
        if progress.state == "recording" and abs(progress.seconds - judged_at_s) >= EVERY_S:
            judged_at_s = progress.seconds
            record = live.record(NEWEST_S)
            now = judged(progress, record)
            if now.clean_s >= spec.preprocess.required_s:
                usable, advice, poor = await asyncio.to_thread(_is_good, record, spec)
                now = replace(now, usable=usable, advice=advice, poor=poor)
        tell(now)
        if now.usable or progress.seconds >= limit_s:
            break
    if not now.usable and now.progress.off & HANDS_AND_FOOT and now.clean_s < spec.preprocess.required_s:
        raise NoContactError(sorted(now.progress.off & HANDS_AND_FOOT), now.progress.seconds)
    # If it was found good, what was judged and not what has come since. Otherwise the newest: an older one may be of
    # another person.
    return record if now.usable and record is not None else live.record(NEWEST_S)


def judged(progress: Progress, record: Record | None) -> Judged:
    """Return how a recording stands before its quality is looked at; ``record`` holds its newest seconds, if any."""
    if record is None or not record.n_samples:
        return Judged(progress, 0.0, 0.0, None, False)
    rows = [row for row, name in enumerate(record.leads) if name in LIMB_LEADS] or list(range(len(record.leads)))
    gaps = np.any(record.gaps[rows], axis=0)
    clean = runs(~gaps)
    longest = float((clean[:, 1] - clean[:, 0]).max(initial=0))
    return Judged(progress, longest / record.fs_hz, float(gaps.mean()), None, False)


def _is_good(record: Record, spec: ModelSpec) -> tuple[bool, str | None, tuple[str, ...]]:
    if solve_i_ii(dict.fromkeys(record.limb(), np.zeros(1))) is None:
        # One lead never becomes six: enough of it is all there is to wait for.
        return True, None, ()
    quality, _ = assess(record, spec)
    return quality.usable, quality.advice, tuple(name for name, lead in quality.leads.items() if not lead.usable)
