"""The kiosk within the limits of a small board: a whole visit, from the start to a result, in a control group.

What a board runs is in the group: the terminal kiosk, or the kiosk's server with its browser. The recorder, its radio
and whatever drives the visit are outside. Nothing is swapped.

A group is charged for a page of a file by whoever reads it first; on a machine that has read the files before, most
would be missing. So visits go before those that count: one shows which files are read, and before each later one the
kernel is asked to forget them. What other processes still hold of them then (this interpreter's own libraries) is
measured, and the limit is set lower by as much.

``alone_mb`` is what the group's processes hold as if nothing else ran: their own pages, and every page of a file that
any of them maps, once. Pages of files can be given back and read again; ``anonymous_mb`` cannot.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Final

from lsemvae_edge.benchmarks import kiosk_browser
from lsemvae_edge.benchmarks.target import boards, visits
from lsemvae_edge.benchmarks.target.control_group import Group, Usage
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Session
from lsemvae_edge.errors import LsemvaeError

PART: Final = "confined"
REPEATS, QUICK_REPEATS = 3, 1
SAMPLE_S = 0.5
AMPLE_MB = 4096.0
"""Limit of the visits that do not count."""


@dataclass(frozen=True)
class Limits:
    """What a board has: memory in MB (10⁶ bytes), cores, and what that is the memory of."""

    memory_mb: float
    cpus: float
    what: str


UIS: Final[dict[str, Callable[[Group, kiosk_browser.Kiosk], visits.Visit]]] = {
    "terminal": visits.in_terminal,
    "server and browser": visits.in_browser,
}


def limits() -> tuple[Limits, ...]:
    """Return the limits that are measured: 512 MB, and what Linux has of them on a Zero 2 W; one core."""
    small = next(board for board in boards.boards() if board.name == "Raspberry Pi Zero 2 W")
    assert small.linux_memory_mb is not None
    return (
        Limits(512.0, 1.0, f"the memory of a {small.name}"),
        Limits(round(small.linux_memory_mb, 1), 1.0, "what Linux has of it; the rest is the graphics processor's"),
    )


@dataclass
class Peaks:
    """The most that was seen at a time, in bytes: `alone` as if nothing else ran, `foreign` what others are charged."""

    anonymous: int = 0
    alone: int = 0
    proportional: int = 0
    foreign: int = 0
    processes: int = 0
    files: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Resident:
    """What processes hold, in bytes; see `resident`."""

    own: int
    files: int
    proportional: int
    paths: frozenset[str]


@dataclass(frozen=True)
class Seen:
    """One visit in a group: what it took, what the group used, and what went wrong, if anything did."""

    visit: visits.Visit | None
    usage: Usage
    peaks: Peaks
    fault: str | None


def measure(
    session: Session, plan: Plan, within: Sequence[Limits] | None = None, uis: Sequence[str] = tuple(UIS)
) -> None:
    """Go through visits within each limit; whatever ends one there is kept as ``fits: false`` and its reason.

    Raises
    ------
    UsageError
        If this process may make no control group.
    """
    rows: list[dict[str, Json]] = []
    for ui in uis:
        if (lacking := visits.lacking(ui)) is not None:
            session.skip(PART, ui, lacking)
            continue
        session.say(f"{PART}: {ui}, visits that do not count")
        files = _seen(ui, AMPLE_MB, None).peaks.files
        rehearsed = _seen(ui, AMPLE_MB, None, files)
        if rehearsed.fault is not None:
            session.skip(PART, ui, f"it does not work without limits either: {rehearsed.fault}")
            continue
        for limit in within or limits():
            rows.append(_within(session, plan, limit, ui, files, rehearsed.peaks.foreign))
            session.fact(PART, "fits", rows)


def _within(session: Session, plan: Plan, limit: Limits, ui: str, files: set[str], foreign: int) -> dict[str, Json]:
    told = {"ui": ui, "memory_mb": limit.memory_mb, "cpus": limit.cpus}
    held_mb = foreign / 1e6
    case = session.case(
        PART, f"{ui}, {limit.memory_mb:g} MB, {_cores(limit.cpus)}",
        **told, what=limit.what, held_by_others_mb=round(held_mb, 1),
    )  # fmt: skip
    repeats = plan.repeats_or(REPEATS, QUICK_REPEATS)
    faults = []
    for repeat in range(repeats):
        session.say(f"{PART}: {case}, visit {repeat + 1} of {repeats}")
        seen = _seen(ui, limit.memory_mb - held_mb, limit.cpus, files)
        for metric, value in _figures(seen, foreign).items():
            session.sample(PART, case, metric, repeat, value)
        if seen.fault is not None:
            session.say(f"{PART}: {seen.fault}")
            faults.append(seen.fault)
    return {**told, "fits": not faults, "visits": repeats, "failed": len(faults), "why": faults[:1]}


def _seen(ui: str, memory_mb: float, cpus: float | None, forget: set[str] | None = None) -> Seen:
    """Go through one visit, with nothing of some files in memory that nobody maps."""
    fault: str | None = None
    visit: visits.Visit | None = None
    cores = float(os.cpu_count() or 1) if cpus is None else cpus
    with TemporaryDirectory(prefix="confined-") as folder, kiosk_browser.Recorder() as recorder:
        kiosk = kiosk_browser.Kiosk(Path(folder) / "kiosk", recorder)
        _forget(forget or ())
        with Group(f"lsemvae-edge-{os.getpid()}", round(1e6 * memory_mb), cores) as group:
            with _watched(group) as peaks:
                try:
                    visit = UIS[ui](group, kiosk)
                except visits.failures() as error:
                    fault = _sentence(error)
            usage = group.usage()
        if visit is not None:
            kept = kiosk.run("records", "list", "--store", "demo", "--json").stdout.splitlines()
            fault = None if len(kept) == 1 else f"{len(kept)} recordings were stored, not one"
    if usage.oom_kills:
        killed = f"the kernel killed {usage.oom_kills} of its processes for want of memory"
        fault = killed if fault is None else f"{killed}; {fault}"
    return Seen(visit, usage, peaks, fault)


def _figures(seen: Seen, foreign: int) -> dict[str, float]:
    usage, peaks = seen.usage, seen.peaks
    figures = {
        "alone_mb": peaks.alone / 1e6,
        "anonymous_mb": peaks.anonymous / 1e6,
        "pss_mb": peaks.proportional / 1e6,
        "processes": float(peaks.processes),
        "refaults": float(usage.refaults),
        "oom_kills": float(usage.oom_kills),
        "major_faults": float(usage.major_faults),
        "throttled_s": usage.throttled_s,
    }
    if usage.peak_bytes is not None:
        figures["peak_mb"] = (usage.peak_bytes + foreign) / 1e6
    if seen.visit is not None:
        visit = seen.visit
        figures |= {"start_s": visit.start_s, "visit_s": visit.visit_s, "result_ms": visit.result_ms}
    return figures


@contextmanager
def _watched(group: Group) -> Iterator[Peaks]:
    """Look at a group's memory again and again, from outside."""
    peaks, ended = Peaks(), Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_S):
            pids = group.pids()
            usage, held = group.usage(), resident(pids)
            peaks.anonymous = max(peaks.anonymous, usage.anonymous_bytes)
            peaks.alone = max(peaks.alone, held.own + held.files)
            peaks.proportional = max(peaks.proportional, held.proportional)
            peaks.foreign = max(peaks.foreign, held.files - usage.mapped_bytes)
            peaks.processes = max(peaks.processes, len(pids))
            peaks.files |= held.paths

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def resident(pids: Sequence[int], proc: Path = Path("/proc")) -> Resident:
    """Return what processes hold: pages of their own, and those of files, each counted once as if they were alone.

    Of the pages of one part of a file that several processes map, the greatest number that one of them holds counts.
    """
    own = proportional = 0
    shared: dict[tuple[str, str, str], int] = {}
    paths: set[str] = set()
    for pid in pids:
        try:
            lines = (proc / str(pid) / "smaps").read_text(errors="replace").splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        place: tuple[str, str, str] | None = None
        found: dict[str, int] = {}
        for line in [*lines, "end"]:
            words = line.split()
            if words[0].endswith(":"):
                if words[-1] == "kB":
                    found[words[0]] = int(words[1])
                continue
            # The head of a mapping: what is complete by now is the one before it.
            own += found.get("Anonymous:", 0)
            proportional += found.get("Pss:", 0)
            if place is not None:
                shared[place] = max(shared.get(place, 0), found.get("Rss:", 0) - found.get("Anonymous:", 0))
            # Device and inode tell a file, the offset which part of it. Without an inode pages have no file.
            is_file = len(words) >= 6 and words[4] != "0"
            place = (words[3], words[4], words[2]) if is_file else None
            if is_file and words[5].startswith("/") and len(words) == 6:
                paths.add(words[5])
            found = {}
    return Resident(1024 * own, 1024 * sum(shared.values()), 1024 * proportional, frozenset(paths))


def _forget(files: Sequence[str] | set[str]) -> None:
    """Ask the kernel to keep nothing of files in memory; it keeps what a process maps."""
    for path in files:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def _sentence(error: Exception) -> str:
    if isinstance(error, LsemvaeError):
        return error.message
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no word'])[0]}"


def _cores(cpus: float) -> str:
    return f"{cpus:g} core{'s' if cpus != 1 else ''}"
