"""The setting of a session: what was measured, on what machine, and what to know before believing a figure."""

from collections.abc import Iterable, Iterator

from lsemvae_edge.benchmarks.target import boards
from lsemvae_edge.benchmarks.target.boards import Board
from lsemvae_edge.benchmarks.target.report_document import Block, Items, Table, Text
from lsemvae_edge.benchmarks.target.report_view import View, number
from lsemvae_edge.benchmarks.target.session import DONE, Json

BUSY = 0.5
"""Load average, for each core that may be used, from which a machine is called busy."""
STEADY_GOVERNOR = "performance"
TOLD_BY_A_BOARD = ("board", "processor", "clock frequency", "memory", "temperature when it began")
SOME_BOARDS = ("raspberry pi",)


def machine(view: View) -> str:
    """Name the machine in a few words: its board where it has a name, else its processor."""
    named = view.host.get("board") or view.host.get("cpu") or view.host.get("architecture")
    return str(named or "a machine that does not tell its name")


def kind(view: View) -> str:
    """Name the kind of machine in as few words as a badge holds."""
    board = str(view.host.get("board") or "")
    if board.lower().startswith(SOME_BOARDS):
        # Without revision: "Raspberry Pi 4 Model B Rev 1.4".
        return board.partition(" Rev")[0]
    cores = (view.host.get("cores") or {}).get("usable")
    architecture = str(view.host.get("architecture") or "unknown machine").replace("_", "-")
    inside = "virtual " if view.host.get("virtual_machine") else ""
    return f"{inside}{architecture}" + (f", {cores} core{'s' if cores != 1 else ''}" if cores else "")


def measured_what(view: View) -> Iterator[Block]:
    """Tell in a few rows what was measured on what."""
    about = view.summary
    bundles = [f"{bundle['id']} (sha256 {bundle['sha256'][:12]}…)" for bundle in about["bundles"]]
    facts: tuple[tuple[str, Json], ...] = (
        ("model", ", ".join(bundles)),
        ("machine", ", ".join(str(part) for part in (machine(view), _cores(view)) if part)),
        ("system", ", ".join(str(part) for part in (view.host.get("os"), view.host.get("python")) if part)),
        ("toolkit", f"lsemvae-edge {about['software_version']}, commit {str(about.get('commit') or 'unknown')[:12]}"),
        ("begun", str(about["date"]).replace("T", " ").replace("+00:00", " UTC")),
    )
    yield _table("Model and machine", facts)


def machine_in_full(view: View) -> Iterator[Block]:
    """Tell every fact of the machine that decides how quick it is."""
    host = view.host
    memory, limits, frequency = (host.get(name) or {} for name in ("memory", "limits", "frequency"))
    clock, variables = (host.get(name) or {} for name in ("clock", "thread_variables"))
    facts: tuple[tuple[str, Json], ...] = (
        ("board", host.get("board")),
        ("processor", host.get("cpu")),
        ("cores", _cores(view)),
        ("instructions", " ".join(host.get("features") or ())),
        ("clock frequency", _frequency(frequency)),
        ("memory", None if memory.get("total_mb") is None else f"{number(memory['total_mb'])} MB"),
        ("swap", f"{number(memory['swap_mb'])} MB" if memory.get("swap_mb") else None),
        ("limits", _limits(limits)),
        ("container", host.get("container")),
        ("virtual machine", host.get("virtual_machine")),
        ("emulator", host.get("emulator")),
        ("system", host.get("os")),
        ("kernel", host.get("kernel")),
        ("C library", host.get("libc")),
        ("Python", host.get("python")),
        ("packages", ", ".join(f"{name} {release}" for name, release in (host.get("versions") or {}).items())),
        ("variables", ", ".join(f"{name}={setting}" for name, setting in variables.items())),
        ("clock", clock.get("source")),
        ("load when it began", ", ".join(f"{load:.2f}" for load in host.get("load_average") or ())),
        ("temperature when it began", None if host.get("temperature_c") is None else f"{host['temperature_c']:.1f} °C"),
    )
    yield _table("What the machine tells of itself", facts)
    silent = [name for name, fact in facts if not fact and name in TOLD_BY_A_BOARD]
    if silent:
        yield Text(f"The machine does not tell: {', '.join(silent)}.")
    board = boards.of_host(host)
    if board is not None:
        yield from _published(board)


def _published(board: Board) -> Iterator[Block]:
    """Show what others published of the board, apart from everything that was measured."""
    yield _table("The board, as others describe it", boards.rows(board))
    rows = tuple(
        (one.what, f"{one.ms:g}", one.with_, f"{one.source.title}, {one.source.url}") for one in board.published
    )
    if rows:
        yield Table("Published by others of other models, not measured here", ("what", "ms", "with", "source"), rows)


def warnings(view: View) -> Iterator[Block]:
    """Tell what stands between these figures and a reader's own machine."""
    found = tuple(_warnings(view))
    if found:
        yield Items(found, warning=True)
    else:
        yield Text("Nothing that the machine tells speaks against these figures.")


def _warnings(view: View) -> Iterator[str]:
    host, about = view.host, view.summary
    for label in dict.fromkeys(bundle.get("stand_in") for bundle in about["bundles"]):
        if label:
            yield f"The model was trained on a stand-in label: {label}. Its AUROCs say nothing about the disease."
    if about["ended"] is None:
        yield "The session was killed before its end, or still ran when this was written."
    elif about["ended"] != DONE:
        yield f"The session was ended by an error ({about['ended']}); what follows is what was measured before."
    for defect in view.facts("whole").get("defects") or []:
        yield f"A part of the toolkit failed: {defect['part']}, {defect['what']}."
    if emulator := host.get("emulator"):
        yield f"The processor is emulated ({emulator}): what is computed counts, how long it took does not."
    if virtual := host.get("virtual_machine"):
        kind_told = "" if virtual.startswith("of a kind") else f" ({virtual})"
        yield f"This is a virtual machine{kind_told}: others may have used the same processor meanwhile."
    if container := host.get("container"):
        yield f"Everything ran in a container ({container})."
    limits = host.get("limits") or {}
    if limits.get("cpus") or limits.get("memory_mb"):
        yield f"The control group limits what may be used: {_limits(limits)}."
    load, cores = host.get("load_average") or [], (host.get("cores") or {}).get("usable") or 1
    if load and load[0] / cores >= BUSY:
        yield f"The machine was busy when the session began: {load[0]:.2f} processes on {cores} cores."
    governor = (host.get("frequency") or {}).get("governor")
    if governor and governor != STEADY_GOVERNOR:
        yield f"The clock frequency was free to change (governor {governor}, not {STEADY_GOVERNOR})."
    yield from _power(view)
    if about.get("uncommitted_changes"):
        yield "The toolkit's files were changed and not committed: its commit does not say all that ran."


def _power(view: View) -> Iterator[str]:
    throttled = view.host.get("throttled") or {}
    told = list(dict.fromkeys([*throttled.get("now", ()), *throttled.get("since_start", ())]))
    if told:
        yield f"The board had reported since its start: {', '.join(told)}."
    if view.host.get("under_voltage"):
        yield "The supply's voltage was too low."
    minutes = [one["minute"] for one in view.facts("sustained").get("curve") or [] if one.get("throttled")]
    if minutes:
        yield f"The board throttled during the sustained load, first in minute {minutes[0]}."


def _table(caption: str, facts: Iterable[tuple[str, Json]]) -> Table:
    return Table(caption, ("what", "value"), tuple((name, str(fact)) for name, fact in facts if fact))


def _cores(view: View) -> str | None:
    cores = view.host.get("cores") or {}
    if not cores.get("usable"):
        return None
    smt = ", several threads on each" if view.host.get("smt") else ""
    return (
        f"{cores['usable']} usable of {cores.get('logical') or cores['usable']}{smt}, {view.host.get('architecture')}"
    )


def _frequency(frequency: dict[str, Json]) -> str | None:
    parts = [
        f"governor {frequency['governor']}" if frequency.get("governor") else None,
        f"{number(frequency['current_mhz'])} MHz when it began" if frequency.get("current_mhz") else None,
        f"at most {number(frequency['max_mhz'])} MHz" if frequency.get("max_mhz") else None,
    ]
    return ", ".join(part for part in parts if part) or None


def _limits(limits: dict[str, Json]) -> str | None:
    parts = [
        f"{limits['cpus']:g} processors" if limits.get("cpus") else None,
        f"{number(limits['memory_mb'])} MB" if limits.get("memory_mb") else None,
    ]
    return ", ".join(part for part in parts if part) or None
