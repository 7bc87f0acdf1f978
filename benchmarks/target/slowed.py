"""The comparer held against what is known: pairs of the same thing, and pairs of which one does a tenth more.

Both sides run the shipped model through its runtime, in processes of their own, on one core, in turn. A side does its
work in batches of ten inferences; the slowed one does eleven in the same batch: ten per cent more of the real work, by
count. That it also takes ten per cent more is checked by another clock than the one that is compared, the time that the
processor spent on the process.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from lsemvae_edge import bundle as bundles
from lsemvae_edge import runtime
from lsemvae_edge.benchmarks.target import compare, host, session
from lsemvae_edge.benchmarks.target.compare import Comparison
from lsemvae_edge.benchmarks.target.session import Json, Recorded, Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker
from lsemvae_edge.statistics import median

PART, METRIC = "comparer", "batch_ms"
DOING = {METRIC, "first_run_ms"}
"""Metrics of the work that a slowed side does more of; starting and loading are not."""
REPEATS = 12
"""Pairs of processes of a pair of sides."""
ROUNDS = 6
"""Turns that each process of a repeat has."""
BATCHES = 8
"""In a turn."""
INFERENCES = 10
"""In a batch; the slowed side does one more."""
WARM_UP = 5
"""Batches that are not kept."""
SAME, SLOWED = "same", "slowed"
MOST_FALSE, LEAST_FOUND = 1 / 20, 18 / 20
"""What is promised: shares of the pairs of the same that may be reported, and of the slowed ones that must be found."""

Say = Callable[[str], None]


def side(name: str, inferences: int) -> Candidate:
    """Return a side: a process that does batches of so many inferences."""
    task = {"kind": "factory", "module": __name__, "function": "batch", "arguments": {"inferences": inferences}}
    return Candidate(name, task, {"side": name})


def batch(inferences: int) -> Callable[[], None]:
    """Return a function that does one batch with the shipped model; called in the process of a side."""
    bundle = bundles.default()
    signal = bundle.golden["input"][0].astype(np.float32)
    model = runtime.open_session(bundle)

    def run() -> None:
        for _ in range(inferences):
            model.run(signal)

    return run


def record(folder: Path, kind: str, seed: int, repeats: int = REPEATS, rounds: int = ROUNDS) -> Recorded:
    """Record a pair in one session: sides A and B in turn, the first of each turn drawn by lot.

    Parameters
    ----------
    folder : Path
    kind : str
        `SAME`, or `SLOWED`: then B does a tenth more.
    seed : int
    repeats, rounds : int
        Pairs of processes, and turns of each.
    """
    rng = np.random.default_rng(seed)
    sides = [side("A", INFERENCES), side("B", INFERENCES + (1 if kind == SLOWED else 0))]
    with Session(folder, host.facts(), [bundles.default()], seed) as one:
        for candidate in sides:
            one.case(PART, candidate.name, **candidate.facts)
        for repeat in range(repeats):
            # Which process starts first is drawn by lot as well.
            first, second = (sides[number] for number in rng.permutation(2))
            with Worker(first) as a, Worker(second) as b:
                _in_turn(one, (a, b), repeat, rounds, rng)
    return session.read(folder)


def prove(
    pairs: int, seed: int, smallest: float, say: Say, repeats: int = REPEATS, rounds: int = ROUNDS
) -> dict[str, Json]:
    """Compare so many pairs of the same thing, and so many of which one is slowed, in an order drawn by lot.

    Parameters
    ----------
    pairs, seed : int
    smallest : float
        See `compare.sessions`.
    say : callable
        Told of progress.
    repeats, rounds : int
        See `record`.

    Returns
    -------
    dict
        ``false_reports`` and ``found`` of ``pairs`` each; ``apart``, what comes of comparing sides that were recorded
        one after the other instead of in turn; every pair; and ``broken``, promises that did not hold.
    """
    kinds = [SAME] * pairs + [SLOWED] * pairs
    np.random.default_rng(seed).shuffle(kinds)
    rows: list[dict[str, Json]] = []
    firsts: list[Recorded] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(kinds):
            recorded = record(Path(folder) / str(number), kind, seed + number, repeats, rounds)
            found = compare.within(recorded, {"side": "A"}, {"side": "B"}, smallest=smallest)
            rows.append(_row(kind, found, recorded))
            firsts.append(_only(recorded, "A"))
            say(f"{number + 1} of {len(kinds)}, {kind}: {rows[-1]['ratio']:.3f}, {rows[-1]['verdict']}")
    same, slowed = ([row for row in rows if row["kind"] == kind] for kind in (SAME, SLOWED))
    figures = {
        "pairs": pairs,
        "seed": seed,
        "smallest": smallest,
        "repeats": repeats,
        "false_reports": sum(bool(row["reported"]) for row in same),
        "found": sum(row["verdict"] == "worse" for row in slowed),
        "false_reports_of_what_was_not_slowed": sum(bool(set(row["reported"]) - DOING) for row in slowed),
        "ratio_of_slowed": _median(slowed, "ratio"),
        "cpu_ratio_of_slowed": _median(slowed, "cpu_ratio"),
        "cpu_ratio_of_same": _median(same, "cpu_ratio"),
        "apart": _apart(firsts, smallest),
        "host": host.facts(),
        "rows": rows,
    }
    return {**figures, "broken": broken(figures)}


def broken(figures: Mapping[str, Json]) -> list[str]:
    """Return the promises that did not hold, in words."""
    pairs, false, found = figures["pairs"], figures["false_reports"], figures["found"]
    said = []
    if false > MOST_FALSE * pairs:
        said.append(f"{false} of {pairs} pairs of the same were reported")
    if found < LEAST_FOUND * pairs:
        said.append(f"only {found} of {pairs} slowed pairs were found")
    return said


def told(figures: Mapping[str, Json]) -> str:
    """Return the figures in words."""
    pairs, apart = figures["pairs"], figures["apart"]
    return "\n".join(
        (
            f"Of {pairs} pairs of the same, {figures['false_reports']} were reported to differ.",
            f"Of {pairs} pairs slowed by {100 / INFERENCES:.0f} %, {figures['found']} were found; they took "
            f"{figures['ratio_of_slowed']:.3f} times as long, and {figures['cpu_ratio_of_slowed']:.3f} times the "
            "processor's time.",
            f"Of {apart['pairs']} pairs of the same that were recorded one after the other, {apart['false_reports']} "
            f"were reported; their ratios go from {apart['least']:.3f} to {apart['most']:.3f}.",
        )
    )


def _in_turn(one: Session, workers: Sequence[Worker], repeat: int, rounds: int, rng: np.random.Generator) -> None:
    took: dict[str, list[float]] = {}
    cpu: dict[str, float] = {}
    for worker in workers:
        worker.run(WARM_UP)
    for _ in range(rounds):
        for number in rng.permutation(len(workers)):
            name, timed = workers[number].candidate.name, workers[number].run(BATCHES)
            took.setdefault(name, []).extend(timed.ms)
            cpu[name] = cpu.get(name, 0.0) + timed.cpu_ms
    for worker in workers:
        name = worker.candidate.name
        one.sample(PART, name, METRIC, repeat, took[name])
        for metric, value in worker.started.items():
            one.sample(PART, name, metric, repeat, value)
    one.fact(PART, f"cpu_ms {repeat}", cpu)


def _row(kind: str, found: Comparison, recorded: Recorded) -> dict[str, Json]:
    row = next(row for row in found.rows if row.metric == METRIC)
    spent = recorded.facts[PART].values()
    return {
        "kind": kind,
        **{name: getattr(row, name) for name in ("ratio", "low", "high", "p", "verdict")},
        "reported": [row.metric for row in found.rows if row.verdict in ("worse", "better")],
        "cpu_ratio": sum(cpu["B"] for cpu in spent) / sum(cpu["A"] for cpu in spent),
    }


def _apart(firsts: Sequence[Recorded], smallest: float) -> dict[str, Json]:
    """Compare each pair's side A, which is never slowed, with the next one's, as two sessions are compared."""
    found = [compare.sessions(a, b, smallest=smallest) for a, b in pairwise(firsts)]
    ratios = [row.ratio for one in found for row in one.rows if row.metric == METRIC]
    return {
        "pairs": len(found),
        "false_reports": sum(any(row.verdict in ("worse", "better") for row in one.rows) for one in found),
        "least": min(ratios),
        "most": max(ratios),
    }


def _only(recorded: Recorded, side: str) -> Recorded:
    return replace(
        recorded,
        cases=[case for case in recorded.cases if case.name == side],
        samples=[sample for sample in recorded.samples if sample.case == side],
    )


def _median(rows: Sequence[Mapping[str, Json]], name: str) -> float:
    return float(median([row[name] for row in rows]))
