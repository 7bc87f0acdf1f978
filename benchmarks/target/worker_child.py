"""The process that holds one candidate: run by path, also in an environment that has the core of the package alone.

Its first argument says what to hold, as JSON; see `lsemvae_edge.benchmarks.target.worker`.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import monotonic_ns, perf_counter, process_time
from typing import Any

BEGUN_NS = monotonic_ns()

Run = Callable[[], Any]
Marks = dict[str, float]


def main(told: dict[str, Any]) -> None:
    """Hold a candidate, and obey."""
    # What a runtime prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.sched_setaffinity(0, told["cores"])
    marks: Marks = {"start_ms": 1e-6 * (BEGUN_NS - told["spawned_ns"])}
    run = KINDS[told["kind"]](told, marks)
    if run is not None:
        begun = perf_counter()
        run()
        marks["first_run_ms"] = 1e3 * (perf_counter() - begun)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer(marks)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "memory":
            answer(memory())
        elif order["do"] == "run" and run is not None:
            answer(timed(run, order["n"]))
        elif order["do"] == "load" and run is not None:
            answer(loaded(run, order["seconds"]))
        else:
            break


def timed(run: Run, n: int) -> dict[str, Any]:
    """Call so often; where a call returns milliseconds by name, keep those as well."""
    took: list[float] = []
    stages: dict[str, list[float]] = {}
    cpu = process_time()
    for _ in range(n):
        begun = perf_counter()
        given = run()
        took.append(1e3 * (perf_counter() - begun))
        for name, value in given.items() if isinstance(given, dict) else ():
            stages.setdefault(name, []).append(value)
    return {"ms": took, "stages": stages, "cpu_ms": 1e3 * (process_time() - cpu)}


def loaded(run: Run, seconds: float) -> dict[str, float]:
    """Call for so long and count: what each call took is not kept, for keeping it costs time and energy as well."""
    n = 0
    begun = perf_counter()
    while (spent := perf_counter() - begun) < seconds:
        run()
        n += 1
    return {"n": n, "seconds": spent}


def memory() -> dict[str, float]:
    """Return the memory of this process in MB (10⁶ bytes); of the shared pages, PSS counts its part and USS none."""
    status = _kilobytes("status")
    rollup = _kilobytes("smaps_rollup")
    found = {
        "peak_rss_mb": status["VmHWM"],
        "steady_rss_mb": status["VmRSS"],
        "pss_mb": rollup.get("Pss"),
        "uss_mb": rollup["Private_Clean"] + rollup["Private_Dirty"] if rollup else None,
    }
    return {name: value * 1024 / 1e6 for name, value in found.items() if value is not None}


def _kilobytes(file: str) -> dict[str, int]:
    try:
        lines = Path(f"/proc/self/{file}").read_text().splitlines()
    except OSError:
        return {}
    parted = [line.split() for line in lines if line.endswith("kB")]
    return {words[0].rstrip(":"): int(words[1]) for words in parted}


def _floor(told: dict[str, Any], marks: Marks) -> None:
    for module in told["modules"]:
        import_module(module)


def _runtime(told: dict[str, Any], marks: Marks) -> Run:
    import numpy as np

    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import runtime

    bundle = bundles.load(Path(told["bundle"]))
    model = next(model for model in bundle.manifest.models if model.path == told["file"])
    content = bundle.read(model.path)
    signal = bundle.golden["input"][0].astype(np.float32)
    begun = perf_counter()
    if told["runtime"] == "executorch.runtime":
        import torch
        from executorch.runtime import Runtime

        imported = perf_counter()
        method = Runtime.get().load_program(content).load_method("forward")
        taken = [torch.from_numpy(signal[None, :, None].copy()), torch.ones(1, len(signal))]

        def run() -> Any:
            # The program reads the bytes it was loaded from, and does not hold them itself.
            assert content
            return method.execute(taken)

    else:
        engine = next(engine for engine in runtime.ENGINES if engine.name == told["runtime"])
        # The shim of ExecuTorch is no module: it is loaded with the file.
        for module in {"tflite": [f"{engine.package}.interpreter"], "onnx": [engine.package]}.get(engine.format, []):
            import_module(module)
        imported = perf_counter()
        session = engine.open(content, model, told["threads"])

        def run() -> Any:
            return session.run(signal)

    marks["import_ms"] = 1e3 * (imported - begun)
    marks["load_ms"] = 1e3 * (perf_counter() - imported)
    return run


def _path(told: dict[str, Any], marks: Marks) -> Run:
    begun = perf_counter()
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import formats, runtime
    from lsemvae_edge.screening import screen

    imported = perf_counter()
    bundle = bundles.load(Path(told["bundle"]))
    model = next(model for model in bundle.manifest.models if model.path == told["file"])
    session = runtime.open_session(bundle, told["runtime"], model)
    recording = Path(told["recording"])
    marks["import_ms"] = 1e3 * (imported - begun)
    marks["load_ms"] = 1e3 * (perf_counter() - imported)

    def run() -> Marks:
        begun = perf_counter()
        record = formats.read(recording)
        decoded = perf_counter()
        result = screen(record, bundle, session=session)
        screened = perf_counter()
        json.dumps(result.to_dict())
        ended = perf_counter()
        spent = {f"{name}_ms": result.timing_ms[name] for name in ("quality", "preprocess", "inference", "decision")}
        return {"decode_ms": 1e3 * (decoded - begun), **spent, "json_ms": 1e3 * (ended - screened)}

    return run


def _factory(told: dict[str, Any], marks: Marks) -> Run:
    begun = perf_counter()
    module = import_module(told["module"])
    imported = perf_counter()
    run: Run = getattr(module, told["function"])(**told["arguments"])
    marks["import_ms"] = 1e3 * (imported - begun)
    marks["load_ms"] = 1e3 * (perf_counter() - imported)
    return run


KINDS: dict[str, Callable[[dict[str, Any], Marks], Run | None]] = {
    "floor": _floor,
    "runtime": _runtime,
    "path": _path,
    "factory": _factory,
}

if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
