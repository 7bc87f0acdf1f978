"""Where a model's time goes: every operator of its file alone, in the runtime and with the kernels that it has there.

LiteRT's Python interface has no profiler. So each operator becomes a file of its own that holds it `COPIES` times, with
its own weights and shapes, and reads the same data each time; what one call of the interpreter costs is thereby spread
thin. Operators that are alike (six leads have the same layers) are measured once. Their weights are then in the nearest
cache, which they are not in the model: that and what an interpreter does between operators is in the difference of the
sum to the whole, which is measured in turn with them.
"""

from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from lsemvae_edge.benchmarks.target import ceilings, convolutions
from lsemvae_edge.benchmarks.target.candidates import size_of
from lsemvae_edge.benchmarks.target.counted import count, dims
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.runtime import ENGINES
from lsemvae_edge.statistics import median

PART: Final = ceilings.MODELS
RUNTIME: Final = "litert"
COPIES: Final = 100
TURNS, QUICK_TURNS = 15, 5
WHOLE, SUM = "whole model", "sum of its operators"


def measure(session: Session, plan: Plan) -> None:
    """Keep, for every TFLite file, what each kind of operator takes, as the fact ``profile``."""
    engine = next(engine for engine in ENGINES if engine.name == RUNTIME)
    if not engine.installed or (plan.runtimes and RUNTIME not in plan.runtimes):
        session.skip(PART, "profile", f"{RUNTIME} is not installed" if not engine.installed else "not asked for")
        return
    rows: list[dict[str, Json]] = []
    for bundle in plan.bundles:
        for model in bundle.manifest.models:
            if model.format == engine.format and (not plan.precisions or model.precision in plan.precisions):
                session.say(f"{PART}: operators of {size_of(bundle)}, {model.precision}")
                rows += _profile(bundle, model, plan.runs_or(TURNS, QUICK_TURNS), session.seed)
    session.fact(PART, "profile", rows)


def single_operators(content: bytes) -> dict[str, tuple[bytes, list[int]]]:
    """Return a file for each different operator of a TFLite file, and the places in it of those that are like it.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    dict of str to (bytes, list of int)
        By the place of the first, as text.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    alike: dict[str, list[int]] = defaultdict(list)
    for place, operator in enumerate(model.subgraphs[0].operators):
        alike[_signature(model, operator)].append(place)
    return {
        str(places[0]): (_alone(model, model.subgraphs[0].operators[places[0]]), places) for places in alike.values()
    }


def _profile(bundle: Bundle, model: ModelFile, turns: int, seed: int) -> list[dict[str, Json]]:
    content = bundle.read(model.path)
    counted = count(content, model.format)
    with TemporaryDirectory(prefix="profile-") as folder:
        files, places = {}, {}
        for name, (file, like) in single_operators(content).items():
            path = Path(folder, f"{name}.tflite")
            path.write_bytes(file)
            files[name], places[name] = str(path), like
        whole_ms, alone_ms = _timed(bundle, model, files, turns, seed)
    taken_us: dict[tuple[str, str], float] = defaultdict(float)
    macs: Counter[tuple[str, str]] = Counter()
    times: Counter[tuple[str, str]] = Counter()
    for name, like in places.items():
        for place in like:
            operator = counted.operators[place]
            kind = (operator.kind, operator.precision)
            taken_us[kind] += 1e3 * alone_ms[name] / COPIES
            macs[kind] += operator.macs
            times[kind] += 1
    told = {"size": size_of(bundle), "file_precision": model.precision, "runtime": RUNTIME}

    def row(operator: str, precision: str | None, n: int, microseconds: float, n_macs: int) -> dict[str, Json]:
        return {
            **told,
            "operator": operator,
            "precision": precision,
            "operators": n,
            "taken_us": microseconds,
            "fraction": microseconds / (1e3 * whole_ms),
            "macs": n_macs or None,
            "gmac_per_s": n_macs / microseconds / 1e3 if n_macs else None,
        }

    by_time = sorted(taken_us.items(), key=lambda one: -one[1])
    n = len(counted.operators)
    return [
        *(row(*kind, times[kind], microseconds, macs[kind]) for kind, microseconds in by_time),
        row(SUM, None, n, sum(taken_us.values()), counted.macs),
        row(WHOLE, None, n, 1e3 * whole_ms, counted.macs),
    ]


def _timed(
    bundle: Bundle, model: ModelFile, files: dict[str, str], turns: int, seed: int
) -> tuple[float, dict[str, float]]:
    """Return the median milliseconds of the whole model and of each file, run in turn."""
    timer = {"runtime": RUNTIME, "files": files, "threads": 1}
    alone = Candidate(
        "operators", {"kind": "factory", "module": convolutions.__name__, "function": "timer", "arguments": timer}
    )
    task = {"bundle": str(Path(bundle.path).resolve()), "file": model.path, "runtime": RUNTIME, "threads": 1}
    whole = Candidate("whole", {"kind": "runtime", **task})
    rng = np.random.default_rng(seed)
    runs: dict[str, list[float]] = defaultdict(list)
    with Worker(alone) as first, Worker(whole) as second:
        first.run(1)
        second.run(ceilings.MODEL_RUNS_A_TURN)
        for _ in range(turns):
            for worker in rng.permutation(np.array([first, second], dtype=object)):
                timed = worker.run(1 if worker is first else ceilings.MODEL_RUNS_A_TURN)
                for name, values in ({"whole": timed.ms} if worker is second else timed.stages).items():
                    runs[name] += values
    return float(median(runs.pop("whole"))), {name: float(median(values)) for name, values in runs.items()}


def _signature(model: Any, operator: Any) -> str:
    """Return a text that is the same for operators that do the same work on other numbers."""
    graph = model.subgraphs[0]

    def tensor(place: int) -> str:
        if place < 0:
            return "none"
        one = graph.tensors[place]
        return f"{one.type} {dims(one)} {_is_constant(model, one)}"

    options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
    small = [_values(model, graph.tensors[place]) for place in operator.inputs if place >= 0]
    ends = [tensor(place) for place in (*operator.inputs, *operator.outputs)]
    return repr((operator.opcodeIndex, sorted(options.items(), key=str), ends, small))


def _values(model: Any, tensor: Any) -> list[int] | None:
    """Return the numbers of a small integer constant: where to cut, how far to pad. They decide how much is done."""
    from ai_edge_litert import schema_py_generated as schema

    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != schema.TensorType.INT32 or len(data) > 64:
        return None
    return [int(value) for value in np.asarray(data, np.uint8).view(np.int32)]


def _is_constant(model: Any, tensor: Any) -> bool:
    return model.buffers[tensor.buffer].data is not None


def _alone(model: Any, operator: Any) -> bytes:
    """Return a file with an operator `COPIES` times."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    made, graph, old = schema.ModelT(), schema.SubGraphT(), model.subgraphs[0]
    made.version, made.buffers = model.version, [schema.BufferT()]
    graph.tensors, graph.operators, graph.inputs = [], [], []

    def copy(place: int) -> int:
        source = old.tensors[place]
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = str(len(graph.tensors)), source.shape, source.type
        tensor.quantization, tensor.buffer = source.quantization, 0
        if _is_constant(model, source):
            tensor.buffer = len(made.buffers)
            made.buffers.append(model.buffers[source.buffer])
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    read = [copy(place) if place >= 0 else -1 for place in operator.inputs]
    graph.inputs = [place for place in read if place >= 0 and graph.tensors[place].buffer == 0]
    for _ in range(COPIES):
        one = schema.OperatorT()
        one.opcodeIndex, one.inputs = 0, read
        one.outputs = [copy(place) for place in operator.outputs]
        one.builtinOptionsType, one.builtinOptions = operator.builtinOptionsType, operator.builtinOptions
        graph.operators.append(one)
    graph.outputs = list(graph.operators[-1].outputs)
    made.operatorCodes, made.subgraphs = [model.operatorCodes[operator.opcodeIndex]], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())
