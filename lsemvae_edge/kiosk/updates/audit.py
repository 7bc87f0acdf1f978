"""What was done to a kiosk while its store was closed, kept beside it until the kiosk's next start notes it there.

An update runs as root, without the store's key, perhaps before there is a store. So it leaves a file, first with its
intent, then with its end, and the kiosk, which opens the store with the key, appends what it finds to the audit log.
A kill at any moment leaves the file: the log then says that the change was begun, and whether it took place.
"""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.kiosk.updates import durable

if TYPE_CHECKING:
    from lsemvae_edge.store import Store

BUNDLE, SOFTWARE, CLOCK = "bundle_changed", "software_changed", "clock_confirmed"
KINDS = (BUNDLE, SOFTWARE, CLOCK)
FOLDER = "to-note"
"""Beside the store; its files hold digests, versions and the login that ran a command, and nothing of a person."""
SUFFIX = ".json"
_MAX_BYTES = 16_384


@contextmanager
def changing(kind: str, facts: Mapping[str, Any], *, operator: str, store: Path | None = None) -> Iterator[None]:
    """Leave a note of a change before it is made, and that it took place afterwards.

    Where it fails and the old is still in use, nothing is left.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    facts : mapping
        With the digests ``before`` and ``after``, if there are such; nothing is left if they are the same.
    operator : str
    store : Path, optional
        Folder of the store that shall note it; by default the clinic's.

    Raises
    ------
    OSError
        If the note cannot be written; then nothing may be changed.
    """
    if "after" in facts and facts.get("before") == facts["after"]:
        yield
        return
    path = _folder(store, make=True) / f"{uuid.uuid4().hex}{SUFFIX}"
    _write(path, kind, {**facts, "finished": False}, operator)
    try:
        yield
    except Exception:
        if not _took_place(kind, facts):
            with suppress(OSError):
                path.unlink()
        raise
    _write(path, kind, {**facts, "finished": True}, operator)


def leave(kind: str, facts: Mapping[str, Any], *, operator: str, store: Path | None = None) -> None:
    """Leave a note of what took place.

    Raises
    ------
    UpdateError
        If it cannot be written.
    """
    with durable.reported("It could not be noted"), changing(kind, facts, operator=operator, store=store):
        pass


def settle(store: "Store") -> int:
    """Append what was left to a store's audit log, each once; return how many.

    Parameters
    ----------
    store : Store

    Raises
    ------
    StoreError
        If the store cannot be written; what was not noted waits for the next start.
    """
    found = sorted(_folder(store.folder, make=False).glob(f"*{SUFFIX}"), key=_age)
    if not found:
        return 0
    known = {entry.facts.get("change") for entry in store.entries(kinds=KINDS)}
    n_noted = 0
    for path in found:
        kind, facts, operator = _read(path)
        if path.stem not in known:
            if not facts.get("finished"):
                facts["finished"] = _took_place(kind, facts)
            store.note(kind, {**facts, "change": path.stem}, operator=operator)
            n_noted += 1
        with suppress(OSError):
            path.unlink()
    return n_noted


def _read(path: Path) -> tuple[str, dict[str, Any], str]:
    """Return kind, facts and operator; of a file that cannot be read, that it could not."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_MAX_BYTES))
        kind, facts, operator = told["kind"], told["facts"], told["operator"]
        if kind in KINDS and isinstance(facts, dict) and isinstance(operator, str):
            return kind, facts, operator
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return SOFTWARE, {"unreadable": True}, ""


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _write(path: Path, kind: str, facts: Mapping[str, Any], operator: str) -> None:
    durable.replace_file(path, durable.dumped({"kind": kind, "operator": operator, "facts": dict(facts)}), 0o600)
    _give_to_owner(path)


def _took_place(kind: str, facts: Mapping[str, Any]) -> bool:
    """Return whether a change that was cut off had been made: what it was to bring is in use."""
    from lsemvae_edge.kiosk.updates import bundles, software

    if "after" not in facts:
        return False
    try:
        if kind == BUNDLE:
            return bool(bundles.digest_in_use() == facts["after"])
        version = software.current()
    except LsemvaeError:
        return False
    return version is not None and bool(version.wheelhouse == facts["after"])


def _folder(store: Path | None, *, make: bool) -> Path:
    from lsemvae_edge.store import places

    folder = (store or places.store_folder("clinic")).with_name(FOLDER)
    if make:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        durable.make_folder(folder, 0o700)
        for made in reversed(missing):
            _give_to_owner(made)
    return folder


def _give_to_owner(path: Path) -> None:
    """Give what root made to whom the folder above belongs, who notes and removes it."""
    if os.geteuid() == 0:
        with suppress(OSError):
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
