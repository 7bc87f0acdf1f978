"""Proof by killing: work that is killed at random moments and run again ends as if nothing had happened.

Each trial has a folder of its own. The command is started there in its own process group, the whole group is killed
with SIGKILL after a random time, and so on until the wanted number of kills; then it runs to its end and the folder
is compared with that of an undisturbed run. A run that ends before its kill comes is compared at once, and the next
trial takes the remaining kills.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from lsemvae_edge.errors import LsemvaeError, StoreError

Say = Callable[[str], None]


class ProofError(LsemvaeError):
    """A command failed by itself while it was being proved."""

    code = StoreError.code
    default_next_step = "Run it by hand in a new folder to see why."


@dataclass(frozen=True)
class Subject:
    """What is killed, and how its result is judged.

    Parameters
    ----------
    command : callable
        Takes a folder, gives the command that works there; the same command resumes.
    finished : callable
        Says of a folder whether its work is done.
    progress : callable
        Says how far a folder is, as a number that grows: shards, steps.
    differences : callable
        Takes the undisturbed folder and another, gives what differs; empty when nothing does.
    """

    command: Callable[[Path], Sequence[str]]
    finished: Callable[[Path], bool]
    progress: Callable[[Path], float]
    differences: Callable[[Path, Path], list[str]]


@dataclass(frozen=True)
class Kill:
    """One kill: how long after the start, and how far the work was."""

    after_s: float
    progress: float


@dataclass(frozen=True)
class Trial:
    """One folder: its kills, and what differs from the undisturbed one in the end."""

    kills: tuple[Kill, ...]
    runs: int
    differences: tuple[str, ...]


def kill_and_resume(
    command: Sequence[str],
    finished: Callable[[], bool],
    n_kills: int,
    seed: int | random.Random,
    *,
    longest_s: float,
    progress: Callable[[], float] = lambda: 0.0,
    timeout_s: float = 3600.0,
) -> tuple[Kill, ...]:
    """Run a command to its end, killing it on the way.

    Parameters
    ----------
    command : sequence of str
        Does the work, and resumes it when run again.
    finished : callable
        Says whether the work is done.
    n_kills : int
        Most kills; there are fewer when the work is done before.
    seed : int or Random
        Of the moments.
    longest_s : float
        Each kill comes between 0 and this long after the start; take an undisturbed run's time.
    progress : callable
        Noted at each kill.
    timeout_s : float
        Longest time of the last, undisturbed run.

    Returns
    -------
    tuple of Kill

    Raises
    ------
    ProofError
        If the command fails by itself, or ends without the work being done.
    """
    rng = seed if isinstance(seed, random.Random) else random.Random(seed)  # noqa: S311 - no secret
    kills: list[Kill] = []
    while len(kills) < n_kills:
        after_s = rng.uniform(0.0, longest_s)
        if not _killed(command, after_s):
            break
        kills.append(Kill(round(after_s, 3), progress()))
    else:
        _to_the_end(command, timeout_s)
    if not finished():
        raise ProofError(f"{' '.join(command)} ended, but its work is not done.")
    return tuple(kills)


def prove(subject: Subject, times: int, seed: int, folder: Path, say: Say) -> dict[str, Any]:
    """Kill a subject a number of times, over as many folders as it takes.

    Parameters
    ----------
    subject : Subject
    times : int
        Kills in all.
    seed : int
    folder : Path
        Empty folder to work in; the undisturbed run's folder stays there, as ``undisturbed``.
    say : callable

    Returns
    -------
    dict
        ``undisturbed_s``, ``kills``, ``different`` (trials whose result differs) and ``trials``.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    undisturbed = folder / "undisturbed"
    begun = perf_counter()
    _to_the_end(subject.command(undisturbed), 3600.0)
    undisturbed_s = perf_counter() - begun
    say(f"undisturbed: {undisturbed_s:.1f} s")
    trials: list[Trial] = []
    left = times
    while left:
        here = folder / "killed"
        kills = kill_and_resume(
            subject.command(here),
            lambda here=here: subject.finished(here),  # type: ignore[misc]  # bound now, not at the call
            left,
            rng,
            longest_s=undisturbed_s,
            progress=lambda here=here: subject.progress(here),  # type: ignore[misc]
        )
        trial = Trial(kills, len(kills) + 1, tuple(subject.differences(undisturbed, here)))
        trials.append(trial)
        left -= len(kills)
        moments = ", ".join(f"{kill.after_s:.1f} s at {kill.progress:g}" for kill in kills) or "none in time"
        say(f"killed: {moments}; {len(trial.differences)} differences; {left} kills left")
        shutil.rmtree(here)
    return {
        "seed": seed,
        "undisturbed_s": round(undisturbed_s, 2),
        "kills": sum(len(trial.kills) for trial in trials),
        "different": sum(bool(trial.differences) for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }


def preparation(n_records: int = 1200, shard_size: int = 32, workers: int = 2) -> Subject:
    """Prepare a simulated cohort; shards, notes and the list of rejected recordings must be bit-equal."""

    def command(out: Path) -> list[str]:
        return [
            *(str(Path(sys.executable).with_name("lsemvae-edge")), "train", "prepare", "--dataset", "synthetic"),
            *("--option", f"n_patients={n_records}", "--option", "faults=contact_loss"),
            *("--recipe", "edge", "--shard-size", str(shard_size), "--workers", str(workers), "--out", str(out)),
        ]

    return Subject(
        command,
        finished=lambda out: (out / "report.json").is_file(),
        progress=lambda out: len(list(out.glob("notes/*.json"))),
        differences=different_files,
    )


def different_files(one: Path, other: Path) -> list[str]:
    """Compare two prepared folders byte for byte, but for the report, which holds times, and the lock.

    Returns
    -------
    list of str
        What differs, by name relative to the folders.
    """

    def files(folder: Path) -> dict[str, Path]:
        found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        return {name: path for name, path in found.items() if name not in ("report.json", "lock")}

    first, second = files(one), files(other)
    missing = [f"{name}: in one folder only" for name in sorted(first.keys() ^ second.keys())]
    return missing + [
        f"{name}: other bytes"
        for name in sorted(first.keys() & second.keys())
        if first[name].read_bytes() != second[name].read_bytes()
    ]


def _killed(command: Sequence[str], after_s: float) -> bool:
    """Start a command and kill its process group; False if it ended before."""
    process = _start(command)
    try:
        code = process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    if code:
        raise ProofError(f"{' '.join(command)} failed with exit code {code}.")
    return False


def _to_the_end(command: Sequence[str], timeout_s: float) -> None:
    process = _start(command)
    try:
        code = process.wait(timeout_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        raise ProofError(f"{' '.join(command)} failed with exit code {code}.")


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # A session of its own: the kill reaches every worker and nobody else.
    return subprocess.Popen(  # noqa: S603 - the subject's command
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
