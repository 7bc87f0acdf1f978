"""Recordings with labels that a bundle is judged on: this project's, any cohort of training, a table of one's own.

The table needs numpy and the standard library alone, so that a board without training's packages can judge as well.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge import formats, metrics
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.record import Record

if TYPE_CHECKING:
    from lsemvae_edge.train.datasets import Entry

TABLE = "labels.csv"
LABEL = "label"
"""A column of a table that holds the primary task's label, if none has the task's name."""
PROJECT = "PTB-XL, as the bundle was made from it"
OURS = ("packed", "ptbxl")
"""Kinds of data sets whose folds 1 to 8 taught the shipped bundle."""
_SEPARATORS = ",;\t"
_YES = frozenset({"1", "true", "yes", "y"})


@dataclass(frozen=True, eq=False)
class Labelled:
    """A recording and what is known of it.

    Parameters
    ----------
    record_id : str
    patient : str
        Intervals are over patients.
    targets : mapping of str to int
        0 or 1 by the name of a label; one that is not known is absent.
    load : callable
        Reads the recording, with age and pacemaker if they are known; raises `LsemvaeError` only.
    sets : tuple of str
        Under which names it is counted.
    """

    record_id: str
    patient: str
    targets: Mapping[str, int]
    load: Callable[[], Record]
    sets: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Recordings to judge by.

    ``once`` names the sets that may be looked at once: a reading of them goes to the ledger.
    """

    name: str
    recordings: Sequence[Labelled]
    once: tuple[str, ...] = ()


def of_project(*, final: bool) -> Cohort:
    """List fold 9 of the data that ``LSEMVAE_EDGE_DATA`` names; with ``final`` fold 10 and the other recorders as well.

    Recordings are cut to leads I and II, which are what a recorder measures.

    Raises
    ------
    BadInputError
        If the variable names no data.
    """
    from lsemvae_edge.train import datasets

    folder = datasets.data_folder()
    listed = list(_held_out(datasets.entries(folder), final=final))
    once: list[str] = []
    if final:
        elsewhere = [(entry, ("other recorders",)) for entry in datasets.other_recorders(folder)]
        listed += elsewhere
        once = ["fold 10", "folds 9-10", "A: folds 9-10 of ptbxl_12lead", *(["other recorders"] if elsewhere else [])]
    return Cohort(PROJECT, [_of_entry(entry, sets) for entry, sets in listed], tuple(once))


def of_dataset(kind: str, path: Path | None, options: Mapping[str, str], *, every_fold: bool, final: bool) -> Cohort:
    """List recordings of a data set that training reads (``docs/datasets.md``), cut to leads I and II.

    Parameters
    ----------
    kind, path, options
        As of ``train prepare``.
    every_fold : bool
        All of them: for a cohort that the bundle has not learned from. Otherwise fold 9, and with ``final`` fold 10.
    final : bool

    Raises
    ------
    UsageError
        If every fold of the data that the shipped bundle learned from is asked for.
    """
    from lsemvae_edge.train import datasets

    if every_fold and kind in OURS:
        raise UsageError(
            "The shipped bundle learned from most of these recordings: it cannot be judged on them.",
            "Leave out --every-fold.",
        )
    opened = datasets.open_dataset(kind, path, **options)
    name = kind if path is None else f"{kind} {path.name}"
    if every_fold:
        return Cohort(name, [_of_entry(entry, ("all",)) for entry in opened])
    listed = [_of_entry(entry, sets) for entry, sets in _held_out(opened, final=final)]
    once = sorted({one for recording in listed for one in recording.sets} - {"fold 9"})
    return Cohort(name, listed, tuple(once))


def of_table(path: Path, labels: Sequence[str]) -> Cohort:
    """List the recordings of a table: a folder with ``labels.csv``, as ``records cohort`` writes, or a table itself.

    Parameters
    ----------
    path : Path
        Its columns: ``file`` (from the table's folder), and one of 0, 1 or nothing for each label; ``patient``, ``age``
        and ``pacemaker`` may be there. Recordings without ``patient`` count as of different people. Columns may be
        separated by commas, semicolons or tabs.
    labels : sequence of str
        Labels to read, the primary task's first; of these `LABEL` may be the name of the first.

    Raises
    ------
    BadInputError
        If the table lacks what is needed, names a file that is not there, or holds another value; says in which line.
    """
    table = path / TABLE if path.is_dir() else path
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{table} cannot be read: {error}", "Name a table of recordings and labels.") from error
    header = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=max(_SEPARATORS, key=header.count))
    columns = {name.strip().lower(): name for name in rows.fieldnames or ()}
    found = {label: columns[label.lower()] for label in labels if label.lower() in columns}
    if labels[0] not in found and LABEL in columns:
        found[labels[0]] = columns[LABEL]
    if "file" not in columns or not found:
        raise BadInputError(
            f"{table.name} needs a column `file` and one of {', '.join(labels)}.", "See docs/benchmarks.md, Accuracy."
        )
    return Cohort(
        table.parent.resolve().name,
        [_of_row(table, number, row, columns, found) for number, row in enumerate(rows, 2)],
    )


def _held_out(entries: Iterable["Entry"], *, final: bool) -> Iterator[tuple["Entry", tuple[str, ...]]]:
    """Choose the folds that taught nothing, each recording with its sets."""
    from lsemvae_edge.train.datasets import TWELVE_LEAD

    for entry in entries:
        if entry.fold == metrics.VALIDATION_FOLD or (final and entry.fold == metrics.TEST_FOLD):
            sets = [f"fold {entry.fold}"]
            if final:
                sets.append("folds 9-10")
                if entry.source == TWELVE_LEAD:
                    sets.append("A: folds 9-10 of ptbxl_12lead")
            yield entry, tuple(sets)


def _of_entry(entry: "Entry", sets: tuple[str, ...]) -> Labelled:
    from lsemvae_edge.benchmarks.safety import as_measured

    return Labelled(entry.record_id, entry.patient, entry.targets, lambda: as_measured(entry.record()), sets)


def _of_row(
    table: Path, number: int, row: Mapping[str, str | None], columns: Mapping[str, str], found: Mapping[str, str]
) -> Labelled:
    def value(column: str) -> str:
        return (row.get(column) or "").strip()

    def refused(what: str) -> BadInputError:
        return BadInputError(f"{table.name}, line {number}: {what}", "Mend the table.")

    given = value(columns["file"])
    file = table.parent / given
    # A WFDB recording may be named without the ending of its header.
    if not given or not (file.is_file() or Path(f"{file}.hea").is_file()):
        raise refused(f"there is no file {given!r}.")
    targets = {}
    for label, column in found.items():
        if value(column) not in ("", "0", "1"):
            raise refused(f"{column} is {value(column)!r}, not 0, 1 or empty.")
        if value(column):
            targets[label] = int(value(column))
    known: dict[str, Any] = {"id": given}
    if "pacemaker" in columns:
        known["pacemaker"] = value(columns["pacemaker"]).lower() in _YES
    if "age" in columns and value(columns["age"]):
        try:
            known["age_years"] = float(value(columns["age"]))
        except ValueError:
            raise refused(f"age is {value(columns['age'])!r}, no number.") from None
    patient = value(columns["patient"]) if "patient" in columns else ""
    return Labelled(given, patient or f"line {number}", targets, partial(_read, file, known), ("all",))


def _read(file: Path, known: Mapping[str, Any]) -> Record:
    record = formats.read(file if file.is_file() else Path(f"{file}.hea"))
    return replace(record, meta={**record.meta, **known})
