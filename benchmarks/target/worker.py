"""A candidate in a process of its own, pinned to named cores, that runs when it is told to.

Several candidates are held at a time and told in turn, so that what the machine does meanwhile falls on all alike.
The clock is in the child: it times its own calls, without the pipe between.

A candidate says what it holds by ``task``, plain JSON:

======================  ======================================================================================
``kind``                What else there is
======================  ======================================================================================
``runtime``             ``bundle``, ``file``, ``runtime``, ``threads``: one runtime with one file, inference alone
``path``                ``bundle``, ``file``, ``runtime``, ``recording``: file to JSON, stage by stage
``factory``             ``module``, ``function``, ``arguments``: called once; what it returns is what is timed. Where a
                        call returns milliseconds by name, those are kept as stages
``floor``               ``modules``: imported, and nothing is run; shows what a process needs anyway
======================  ======================================================================================
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Self

import lsemvae_edge
from lsemvae_edge.benchmarks.target.session import Json
from lsemvae_edge.errors import RuntimeUnavailableError, UsageError

STARTS_WITHIN_S = 300.0
ANSWERS_WITHIN_S = 600.0
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CHILD = Path(__file__).with_name("worker_child.py")


@dataclass(frozen=True)
class Candidate:
    """What a process holds.

    Parameters
    ----------
    name : str
        Of the case.
    task : mapping
        See the module.
    facts : mapping
        That tell the case from the others of its part.
    threads : int
        Cores that the process is pinned to, and threads that libraries are told to use.
    python : str
        Interpreter that runs it; another than this one is given the core of this package and nothing else of it.
    """

    name: str
    task: Mapping[str, Json]
    facts: Mapping[str, Json] = field(default_factory=dict)
    threads: int = 1
    python: str = sys.executable


@dataclass(frozen=True)
class Timed:
    """Milliseconds of each call, those of its stages by name, and the processor's milliseconds of all calls."""

    ms: list[float]
    stages: dict[str, list[float]]
    cpu_ms: float


@dataclass(frozen=True)
class Loaded:
    """How many calls were made, and how long they took together."""

    n: int
    seconds: float


class Worker:
    """A process that holds a candidate, as a context manager.

    ``started`` holds the milliseconds of its start: ``start_ms`` until Python runs its first line, and for those that
    run something ``import_ms``, ``load_ms`` and ``first_run_ms``.

    Raises
    ------
    RuntimeUnavailableError
        If the process ends, or says nothing for too long; with its last words.
    UsageError
        If there are fewer cores than the candidate needs.
    """

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        cores = sorted(os.sched_getaffinity(0))[-candidate.threads :]
        if len(cores) < candidate.threads:
            raise UsageError(f"{candidate.name} needs {candidate.threads} cores; {len(cores)} are there.")
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when the process has ended
        with _environment(candidate) as environment:
            told = {**candidate.task, "cores": cores, "spawned_ns": monotonic_ns()}
            # Our own file, in interpreters that the caller names.
            self._child = subprocess.Popen(  # noqa: S603
                [candidate.python, str(_CHILD), json.dumps(told)],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            )  # fmt: skip
            try:
                self.started: dict[str, float] = self._answer(STARTS_WITHIN_S)
            except RuntimeUnavailableError:
                self._end()
                raise

    def run(self, n: int) -> Timed:
        """Have it do so many runs."""
        return Timed(**self._ask({"do": "run", "n": n}))

    def load(self, seconds: float) -> Loaded:
        """Have it run for so long without keeping what each run took."""
        return Loaded(**self._ask({"do": "load", "seconds": seconds}))

    def memory(self) -> dict[str, float]:
        """Return ``peak_rss_mb``, ``steady_rss_mb``, ``pss_mb`` and ``uss_mb``, as far as the system tells them."""
        return self._ask({"do": "memory"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _ask(self, order: dict[str, Json]) -> dict[str, Json]:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.write(json.dumps(order) + "\n")
            self._child.stdin.flush()
        return self._answer(ANSWERS_WITHIN_S)

    def _answer(self, within_s: float) -> dict[str, Json]:
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], within_s)
        line = self._child.stdout.readline() if ready else ""
        if not line:
            what = f"ended with {self._child.wait()}" if ready else f"said nothing for {within_s:g} s"
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()
            raise RuntimeUnavailableError(
                f"{self.candidate.name} {what}: {last[-1] if last else 'it left no word'}",
                "Run `lsemvae-edge doctor` in that environment.",
            )
        answer: dict[str, Json] = json.loads(line)
        return answer

    def _end(self) -> None:
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.close()


@contextmanager
def _environment(candidate: Candidate) -> Iterator[dict[str, str]]:
    """Give the variables of a child; another interpreter finds a copy of the core while it starts."""
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(candidate.threads))}
    # The child is run by path, whose folder must not become a place to import from: `path` is no library there.
    environment["PYTHONSAFEPATH"] = "1"
    if candidate.python == sys.executable:
        yield environment
        return
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "lsemvae_edge"
        shutil.copytree(Path(lsemvae_edge.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
        yield {**environment, "PYTHONPATH": folder}
