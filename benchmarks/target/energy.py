"""Energy of one inference: power under load less power at rest, times the time, over the count; by a meter.

All candidates wait beside each other. Rest and load take turns, rest first and last, and each load is held against the
mean of the rests on both its sides, so that what warms up meanwhile does not count as inference.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from time import sleep

import numpy as np

from lsemvae_edge.benchmarks.target import candidates, meters
from lsemvae_edge.benchmarks.target.latency import ABREAST, WARM_UP
from lsemvae_edge.benchmarks.target.meters import Meter
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.ratios import quantile_of_t
from lsemvae_edge.benchmarks.target.session import Json, Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker

PART = "energy"
REPEATS, QUICK_REPEATS = 5, 3
WINDOW_S = 3.0
"""Of rest, and of load: a Joulescope reports twice a second."""
SETTLES_S = 0.5
"""Of rest before it is measured: what just worked ends, and the supply follows."""
LEVEL = 0.95


def measure(session: Session, plan: Plan, meter: str | None = None, window_s: float = WINDOW_S) -> None:
    """Measure the energy of an inference in every runtime with every file.

    Without any meter it is kept as not measured, with what each kind of meter lacks.

    Parameters
    ----------
    session : Session
    plan : Plan
    meter : str, optional
        ``NAME`` or ``NAME:TEXT``; by default the first that is there.
    window_s : float
        Of each rest and load.

    Raises
    ------
    UsageError
        If the named meter is not there, or nothing can run here.
    RuntimeUnavailableError
        If a runtime fails; says how.
    """
    if meter is None:
        opened, lacks = meters.found()
        if opened is None:
            reasons = "; ".join(f"{name}: {why}" for name, why in lacks.items())
            session.skip(PART, "energy of an inference", f"no meter ({reasons})")
            return
    else:
        opened = meters.opened(meter)
    try:
        measure_with(session, plan, opened, window_s)
    finally:
        opened.close()


def measure_with(session: Session, plan: Plan, meter: Meter, window_s: float = WINDOW_S) -> None:
    """Measure with a meter that is open."""
    found = candidates.of(session, PART, plan)
    for candidate in found:
        session.case(PART, candidate.name, **candidate.facts, meter=meter.name, measures=meter.measures)
    rng = np.random.default_rng(session.seed)
    repeats = plan.repeats_or(REPEATS, QUICK_REPEATS)
    took: dict[str, list[float]] = {}
    for repeat in range(repeats):
        session.say(f"{PART}: repeat {repeat + 1} of {repeats}, {meter.name}")
        order = [found[i] for i in rng.permutation(len(found))]
        for first in range(0, len(order), ABREAST):
            for name, millijoules in _in_turns(session, meter, order[first : first + ABREAST], repeat, window_s):
                took.setdefault(name, []).append(millijoules)
        # The last one counts: of a session that is cut short, what was measured stands.
        session.fact(PART, "rows", [_row(candidate, meter, took[candidate.name]) for candidate in found])


def _in_turns(
    session: Session, meter: Meter, abreast: Sequence[Candidate], repeat: int, window_s: float
) -> list[tuple[str, float]]:
    """Measure rest, load, rest, load, …, rest; return the millijoules of an inference of each candidate."""
    found = []
    with ExitStack() as left:
        workers = [left.enter_context(Worker(candidate)) for candidate in abreast]
        for worker in workers:
            worker.run(WARM_UP)
        before_w = _at_rest(meter, window_s)
        for worker in workers:
            meter.start()
            loaded = worker.load(window_s)
            load_w = meter.stop().watts
            after_w = _at_rest(meter, window_s)
            idle_w = (before_w + after_w) / 2
            before_w = after_w
            millijoules = 1e3 * (load_w - idle_w) * loaded.seconds / loaded.n
            name = worker.candidate.name
            for metric, value in {
                "inference_mj": millijoules,
                "idle_mw": 1e3 * idle_w,
                "load_mw": 1e3 * load_w,
            }.items():
                session.sample(PART, name, metric, repeat, value)
            found.append((name, millijoules))
    return found


def _at_rest(meter: Meter, window_s: float) -> float:
    sleep(SETTLES_S)
    meter.start()
    sleep(window_s)
    return meter.stop().watts


def _row(candidate: Candidate, meter: Meter, millijoules: Sequence[float]) -> dict[str, Json]:
    return {
        **{name: candidate.facts[name] for name in ("runtime", "size", "precision", "threads")},
        "inference_mj": with_interval(millijoules),
        "meter": meter.name,
    }


def with_interval(values: Sequence[float]) -> dict[str, float] | float:
    """Return the mean of repeats with Student's interval of 95 %, or the value where there is one."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean
    reach = quantile_of_t(LEVEL, len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"value": mean, "low": mean - reach, "high": mean + reach}
