"""Whether this machine's store can be used and is safe, fact by fact, each with what to do: ``doctor store``."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from lsemvae_edge.errors import LsemvaeError

if TYPE_CHECKING:
    from lsemvae_edge.store import Store

State = Literal["ok", "warn", "bad"]

NEARLY_FULL_BYTES, FULL_BYTES = 1_000_000_000, 50_000_000
VERIFY_EVERY_DAYS = 31


@dataclass(frozen=True)
class Finding:
    """One fact.

    Parameters
    ----------
    name : str
    state : {"ok", "warn", "bad"}
        With a bad one the store cannot be used.
    sentence : str
    next_step : str or None
    """

    name: str
    state: State
    sentence: str
    next_step: str | None = None


@dataclass(frozen=True)
class Facts:
    """Where facts come from; replaced in tests, which build machines.

    Parameters
    ----------
    swaps : Path
        Lists what memory is written to.
    blocks : Path
        Describes block devices, also encrypted ones.
    free_bytes : callable
        Space left at a path.
    """

    swaps: Path = Path("/proc/swaps")
    blocks: Path = Path("/sys/class/block")
    free_bytes: Callable[[Path], int] = field(default=lambda path: shutil.disk_usage(path).free)


def examine(facts: Facts | None = None) -> list[Finding]:
    """Look at everything that can be looked at; changes nothing in the store."""
    return list(_examine(facts or Facts()))


def usable(findings: list[Finding]) -> bool:
    """Whether the store can be used."""
    return all(finding.state != "bad" for finding in findings)


def _examine(facts: Facts) -> Iterator[Finding]:
    from lsemvae_edge.store import places
    from lsemvae_edge.store.database import NAME

    folder, key = places.store_folder("clinic"), places.key_path()
    if not folder.is_dir():
        yield Finding("folder", "bad", f"there is no store in {folder}", "Run `lsemvae-edge kiosk setup`.")
        yield _swap(facts)
        return
    yield _folder(folder)
    yield _writable(folder)
    yield _space(folder, facts)
    yield from _key(folder, key)
    about_file = list(_file(folder / NAME))
    yield from about_file
    yield _journals(folder)
    if all(finding.state == "ok" for finding in about_file):
        yield from _content()
    yield _swap(facts)


def _folder(folder: Path) -> Finding:
    status = folder.stat()
    if os.name == "posix" and status.st_mode & 0o077:
        return Finding("folder", "bad", f"other users can enter {folder}", f"Run `chmod 700 {folder}`.")
    if os.name == "posix" and status.st_uid != os.getuid():
        return Finding("folder", "warn", f"{folder} belongs to another user", "Run this as the user of the kiosk.")
    return Finding("folder", "ok", f"{folder}, for its owner alone")


def _writable(folder: Path) -> Finding:
    if os.name == "posix" and os.statvfs(folder).f_flag & os.ST_RDONLY:
        return Finding(
            "disk",
            "bad",
            "it can only be read; a disk that fails is often set so",
            "Check the disk, or mount it to write.",
        )
    if not os.access(folder, os.W_OK):
        return Finding("disk", "bad", f"{folder} cannot be written", "Run this as the user of the kiosk.")
    return Finding("disk", "ok", "it can be written")


def _space(folder: Path, facts: Facts) -> Finding:
    free = facts.free_bytes(folder)
    told = f"{free / 1e6:.0f} MB are free"
    if free < FULL_BYTES:
        return Finding("space", "bad", told, "Free space; nothing can be recorded soon.")
    if free < NEARLY_FULL_BYTES:
        return Finding("space", "warn", told, "Free space before it is needed.")
    return Finding("space", "ok", told)


def _key(folder: Path, path: Path) -> Iterator[Finding]:
    from lsemvae_edge.store.key import is_protected

    try:
        protected = is_protected(path)
    except LsemvaeError as error:
        yield Finding("key", "bad", _clause(error.message), error.next_step)
        return
    if protected:
        yield Finding("key", "ok", f"{path}, under a passphrase")
    elif path.stat().st_dev == folder.stat().st_dev:
        yield Finding(
            "key",
            "warn",
            f"{path} lies on the disk of the records, without a passphrase: whoever takes the disk can read them",
            "Run `lsemvae-edge records rotate-key --passphrase`, or keep the key on a USB stick.",
        )
    else:
        yield Finding("key", "ok", f"{path}, on another disk than the records")


def _file(path: Path) -> Iterator[Finding]:
    from lsemvae_edge.store import schema

    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield Finding("file", "bad", f"{path} cannot be read: {error}", "Copy the folder, then run `records verify`.")
        return
    if version > schema.VERSION:
        yield Finding(
            "version", "bad", f"it was written by newer software, as version {version}", "Update lsemvae-edge."
        )
    elif version < schema.VERSION:
        # Opened by this command, it would not be the older one any more.
        yield Finding("version", "warn", f"it is of version {version}, not {schema.VERSION}", "Start the kiosk once.")
    else:
        yield Finding("version", "ok", f"it is of version {version}, this software's")
    if found == "ok":
        yield Finding("file", "ok", "its pages are whole")
    else:
        yield Finding(
            "file", "bad", "pages of it are damaged", "Copy the folder, then run `lsemvae-edge records verify`."
        )


def _journals(folder: Path) -> Finding:
    from lsemvae_edge.store.journals import FOLDER, SUFFIX

    left = len(list((folder / FOLDER).glob(f"*{SUFFIX}")))
    if left:
        return Finding(
            "journals",
            "warn",
            f"{left} of recordings that are under way, or that a power cut interrupted",
            "Start the kiosk: it stores what was interrupted.",
        )
    return Finding("journals", "ok", "none is left")


def _content() -> Iterator[Finding]:
    from lsemvae_edge.store import places

    try:
        with places.open_store("clinic") as store:
            yield Finding("records", "ok", f"{store.head().seq} entries, up to {store.head()}")
            yield _verified(store)
    except LsemvaeError as error:
        yield Finding("records", "bad", _clause(error.message), error.next_step)


def _verified(store: "Store") -> Finding:
    last = next(store.entries(kinds=("verify",), newest_first=True, limit=1), None)
    step = "Run `lsemvae-edge records verify`."
    if last is None:
        return Finding("verified", "warn", "never", step)
    if not last.facts.get("ok"):
        return Finding("verified", "warn", "something was found the last time", step)
    if last.at is None:
        return Finding("verified", "ok", "without findings, when the clock was not set")
    days = (datetime.now(UTC) - datetime.fromisoformat(last.at)).days
    old = days > VERIFY_EVERY_DAYS
    return Finding("verified", "warn" if old else "ok", f"without findings, {days} days ago", step if old else None)


def _swap(facts: Facts) -> Finding:
    try:
        lines = facts.swaps.read_text().splitlines()[1:]
    except OSError:
        return Finding("swap", "warn", "whether memory is written to a disk cannot be seen", "Switch swap off.")
    clear = [name for name in (line.split()[0] for line in lines if line.strip()) if not _is_safe(name, facts)]
    if clear:
        return Finding(
            "swap",
            "warn",
            f"memory, and records in it, may be written in clear to {', '.join(clear)}",
            "Switch it off (`swapoff -a`), or encrypt it.",
        )
    return Finding("swap", "ok", "in memory, or encrypted" if lines else "off")


def _is_safe(name: str, facts: Facts) -> bool:
    """Whether a swap area is compressed memory, or encrypted."""
    device = os.path.realpath(name).rsplit("/", 1)[-1]
    if device.startswith("zram"):
        return True
    try:
        return (facts.blocks / device / "dm" / "uuid").read_text().startswith("CRYPT-")
    except OSError:
        return False


def _clause(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:].rstrip(".")
