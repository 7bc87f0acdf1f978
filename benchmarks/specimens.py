"""Attempts that a store is proved with: made from a seed and a number, so that what was stored can be made again."""

from dataclasses import replace

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


def visit(seed: int, number: int) -> Visit:
    """Return a visit."""
    return Visit(f"{seed:016x}{number:016x}", study_id(number), "op1", "40-64", False, True)


def walk(seed: int, number: int) -> Record:
    """Return a recording of 10 s that is quickly made, a bounded random walk with a gap of 40 ms."""
    rng = np.random.default_rng((seed, number))
    steps = rng.integers(-40, 41, (len(LEADS), round(FS_HZ * DURATION_S)))
    sums = np.cumsum(steps, axis=1)
    counts = (sums - sums.mean(axis=1, keepdims=True)).clip(-4000, 4000).round()
    signal_mv = counts.astype(np.float32) * np.float32(MV_PER_LSB)
    signal_mv[:, 1000:1020] = np.nan
    return _live(Record(signal_mv, FS_HZ, LEADS), seed, number)


def heart(seed: int, number: int) -> Record:
    """Return a recording of 10 s of a simulated heart, in steps as a recorder gives them."""
    from lsemvae_edge.synthetic.heart import drawn, simulate

    rng = np.random.default_rng((seed, number))
    made = simulate(drawn(rng), DURATION_S, FS_HZ, rng, LEADS)
    signal_mv = np.round(made.signal_mv / MV_PER_LSB).astype(np.float32) * np.float32(MV_PER_LSB)
    return _live(Record(signal_mv, FS_HZ, LEADS), seed, number)


def attempt(visit: Visit, record: Record, result: ScreeningResult | None) -> Attempt:
    """Return an attempt.

    Parameters
    ----------
    visit : Visit
    record : Record
    result : ScreeningResult or None
        Of any recording; it is given this one's id and digest. None: the attempt was interrupted.
    """
    if result is None:
        return Attempt(visit, 1, "interrupted", record, None, "The link to the recorder was lost.")
    info = replace(result.record, id=record.meta.get("id"), sha256=record.sha256())
    return Attempt(visit, 1, "screened", record, replace(result, record=info))


def result() -> ScreeningResult:
    """Return the shipped model's result of a simulated heart."""
    from lsemvae_edge import bundle
    from lsemvae_edge.screening import screen

    return screen(heart(0, 0), bundle.default())


def _live(record: Record, seed: int, number: int) -> Record:
    """Let a recording pass for one of a person, as a store for people wants them."""
    meta = {"id": f"{seed}-{number}", "device": "specimen", "clock_set": False}
    return replace(record, meta=meta, origin="live")
