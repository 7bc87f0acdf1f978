"""Tables of any length in little memory: rows are streamed; what must be looked up lies in a temporary file."""

import csv
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train.datasets.entry import Entry, Kind, Problems, Task

_DELIMITERS = ",;\t"
_BINARY = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
_BLANK = {"", "nan", "n/a", "na"}


def header(path: Path) -> tuple[str, ...]:
    """Return the column names of a CSV file.

    Raises
    ------
    BadInputError
        If there is no such file, or it is empty.
    """
    with _opened(path) as reader:
        return _names(reader)


def rows(path: Path, needed: Iterable[str] = ()) -> Iterator[dict[str, str]]:
    """Stream a CSV file, separated by comma, semicolon or tab; blanks about a value are cut off.

    Parameters
    ----------
    path : Path
    needed : iterable of str
        Columns that must be there.

    Raises
    ------
    BadInputError
        If there is no such file, it is no text, or a needed column is absent.
    """
    with _opened(path) as reader:
        names = _names(reader)
        absent = [name for name in needed if name not in names]
        if absent:
            raise BadInputError(
                f"{path.name} has no column {', '.join(absent)}; it has {', '.join(names) or 'none'}.",
                "See docs/datasets.md for the columns that are expected.",
            )
        for row in reader:
            # A row longer than the header comes under the key None, a shorter one with values None.
            yield {name: (row[name] or "").strip() for name in names}


def streamed(entries: Iterable[Entry], problems: Problems, name: str) -> Iterator[Entry]:
    """Pass entries on, each id once.

    Raises
    ------
    BadInputError
        At the end, if there was none at all.
    """
    any_left = False
    with Lookup() as seen:
        for entry in entries:
            if not seen.put(entry.record_id):
                problems.add(Kind.DUPLICATE, entry.record_id)
                continue
            any_left = True
            yield entry
    if not any_left:
        found = "; ".join(problems.lines()) or "it is empty"
        raise BadInputError(f"No recording is left of the data set {name} ({found}).", "See docs/datasets.md.")


class Lookup:
    """Keys and, if wanted, a row of text for each, in a temporary file that goes when it is closed."""

    def __init__(self) -> None:
        # An empty name is SQLite's on-disk temporary database; its page cache is bounded.
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT, used INTEGER DEFAULT 0) WITHOUT ROWID")
        self._base.execute("BEGIN")

    def put(self, key: str, row: dict[str, str] | None = None) -> bool:
        """Add a key; return whether it is new. The first row of a key stays."""
        value = None if row is None else json.dumps(row)
        return self._base.execute("INSERT OR IGNORE INTO t (k, v) VALUES (?, ?)", (key, value)).rowcount > 0

    def take(self, key: str) -> dict[str, str] | None:
        """Return the row of a key and remember that it was asked for."""
        found = self._base.execute("SELECT v FROM t WHERE k = ?", (key,)).fetchone()
        if found is None:
            return None
        self._base.execute("UPDATE t SET used = 1 WHERE k = ?", (key,))
        row: dict[str, str] = json.loads(found[0])
        return row

    def unused(self) -> Iterator[str]:
        """Iterate over the keys never asked for, in order."""
        for (key,) in self._base.execute("SELECT k FROM t WHERE used = 0 ORDER BY k"):
            yield key

    def __contains__(self, key: str) -> bool:
        return self._base.execute("SELECT 1 FROM t WHERE k = ?", (key,)).fetchone() is not None

    def __enter__(self) -> "Lookup":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()


def ready_columns(path: Path, reserved: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide the columns of a table that are not reserved into those with ready labels and the rest.

    A column has labels if at least half of its values that are not blank are 0 or 1.
    """
    taken = set(reserved)
    free = [name for name in header(path) if name not in taken]
    filled, labelled = dict.fromkeys(free, 0), dict.fromkeys(free, 0)
    for row in rows(path):
        for name in free:
            filled[name] += row[name].lower() not in _BLANK
            labelled[name] += row[name].lower() in _BINARY
    ready = tuple(name for name in free if filled[name] and 2 * labelled[name] >= filled[name])
    return ready, tuple(name for name in free if name not in ready)


def load_labels(known: Lookup, path: Path, key: str, reserved: Iterable[str], problems: Problems) -> tuple[str, ...]:
    """Put a table's rows where they can be looked up by a column; return the columns with ready labels."""
    columns, unused = ready_columns(path, reserved)
    for name in unused:
        problems.add(Kind.UNUSED_COLUMN, name)
    for row in rows(path, (key,)):
        if not row[key]:
            problems.add(Kind.MISSING_VALUE, path.name, key)
        elif not known.put(row[key], row):
            problems.add(Kind.DUPLICATE, row[key], f"in {path.name}")
    return columns


def targets(row: dict[str, str], columns: Iterable[str], name: str, problems: Problems) -> dict[str, int]:
    """Read ready labels; a blank is unknown, anything but 0 and 1 is reported under the record's name."""
    found: dict[str, int] = {}
    for column in columns:
        value = row[column].lower()
        if value in _BINARY:
            found[column] = _BINARY[value]
        elif value not in _BLANK:
            problems.add(Kind.BAD_VALUE, name, f"{column} is {row[column]!r}, neither 0 nor 1")
    return found


def task(column: str) -> Task:
    """Make a task of a column of ready labels."""
    return Task(column, (f"no {column}", column))


@contextmanager
def _opened(path: Path) -> "Iterator[csv.DictReader[str]]":
    """Open a table; what makes it no table, also later on, is an error of the input."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            reader = csv.DictReader(stream, delimiter=delimiter)
            yield reader
    except OSError as error:
        raise BadInputError(f"Cannot read the table {path}: {error.strerror}.", "See docs/datasets.md.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is no table of text: {error}.", "Export it again as CSV in UTF-8.") from error


def _names(reader: "csv.DictReader[str]") -> tuple[str, ...]:
    names = tuple(reader.fieldnames or ())
    reader.fieldnames = [name.strip() for name in names]
    return tuple(reader.fieldnames)
