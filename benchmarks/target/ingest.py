"""How fast Bluetooth packets become a recording, driver by driver: bytes, decoder, placing, assembler.

What a virtual recorder sends on simulated time is kept first; then it is decoded and assembled again and again in a
process of its own, without a radio. Processor time counts: what else a machine does is none of a driver's.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker

PART: Final = "ingest"
SECONDS, QUICK_SECONDS = 120.0, 20.0
"""Of signal that is sent."""
REPEATS, QUICK_REPEATS = 5, 3
RUNS, QUICK_RUNS = 10, 5


def measure(session: Session, plan: Plan) -> None:
    """Measure every driver that has a virtual recorder, in fresh processes whose order is drawn."""
    try:
        from lsemvae_edge.device.virtual import shelf
    except ModuleNotFoundError as error:
        session.skip(PART, "all drivers", f"the package {error.name} is not installed")
        return
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    found = [
        Candidate(
            name=name,
            task={
                "kind": "factory", "module": __name__, "function": "player",
                "arguments": {"name": name, "seconds": seconds},
            },
            facts={"driver": name, "signal_s": seconds},
        )
        for name in shelf.MADE
    ]  # fmt: skip
    for candidate in found:
        session.case(PART, candidate.name, **candidate.facts)
    rng = np.random.default_rng(session.seed)
    for repeat in range(plan.repeats_or(REPEATS, QUICK_REPEATS)):
        session.say(f"{PART}: repeat {repeat + 1}")
        for i in rng.permutation(len(found)):
            with Worker(found[i]) as worker:
                stages = worker.run(plan.runs_or(RUNS, QUICK_RUNS)).stages
            for metric in ("frames_per_s", "x_real_time"):
                session.sample(PART, found[i].name, metric, repeat, stages[metric])


def player(name: str, seconds: float) -> Callable[[], dict[str, float]]:
    """Have a recorder send, and return what decodes and assembles that once. Called in a worker's child.

    Parameters
    ----------
    name : str
        Of the driver.
    seconds : float
        Of signal.
    """
    from lsemvae_edge.benchmarks import bluetooth

    script = bluetooth.script(name, seconds)

    def run() -> dict[str, float]:
        once = bluetooth.played(script)
        return {"frames_per_s": once.messages / once.took_s, "x_real_time": once.signal_s / once.took_s}

    return run
