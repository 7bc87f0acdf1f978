"""Read and write ECG recordings; a file's format is known by its content, never by its extension.

``FORMATS`` is the table of what is understood, in the order in which content is tried. What each
format keeps and loses is written in ``docs/formats.md``.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.formats import atc, csv, dicom, edf, er3, native, wfdb
from lsemvae_edge.formats._contract import Format, Hints, Source, load, save
from lsemvae_edge.formats._units import mv_per_unit
from lsemvae_edge.record import Record

__all__ = ["FORMATS", "GROUP", "Format", "read", "write"]

GROUP = "lsemvae_edge.formats"
"""Entry-point group under which other packages, and other rooms of this one, offer a `Format`."""

_HEAD_BYTES = 4096

FORMATS: tuple[Format, ...] = (
    native.FORMAT,
    atc.FORMAT,
    dicom.FORMAT,
    edf.FORMAT,
    wfdb.FORMAT,
    er3.FORMAT,
    csv.FORMAT,
)
"""CSV is last: any text could be one, the others carry a signature."""

_FOREIGN = (
    (b"%PDF", "a PDF report"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xffBIOSEMI", "a BDF file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"<?xml", "an XML document"),
    (b"\xef\xbb\xbf<?xml", "an XML document"),
    (b"MATLAB 5.0", "a MATLAB 5 file without a WFDB header"),
    (b"{", "a JSON document"),
)


def read(path: str | os.PathLike[str], *, units: str | None = None, fs_hz: float | None = None) -> Record:
    """Read a recording from a file.

    Parameters
    ----------
    path : path
        The file. A WFDB record may be given as its header, its signal file, or the name both share.
    units : str, optional
        Unit of a CSV file's samples (``"mV"``, ``"uV"``, ``"V"``) when the file does not state it.
    fs_hz : float, optional
        Sampling rate of a CSV file in hertz when the file does not state it.

    Returns
    -------
    Record
        With at least one limb lead (but for the native format, which returns exactly what was written),
        ``origin`` ``"file"`` unless the file says that it was made in demo mode or by the simulator.

    Raises
    ------
    BadInputError
        If there is no such file, or it is damaged, too large, or not an ECG recording.
    UsageError
        If ``units`` or ``fs_hz`` have no meaning, or are given for a format that states its own.
    MissingExtraError
        If the library that reads this format is not installed.
    """
    hints = _checked_hints(units, fs_hz)
    source = load(_with_header_suffix(path))
    for entry in _candidates(source):
        if entry.recognises(source):
            if hints.given and not entry.takes_hints:
                raise UsageError(
                    f"A unit or sampling rate was given, but {entry.title} files state their own.",
                    "Leave out --units and --fs; they are for CSV files.",
                )
            return entry.read(source, hints)
    raise _not_recognised(source)


def write(record: Record, path: str | os.PathLike[str], format: str | None = None) -> Path:
    """Write a recording to a file, replacing what was there.

    Parameters
    ----------
    record : Record
        What to write. Only the native format keeps all of it; see ``docs/formats.md``.
    path : path
        Where to. WFDB writes two files that share the name, ``.hea`` and ``.dat``.
    format : str, optional
        Name of a format in ``FORMATS``; by default the one whose extension ``path`` has.

    Returns
    -------
    Path
        The file to give to ``read``.

    Raises
    ------
    UsageError
        If the format is unknown or cannot be written, the record does not fit it, or the place is not writable.
    """
    target = Path(path)
    entry = _format_to_write(target, format)
    assert entry.encode is not None
    return save(entry.encode(record, target))


def _candidates(source: Source) -> Iterator[Format]:
    """Yield formats in the order in which they are tried, offered ones only for what is no text."""
    yield from FORMATS[:-1]
    if b"\0" in source.data[:_HEAD_BYTES]:
        yield from _offered()
    yield FORMATS[-1]


@lru_cache(maxsize=1)
def _offered() -> tuple[Format, ...]:
    from importlib.metadata import entry_points

    found = []
    for entry in entry_points(group=GROUP):
        try:
            offered = entry.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"The file format {entry.name} cannot be loaded: {error}.", "Install its package again, or remove it."
            ) from error
        if not isinstance(offered, Format):
            raise UsageError(f"The file format {entry.name} is no Format.", "Remove its package.")
        found.append(offered)
    return tuple(found)


def _checked_hints(units: str | None, fs_hz: float | None) -> Hints:
    if units is not None and mv_per_unit(units) is None:
        raise UsageError(f"Unknown unit {units!r}.", "Use --units mV, uV or V.")
    if fs_hz is not None and not 0 < fs_hz < float("inf"):
        raise UsageError(f"The sampling rate must be a positive number, not {fs_hz}.", "Give it in hertz: --fs 500.")
    return Hints(units=units, fs_hz=fs_hz)


def _with_header_suffix(path: str | os.PathLike[str]) -> Path:
    """Turn the bare name of a WFDB record into the path of its header; other paths stay as they are."""
    given = Path(path)
    header = Path(f"{given}.hea")
    try:
        return header if not given.is_file() and header.is_file() else given
    except (OSError, ValueError):
        return given  # load() says what is wrong with it


def _format_to_write(target: Path, name: str | None) -> Format:
    writable = [entry for entry in FORMATS if entry.encode is not None]
    choices = ", ".join(f"{entry.name} ({entry.extensions[0]})" for entry in writable)
    if name is None:
        matches = [entry for entry in FORMATS if target.suffix.lower() in entry.extensions]
        asked = f"the extension {target.suffix!r}" if target.suffix else "a name without extension"
    else:
        matches = [entry for entry in FORMATS if entry.name == name.lower()]
        asked = f"the format {name!r}"
    if not matches:
        raise UsageError(f"Cannot tell how to write {asked}.", f"Choose one of: {choices}.")
    if matches[0] not in writable:
        raise UsageError(f"{matches[0].title} files can be read but not written here.", f"Choose one of: {choices}.")
    return matches[0]


def _not_recognised(source: Source) -> BadInputError:
    known = ", ".join(entry.title for entry in FORMATS)
    advice = f"Export the recording in one of these formats: {known}."
    for signature, what in _FOREIGN:
        if source.data.startswith(signature):
            return BadInputError(f"{source.path.name} is {what}, not an ECG recording this software reads.", advice)
    if source.path.suffix.lower() in wfdb.SIGNAL_EXTENSIONS:
        return BadInputError(
            f"{source.path.name} has no WFDB header beside it that names it.",
            f"Put {source.path.stem}.hea into the same folder.",
        )
    return BadInputError(f"{source.path.name} is not a recording in a known format, or its start is damaged.", advice)
