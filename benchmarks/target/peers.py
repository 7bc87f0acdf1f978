"""Ours beside others, in one run and on one thread: in rounds in which each has its turn, in an order drawn by lot.

Whoever is measured runs in a process of its own, so that nobody's libraries burden another. A case has two of them:
one that runs inference alone, and one that goes the whole way from the recording's file to the probability.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from lsemvae_edge.benchmarks.published import PUBLISHED
from lsemvae_edge.benchmarks.target import candidates, ratios
from lsemvae_edge.benchmarks.target.path import made
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Recorded, Session, read
from lsemvae_edge.benchmarks.target.worker import Candidate, Timed, Worker
from lsemvae_edge.errors import LsemvaeError

PART: Final = "peers"
REFERENCE = "reference LS-EMVAE 6L"
BY_NEUROKIT = f"{REFERENCE}, cleaned by neurokit2"
READS = {"cnn": "window", "beat_cnn": "beat"}
CNNS = {"cnn": "plain CNN · window", "beat_cnn": "plain CNN · average beat"}
"""Plain CNNs about as large as `small`, by kind; see `benchmarks.fits`."""
REPEATS, QUICK_REPEATS = 10, 5
RUNS, QUICK_RUNS = 100, 40
WARM_UP, TURNS = 10, 5
HERE = __name__.rpartition(".")[0]
WORK = Path("runs/peers")
WANTED = {"inference_ms": 100, "file_bytes": 1000, "peak_rss_mb": 10, "whole_ms": 20}
"""How many times less than the reference classifier ours is to need."""
COMPARED = ("inference_ms", "file_bytes", "peak_rss_mb", "whole_ms", "whole_peak_rss_mb", "start_to_result_ms")
WEIGHTS = "weights.safetensors"
SPEAKERS = (("litert", "int8"), ("executorch", "int8"))
"""Of ours, those whose ratios are told."""

Kept = Callable[[Mapping[str, float], Sequence[Timed], Mapping[str, float]], Mapping[str, float | list[float]]]


@dataclass(frozen=True)
class _Peer:
    """A case: what is known of it, and its processes, of inference alone and of the whole way."""

    name: str
    facts: Mapping[str, Json]
    alone: Candidate | None
    whole: Candidate | None


@dataclass(frozen=True)
class _Ready:
    """What was made before anything is timed: files, and rows of AUROC by case."""

    reference: Path | None
    cnns: Mapping[str, Path]
    rows: Sequence[Mapping[str, Json]]
    lacks: Sequence[tuple[str, str]]


def measure(session: Session, plan: Plan, work: Path = WORK) -> None:
    """Measure the first bundle of a plan beside the reference classifier, its own student in torch, and plain CNNs.

    Parameters
    ----------
    session : Session
    plan : Plan
        With ``final``, AUROCs are of set A, and the reading is appended to the ledger.
    work : Path
        Where the peers' files are kept; the plain CNNs are trained once, in a minute or two.

    Raises
    ------
    UsageError
        If nothing can run here.
    RuntimeUnavailableError
        If a runtime fails; says how.
    """
    one = candidates.of(session, PART, _alone(plan))
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as place:
        recording = (plan.recording or made(Path(place) / "recording.lser", 0)).resolve()
        ready = _made_ready(session, plan, one, work)
        for what, why in ready.lacks:
            session.skip(PART, what, why)
        found = [*_ours(one, plan, recording), *_others(ready, recording)]
        for peer in found:
            session.case(PART, peer.name, **peer.facts)
        repeats, runs = plan.repeats_or(REPEATS, QUICK_REPEATS), plan.runs_or(RUNS, QUICK_RUNS)
        rng = np.random.default_rng(session.seed)
        for repeat in range(repeats):
            session.say(f"{PART}: repeat {repeat + 1} of {repeats}")
            alone = {peer.name: peer.alone for peer in found if peer.alone is not None}
            one_round(session, PART, alone, repeat, runs, rng, _kept_alone)
            ways = {peer.name: peer.whole for peer in found if peer.whole is not None}
            one_round(session, PART, ways, repeat, runs, rng, _kept_whole)
    session.fact(PART, "auroc", list(ready.rows))
    session.fact(PART, "ratios", _ratios(session, found, ready.rows))


def one_round(
    session: Session,
    part: str,
    held: Mapping[str, Candidate],
    repeat: int,
    runs: int,
    rng: np.random.Generator,
    kept: Kept,
) -> None:
    """Start a process of each, have them run in turns, and keep what each took.

    Parameters
    ----------
    session : Session
    part : str
    held : mapping of str to Candidate
        By the name of the case.
    repeat, runs : int
        Runs of each process, after some that are not kept.
    rng : Generator
        Draws the order of starts and of each turn.
    kept : callable
        Names the samples that are kept, of how a process started, what its runs took, and its memory at the end.
    """
    with ExitStack() as left:
        order = [list(held)[i] for i in rng.permutation(len(held))]
        workers = {name: left.enter_context(Worker(held[name])) for name in order}
        for worker in workers.values():
            worker.run(WARM_UP)
        took: dict[str, list[Timed]] = {name: [] for name in order}
        for turn in np.array_split(np.arange(runs), min(TURNS, runs)):
            for i in rng.permutation(len(order)):
                took[order[i]].append(workers[order[i]].run(len(turn)))
        for name, worker in workers.items():
            for metric, value in kept(worker.started, took[name], worker.memory()).items():
                session.sample(part, name, metric, repeat, value)


def _alone(plan: Plan) -> Plan:
    return replace(plan, bundles=plan.bundles[:1], threads=(1,))


def _made_ready(session: Session, plan: Plan, found: Sequence[Candidate], work: Path) -> _Ready:
    """Have a process of its own write, train, quantize and judge: this one never imports torch."""
    if find_spec("torch") is None:
        return _Ready(None, {}, (), [("the reference classifier, plain CNNs, torch", "they need the extra `export`")])
    work.mkdir(parents=True, exist_ok=True)
    asked = [
        {"name": one.name, "runtime": one.facts["runtime"], "precision": one.facts["precision"],
         "file": one.facts["file"], "here": one.python == sys.executable}
        for one in found
    ]  # fmt: skip
    students = _students(plan)
    asked += [
        {"name": name, "runtime": "torch", "precision": precision, "file": None, "here": True}
        for name, precision in students.items()
    ]
    session.say(f"{PART}: what the peers need is made, or found, in {work}")
    bundle = str(Path(plan.bundles[0].path).resolve())
    # A forked child would inherit what this process holds, and torch would stay in it.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        made_there = pool.submit(_prepared, work.resolve(), bundle, asked, session.seed, plan.final).result()
    for text in made_there["said"]:
        session.say(f"{PART}: {text}")
    return _Ready(made_there["reference"], made_there["cnns"], made_there["rows"], made_there["lacks"])


def _prepared(work: Path, bundle: str, asked: Sequence[Mapping[str, Json]], seed: int, final: bool) -> dict[str, Json]:
    """Do all that needs torch; runs in the other process."""
    from lsemvae_edge.benchmarks.target import peer_training

    said: list[str] = []
    rows: list[dict[str, Json]] = []
    lacks: list[tuple[str, str]] = []
    cnns: dict[str, Path] = {}
    reference = work / f"reference-6l-{seed}.safetensors"
    peer_training.write_reference(reference, seed)
    try:
        recordings = peer_training.load(final)
    except LsemvaeError as error:
        recordings = None
        lacks.append(("plain CNNs, and AUROCs but the study's", f"{error.message} {error.next_step}"))
    if recordings is not None:
        for one in asked:
            judged = peer_training.judged_ours(bundle, **_through(one), recordings=recordings)
            rows.append({"name": one["name"], **judged})
        if find_spec("litert_torch") is None:
            lacks.append(("plain CNNs", "they are converted by litert-torch: pip install 'lsemvae-edge[export]'"))
        else:
            for kind, name in CNNS.items():
                cnns[kind] = peer_training.cnn_file(kind, work, recordings, seed, said.append)
                rows.append({"name": name, **peer_training.judged_cnn(kind, cnns[kind], recordings)})
        if final:
            peer_training.append_to_ledger(bundle, rows)
    row = peer_training.reference_row()
    if row is not None:
        rows += [{"name": name, **row} for name in (REFERENCE, BY_NEUROKIT)]
    theirs = next(one for one in PUBLISHED if (one.task, one.leads) == ("PH detection", "6L"))
    rows.append(
        {
            "name": f"{REFERENCE}, as published",
            "auroc": theirs.auroc,
            "set": "its own cohort, label by catheter: not comparable",
            "source": "arXiv:2503.13470",
        }
    )
    return {"reference": reference, "cnns": cnns, "rows": rows, "lacks": lacks, "said": said}


def _through(one: Mapping[str, Json]) -> dict[str, Json]:
    """Say through which runtime a form is judged: one that is not screened with is judged through its like."""
    runtime = {candidates.PYTHON_BINDING: "executorch"}.get(one["runtime"], one["runtime"])
    return {
        "runtime": runtime if one["here"] else "litert",
        "precision": one["precision"],
        "file": one["file"],
    }


def _students(plan: Plan) -> dict[str, str]:
    """Name the student's forms in torch with their precisions, if the bundle has float weights and all are wanted."""
    bundle = plan.bundles[0]
    if plan.runtimes or find_spec("torch") is None or WEIGHTS not in bundle.manifest.files:
        return {}
    size = candidates.size_of(bundle)
    return {
        f"torch · {size} · {precision} · 1 thread": precision
        for precision in ("fp32", "int8")
        if not plan.precisions or precision in plan.precisions
    }


def _ours(found: Sequence[Candidate], plan: Plan, recording: Path) -> Iterator[_Peer]:
    bundle = plan.bundles[0]
    path = str(Path(bundle.path).resolve())
    for one in found:
        facts = {**one.facts, "role": "ours", "file_bytes": len(bundle.read(one.facts["file"]))}
        whole = None
        if one.python == sys.executable and one.facts["runtime"] != candidates.PYTHON_BINDING:
            told = {"bundle": path, "file": one.facts["file"], "runtime": one.facts["runtime"]}
            whole = _factory(one.name, "peer_models", "student_in_runtime", {**told, "recording": str(recording)})
        yield _Peer(one.name, facts, one, whole)
    for name, precision in _students(plan).items():
        told = {"bundle": path, "precision": precision}
        facts = {
            "runtime": "torch",
            "size": candidates.size_of(bundle),
            "precision": precision,
            "threads": 1,
            "role": "ours",
            # Int8 in torch is float weights with every rounding written out: no file of its own.
            "file_bytes": len(bundle.read(WEIGHTS)) if precision == "fp32" else None,
        }
        yield _in_both(name, facts, "peer_models_torch", "student_in_torch", told, recording)


def _others(ready: _Ready, recording: Path) -> Iterator[_Peer]:
    if ready.reference is not None:
        facts = {"runtime": "torch", "precision": "fp32", **_of_file(ready.reference)}
        told = {"weights": str(ready.reference)}
        yield _in_both(REFERENCE, facts, "peer_models_torch", "reference", told, recording)
        # Whoever follows the paper calls this library; our own writing of its filters is kinder to the reference.
        if find_spec("neurokit2") is not None:
            told |= {"recording": str(recording), "filters": "neurokit2"}
            way = _factory(BY_NEUROKIT, "peer_models_torch", "reference", told)
            yield _Peer(BY_NEUROKIT, {**facts, "filters": "neurokit2"}, None, way)
    for kind, file in ready.cnns.items():
        facts = {"runtime": "litert", "precision": "int8", **_of_file(file)}
        told = {"file": str(file), "reads": READS[kind]}
        yield _in_both(CNNS[kind], facts, "peer_models_litert", "plain_cnn", told, recording)


def _of_file(file: Path) -> dict[str, Json]:
    return {"threads": 1, "role": "peer", "file_bytes": file.stat().st_size}


def _in_both(
    name: str, facts: Mapping[str, Json], module: str, function: str, told: Mapping[str, Json], recording: Path
) -> _Peer:
    whole = _factory(name, module, function, {**told, "recording": str(recording)})
    return _Peer(name, facts, _factory(name, module, function, told), whole)


def _factory(name: str, module: str, function: str, told: Mapping[str, Json]) -> Candidate:
    task = {"kind": "factory", "module": f"{HERE}.{module}", "function": function, "arguments": dict(told)}
    return Candidate(name, task)


def _kept_alone(
    started: Mapping[str, float], took: Sequence[Timed], memory: Mapping[str, float]
) -> dict[str, float | list[float]]:
    return {**started, "inference_ms": [value for one in took for value in one.ms], **memory}


def _kept_whole(
    started: Mapping[str, float], took: Sequence[Timed], memory: Mapping[str, float]
) -> dict[str, float | list[float]]:
    stages = {f"whole_{name}": [value for one in took for value in one.stages[name]] for name in took[0].stages}
    peak = {"whole_peak_rss_mb": memory["peak_rss_mb"]} if "peak_rss_mb" in memory else {}
    return {
        "start_to_result_ms": sum(started.values()),
        "whole_ms": [value for one in took for value in one.ms],
        **stages,
        **peak,
    }


def _ratios(session: Session, found: Sequence[_Peer], rows: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    """Put the peers' figures over ours, repeat by repeat: how many times less ours needs."""
    recorded = read(session.folder)
    auroc = {row["name"]: row for row in reversed(rows)}
    others = [peer for peer in found if peer.facts["role"] == "peer"]
    told: list[dict[str, Json]] = []
    for runtime, precision in SPEAKERS:
        mine = [peer for peer in found if peer.facts["role"] == "ours"]
        mine = [peer for peer in mine if (peer.facts["runtime"], peer.facts["precision"]) == (runtime, precision)]
        for one, other in product(mine, others):
            for metric in COMPARED:
                ratio = _ratio(recorded, one, other, metric)
                if ratio is None:
                    continue
                wanted = WANTED.get(metric) if other.name == REFERENCE else None
                surely = ratio.value if ratio.low is None else ratio.low
                ours, theirs = (auroc.get(peer.name, {}) for peer in (one, other))
                told.append(
                    {
                        "what": metric,
                        "ours": one.name,
                        "peer": other.name,
                        "ratio": ratio.value,
                        "low": ratio.low,
                        "high": ratio.high,
                        "wanted": wanted,
                        "reached": None if wanted is None else surely >= wanted,
                        "auroc_ours": ours.get("auroc"),
                        "auroc_peer": theirs.get("auroc"),
                        "auroc_on": " / ".join(dict.fromkeys(str(row["set"]) for row in (ours, theirs) if row)),
                    }
                )
                if wanted is not None and surely < wanted:
                    session.say(f"{PART}: {metric} of {one.name}: {ratio.value:.3g} times less, not {wanted}")
    return told


def _ratio(recorded: Recorded, one: _Peer, other: _Peer, metric: str) -> ratios.Ratio | None:
    if metric.endswith("_bytes"):
        ours, theirs = one.facts.get(metric), other.facts.get(metric)
        return ratios.Ratio(theirs / ours, None, None, None, 1, False) if ours and theirs else None
    sides = [[sample.values for sample in recorded.of(PART, peer.name, metric)] for peer in (one, other)]
    return ratios.ratio(*sides, paired=True) if all(sides) else None
