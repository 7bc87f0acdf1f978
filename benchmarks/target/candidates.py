"""What can be run here: every runtime with every file that it runs, for each bundle and number of threads."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from lsemvae_edge import runtime
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.benchmarks.target.worker import Candidate
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import UsageError
from lsemvae_edge.manifest import ModelFile

PYTHON_BINDING = "executorch.runtime"
TFLITE_RUNTIME = "tflite-runtime"
ONE_THREAD = ("executorch", PYTHON_BINDING)
"""Runtimes whose threads cannot be chosen from here."""


def size_of(bundle: Bundle) -> str:
    """Return the name of a bundle's size (``small``), which stands in its identifier; else the whole identifier."""
    return bundle.spec.id.removeprefix("lsemvae-edge-").rpartition("-")[0] or bundle.spec.id


def names() -> tuple[str, ...]:
    """Return the names of all runtimes that can be asked for."""
    return (*(engine.name for engine in runtime.ENGINES), PYTHON_BINDING)


def of(session: Session, part: str, plan: Plan) -> list[Candidate]:
    """Return the candidates of a plan; what cannot run here is kept in the session as skipped, with its reason.

    Raises
    ------
    UsageError
        If nothing is left, or a name is unknown.
    """
    if unknown := sorted(set(plan.runtimes) - set(names())):
        raise UsageError(f"Unknown runtime {unknown[0]!r}.", f"Choose among {', '.join(names())}.")
    found = [
        candidate
        for bundle in plan.bundles
        for name in plan.runtimes or names()
        for candidate in _of_runtime(session, part, plan, bundle, name)
    ]
    if not found:
        raise UsageError("Nothing of what was asked for can run here.", "Run `lsemvae-edge doctor runtimes`.")
    return found


def _of_runtime(session: Session, part: str, plan: Plan, bundle: Bundle, name: str) -> Iterator[Candidate]:
    package = "executorch" if name == PYTHON_BINDING else name
    engine = next(engine for engine in runtime.ENGINES if engine.name == package)
    files = [model for model in bundle.manifest.models if model.format == engine.format]
    files = [model for model in files if not plan.precisions or model.precision in plan.precisions]
    python = str(plan.tflite_runtime_python) if name == TFLITE_RUNTIME and plan.tflite_runtime_python else None
    if python is None:
        lacks = _lack(plan, name, engine)
        if lacks:
            session.skip(part, name, lacks)
            return
    if not files:
        session.skip(part, f"{name}, {size_of(bundle)}", f"the bundle has no {engine.format} file of that kind")
    for model in files:
        for threads in plan.threads:
            what = f"{name}, {size_of(bundle)}, {model.precision}, {_threads(threads)}"
            if threads > 1 and name in ONE_THREAD:
                session.skip(part, what, "it runs on the calling thread")
            elif threads > len(os.sched_getaffinity(0)):
                session.skip(part, what, "there are not so many cores")
            else:
                yield _candidate(_called(plan, bundle), bundle, model, name, threads, python or sys.executable)


def _lack(plan: Plan, name: str, engine: runtime.Engine) -> str | None:
    """Return why a runtime is left out, or None."""
    if name == PYTHON_BINDING and not plan.runtimes:
        return f"each process imports torch for seconds, and the bits are those of the shim: --runtime {name}"
    if not engine.installed:
        return f"not installed: {engine.install}"
    if name == PYTHON_BINDING and find_spec("torch") is None:
        return "it needs torch: pip install 'lsemvae-edge[export]'"
    return None


def _called(plan: Plan, bundle: Bundle) -> str:
    """Return a bundle's size, and of several of one size also what tells them apart."""
    size = size_of(bundle)
    several = sum(size_of(other) == size for other in plan.bundles) > 1
    return f"{size} {bundle.sha256[:8]}" if several else size


def _candidate(called: str, bundle: Bundle, model: ModelFile, name: str, threads: int, python: str) -> Candidate:
    path = Path(bundle.path).resolve()
    return Candidate(
        name=f"{name} · {called} · {model.precision} · {_threads(threads)}",
        task={"kind": "runtime", "bundle": str(path), "file": model.path, "runtime": name, "threads": threads},
        facts={
            "runtime": name,
            "size": size_of(bundle),
            "precision": model.precision,
            "file": model.path,
            "threads": threads,
            "bundle": bundle.spec.id,
            "sha256": bundle.sha256,
        },
        threads=threads,
        python=python,
    )


def _threads(n: int) -> str:
    return f"{n} thread" if n == 1 else f"{n} threads"
