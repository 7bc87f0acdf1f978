"""Attempts that a store is proved with: made from a seed and a number, so that what was stored can be made again."""

from dataclasses import replace
from typing import Any

import numpy as np

from lsemvae_edge.record import Record
from lsemvae_edge.result import ScreeningResult
from lsemvae_edge.visit import Attempt, Visit

FS_HZ = 500.0
DURATION_S = 10.0
LEADS = ("I", "II")
MV_PER_LSB = 0.005
_PREFIX = "PROOF"


def study_id(number: int) -> str:
    """Return the study id of an attempt."""
    return f"{_PREFIX}{number:06d}"


def number_of(study_id: str) -> int:
    """Return which attempt a study id names."""
    return int(study_id.removeprefix(_PREFIX))


def counts(seed: int, number: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return what the recorder's converter gave (2, 5000): a bounded walk, no two alike."""
    rng = np.random.default_rng((seed, number))
    steps = rng.integers(-40, 41, (len(LEADS), round(FS_HZ * DURATION_S)))
    walk = np.cumsum(steps, axis=1)
    return (walk - walk.mean(axis=1, keepdims=True)).clip(-4000, 4000).astype(np.int16)


def record(seed: int, number: int) -> Record:
    """Return a recording of 10 s, with a gap of 40 ms; it passes for one of a person."""
    signal_mv = counts(seed, number).astype(np.float32) * np.float32(MV_PER_LSB)
    signal_mv[:, 1000:1020] = np.nan
    meta = {"id": f"{seed}-{number}", "device": "specimen", "clock_set": False}
    return Record(signal_mv, FS_HZ, LEADS, meta=meta, origin="live")


def attempt(seed: int, number: int, result: ScreeningResult | None) -> Attempt:
    """Return an attempt of a visit of its own.

    Parameters
    ----------
    seed, number : int
    result : ScreeningResult or None
        Of any recording; it is given this one's digest. None: an interrupted attempt.
    """
    made = record(seed, number)
    visit = Visit(f"{seed:016x}{number:016x}", study_id(number), "op1", "40-64", False, True)
    if result is None:
        return Attempt(visit, 1, "interrupted", made, None, "The link to the recorder was lost.")
    info = replace(result.record, id=f"{seed}-{number}", sha256=made.sha256())
    return Attempt(visit, 1, "screened", made, replace(result, record=info))


def result() -> ScreeningResult:
    """Return the shipped model's result of a simulated heart."""
    from lsemvae_edge import bundle
    from lsemvae_edge.screening import screen
    from lsemvae_edge.synthetic.heart import Heart, simulate

    return screen(simulate(Heart(), DURATION_S, FS_HZ, 0, LEADS), bundle.default())
