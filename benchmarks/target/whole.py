"""Everything that can be measured on a machine, in one session: one part after the other, whatever becomes of one.

A part that lacks a package or a device is kept as not measured, with its reason. A part that breaks is kept the same
way, and is also a defect: it is named at the end, and the command fails.

A part is a module with ``measure(session, plan)``; `PARTS` lists them.
"""

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Session
from lsemvae_edge.errors import UsageError

ALL = "all of it"
REST = "what was left of it"


@dataclass(frozen=True)
class Part:
    """A part of a session: its name, the module that measures it, and how that is called."""

    name: str
    module: str
    call: Callable[[ModuleType, Session, Plan], None] = lambda module, session, plan: module.measure(session, plan)


HERE = __name__.rpartition(".")[0]
PARTS = tuple(
    Part(name, f"{HERE}.{name}")
    for name in (
        # What a busy or a hot machine would spoil comes before what makes it so.
        "latency",
        "path",
        "memory",
        "preprocessing",
        "ceilings",
        "work",
        "peers",
        "ingest",
        "energy",
        "confined",
        "accuracy",
        "sustained",
    )
)
"""In the order in which they run."""


@dataclass(frozen=True)
class Defect:
    """A part that broke."""

    part: str
    what: str


def measure(session: Session, plan: Plan, parts: Sequence[Part] = PARTS) -> list[Defect]:
    """Measure every part and return what broke; a missing package or device is no defect.

    Parameters
    ----------
    session : Session
    plan : Plan
    parts : sequence of Part
        By default `PARTS`.
    """
    defects, seconds = [], {}
    for part in parts:
        session.say(f"{part.name}: begins")
        begun = time.monotonic()
        defect = _measured(session, plan, part)
        seconds[part.name] = round(time.monotonic() - begun, 1)
        if defect is not None:
            defects.append(defect)
    session.fact("whole", "seconds", seconds)
    session.fact("whole", "defects", [{"part": defect.part, "what": defect.what} for defect in defects])
    return defects


def _measured(session: Session, plan: Plan, part: Part) -> Defect | None:
    try:
        part.call(import_module(part.module), session, plan)
    except UsageError as error:
        # Packages that are not installed, and data that nothing names.
        session.skip(part.name, ALL, f"{error.message} {error.next_step}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == __name__.partition(".")[0]:
            return _broken(session, part, error)
        session.skip(part.name, ALL, f"the package {error.name} is not installed")
    except Exception as error:  # noqa: BLE001 - whatever breaks one part must not lose what the others measure
        return _broken(session, part, error)
    return None


def _broken(session: Session, part: Part, error: Exception) -> Defect:
    what = f"{type(error).__name__}: {error}"
    session.say("".join(traceback.format_exception(error)))
    session.skip(part.name, REST, f"it failed: {what}")
    return Defect(part.name, what)
