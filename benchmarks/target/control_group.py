"""A control group of the kernel, made for a while below this process's own: limits of memory and processor.

Both versions of the interface are known. Nothing but what is started through `Group.command` is put into it.
"""

import os
import shlex
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lsemvae_edge.errors import UsageError

PERIOD_US = 100_000
"""In which a group may have its share of a processor."""
_NEXT = "Run as root, or under `systemd-run --user --scope -p Delegate=yes`."


@dataclass(frozen=True)
class Usage:
    """What a group used.

    Parameters
    ----------
    anonymous_bytes, mapped_bytes : int
        Now: pages that belong to no file, and pages of files that are mapped.
    peak_bytes : int or None
        The most at any time, files that were read counted too; they are given back when the limit is reached.
    refaults : int
        Pages of files that had been given back to stay within the limit, and were read again: many are thrashing.
    oom_kills : int
        Processes that the kernel killed because nothing could be given back.
    major_faults : int
        Pages that had to be read again from the disk, or for the first time.
    throttled_s : float
        How long all that would run had to wait for the processor's share of the next period.
    """

    anonymous_bytes: int
    mapped_bytes: int
    peak_bytes: int | None
    refaults: int
    oom_kills: int
    major_faults: int
    throttled_s: float


class Group:
    """A control group, as a context manager; what is still in it at the end is killed.

    Parameters
    ----------
    name : str
    memory_bytes : int
        Limit of memory, swap included: none is used.
    cpus : float
        Limit of the processor's time, in cores.
    root : Path
        Of the file system.

    Raises
    ------
    UsageError
        If this process may not make one.
    """

    def __init__(self, name: str, memory_bytes: int, cpus: float, root: Path = Path("/")) -> None:
        self._memory, self._cpu, self._is_second = _homes(root)
        self._memory, self._cpu = self._memory / name, self._cpu / name
        limits: tuple[tuple[Path, str], ...]
        if self._is_second:
            limits = (
                (self._memory / "memory.max", str(memory_bytes)),
                (self._memory / "memory.swap.max", "0"),
                (self._cpu / "cpu.max", f"{round(cpus * PERIOD_US)} {PERIOD_US}"),
            )
        else:
            limits = (
                (self._memory / "memory.limit_in_bytes", str(memory_bytes)),
                (self._memory / "memory.memsw.limit_in_bytes", str(memory_bytes)),
                (self._cpu / "cpu.cfs_period_us", str(PERIOD_US)),
                (self._cpu / "cpu.cfs_quota_us", str(round(cpus * PERIOD_US))),
            )
        try:
            for folder in dict.fromkeys((self._memory, self._cpu)):
                folder.mkdir()
            for file, text in limits:
                # A kernel without accounting of swap has no file for it; without swap none is needed.
                if "sw" not in file.name or file.exists():
                    file.write_text(text)
        except OSError as error:
            self._remove()
            raise UsageError(f"A control group cannot be made here: {error}", _NEXT) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _attempt in range(100):
            for pid in self.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._remove()
            if not self._memory.exists() and not self._cpu.exists():
                return
            time.sleep(0.05)

    def command(self, command: list[str]) -> list[str]:
        """Return a command that does the same within the group, from its first page on."""
        places = " ".join(shlex.quote(str(folder / "cgroup.procs")) for folder in {self._memory, self._cpu})
        enter = f'for place in {places}; do echo $$ > "$place" || exit 3; done; exec "$@"'
        return ["/bin/sh", "-c", enter, "sh", *command]

    def pids(self) -> list[int]:
        """Return what runs in it."""
        try:
            return [int(text) for text in (self._memory / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def usage(self) -> Usage:
        """Return what it used up to now."""
        stat = _pairs(self._memory / "memory.stat")
        cpu = _pairs(self._cpu / "cpu.stat")
        if self._is_second:
            events = _pairs(self._memory / "memory.events")
            return Usage(
                anonymous_bytes=stat["anon"],
                mapped_bytes=stat["file_mapped"],
                peak_bytes=_number(self._memory / "memory.peak"),
                refaults=stat.get("workingset_refault_file", 0),
                oom_kills=events["oom_kill"],
                major_faults=stat["pgmajfault"],
                throttled_s=cpu.get("throttled_usec", 0) / 1e6,
            )
        return Usage(
            anonymous_bytes=stat["total_rss"],
            mapped_bytes=stat["total_mapped_file"],
            peak_bytes=_number(self._memory / "memory.max_usage_in_bytes"),
            refaults=stat.get("total_workingset_refault_file", 0),
            oom_kills=_pairs(self._memory / "memory.oom_control").get("oom_kill", 0),
            major_faults=stat["total_pgmajfault"],
            throttled_s=cpu.get("throttled_time", 0) / 1e9,
        )

    def _remove(self) -> None:
        for folder in {self._memory, self._cpu}:
            with suppress(OSError):
                folder.rmdir()


def _homes(root: Path) -> tuple[Path, Path, bool]:
    """Return where groups of memory and of the processor are made below this process's, and whether in version 2."""
    own: dict[str, str] = {}
    mounts: dict[str, Path] = {}
    try:
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own.update(dict.fromkeys(controllers.split(","), path))
        for line in (root / "proc/self/mounts").read_text().splitlines():
            _, place, kind, options, *_ = line.split()
            if kind == "cgroup":
                mounts.update(dict.fromkeys(options.split(","), root / place.lstrip("/")))
            elif kind == "cgroup2":
                mounts[""] = root / place.lstrip("/")
    except OSError as error:
        raise UsageError(f"This system has no control groups: {error}", "Measure on Linux.") from error
    if {"memory", "cpu"} <= set(mounts) and {"memory", "cpu"} <= set(own):
        memory, cpu = (mounts[name] / own[name].lstrip("/") for name in ("memory", "cpu"))
        return memory, cpu, False
    if "" not in mounts:
        raise UsageError("No control groups of memory and processor are mounted here.", "Measure on Linux.")
    home = mounts[""] / own.get("", "/").lstrip("/")
    home = _delegated(home)
    return home, home, True


def _delegated(home: Path) -> Path:
    """Have a group of version 2 hand its controllers down; it may then hold no process itself, but for the root."""
    try:
        if not {"memory", "cpu"} <= set((home / "cgroup.controllers").read_text().split()):
            raise UsageError("The controllers of memory and processor are not handed down to this process.", _NEXT)
        handed = (home / "cgroup.subtree_control").read_text().split()
        if {"memory", "cpu"} <= set(handed):
            return home
        if (home / "cgroup.type").exists():
            # Only the root has no type.
            aside = home / "measuring"
            aside.mkdir(exist_ok=True)
            for pid in (home / "cgroup.procs").read_text().split():
                (aside / "cgroup.procs").write_text(pid)
        (home / "cgroup.subtree_control").write_text("+memory +cpu")
    except OSError as error:
        raise UsageError(f"A control group cannot be made here: {error}", _NEXT) from error
    return home


def _pairs(file: Path) -> dict[str, int]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except OSError:
        return None
