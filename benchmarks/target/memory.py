"""Memory of a process that holds one model in one runtime, and the sizes of what it holds; fresh processes, in turn."""

import sys
from pathlib import Path
from typing import Final

import numpy as np

from lsemvae_edge.benchmarks.target import candidates
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Session
from lsemvae_edge.benchmarks.target.worker import Candidate, Worker

PART: Final = "memory"
REPEATS, QUICK_REPEATS = 5, 5
RUNS = 50
"""Inferences before the memory is read: a runtime may take what it needs with the first of them, or later."""
FLOORS = (
    Candidate("numpy", {"kind": "floor", "modules": ["numpy"]}, {"role": "floor"}),
    Candidate(
        "numpy and lsemvae_edge",
        {"kind": "floor", "modules": ["numpy", "lsemvae_edge.screening"]},
        {"role": "floor"},
    ),
)
"""What a process needs that holds no model."""
UNTOLD = {
    "tflite": "the interpreter's Python interface does not tell",
    "onnx": "ONNX Runtime takes its tensors from a growing pool",
}


def measure(session: Session, plan: Plan) -> None:
    """Measure the memory of every runtime with every file.

    Raises
    ------
    UsageError
        If nothing can run here, or the system does not tell a process's memory.
    """
    if not sys.platform.startswith("linux"):
        session.skip(PART, "all of it", "memory is read from /proc, which this system lacks")
        return
    found = candidates.of(session, PART, plan)
    sizes = {(bundle.sha256, model.path): len(bundle.read(model.path))
             for bundle in plan.bundles for model in bundle.manifest.models}  # fmt: skip
    for candidate in FLOORS:
        session.case(PART, candidate.name, **candidate.facts)
    for candidate in found:
        size = sizes[candidate.facts["sha256"], candidate.facts["file"]]
        session.case(PART, candidate.name, **candidate.facts, file_bytes=size, **_arena(candidate))
    repeats = plan.repeats_or(REPEATS, QUICK_REPEATS)
    rng = np.random.default_rng(session.seed)
    everything = [*FLOORS, *found]
    for repeat in range(repeats):
        session.say(f"{PART}: repeat {repeat + 1} of {repeats}")
        for i in rng.permutation(len(everything)):
            candidate = everything[i]
            with Worker(candidate) as worker:
                if candidate not in FLOORS:
                    worker.run(RUNS)
                for name, value in worker.memory().items():
                    session.sample(PART, candidate.name, name, repeat, value)


def _arena(candidate: Candidate) -> dict[str, Json]:
    """Return the bytes of the arena that a file asks for, or why they are not known."""
    format = str(candidate.facts["file"]).rpartition(".")[2]
    if format in UNTOLD:
        return {"arena_bytes": None, "arena_note": UNTOLD[format]}
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge.runtime import executorch

    held = bundles.load(Path(candidate.task["bundle"]))
    return {"arena_bytes": executorch.planned_bytes(held.read(candidate.facts["file"]))}
