"""``current.json``: which installed bundle a machine uses, and which one it used before."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lsemvae_edge import strict_json
from lsemvae_edge.bundle import DIGEST
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.kiosk.updates import durable
from lsemvae_edge.spec import from_dict

SCHEMA = "lsemvae-edge/installed/1"
POINTER = "current.json"
SHIPPED = "shipped"
"""Stands in the pointer for the bundle that ships with the software, whichever that is."""
REPAIR = (
    "Put the stick with the bundle in and run `lsemvae-edge bundle install`, or go back on purpose: "
    "lsemvae-edge bundle install --roll-back, or --shipped."
)


@dataclass(frozen=True)
class Pointer:
    """``current.json``: digests of two bundles, or `SHIPPED`."""

    schema: str = SCHEMA
    current: str = SHIPPED
    previous: str | None = None


def folder() -> Path:
    """Return where bundles are installed: below ``XDG_DATA_HOME``, else ``~/.local/share``.

    Raises
    ------
    UsageError
        If there is no home folder.
    """
    data = os.environ.get("XDG_DATA_HOME")
    try:
        return (Path(data) if data else Path.home() / ".local" / "share") / "lsemvae-edge" / "bundles"
    except RuntimeError as error:
        raise UsageError("There is no home folder to keep bundles in.", "Name one: XDG_DATA_HOME.") from error


def read(target: Path) -> Pointer | None:
    """Read the pointer; None where nothing was ever installed.

    Raises
    ------
    BundleError
        If it is damaged, or missing where bundles are installed.
    """
    path = target / POINTER
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if target.is_dir() and any(path.is_dir() and not path.name.startswith(".") for path in target.iterdir()):
            raise BundleError(f"{path}, which says which bundle is used, is missing.", REPAIR) from None
        return None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}.", REPAIR) from error
    try:
        pointer = from_dict(Pointer, strict_json.parse(raw, "it"), "current")
    except BundleError as error:
        raise BundleError(f"{path}, which says which bundle is used, is damaged: {error.message}", REPAIR) from error
    named = [name for name in (pointer.current, pointer.previous) if name not in (None, SHIPPED)]
    if pointer.schema != SCHEMA or not all(name and re.fullmatch(DIGEST, name) for name in named):
        raise BundleError(f"{path}, which says which bundle is used, is damaged.", REPAIR)
    return pointer


def dumped(pointer: Pointer) -> bytes:
    """Return the content of the file."""
    return durable.dumped(asdict(pointer))


@contextmanager
def switching(target: Path, *, exclusive: bool) -> Iterator[None]:
    """Let nobody read pointer and trust store between the two halves of a switch.

    Parameters
    ----------
    target : Path
        See `folder`.
    exclusive : bool
        For who switches; readers keep out those alone.
    """
    import fcntl

    try:
        descriptor = os.open(
            target / ".switch.lock", os.O_RDONLY | os.O_CLOEXEC | (os.O_CREAT if exclusive else 0), 0o600
        )
    except OSError:
        if exclusive:
            raise
        # Nothing was ever installed, so nobody switches.
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
