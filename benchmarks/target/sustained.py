"""Minutes of load without a pause: latency minute by minute beside temperature, frequency, throttling and supply.

One process runs inference and one the whole path, by turns. What each run took is kept for some of the runs of every
second; the others are load. With ``every_core``, processes that run inference keep all other cores busy as well.
"""

import math
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic

import numpy as np

from lsemvae_edge.benchmarks.target import candidates, path, sensors
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker
from lsemvae_edge.errors import RuntimeUnavailableError
from lsemvae_edge.runtime import open_session
from lsemvae_edge.statistics import median, quantile

PART = "sustained"
MINUTE_S = 60.0
LOAD_S = 0.8
"""Load between runs that are timed one by one."""
KEPT, KEPT_WHOLE = 10, 3
"""Inferences and whole paths that are timed one by one, in each turn of about a second."""
READ_EVERY_S = 5.0
"""How often the sensors are read: a Raspberry Pi is asked by a program, which is load as well."""
RESAMPLES = 2000
FEWEST_MINUTES = 4
"""For a slope with an interval."""


def measure(session: Session, plan: Plan, every_core: bool = False, minute_s: float = MINUTE_S) -> None:
    """Keep one core, or every core, busy for the minutes of a plan.

    Without a runtime or a precision named, it is what `screen` takes; else the first of what was named that is there.

    Parameters
    ----------
    session : Session
    plan : Plan
    every_core : bool
    minute_s : float
        Length of a minute.

    Raises
    ------
    UsageError
        If nothing can run here.
    RuntimeUnavailableError
        If a runtime fails, or quality refuses the recording.
    """
    with tempfile.TemporaryDirectory(prefix="bench-sustained-") as place, ExitStack() as left:
        recording = path.recording_of(plan, Path(place))
        alone = _chosen(session, plan)
        session.case(PART, alone.name, **alone.facts, every_core=every_core)
        workers = [left.enter_context(Worker(alone))]
        if alone.python == sys.executable and alone.facts["runtime"] != candidates.PYTHON_BINDING:
            whole = replace(alone, task={**alone.task, "kind": "path", "recording": str(recording.resolve())})
            workers.append(left.enter_context(Worker(whole)))
        else:
            session.skip(PART, "the whole path", f"`screen` does not run {alone.facts['runtime']} here")
        if every_core:
            left.enter_context(_Others(alone))
        _minutes(session, plan, alone.name, workers, minute_s)


def drift(values: Sequence[float], rng: np.random.Generator) -> dict[str, float] | None:
    """Return by how much the values change from the first to the last, in percent, with an interval of 95 %.

    The slope is the median of the slopes between all pairs (Theil and Sen), which a few bad minutes do not move; the
    interval is the percentile bootstrap's, over minutes. None if there are fewer than `FEWEST_MINUTES`.

    Parameters
    ----------
    values : sequence of float
        Medians of minutes, in order.
    rng : Generator
    """
    if len(values) < FEWEST_MINUTES:
        return None
    minute, level = np.arange(len(values), dtype=float), np.asarray(values, dtype=float)
    early, late = np.triu_indices(len(values), 1)

    def percent(drawn: "np.ndarray[tuple[int, ...], np.dtype[np.intp]]") -> float:
        x, y = minute[drawn], level[drawn]
        apart = x[late] != x[early]
        if not apart.any():
            return math.nan
        slope = float(median((y[late] - y[early])[apart] / (x[late] - x[early])[apart]))
        begin = float(median(y - slope * x))
        return 100 * slope * (len(values) - 1) / begin

    draws = rng.integers(0, len(values), (RESAMPLES, len(values)))
    changes = [change for drawn in draws if math.isfinite(change := percent(drawn))]
    low, high = (float(quantile(changes, q)) for q in (0.025, 0.975))
    return {"value": percent(np.arange(len(values))), "low": low, "high": high}


def _chosen(session: Session, plan: Plan) -> Candidate:
    bundle = plan.bundles[0]
    if not plan.runtimes and not plan.precisions:
        usual = open_session(bundle)
        plan = replace(plan, runtimes=(usual.runtime,), precisions=(usual.model.precision,))
    return candidates.of(session, PART, replace(plan, bundles=[bundle], threads=plan.threads[:1]))[0]


@dataclass
class _Minute:
    """What was seen in a minute."""

    inference_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)
    inferences: int = 0
    mhz: list[float] = field(default_factory=list)
    celsius: list[float] = field(default_factory=list)
    words: list[str] | None = None
    low_supply: bool | None = None

    def read(self) -> None:
        """Read the sensors."""
        mhz, celsius, throttled = sensors.frequency_mhz(), sensors.temperature_c(), sensors.throttled()
        self.mhz += [] if mhz is None else [mhz]
        self.celsius += [] if celsius is None else [celsius]
        if throttled is not None:
            now = throttled["now"]
            assert isinstance(now, list)
            self.words = list(dict.fromkeys([*(self.words or []), *now]))
        low = sensors.under_voltage()
        self.low_supply = self.low_supply if low is None else bool(self.low_supply) or low

    def row(self, number: int) -> dict[str, Json]:
        """Return the row of the curve; frequency is the mean, temperature the highest."""
        return {
            "minute": number,
            "p50_ms": float(f"{median(self.inference_ms):.6g}"),
            "p99_ms": float(f"{quantile(self.inference_ms, 0.99):.6g}"),
            "whole_p50_ms": float(f"{median(self.whole_ms):.6g}") if self.whole_ms else None,
            "inferences": self.inferences,
            "cpu_mhz": round(sum(self.mhz) / len(self.mhz), 1) if self.mhz else None,
            "temperature_c": round(max(self.celsius), 1) if self.celsius else None,
            "throttled": None if self.words is None else bool(self.words),
            "throttled_by": self.words or None,
            "under_voltage": self.low_supply,
        }


def _minutes(session: Session, plan: Plan, case: str, workers: Sequence[Worker], minute_s: float) -> None:
    curve: list[dict[str, Json]] = []
    session.fact(PART, "throttled_before", sensors.throttled())
    begun = monotonic()
    for number in range(math.ceil(plan.minutes)):
        minute = _spent(workers, begun + min(number + 1, plan.minutes) * minute_s)
        session.sample(PART, case, "inference_ms", number, minute.inference_ms)
        if minute.whole_ms:
            session.sample(PART, case, "whole_ms", number, minute.whole_ms)
        curve.append(minute.row(number))
        # The last one counts: what was measured before the machine gave up stands.
        session.fact(PART, "curve", curve)
        session.say(f"{PART}: minute {number + 1} of {math.ceil(plan.minutes)}, median {curve[-1]['p50_ms']:g} ms")
    session.fact(PART, "throttled_after", sensors.throttled())
    session.fact(PART, "drift", _drifts(session, curve))


def _spent(workers: Sequence[Worker], until_s: float) -> _Minute:
    """Load until then, at least one turn, and return what was seen."""
    minute, next_read_s = _Minute(), -math.inf
    while True:
        loaded = workers[0].load(max(0.0, min(LOAD_S, until_s - monotonic())))
        minute.inference_ms += workers[0].run(KEPT).ms
        minute.inferences += loaded.n + KEPT
        for whole in workers[1:]:
            minute.whole_ms += whole.run(KEPT_WHOLE).ms
        if (now := monotonic()) >= next_read_s:
            minute.read()
            next_read_s = now + READ_EVERY_S
        if now >= until_s:
            return minute


def _drifts(session: Session, curve: Sequence[dict[str, Json]]) -> list[dict[str, Json]]:
    rng = np.random.default_rng(session.seed)
    rows = []
    for what, name in (("inference_ms", "p50_ms"), ("whole_ms", "whole_p50_ms")):
        values = [one[name] for one in curve if one[name] is not None]
        change = drift(values, rng) if len(values) == len(curve) else None
        if change is not None:
            rows.append({"what": what, "minutes": len(values), "change_percent": change})
    return rows


class _Others:
    """Keeps every usable core but the last one, where the measured process is, busy with the same work."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = replace(candidate, threads=1)
        self._enough = threading.Event()
        self._failed: list[Exception] = []
        usable = sorted(os.sched_getaffinity(0))
        self._threads = [
            threading.Thread(target=self._load, args=(core,), name=f"load {core}", daemon=True)
            for core in usable[: -candidate.threads]
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()
        if self._failed and kind is None:
            raise RuntimeUnavailableError(f"A core was not kept busy: {self._failed[0]}") from self._failed[0]

    def _load(self, core: int) -> None:
        # Of this thread alone: the process that it starts is pinned to the cores that it sees.
        os.sched_setaffinity(0, {core})
        try:
            with Worker(self._candidate) as worker:
                while not self._enough.is_set():
                    worker.load(LOAD_S)
        except Exception as error:  # noqa: BLE001 - told when the minutes are over
            self._failed.append(error)
