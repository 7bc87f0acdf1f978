"""The whole path: file to JSON stage by stage with everything loaded, the start of a process, and an archive replayed.

Each stage is timed by the code that screens, not by a copy of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from lsemvae_edge import formats
from lsemvae_edge.benchmarks.target import candidates
from lsemvae_edge.benchmarks.target.latency import in_turns
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.benchmarks.target.worker import THREAD_VARIABLES, Candidate
from lsemvae_edge.errors import RuntimeUnavailableError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.runtime import open_session
from lsemvae_edge.screening import model_ran, screen
from lsemvae_edge.synthetic.heart import drawn, simulate

PART = "path"
REPEATS, QUICK_REPEATS = 10, 5
RUNS, QUICK_RUNS = 50, 20
STARTS, QUICK_STARTS = 20, 5
"""Fresh processes from start to result."""
ARCHIVE, QUICK_ARCHIVE = 200, 50
"""Recordings that are replayed."""
FLOOR = "python, import numpy"
START = "screen FILE --json"
REPLAY = "screen FOLDER --json"
_MAIN = "import sys; from lsemvae_edge.cli import main; sys.exit(main())"


def measure(session: Session, plan: Plan) -> None:
    """Measure the path of one recording.

    Raises
    ------
    UsageError
        If nothing can run here.
    RuntimeUnavailableError
        If the recording is refused, or a process fails.
    """
    with tempfile.TemporaryDirectory(prefix="bench-path-") as place:
        folder = Path(place)
        recording = recording_of(plan, folder)
        _warm(session, plan, recording)
        _starts(session, plan, recording)
        _replay(session, plan, folder / "archive")


def recording_of(plan: Plan, folder: Path) -> Path:
    """Return the recording that a plan names, or one that is made in ``folder``.

    Raises
    ------
    RuntimeUnavailableError
        If quality refuses it.
    """
    recording = plan.recording or made(folder / "recording.lser", 0)
    if not model_ran(screen(formats.read(recording), plan.bundles[0])):
        raise RuntimeUnavailableError(
            f"{recording.name} is refused by quality, so that not all of the path would run.",
            "Name another with --recording.",
        )
    return recording


def made(path: Path, seed: int) -> Path:
    """Write ten seconds of a simulated heart, whose kind is drawn by lot, in six leads."""
    record = simulate(drawn(np.random.default_rng(seed)), 10.0, 500.0, seed, LIMB_LEADS)
    return formats.write(record, path)


def _warm(session: Session, plan: Plan, recording: Path) -> None:
    found = [
        Candidate(
            one.name,
            {**one.task, "kind": "path", "recording": str(recording.resolve())},
            {**one.facts, "recording": _called(plan, recording)},
        )
        for one in candidates.of(session, PART, plan)
        # The command runs one thread, in this environment, and knows no other binding.
        if one.threads == 1 and one.python == sys.executable and one.facts["runtime"] != candidates.PYTHON_BINDING
    ]
    for candidate in found:
        session.case(PART, candidate.name, **candidate.facts)
    repeats, runs = plan.repeats_or(REPEATS, QUICK_REPEATS), plan.runs_or(RUNS, QUICK_RUNS)
    rng = np.random.default_rng(session.seed)
    for repeat in range(repeats):
        session.say(f"{PART}: repeat {repeat + 1} of {repeats}")
        in_turns(session, PART, "whole_ms", [found[i] for i in rng.permutation(len(found))], repeat, runs, rng)


def _starts(session: Session, plan: Plan, recording: Path) -> None:
    bundle = plan.bundles[0]
    facts = {"size": candidates.size_of(bundle), "bundle": bundle.spec.id, "sha256": bundle.sha256, "threads": 1}
    # One runtime is chosen by name; of several the command takes its own choice.
    named = plan.runtimes[0] if len(plan.runtimes) == 1 and plan.runtimes[0] != candidates.PYTHON_BINDING else None
    chosen = open_session(bundle, named)
    told = ["screen", str(recording.resolve()), "--bundle", str(Path(bundle.path).resolve()), "--json"]
    told += ["--runtime", named] if named else []
    commands = {FLOOR: [sys.executable, "-c", "import numpy"], START: [sys.executable, "-c", _MAIN, *told]}
    session.case(PART, FLOOR, role="floor")
    session.case(
        PART, START, **facts, runtime=chosen.runtime, precision=chosen.model.precision,
        recording=_called(plan, recording),
    )  # fmt: skip
    times = plan.repeats_or(STARTS, QUICK_STARTS)
    rng = np.random.default_rng(session.seed)
    for repeat in range(-1, times):
        for i in rng.permutation(len(commands)):
            name = list(commands)[i]
            whole_ms, printed = _process(commands[name])
            if repeat < 0:
                continue
            session.sample(PART, name, "start_to_result_ms", repeat, whole_ms)
            if printed:
                for metric, value in _parted(whole_ms, json.loads(printed)["timing_ms"]).items():
                    session.sample(PART, name, metric, repeat, value)
    session.say(f"{PART}: {times} starts")


def _parted(whole_ms: float, timing_ms: Mapping[str, float]) -> dict[str, float]:
    """Part a start: loading the model, its first run, and all before and after the screening itself.

    The last is the interpreter, imports, reading the file and the bundle's manifest, and printing.
    """
    return {
        "import_ms": whole_ms - timing_ms["total"],
        "load_ms": timing_ms["load"],
        "first_run_ms": timing_ms["inference"],
    }


def _replay(session: Session, plan: Plan, archive: Path) -> None:
    archive.mkdir()
    count = QUICK_ARCHIVE if plan.quick else ARCHIVE
    for number in range(count):
        made(archive / f"{number:04}.lser", number)
    bundle = plan.bundles[0]
    session.case(PART, REPLAY, size=candidates.size_of(bundle), bundle=bundle.spec.id, recordings=count, threads=1)
    command = [sys.executable, "-c", _MAIN, "screen", str(archive), "--bundle", str(Path(bundle.path).resolve())]
    for repeat in range(plan.repeats_or(REPEATS, QUICK_REPEATS) if not plan.quick else 1):
        whole_ms, printed = _process([*command, "--json"], allowed=(0, 4))
        if (answers := len(printed.splitlines())) != count:
            raise RuntimeUnavailableError(f"Of {count} recordings {answers} were answered.", "Look at `screen` itself.")
        session.sample(PART, REPLAY, "records_per_s", repeat, 1e3 * count / whole_ms)
    session.say(f"{PART}: {count} recordings replayed")


def _process(command: Sequence[str], allowed: Sequence[int] = (0,)) -> tuple[float, str]:
    """Return the milliseconds of a whole process, and what it printed."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    begun = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    whole_ms = 1e3 * (perf_counter() - begun)
    if done.returncode not in allowed:
        last = done.stderr.strip().splitlines()
        raise RuntimeUnavailableError(
            f"A process of the measurement failed: {last[-1] if last else done.returncode}", "Run the command by hand."
        )
    return whole_ms, done.stdout


def _called(plan: Plan, recording: Path) -> str:
    return recording.name if plan.recording else "ten seconds of a simulated heart, six leads"
