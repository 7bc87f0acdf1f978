"""Latency of inference alone, batch of one: in fresh processes, side by side, in turns whose order is drawn by lot."""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from lsemvae_edge.benchmarks.target import candidates
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker

PART = "latency"
REPEATS, QUICK_REPEATS = 10, 5
"""Fresh processes of each case."""
RUNS, QUICK_RUNS = 200, 50
"""Inferences of each process that are kept."""
WARM_UP = 20
TURNS = 5
"""In which a process does its runs."""
ABREAST = 12
"""Processes that wait beside each other: each holds its memory meanwhile."""


def measure(session: Session, plan: Plan) -> None:
    """Measure every runtime with every file, and each number of threads.

    Raises
    ------
    UsageError
        If nothing can run here.
    RuntimeUnavailableError
        If a runtime fails; says how.
    """
    found = candidates.of(session, PART, plan)
    for candidate in found:
        session.case(PART, candidate.name, **candidate.facts)
    repeats, runs = plan.repeats_or(REPEATS, QUICK_REPEATS), plan.runs_or(RUNS, QUICK_RUNS)
    rng = np.random.default_rng(session.seed)
    for repeat in range(repeats):
        session.say(f"{PART}: repeat {repeat + 1} of {repeats}")
        order = [found[i] for i in rng.permutation(len(found))]
        for first in range(0, len(order), ABREAST):
            in_turns(session, PART, "inference_ms", order[first : first + ABREAST], repeat, runs, rng)


def in_turns(
    session: Session,
    part: str,
    metric: str,
    abreast: Sequence[Candidate],
    repeat: int,
    runs: int,
    rng: np.random.Generator,
) -> None:
    """Start processes, have them run in turns, and keep what each took: one repeat of each case.

    Parameters
    ----------
    session : Session
        Whose cases are named like the candidates.
    part, metric : str
        Where a run's milliseconds are kept; those of its start and of its stages are kept by their own names.
    abreast : sequence of Candidate
    repeat : int
    runs : int
        Of each process, after some that are not kept.
    rng : Generator
        Draws the order of each turn.
    """
    with ExitStack() as left:
        workers = [left.enter_context(Worker(candidate)) for candidate in abreast]
        for worker in workers:
            worker.run(WARM_UP)
        took: dict[str, dict[str, list[float]]] = {worker.candidate.name: {} for worker in workers}
        for turn in np.array_split(np.arange(runs), min(TURNS, runs)):
            for i in rng.permutation(len(workers)):
                timed = workers[i].run(len(turn))
                kept = took[workers[i].candidate.name]
                for name, values in {metric: timed.ms, **timed.stages}.items():
                    kept.setdefault(name, []).extend(values)
        for worker in workers:
            started = {name: [value] for name, value in worker.started.items()}
            for name, values in {**started, **took[worker.candidate.name]}.items():
                session.sample(part, worker.candidate.name, name, repeat, values)
