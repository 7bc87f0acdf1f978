"""Read access to a folder or a one-file archive that nobody vouches for yet.

Nothing is unpacked to disk, no name leads outside, links are not followed, pipes and devices are not waited for, and
count, size and compression are bounded before anything is read.
"""

import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lsemvae_edge.errors import BundleError

MAX_FILES = 64
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_TOTAL_BYTES = 256 * 1024 * 1024
MAX_ARRAYS = 1024
NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
"""Names that every system reads alike: no folder, drive, stream, control character, hidden file or trailing dot."""
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    OverflowError,
    ValueError,
    RuntimeError,  # an encrypted member; NotImplementedError, of an unknown version, is one
)
"""What the readers of archives and arrays raise on damaged ones."""

# No link in the last place, and no waiting for the writer of a pipe; systems without these have neither flag.
_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR_BYTES = 20
_TABLE_ENTRY_BYTES = 512


class Container(Protocol):
    """Files by name, in one flat place."""

    def names(self) -> set[str]:
        """Return the names of all files.

        Raises
        ------
        BundleError
            If there is anything but plain files with plain names.
        """
        ...

    def read(self, name: str, limit: int) -> bytes:
        """Return a file's content, of at most ``limit`` bytes.

        Raises
        ------
        BundleError
            If it is larger, damaged, or no plain file.
        """
        ...


def open_container(path: Path) -> Container:
    """Return the folder or archive at a path.

    Raises
    ------
    BundleError
        If there is nothing.
    """
    if path.is_dir():
        return _Folder(path)
    if path.exists():
        return _Archive(path)
    raise BundleError(f"There is no bundle at {path}.", "Name the folder or the .zip file of a bundle.")


def check_names(names: Iterable[str]) -> None:
    """Refuse names that are not plain, or that some systems cannot tell apart.

    Raises
    ------
    BundleError
        Names the first such name.
    """
    seen: set[str] = set()
    for name in names:
        if not re.fullmatch(NAME, name):
            raise BundleError(
                f"{name!r:.120} could lie outside the bundle's folder: its files have plain names, of letters, digits, "
                "'.', '_' and '-'."
            )
        if name.lower() in seen:
            raise BundleError(f"The bundle holds two files that differ in upper and lower case alone: {name!r}.")
        seen.add(name.lower())


def open_plain(path: Path, flags: int = 0) -> BinaryIO | None:
    """Open a file to read it; return None, without waiting, for a folder, a pipe or a device.

    Parameters
    ----------
    path : Path
    flags : int
        More flags of `os.open`.
    """
    descriptor = os.open(path, _OPEN | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def append_whole(descriptor: int, data: bytes, size: int) -> int:
    """Append to a file; all of it or, with an error, nothing.

    Parameters
    ----------
    descriptor : int
    data : bytes
    size : int
        Of the file so far.

    Returns
    -------
    int
        Its size now.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    done = 0
    try:
        while done < len(data):
            # A disk that is nearly full takes a part, and says nothing.
            done += os.write(descriptor, data[done:])
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
    return size + done


def arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file, without pickles and without trusting its sizes.

    Raises
    ------
    BundleError
        If it is none, or larger unpacked than a file of a bundle may be.
    """
    found: dict[str, NDArray[Any]] = {}
    left = MAX_FILE_BYTES
    packed = BytesIO(content)
    _check_end(packed, len(content), "The file of known answers", MAX_ARRAYS)
    try:
        with zipfile.ZipFile(packed) as archive:
            for info in archive.infolist():
                with archive.open(info) as stream:
                    member = stream.read(left + 1)
                left -= len(member)
                if left < 0:
                    raise BundleError("The known answers unpack to more than a file of a bundle may hold.")
                found[info.filename.removesuffix(".npy")] = _array(member)
    except (*DAMAGED, MemoryError, SyntaxError, TypeError) as error:
        raise BundleError("The known answers of the bundle are no arrays.") from error
    return found


def _array(member: bytes) -> NDArray[Any]:
    stream = BytesIO(member)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("another version of the format")
    shape, by_column, dtype = npy.read_array_header_1_0(stream)
    # A buffer holds no objects, and a shape that it does not fill is refused before anything is allocated.
    flat: NDArray[Any] = np.frombuffer(member, dtype, offset=stream.tell())
    if any(length < 0 for length in shape):
        raise ValueError("numpy would take a negative length for whatever is left")
    return flat.reshape(shape, order="F" if by_column else "C")


class _Folder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> set[str]:
        found: list[str] = []
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if len(found) == MAX_FILES:
                        raise BundleError(f"{self.path} has more than {MAX_FILES} files.")
                    if entry.is_symlink():
                        raise BundleError(f"{entry.name!a} in the bundle is a link.")
                    if entry.is_dir(follow_symlinks=False):
                        raise BundleError(f"{entry.name!a} in the bundle is a folder; a bundle has none.")
                    if not entry.is_file(follow_symlinks=False):
                        raise BundleError(f"{entry.name!a} in the bundle is not a plain file.")
                    found.append(entry.name)
        except OSError as error:
            raise BundleError(f"{self.path} cannot be read: {error.strerror}.") from error
        check_names(found)
        return set(found)

    def read(self, name: str, limit: int) -> bytes:
        with _opened(self.path / name, f"{name} in the bundle", _NOFOLLOW) as stream:
            return _bounded(stream, name, limit)


class _Archive:
    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> set[str]:
        with self._members() as archive:
            infos = archive.infolist()
        for info in infos:
            # `filename` ends at a zero byte; what was written there does not.
            name = info.orig_filename
            check_names([name])
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                raise BundleError(f"{name} in the bundle's archive is a link or folder, not a plain file.")
            if info.flag_bits & 1:
                raise BundleError(f"{name} in the bundle's archive is encrypted.")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BundleError(f"{name} in the bundle's archive is compressed by another method than Deflate.")
        names = {info.filename for info in infos}
        if len(names) != len(infos):
            raise BundleError("The bundle's archive names a file twice.")
        check_names(sorted(names))
        return names

    def read(self, name: str, limit: int) -> bytes:
        with self._members() as archive:
            try:
                with archive.open(name) as stream:
                    return _bounded(stream, name, limit)
            except DAMAGED as error:
                raise BundleError(f"{name} in the bundle's archive is damaged.") from error

    @contextmanager
    def _members(self) -> Iterator[zipfile.ZipFile]:
        with _opened(self.path, str(self.path)) as file:
            _check_end(file, os.fstat(file.fileno()).st_size, str(self.path), MAX_FILES)
            try:
                archive = zipfile.ZipFile(file)
            except DAMAGED as error:
                raise BundleError(f"{self.path} is a damaged archive.") from error
            with archive:
                yield archive


def _check_end(file: BinaryIO, size: int, what: str, max_entries: int) -> None:
    """Bound an archive's table of contents before it is read, and admit one archive alone, at the file's start."""
    tail_bytes = min(size, _END.size + _ZIP64_LOCATOR_BYTES)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    if not tail[-_END.size :].startswith(b"PK\5\6") or len(tail) < _END.size:
        raise BundleError(f"{what} is no archive.", "Name a bundle's folder, or its .zip file without comment.")
    _, _, _, _, entries, table_bytes, table_at, _ = _END.unpack(tail[-_END.size :])
    if entries > max_entries:
        raise BundleError(f"{what} has more than {max_entries} files.")
    if (
        size > MAX_TOTAL_BYTES
        or table_bytes > max_entries * _TABLE_ENTRY_BYTES
        or table_at + table_bytes != size - _END.size
        or tail.startswith(b"PK\6\7")
    ):
        raise BundleError(
            f"{what} is not one plain archive of at most {MAX_TOTAL_BYTES // 1024 // 1024} MB.",
            "Pack the bundle again, as a .zip file of its own.",
        )


@contextmanager
def _opened(path: Path, what: str, flags: int = 0) -> Iterator[BinaryIO]:
    if path.is_symlink() and flags & _NOFOLLOW:
        raise BundleError(f"{what} is a link.")
    try:
        stream = open_plain(path, flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"{what} cannot be read: {reason}.") from error
    if stream is None:
        raise BundleError(f"{what} is not a plain file.")
    with stream:
        yield stream


def _bounded(stream: Any, name: str, limit: int) -> bytes:
    limit = min(limit, MAX_FILE_BYTES)
    try:
        content: bytes = stream.read(limit + 1)
    except OSError as error:
        raise BundleError(f"{name} in the bundle cannot be read: {error.strerror}.") from error
    if len(content) > limit:
        raise BundleError(f"{name} in the bundle is larger than stated.")
    return content
