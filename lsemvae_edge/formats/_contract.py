"""What every format module offers, and the two doors to the disk: ``load`` and ``save``."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lsemvae_edge.errors import BadInputError, MissingExtraError, UsageError
from lsemvae_edge.record import Record

MAX_FILE_BYTES = 200_000_000
MAX_DURATION_S = 24 * 3600.0
MAX_FS_HZ = 100_000.0


@dataclass(frozen=True)
class Source:
    """A file's content and where it came from."""

    path: Path
    data: bytes


@dataclass(frozen=True)
class Hints:
    """What the reader knows beyond the file: the CLI's ``--units`` and ``--fs``."""

    units: str | None = None
    fs_hz: float | None = None

    @property
    def given(self) -> bool:
        """Whether anything was said."""
        return self.units is not None or self.fs_hz is not None


@dataclass(frozen=True)
class Format:
    """One file format.

    Parameters
    ----------
    name : str
        Short name, as in ``Record.meta["format"]`` and ``write(format=...)``.
    title : str
        Name for people.
    extensions : tuple of str
        Extensions that ``write`` takes for this format, the usual one first.
    recognises : callable
        Whether a file's content is of this format; must not raise.
    read : callable
        Content to record; raises only errors of this package.
    encode : callable, optional
        Record and target path to the bytes of each file, the one to read again last.
    takes_hints : bool
        Whether the format may leave unit and rate to the reader.
    """

    name: str
    title: str
    extensions: tuple[str, ...]
    recognises: Callable[[Source], bool]
    read: Callable[[Source, Hints], Record]
    encode: Callable[[Record, Path], Mapping[Path, bytes]] | None = None
    takes_hints: bool = False


def load(path: Path) -> Source:
    """Read a whole file.

    Raises
    ------
    BadInputError
        If it is absent, not a regular file, not readable, empty, or larger than ``MAX_FILE_BYTES``.
    """
    try:
        if path.is_dir():
            raise BadInputError(f"{path} is a folder.", "Name one recording in it.")
        if not path.exists():
            raise BadInputError(f"There is no file {path}.", "Check the name and the folder.")
        if not path.is_file():
            # A pipe or a device would keep the reader waiting for ever.
            raise BadInputError(f"{path} is not a regular file.", "Copy the recording into a file first.")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except PermissionError:
        raise BadInputError(f"No permission to read {path}.", "Change the file's permissions, or copy it.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise BadInputError(f"Cannot read {str(path)!r}: {_reason(error)}.") from error
    if not data:
        raise BadInputError(f"{path} is empty.", "Export the recording again.")
    if len(data) > MAX_FILE_BYTES:
        raise BadInputError(
            f"{path} is larger than {MAX_FILE_BYTES // 1_000_000} MB.",
            "Cut the part to be read into a file of its own.",
        )
    return Source(path, data)


def save(files: Mapping[Path, bytes]) -> Path:
    """Write files, each in one step, and return the last one's path.

    Raises
    ------
    UsageError
        If a place is not writable.
    """
    for path, data in files.items():
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except (OSError, ValueError) as error:
            partial.unlink(missing_ok=True)
            raise UsageError(f"Cannot write {path}: {_reason(error)}.", "Choose a folder you may write to.") from error
    return path


def require(module: str, purpose: str) -> ModuleType:
    """Import a library that only some formats need.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(purpose, "formats") from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
