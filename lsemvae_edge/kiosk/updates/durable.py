"""Files that are there whole after a power cut, or not at all; and one updater at a time."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lsemvae_edge.errors import StoreError

DRAFT = ".draft-"
"""Names of what is not finished begin so; the next update removes it."""


class UpdateError(StoreError):
    """An update could not be carried out; what was installed before is still installed."""

    default_next_step = "What was installed before is still in use; try again."


def write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that does not exist yet, and wait until it is on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a file in the place of another: at every moment the old one or the new one is there."""
    draft = path.with_name(f"{DRAFT}{path.name}")
    with suppress(FileNotFoundError):
        draft.unlink()
    try:
        write_new(draft, content, mode)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)


def replace_link(link: Path, target: str) -> None:
    """Point a symbolic link elsewhere: at every moment it leads to the old or to the new place."""
    draft = link.with_name(f"{DRAFT}{link.name}")
    with suppress(FileNotFoundError):
        draft.unlink()
    draft.symlink_to(target)
    draft.replace(link)
    sync_folder(link.parent)


def move_into(file: Path, folder: Path) -> None:
    """Move a file into a folder, in the place of one that has its name there."""
    file.replace(folder / file.name)
    sync_folder(folder)


def sync_file(path: Path) -> None:
    """Wait until what was written to a file is on disk."""
    sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a folder, if it exists; while it is being removed it no longer has its name."""
    if not path.is_dir():
        return
    if not path.name.startswith(DRAFT):
        hidden = path.with_name(f"{DRAFT}gone-{path.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        path = path.rename(hidden)
    shutil.rmtree(path, ignore_errors=True)


def discard_drafts(folder: Path) -> None:
    """Remove what updates left that were cut off."""
    for path in folder.glob(f"{DRAFT}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Make a folder and those above it, and wait until their names are on disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def dumped(value: Any) -> bytes:
    """Return a value as the JSON file that stands for it."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


@contextmanager
def one_updater(folder: Path) -> Iterator[None]:
    """Hold a folder against a second update.

    Raises
    ------
    UpdateError
        If one is running.
    """
    import fcntl

    descriptor = os.open(folder / ".update.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UpdateError("Another update is running.", "Wait until it has ended.") from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Turn what the system says of a disk into an error of ours.

    Parameters
    ----------
    what : str
        What was to be done: "The bundle could not be installed".

    Raises
    ------
    UpdateError
        With a next step that fits the reason.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UpdateError(f"{what}: {reason}. What was installed before is unchanged.", _next_step(error)) from error


def _next_step(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space on the kiosk's card, then try again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Run the command as the user who owns the kiosk's files, on a card that can be written."
    if error.errno in (errno.EIO, errno.ENXIO, errno.ENODEV):
        return "Put the stick in again, then try again; if it fails again, take another stick."
    return "Try again."
