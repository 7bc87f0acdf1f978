"""What each runtime costs on this machine: import and load, first run, later runs, memory; in fresh processes, in turn.

Every process runs on one core, with the package, the bundle and numpy loaded before the clock starts, so that the
figures are the runtime's own. A process of numpy alone, and one of numpy and this package, show the floor of memory.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import lsemvae_edge
from lsemvae_edge import runtime
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import RuntimeUnavailableError, UsageError

FIGURES = ("import_load_ms", "first_run_ms", "run_ms", "peak_mb", "process_ms")
REFERENCE = "litert"
PYTHON_BINDING = "executorch.runtime"
_RUNS = 200
_CHILD = """
import json, os, sys
from pathlib import Path
from statistics import median
from time import perf_counter
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
import numpy as np
name, path, file, runs = sys.argv[1:]
figures = {}
if name != "numpy":
    from lsemvae_edge import bundle, runtime
    found = bundle.load(path)
    signal = found.golden["input"][0].astype(np.float32)
if file:
    model = next(model for model in found.manifest.models if model.path == file)
    content = found.read(file)
    begun = perf_counter()
    if name == "executorch.runtime":
        import torch
        from executorch.runtime import Runtime
        method = Runtime.get().load_program(content).load_method("forward")
        taken = [torch.from_numpy(signal[None, :, None].copy()), torch.ones(1, len(signal))]
        run = lambda: method.execute(taken)
    else:
        engine = next(engine for engine in runtime.ENGINES if engine.name == name)
        session = engine.open(content, model)
        run = lambda: session.run(signal)
    loaded = perf_counter()
    run()
    figures = {"import_load_ms": 1e3 * (loaded - begun), "first_run_ms": 1e3 * (perf_counter() - loaded)}
    took = []
    for _ in range(int(runs)):
        begun = perf_counter()
        run()
        took.append(1e3 * (perf_counter() - begun))
    figures["run_ms"] = median(took)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps({**figures, "peak_mb": int(peak.split()[1]) / 1024}))
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """What a child process runs: a runtime with one file of the bundle, or with none to show the floor."""

    runtime: str
    file: str
    precision: str
    python: str

    @property
    def what(self) -> str:
        """Name of the table's row."""
        return f"{self.runtime}, {self.file}" if self.file else self.runtime


@dataclass(frozen=True)
class Cost:
    """Medians over the repeats, and medians of the ratios to the first row of LiteRT within each repeat."""

    runtime: str
    file: str
    precision: str
    repeats: int
    medians: dict[str, float]
    ratios: dict[str, float]
    samples: dict[str, list[float]]


def measure(bundle: Bundle, repeats: int, tflite_python: Path | None, say: Say) -> list[Cost]:
    """Measure every runtime that is installed with every file that it runs.

    Parameters
    ----------
    bundle : Bundle
    repeats : int
        Counted processes of each, in turn, after one of each that is not counted.
    tflite_python : Path, optional
        Interpreter of the environment that tflite-runtime is installed in.
    say : callable
        Told of progress.

    Raises
    ------
    RuntimeUnavailableError
        If a runtime fails; says how.
    UsageError
        If there are no repeats, or the machine does not tell a process's memory.
    """
    if repeats < 1:
        raise UsageError("At least one repeat is needed.")
    if not Path("/proc/self/status").exists():
        raise UsageError("Memory is read from /proc, which this system lacks.", "Run it on Linux.")
    rows = candidates(bundle, tflite_python)
    samples: list[dict[str, list[float]]] = [{} for _ in rows]
    with tempfile.TemporaryDirectory() as folder:
        # The other interpreter gets this package and nothing else of this environment.
        package = Path(folder) / "lsemvae_edge"
        shutil.copytree(Path(lsemvae_edge.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        for number in range(repeats + 1):
            say(f"repeat {number} of {repeats}" if number else "one round that is not counted")
            for row, kept in zip(rows, samples, strict=True):
                figures = _process(row, bundle, folder)
                for name, value in figures.items() if number else ():
                    kept.setdefault(name, []).append(value)
    reference = next((kept for row, kept in zip(rows, samples, strict=True) if row.runtime == REFERENCE), {})
    return [
        Cost(
            row.runtime, row.file, row.precision, repeats,
            {name: statistics.median(values) for name, values in kept.items()},
            {name: _ratio(values, reference[name]) for name, values in kept.items() if name in reference},
            kept,
        )
        for row, kept in zip(rows, samples, strict=True)
    ]  # fmt: skip


def candidates(bundle: Bundle, tflite_python: Path | None) -> list[Candidate]:
    """Return the floors, then every runtime with every file that it runs."""
    rows = [Candidate("numpy", "", "", sys.executable), Candidate("numpy and lsemvae_edge", "", "", sys.executable)]
    pythons = {engine.name: sys.executable for engine in runtime.available()}
    if tflite_python is not None:
        pythons["tflite-runtime"] = str(tflite_python)
    for engine in runtime.ENGINES:
        files = [model for model in bundle.manifest.models if model.format == engine.format]
        for model in files if engine.name in pythons else ():
            rows.append(Candidate(engine.name, model.path, model.precision, pythons[engine.name]))
        if engine.name == "executorch" and find_spec("executorch") and find_spec("torch"):
            rows += [Candidate(PYTHON_BINDING, model.path, model.precision, sys.executable) for model in files]
    return rows


def table(costs: Sequence[Cost]) -> str:
    """Print costs as Markdown."""
    lines = ["| runtime | file | import + load ms | first run ms | run ms | peak MB | process ms | load, run, peak "
             f"over {REFERENCE} |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for cost in costs:
        shown = " | ".join(
            f"{cost.medians[name]:.{digits}f}" if name in cost.medians else "-"
            for name, digits in zip(FIGURES, (1, 2, 3, 1, 0), strict=True)
        )
        over = ", ".join(
            f"{cost.ratios[name]:.2f}" if name in cost.ratios else "-"
            for name in ("import_load_ms", "run_ms", "peak_mb")
        )
        file = f"{cost.file} ({cost.precision})" if cost.file else "-"
        lines.append(f"| {cost.runtime} | {file} | {shown} | {over} |")
    return "\n".join(lines)


def _process(row: Candidate, bundle: Bundle, packages: str) -> dict[str, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if row.python != sys.executable:
        environment["PYTHONPATH"] = packages
    arguments = [row.runtime, str(bundle.path.resolve()), row.file, str(_RUNS)]
    begun = perf_counter()
    # Our own code, in interpreters that the caller names.
    done = subprocess.run(  # noqa: S603
        [row.python, "-c", _CHILD, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    wall_ms = 1e3 * (perf_counter() - begun)
    if done.returncode:
        last = done.stderr.strip().splitlines()
        raise RuntimeUnavailableError(
            f"{row.what} fails with exit code {done.returncode}: {last[-1] if last else 'nothing was said'}",
            "Run `lsemvae-edge doctor` in that environment.",
        )
    figures: Mapping[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**figures, "process_ms": wall_ms}


def _ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    return statistics.median(value / other for value, other in zip(values, reference, strict=True))
