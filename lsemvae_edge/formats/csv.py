"""Tables of samples as text: one column a lead, units and rate stated in the file or by the reader, never guessed.

``docs/formats.md`` gives the header's specification.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.formats import _csv_time, _person
from lsemvae_edge.formats._build import Channel, build_record, check_extent
from lsemvae_edge.formats._contract import Format, Hints, Source
from lsemvae_edge.formats._units import mv_per_unit
from lsemvae_edge.leads import canonical_name
from lsemvae_edge.record import Record

_DELIMITERS = (";", "\t", ",")
_BRACKETED_UNIT = re.compile(r"(?P<name>.*?)\s*[(\[](?P<unit>[^)\]]*)[)\]]")
_SUFFIXED_UNIT = re.compile("(?P<name>.+)_(?P<unit>[munµμ]?v|m?s|us)", re.IGNORECASE)
_MISSING = frozenset(("", "nan", "na", "n/a", "null", "none", "-", "--"))
_NOT_CALIBRATED = ("uncalibrated", "relative")
_RATE_KEYS = ("fs_hz", "fs", "sampling_rate", "sampling_rate_hz", "sampling_frequency", "sample_rate")


def read(source: Source, hints: Hints) -> Record:
    """Read a CSV file.

    Raises
    ------
    BadInputError
        If a row breaks the table, statements of unit or rate contradict each other, no rate is stated or
        derivable, or the times are not regular.
    """
    table = _parse(_text(source))
    comments = table.comments
    values = _numbers(table)
    time_at = _csv_time.column(table.names)
    fs_hz = _csv_time.sampling_rate(
        times=None if time_at is None else values[:, time_at],
        column_name="" if time_at is None else table.names[time_at],
        unit=None if time_at is None else table.units[time_at],
        stated_hz=_stated_rate(comments, hints),
    )
    check_extent(values.shape[0], fs_hz)
    channels = [
        Channel(name, column, _unit_of(name, unit, comments, hints), fs_hz)
        for index, (name, unit, column) in enumerate(zip(table.names, table.units, values.T, strict=True))
        if index != time_at
    ]
    return build_record(
        channels,
        format_name="csv",
        record_id=source.path.stem,
        started_at=_person.timestamp(comments.get("started_at", "")),
        meta=_person.from_pairs(comments),
        origin=_person.origin(comments.get("origin", "")),
        uncalibrated_as="relative" if comments.get("units", "").lower() == "relative" else "uncalibrated",
    )


def encode(record: Record, path: Path) -> Mapping[Path, bytes]:
    """Turn a record into a CSV file: facts as comments, times in seconds, gaps as empty cells.

    Nine significant digits are kept, which is every bit of a float32.
    """
    facts = {
        "fs_hz": repr(record.fs_hz),
        "units": "mV" if record.amplitude == "calibrated" else record.amplitude,
        **({"started_at": record.started_at.isoformat()} if record.started_at is not None else {}),
        **_person.to_pairs(record.meta, record.origin),
    }
    lines = [f"# {key}: {value}" for key, value in facts.items()]
    lines.append(",".join(("t_s", *record.leads)))
    row = "%.6f" + ",%.9g" * len(record.leads)
    for index, samples in enumerate(record.signal_mv.T.tolist()):
        lines.append(row % (index / record.fs_hz, *samples))
    return {path: ("\n".join(lines) + "\n").replace("nan", "").encode()}


@dataclass(frozen=True)
class _Table:
    """A file in parts.

    Parameters
    ----------
    comments : dict of str to str
        ``# key: value`` lines, keys in lower case.
    names : tuple of str
        Column names without units.
    units : tuple of (str or None)
        As the header or the row of units states them.
    rows : sequence of str
        Lines of numbers, with a decimal point.
    first_line : int
        Line number of the first row, for messages.
    delimiter : str or None
        None when there is one column.
    """

    comments: dict[str, str]
    names: tuple[str, ...]
    units: tuple[str | None, ...]
    rows: Sequence[str]
    first_line: int
    delimiter: str


def _parse(text: str) -> _Table:
    comments: dict[str, str] = {}
    lines = text.splitlines()
    at = 0
    while at < len(lines) and (not lines[at].strip() or lines[at].lstrip().startswith("#")):
        key, colon, value = lines[at].strip().lstrip("#").partition(":")
        if colon:
            comments[key.strip().lower()] = value.strip()
        at += 1
    if at == len(lines):
        raise _bad("has no table in it")
    delimiter = next((mark for mark in _DELIMITERS if mark in lines[at]), ",")
    header = _cells(lines[at], delimiter)
    if all(_is_number(cell) for cell in header):
        raise _bad("has no header row", "Let the first row name the leads: t_s,I,II,III,aVR,aVL,aVF.")
    while header and not header[-1]:
        header.pop()  # spreadsheets leave delimiters at the ends of lines
    names, units = zip(*(_split_unit(cell) for cell in header), strict=True)
    at += 1
    units_row = _cells(lines[at], delimiter) if at < len(lines) else []
    if (
        units_row
        and not any(_is_number(cell) or cell.lower() in _MISSING - {""} for cell in units_row)
        and any(units_row)
    ):
        units = tuple(
            _agreed(name, unit, cell or None)
            for name, unit, cell in zip(names, units, units_row + [""] * len(names), strict=False)
        )
        at += 1
    rows = [line for line in lines[at:] if line.strip()]
    if delimiter != "," and rows and "," in rows[0]:
        rows = [line.replace(",", ".") for line in rows]
    return _Table(comments, names, units, rows, at + 1, delimiter)


def _numbers(table: _Table) -> NDArray[np.float64]:
    """All cells (n_rows, n_columns); NaN where one is empty."""
    if not table.rows:
        raise _bad("has a header but no samples")
    n_columns = len(table.names)
    try:
        values = np.loadtxt(
            io.StringIO("\n".join(table.rows)), delimiter=table.delimiter, comments=None, ndmin=2, dtype=np.float64
        )
        if values.shape[1] == n_columns:
            return values
    except ValueError:
        pass  # empty cells, quotes, or a broken row: look at each cell
    return np.array([_row(table, index, line) for index, line in enumerate(table.rows)], dtype=np.float64)


def _row(table: _Table, index: int, line: str) -> list[float]:
    cells = _cells(line, table.delimiter)
    n_columns = len(table.names)
    if len(cells) < n_columns or any(cells[n_columns:]):
        raise _bad(f"has {len(cells)} cells in line {table.first_line + index}, but {n_columns} columns")
    try:
        return [math.nan if cell.lower() in _MISSING else float(cell) for cell in cells[:n_columns]]
    except ValueError:
        raise _bad(f"has a cell that is no number in line {table.first_line + index}") from None


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return cell.lower() != "nan"


def _split_unit(cell: str) -> tuple[str, str | None]:
    """``I (mV)``, ``I[uV]``, ``I_mV`` and ``time_ms`` to name and unit."""
    for pattern in (_BRACKETED_UNIT, _SUFFIXED_UNIT):
        if found := pattern.fullmatch(cell):
            return found["name"].strip(), found["unit"].strip() or None
    return cell, None


def _agreed(what: str, first: str | None, second: str | None) -> str | None:
    """One of two statements of a unit, which must not contradict each other."""
    if first is None or second is None:
        return first if second is None else second
    scales = mv_per_unit(first), mv_per_unit(second)
    if (scales[0] != scales[1]) if any(scales) else (first.lower() != second.lower()):
        raise _bad(f"states two units for {what}: {first} and {second}", "Leave the wrong one out.")
    return first


def _unit_of(name: str, unit: str | None, comments: Mapping[str, str], hints: Hints) -> str | None:
    if canonical_name(name) is None:
        return unit
    common = comments.get("units") or comments.get("unit")
    if common is not None and common.lower() in _NOT_CALIBRATED:
        if hints.units is not None:
            raise _bad(f"says that it is {common.lower()}, but the unit {hints.units} was given", "Leave out --units.")
        return None
    return _agreed(f"lead {name}", _agreed(f"lead {name}", unit, common), hints.units)


def _stated_rate(comments: Mapping[str, str], hints: Hints) -> float | None:
    text = next((comments[key] for key in _RATE_KEYS if key in comments), None)
    if text is None:
        return hints.fs_hz
    found = re.fullmatch(r"([0-9.]+(?:e[+-]?\d+)?)\s*(?:hz)?", text.strip(), re.IGNORECASE)
    try:
        stated = float(found.group(1)) if found else math.nan
    except ValueError:
        stated = math.nan
    if not 0 < stated < math.inf:
        raise _bad(f"states a sampling rate that is no number of hertz ({text!r})")
    if hints.fs_hz is not None and not math.isclose(stated, hints.fs_hz, rel_tol=1e-3):
        raise _bad(f"states {stated:g} Hz, but {hints.fs_hz:g} Hz was given", "Leave out --fs.")
    return stated


def _text(source: Source) -> str:
    text = decoded(source.data)
    if text is None:
        raise _bad("is not in a readable text encoding", "Save it as UTF-8.")
    return text


def decoded(data: bytes) -> str | None:
    """Text in UTF-8, UTF-16 with a mark, or Windows-1252; None when the bytes are no plain text."""
    encodings = ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if any(ord(mark) < 32 and mark not in "\t\r\n\f" for mark in text[:4096]) else text
    return None


def _bad(
    how: str, next_step: str = "Correct it, or export the recording again; docs/formats.md describes it."
) -> BadInputError:
    return BadInputError(f"The CSV file {how}.", next_step)


def _recognises(source: Source) -> bool:
    """Any text whose first row has several cells, or names a lead."""
    if source.data[:1] in (b"{", b"<") or source.data[:4] == b"%PDF":
        return False
    text = decoded(source.data[:65536])
    if text is None:
        return False
    row: Any = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return any(mark in row for mark in _DELIMITERS) or canonical_name(_split_unit(row.strip())[0]) is not None


FORMAT = Format("csv", "CSV", (".csv", ".tsv", ".txt"), _recognises, read, encode, takes_hints=True)
