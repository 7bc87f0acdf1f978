"""Which start of the machine this is, what its clock shows, and whether anything speaks for that.

A clock is set for a reason that can be named: the network kept it on time, a hardware clock did, the host of a virtual
machine did, or an operator compared it with a watch. A plausible date is no reason: systemd starts a machine without a
battery at the date of its own release, or where it was switched off. Once set, it counts as set until the next start.
"""

import json
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.store.clock_evidence import Sources, state_folder

By = Literal["network", "hardware", "host", "operator"]
"""What set a clock."""

SET_AFTER = datetime(2025, 1, 1, tzinfo=UTC)
"""Before this, which is older than this software, no clock is right, whatever speaks for it."""
VARIABLE = "LSEMVAE_EDGE_CLOCK"
"""Environment variable that names the file which remembers, for one start of the machine, that the clock is set."""
WORDS: dict[By, str] = {
    "network": "kept on time over the network since this start of the machine",
    "hardware": "set from a hardware clock that kept its time",
    "host": "set by the host of this virtual machine",
    "operator": "compared with a watch by an operator since this start of the machine",
}

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SOURCES = Sources()
_known: dict[str, By] = {}


@dataclass(frozen=True)
class State:
    """What is known of the clock.

    Parameters
    ----------
    by : {"network", "hardware", "host", "operator"} or None
        What set it; None: nothing did, so far as can be seen.
    reason : str
        A clause: why it counts as set, or as not set.
    """

    by: By | None
    reason: str

    @property
    def is_set(self) -> bool:
        """Whether its time may be shown as the time."""
        return self.by is not None


@lru_cache(maxsize=1)
def boot() -> str:
    """Return 32 hexadecimal digits that are the same until the machine starts anew."""
    try:
        return uuid.UUID(_BOOT.read_text().strip()).hex
    except (OSError, ValueError):
        # Elsewhere than on Linux, a start of this program.
        return uuid.uuid4().hex


def now() -> datetime:
    """Return what the clock shows, in UTC."""
    return datetime.now(UTC)


def is_set(at: datetime) -> bool:
    """Whether a clock that shows this now is known to be set."""
    return state(at).is_set


def state(at: datetime | None = None, sources: Sources | None = None) -> State:
    """Return whether the clock is set, and why; asks the kernel and files of it, never another program.

    Parameters
    ----------
    at : datetime, optional
        What it shows; by default what it shows now.
    sources : Sources, optional
        By default this machine's.
    """
    at = now() if at is None else at
    if at <= SET_AFTER:
        return State(None, f"it shows {at:%Y-%m-%d}, which is past")
    this = boot()
    by = _known.get(this) or _remembered(this)
    if by is None:
        by = _evident(at, sources or _SOURCES)
        # A host is there again whenever it is asked for. What the others said is soon not to be seen any more.
        if by not in (None, "host"):
            with suppress(OSError):
                _remember(this, by)
    if by is None:
        return State(None, "nothing has set it since this start of the machine")
    _known[this] = by
    return State(by, WORDS[by])


def confirm(at: datetime | None = None) -> State:
    """Take an operator's word that the clock is right, until the next start of the machine.

    Raises
    ------
    UsageError
        If it shows a time that is past.
    StoreError
        If that cannot be written down.
    """
    at = now() if at is None else at
    if at <= SET_AFTER:
        raise UsageError(
            f"The clock shows {at:%Y-%m-%d}, which is past.",
            "Set it first: sudo timedatectl set-time 'YYYY-MM-DD HH:MM'.",
        )
    try:
        _remember(boot(), "operator")
    except OSError as error:
        raise StoreError(
            f"It cannot be written down that the clock is right: {error.strerror or error}.",
            "Run the command as the user that the kiosk runs as, on a card that can be written.",
        ) from error
    return state(at)


def file() -> Path | None:
    """Return the file that remembers; None where there is no home folder for it."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = state_folder()
    return None if folder is None else folder / "clock.json"


def _evident(at: datetime, sources: Sources) -> By | None:
    if sources.is_synchronized():
        return "network"
    if sources.agrees_with_hardware(at, SET_AFTER):
        return "hardware"
    return "host" if sources.is_from_host() else None


def _remembered(this: str) -> By | None:
    """Return what was written down in this start of the machine; nothing of an earlier one counts."""
    path = file()
    if path is None:
        return None
    try:
        told = json.loads(path.read_bytes())
        by = told["by"]
        return by if told["boot"] == this and by in get_args(By) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(this: str, by: By) -> None:
    path = file()
    if path is None:
        raise OSError("there is no home folder")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        # Not handed to the disk: what it says ends with this start of the machine.
        draft.write_text(json.dumps({"boot": this, "by": by}) + "\n")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
