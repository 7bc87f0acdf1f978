"""Each model beside what its runtime attains at most on this machine, from what one session measured."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from lsemvae_edge.benchmarks.target import session as sessions
from lsemvae_edge.benchmarks.target.counted import Work
from lsemvae_edge.benchmarks.target.session import Case, Json, Recorded
from lsemvae_edge.statistics import median

CEILINGS, MODELS = "ceilings", "work"
"""Parts that hold the ceilings, and the times of models that were measured in turn with them."""


def rows(folder: Path, work_of: Callable[[Mapping[str, Json]], Work | None]) -> list[dict[str, Json]]:
    """Return a row for each model that was timed; none where the session has no ceilings.

    Parameters
    ----------
    folder : Path
        Of the session, which may go on.
    work_of : callable
        Gives the work of the file behind a case's facts, where it could be counted.

    Returns
    -------
    list of dict
        ``gmac_per_s`` reached; ``ceiling_gmac_per_s`` of the same kernels in the model's precision and ``fraction`` of
        it; the same against the runtime's quickest kernels (``best_…``); and what binds: ``computing`` if the quicker
        memory would feed more than the ceiling, else ``memory``.
    """
    recorded = sessions.read(folder)
    ceilings = _middles(recorded, CEILINGS, "gmac_per_s")
    memory = max((value for _, value in _middles(recorded, CEILINGS, "gb_per_s")), default=None)
    return [
        row
        for case, milliseconds in _middles(recorded, MODELS, "inference_ms")
        if (work := work_of(case.facts)) and (row := _row(case, milliseconds, work, ceilings, memory))
    ]


def _row(
    case: Case, milliseconds: float, work: Work, ceilings: Iterable[tuple[Case, float]], memory: float | None
) -> dict[str, Json] | None:
    facts = case.facts
    like = [
        (one.facts["runtime"] == facts["runtime"], value)
        for one, value in ceilings
        if one.facts["kind"] == f"conv2d {facts['precision']}"
        and one.facts["of"] == facts["runtime"]
        and one.facts["threads"] == facts["threads"]
    ]
    same = next((value for is_same, value in like if is_same), None)
    if same is None:
        return None
    best = max(value for _, value in like)
    reached = work.macs / milliseconds / 1e6
    fed = None if memory is None else memory * work.intensity_mac_per_byte
    return {
        **{name: facts[name] for name in ("size", "precision", "runtime", "threads")},
        "gmac_per_s": reached,
        "ceiling_gmac_per_s": same,
        "fraction": reached / same,
        "best_ceiling_gmac_per_s": best,
        "best_fraction": reached / best,
        "intensity_mac_per_byte": work.intensity_mac_per_byte,
        "binds": None if fed is None else "computing" if fed >= same else "memory",
    }


def _middles(recorded: Recorded, part: str, metric: str) -> list[tuple[Case, float]]:
    """Return each case of a part that has a metric, with the median over repeats of its medians."""
    found = []
    for case in recorded.cases:
        samples = recorded.of(part, case.name, metric) if case.part == part else []
        if samples:
            found.append((case, float(median([float(median(sample.values)) for sample in samples]))))
    return found
