"""Preprocessing and reading beside other libraries: the same recording, one thread, in turns within one run.

What is compared is not the same work, and is told as what it is. neurokit2 cleans six leads at the recording's rate.
Ours resamples to the model's rate and filters leads I and II, from which the other four follow by algebra, and then
averages the beats; it is timed whole, by its filters alone, and made to filter each of the six leads by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from os import environ
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from lsemvae_edge import formats
from lsemvae_edge.benchmarks.target import ratios
from lsemvae_edge.benchmarks.target.path import made
from lsemvae_edge.benchmarks.target.peers import one_round
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Session, read
from lsemvae_edge.benchmarks.target.worker import Candidate, Timed

PART: Final = "preprocessing"
REPEATS, QUICK_REPEATS = 10, 5
RUNS, QUICK_RUNS = 100, 30
OURS, FILTERS, EACH = "lsemvae_edge", "lsemvae_edge, filters alone", "lsemvae_edge, each of six leads"
NEUROKIT2, SCIPY, WFDB = "neurokit2", "scipy", "wfdb"
WANTED = 10
"""How many times less than neurokit2's ours is to take."""
DOES = {
    OURS: "all, to the model's input: I and II resampled and filtered, beats averaged, six leads derived and scaled",
    FILTERS: "I and II resampled and filtered, the other four leads derived",
    EACH: "six leads resampled and filtered, each by itself",
    NEUROKIT2: "ecg_clean of six leads at the recording's rate",
    SCIPY: "six leads resampled and filtered, our coefficients, by upfirdn and lfilter",
    WFDB: "rdrecord",
}
CLEANERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    OURS: ("clean_by_us", {"much": "all"}),
    FILTERS: ("clean_by_us", {"much": "filters"}),
    EACH: ("clean_by_us", {"much": "each lead"}),
    NEUROKIT2: ("clean_by_neurokit2", {}),
    SCIPY: ("clean_by_scipy", {}),
}
HERE = __name__.rpartition(".")[0]


def measure(session: Session, plan: Plan) -> None:
    """Measure cleaning and reading of one recording, and compare what comes out.

    Parameters
    ----------
    session : Session
    plan : Plan
    """
    with TemporaryDirectory(prefix="bench-preprocessing-") as place:
        recording = (plan.recording or made(Path(place) / "recording.lser", 0)).resolve()
        wfdb_file = formats.write(formats.read(recording), Path(place) / "recording.hea")
        cleaners = {
            name: _candidate(name, function, {"recording": str(recording), **told})
            for name, (function, told) in CLEANERS.items()
            if _there(session, name)
        }
        readers = {OURS: _candidate(OURS, "read_by_us", {"recording": str(wfdb_file)})}
        if _there(session, WFDB):
            readers[WFDB] = _candidate(WFDB, "read_by_wfdb", {"recording": str(wfdb_file.with_suffix(""))})
        for name in dict.fromkeys([*cleaners, *readers]):
            session.case(PART, name, does=DOES[name], **_version(name))
        repeats, runs = plan.repeats_or(REPEATS, QUICK_REPEATS), plan.runs_or(RUNS, QUICK_RUNS)
        rng = np.random.default_rng(session.seed)
        for repeat in range(repeats):
            session.say(f"{PART}: repeat {repeat + 1} of {repeats}")
            one_round(session, PART, cleaners, repeat, runs, rng, _cleaned)
            one_round(session, PART, readers, repeat, runs, rng, _read)
    session.fact(PART, "ratios", list(_ratios(session, list(cleaners), list(readers))))
    if {NEUROKIT2, SCIPY} <= cleaners.keys():
        # Another process, so that this one stays small.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            session.fact(PART, "agreement", pool.submit(_agreement, _has_data()).result())
    else:
        session.skip(PART, "agreement", "it needs neurokit2 and scipy")


def _there(session: Session, name: str) -> bool:
    """Tell whether a library is here; keep it as skipped if not."""
    if name in (OURS, FILTERS, EACH) or find_spec(name) is not None:
        return True
    session.skip(PART, name, f"not installed: pip install {name}")
    return False


def _candidate(name: str, function: str, told: Mapping[str, str]) -> Candidate:
    task = {"kind": "factory", "module": f"{HERE}.peer_cleaning", "function": function, "arguments": dict(told)}
    return Candidate(name, task)


def _version(name: str) -> dict[str, Json]:
    return {"version": version(name)} if name in (NEUROKIT2, SCIPY, WFDB) else {}


def _cleaned(
    started: Mapping[str, float], took: Sequence[Timed], memory: Mapping[str, float]
) -> dict[str, float | list[float]]:
    return {"clean_ms": [value for one in took for value in one.ms], **memory}


def _read(
    started: Mapping[str, float], took: Sequence[Timed], memory: Mapping[str, float]
) -> dict[str, float | list[float]]:
    return {"read_ms": [value for one in took for value in one.ms]}


def _ratios(session: Session, cleaners: Sequence[str], readers: Sequence[str]) -> Iterator[dict[str, Json]]:
    recorded = read(session.folder)
    pairs = [("clean_ms", own, other) for other in (NEUROKIT2, SCIPY) for own in (OURS, FILTERS, EACH)
             if other in cleaners]  # fmt: skip
    pairs += [("read_ms", OURS, WFDB)] if WFDB in readers else []
    for metric, own, other in pairs:
        sides = [[sample.values for sample in recorded.of(PART, name, metric)] for name in (own, other)]
        ratio = ratios.ratio(*sides, paired=True)
        if ratio is None:
            continue
        wanted = WANTED if other == NEUROKIT2 else None
        surely = ratio.value if ratio.low is None else ratio.low
        yield {
            "what": metric,
            "ours": own,
            "peer": other,
            "ratio": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
            "wanted": wanted,
            "reached": None if wanted is None else surely >= wanted,
        }


def _agreement(real: bool) -> list[dict[str, Json]]:
    from lsemvae_edge.benchmarks.target.peer_cleaning import agreement

    return agreement(real)


def _has_data() -> bool:
    """Tell whether real recordings are at hand, and what reads them."""
    return bool(environ.get("LSEMVAE_EDGE_DATA")) and find_spec("pydantic") is not None
