"""What this machine can do at most: convolutions through the same runtimes, and copying memory.

A runtime's ceiling is the best that it attains with any of a few files of convolutions, whose channels are generous.
Models are timed in turn with them, in the same processes' company; `work` holds the two against each other.

The sessions of this package run LiteRT without its XNNPACK delegate and ONNX Runtime without fused int8 kernels
(docs/architecture.md says why). So each of these two has two ceilings: that of the kernels that the sessions use, and
that of its quickest.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from lsemvae_edge.benchmarks.target import candidates, convolutions
from lsemvae_edge.benchmarks.target.convolutions import Shape
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker
from lsemvae_edge.errors import UsageError
from lsemvae_edge.runtime import build
from lsemvae_edge.statistics import median

PART: Final = "ceilings"
MODELS: Final = "work"
"""Part that the times of models belong to."""
REPEATS, QUICK_REPEATS = 5, 2
TURNS, QUICK_TURNS = 8, 3
RUNS_A_TURN = 3
MODEL_RUNS_A_TURN = 20
PRECISIONS = ("int8", "fp32")
COPIES = (("memory copy", 64_000_000, 1), ("memory copy, in cache", 128_000, 200))
"""What is copied, how many bytes, and how often in a run: one for the memory, one that fits a core's second cache."""
MODULE = convolutions.__name__


@dataclass(frozen=True)
class Ceiling:
    """A runtime with one kind of kernels.

    Parameters
    ----------
    runtime : str
        Name in the table of ceilings.
    of : str
        Runtime whose kernels they are.
    format : str
    quickest : bool
        They are quicker than those that the sessions use.
    needs : tuple of str
        Modules without which its files cannot be made or run here.
    """

    runtime: str
    of: str
    format: str
    quickest: bool = False
    needs: tuple[str, ...] = ()


CEILINGS: Final = (
    Ceiling("litert", "litert", "tflite", needs=("ai_edge_litert", "flatbuffers")),
    Ceiling("litert with XNNPACK", "litert", "tflite", True, ("ai_edge_litert", "flatbuffers")),
    Ceiling("onnxruntime", "onnxruntime", "onnx", needs=("onnxruntime", "onnx")),
    Ceiling("onnxruntime, fused", "onnxruntime", "onnx", True, ("onnxruntime", "onnx")),
    Ceiling("executorch", "executorch", "pte", needs=("executorch", "torch", "torchao")),
)


def measure(session: Session, plan: Plan) -> None:
    """Measure the ceilings and, in turn with them, the inference of every model.

    Raises
    ------
    UsageError
        If none of the runtimes is here.
    RuntimeUnavailableError
        If one fails; says how.
    """
    rng = np.random.default_rng(session.seed)
    _copies(session, plan, rng)
    wanted = tuple(name for name in plan.runtimes or _runtimes() if name in _runtimes())
    there = [one for one in CEILINGS if one.of in wanted and _is_there(session, one)]
    if not there:
        raise UsageError("No runtime is here whose ceiling can be measured.", "Run `lsemvae-edge doctor runtimes`.")
    # One thread, and all.
    threads = tuple(sorted({*plan.threads, len(os.sched_getaffinity(0))}))
    models = candidates.of(session, MODELS, replace(plan, runtimes=wanted, threads=threads))
    for model in models:
        session.case(MODELS, model.name, **model.facts)
    shapes = convolutions.QUICK_SHAPES if plan.quick else convolutions.SHAPES
    with TemporaryDirectory(prefix="ceilings-") as folder:
        files = _files(session, Path(folder), there, shapes)
        for of in dict.fromkeys(one.of for one in there):
            for count in (1,) if of in candidates.ONE_THREAD else threads:
                group = [one for one in there if one.of == of]
                beside = [one for one in models if (one.facts["runtime"], one.threads) == (of, count)]
                session.say(f"{PART}: {of}, {count} thread{'s' if count > 1 else ''}")
                _group(session, plan, rng, list(_candidates(group, files, count)), beside, shapes)


def _runtimes() -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.of for one in CEILINGS))


def _is_there(session: Session, ceiling: Ceiling) -> bool:
    lacking = [name for name in ceiling.needs if find_spec(name) is None]
    if lacking:
        session.skip(PART, ceiling.runtime, f"the package {lacking[0]} is not installed")
    elif ceiling.format == "pte" and build.library() is None:
        session.skip(PART, ceiling.runtime, f"its shim is not built: {build.BUILD}")
    else:
        return True
    return False


def _files(
    session: Session, folder: Path, ceilings: list[Ceiling], shapes: tuple[Shape, ...]
) -> dict[tuple[str, str], dict[str, str]]:
    """Make the files of every format and precision: paths by the shape's name."""
    made: dict[tuple[str, str], dict[str, str]] = {}
    for format in dict.fromkeys(one.format for one in ceilings):
        session.say(f"{PART}: making {format} files")
        for precision in PRECISIONS:
            paths = made[format, precision] = {}
            for i, shape in enumerate(shapes):
                path = folder / f"{precision}-{i}.{format}"
                path.write_bytes(convolutions.MAKERS[format](shape, precision, session.seed))
                paths[shape.name] = str(path)
    return made


def _candidates(
    ceilings: list[Ceiling], files: dict[tuple[str, str], dict[str, str]], threads: int
) -> Iterator[Candidate]:
    for one in ceilings:
        for precision in PRECISIONS:
            arguments = {
                "runtime": one.of, "files": files[one.format, precision], "threads": threads, "quickest": one.quickest,
            }  # fmt: skip
            yield Candidate(
                name=f"conv2d {precision} · {one.runtime} · {threads} thread{'s' if threads > 1 else ''}",
                task={"kind": "factory", "module": MODULE, "function": "timer", "arguments": arguments},
                facts={"kind": f"conv2d {precision}", "runtime": one.runtime, "of": one.of, "threads": threads},
                threads=threads,
            )


def _group(
    session: Session,
    plan: Plan,
    rng: np.random.Generator,
    ceilings: list[Candidate],
    models: list[Candidate],
    shapes: tuple[Shape, ...],
) -> None:
    """Measure convolutions and models in turn; keep every value, and the best shape of each as the ceiling."""
    for candidate in ceilings:
        for shape in shapes:
            session.case(PART, _of_shape(candidate, shape), **candidate.facts, shape=shape.name, macs=shape.macs)
    found: dict[str, dict[str, list[list[float]]]] = {one.name: {s.name: [] for s in shapes} for one in ceilings}
    for repeat in range(plan.repeats_or(REPEATS, QUICK_REPEATS)):
        taken = _in_turns([*ceilings, *models], plan, rng)
        for candidate in models:
            session.sample(MODELS, candidate.name, "inference_ms", repeat, taken[candidate.name]["ms"])
        for candidate in ceilings:
            for shape in shapes:
                values = taken[candidate.name][shape.name]
                session.sample(PART, _of_shape(candidate, shape), "run_ms", repeat, values)
                found[candidate.name][shape.name].append(values)
    for candidate in ceilings:
        rates = {
            shape: [[shape.macs / value / 1e6 for value in values] for values in found[candidate.name][shape.name]]
            for shape in shapes
        }
        best = max(shapes, key=lambda shape: float(median([float(median(values)) for values in rates[shape]])))
        name = session.case(PART, candidate.name, **candidate.facts, shape=best.name)
        for repeat, values in enumerate(rates[best]):
            session.sample(PART, name, "gmac_per_s", repeat, values)


def _in_turns(abreast: list[Candidate], plan: Plan, rng: np.random.Generator) -> dict[str, dict[str, list[float]]]:
    """Return the milliseconds of fresh processes by the candidate's name and the stage's, ``ms`` for whole runs."""
    taken: dict[str, dict[str, list[float]]] = {one.name: {"ms": []} for one in abreast}
    with ExitStack() as left:
        workers = [left.enter_context(Worker(candidate)) for candidate in abreast]
        for worker in workers:
            worker.run(2)
        for _ in range(plan.runs_or(TURNS, QUICK_TURNS)):
            for i in rng.permutation(len(workers)):
                candidate = workers[i].candidate
                timed = workers[i].run(RUNS_A_TURN if candidate.task["kind"] == "factory" else MODEL_RUNS_A_TURN)
                for name, values in {"ms": timed.ms, **timed.stages}.items():
                    taken[candidate.name].setdefault(name, []).extend(values)
    return taken


def _copies(session: Session, plan: Plan, rng: np.random.Generator) -> None:
    """Measure copying; what is read and what is written count both."""
    sizes = {kind: n_bytes for kind, n_bytes, _ in COPIES}
    copying = [
        Candidate(
            name=kind,
            task={
                "kind": "factory", "module": MODULE, "function": "copier",
                "arguments": {"n_bytes": n_bytes, "times": times},
            },
            facts={"kind": kind, "runtime": "numpy", "of": "numpy", "threads": 1},
        )
        for kind, n_bytes, times in COPIES
    ]  # fmt: skip
    for candidate in copying:
        session.case(PART, candidate.name, **candidate.facts, bytes=sizes[candidate.name])
    for repeat in range(plan.repeats_or(REPEATS, QUICK_REPEATS)):
        for name, stages in _in_turns(copying, plan, rng).items():
            rates = [2 * sizes[name] / value / 1e6 for value in stages["copy"]]
            session.sample(PART, name, "gb_per_s", repeat, rates)


def _of_shape(candidate: Candidate, shape: Shape) -> str:
    return f"{candidate.name} · {shape.name}"
