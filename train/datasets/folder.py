"""A hospital's own cohort: a folder of recordings with a table of labels or of a catheter's numbers."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train import haemodynamics
from lsemvae_edge.train.datasets import tables
from lsemvae_edge.train.datasets.entry import N_FOLDS, Entry, Kind, Problems, Task, fold_of, split_commas
from lsemvae_edge.train.datasets.reading import age_years, comments, files, headers, read_any, sex
from lsemvae_edge.train.haemodynamics import CmH2O, Definition, Haemodynamics

TABLE = "labels.csv"

HAEMODYNAMIC_TASKS = (
    Task(haemodynamics.PULMONARY_HYPERTENSION, ("absent", "present")),
    Task(haemodynamics.CAPILLARY, ("pre-capillary", "post-capillary")),
    Task(haemodynamics.ELEVATED_WEDGE, ("normal", "elevated")),
)

# What a column may be called, without blanks, signs and case.
_COLUMNS = {
    "patient": ("patientid", "patient", "subjectid", "subject"),
    "file": ("file", "filename", "path"),
    "record_id": ("recordid", "record"),
    "age": ("age", "ageyears"),
    "sex": ("sex", "gender"),
    "pacemaker": ("pacemaker",),
    "fold": ("fold",),
    "mpap": ("mpap", "mpapmmhg"),
    "pawp": ("pawp", "pawpmmhg", "pcwp", "pcwpmmhg"),
    "pvr": ("pvr",),
    "pvr_wu": ("pvrwu",),
    "pvr_dyn": ("pvrdyn", "pvrdynscm5"),
    "cardiac_output": ("co", "colmin", "cardiacoutput", "cardiacoutputlmin"),
}
# A text file may be anything; only those that the table names are recordings.
_EXTENSIONS = frozenset(extension for known in formats.FORMATS if known.name != "csv" for extension in known.extensions)
_YES = frozenset({"1", "true", "yes", "y"})


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


@dataclass(config=ConfigDict(extra="forbid"))
class HospitalFolder:
    """Recordings in any format that `lsemvae_edge.formats` reads, and a table that names them.

    Parameters
    ----------
    path : Path
        The folder; the table's files are named from here.
    labels : Path, optional
        The table; by default ``labels.csv`` in the folder. It has columns patient and file, and either a column of 0
        and 1 for each task, or mPAP, PAWP (mmHg), PVR, or both.
    ready : tuple of str, optional
        Columns with ready labels; by default those that hold 0 and 1.
    pressures : {"columns", "header"}
        Where the catheter's numbers are: in the table, or in the WFDB headers, as in the PTB Diagnostic ECG Database.
        With ``"header"`` a table is not needed; the folder that a header lies in then names the patient.
    pvr_unit : {"WU", "dyn"}
        Unit of a column PVR; columns PVR_WU and PVR_dyn state their own.
    cmh2o : {"refuse", "convert", "as_mmhg"}
        What to do with header pressures in cmH2O.
    definition : Definition
        Thresholds; as text in JSON: ``{"rule": "wedge"}``.
    """

    path: Path
    labels: Path | None = None
    ready: Annotated[tuple[str, ...] | None, BeforeValidator(split_commas)] = None
    pressures: Literal["columns", "header"] = "columns"
    pvr_unit: Literal["WU", "dyn"] = "WU"
    cmh2o: CmH2O = "refuse"
    definition: Annotated[Definition, BeforeValidator(_parsed)] = field(default_factory=Definition)
    problems: Problems = field(default_factory=Problems, init=False, repr=False, compare=False)

    name: ClassVar[str] = "folder"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the catheter's numbers, if there are any, then one for each column of ready labels."""
        columns = self._columns()
        measured = HAEMODYNAMIC_TASKS if self.pressures == "header" or "mpap" in columns or "pawp" in columns else ()
        return (*measured, *(tables.task(name) for name in self._ready(columns)[0]))

    def __iter__(self) -> Iterator[Entry]:
        self.problems.clear()
        return tables.streamed(self._entries(), self.problems, self.name)

    def _entries(self) -> Iterator[Entry]:
        columns = self._columns()
        ready, unused = self._ready(columns)
        for name in unused:
            self.problems.add(Kind.UNUSED_COLUMN, name)
        for file, patient, row in self._listed(columns):
            yield self._entry(file, patient, row, columns, ready)

    def _table(self) -> Path | None:
        table = self.labels or self.path / TABLE
        if self.labels is None and self.pressures == "header" and not table.is_file():
            return None
        return table

    def _columns(self) -> dict[str, str]:
        """Names of the table's columns by what they mean.

        Raises
        ------
        BadInputError
            If two columns mean the same, or patient or file is absent.
        """
        table = self._table()
        if table is None:
            return {}
        found: dict[str, str] = {}
        for column in tables.header(table):
            plain = re.sub(r"[^a-z0-9]", "", column.lower())
            for meaning, names in _COLUMNS.items():
                if plain in names:
                    if meaning in found:
                        raise BadInputError(f"{table.name} has two columns for {meaning}: {found[meaning]}, {column}.")
                    found[meaning] = column
        absent = [name for name in ("patient", "file") if name not in found]
        if absent:
            raise BadInputError(
                f"{table.name} has no column {' and no column '.join(absent)}.", "See docs/datasets.md for its columns."
            )
        return found

    def _ready(self, columns: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        table = self._table()
        if table is None:
            return (), ()
        if self.ready is None:
            return tables.ready_columns(table, columns.values())
        absent = [name for name in self.ready if name not in tables.header(table)]
        if absent:
            raise BadInputError(f"{table.name} has no column {', '.join(absent)}.", "Check the option `ready`.")
        return self.ready, ()

    def _listed(self, columns: Mapping[str, str]) -> Iterator[tuple[Path, str, dict[str, str]]]:
        """Name file and patient of each recording; report what is named and absent, or there and not named."""
        table = self._table()
        if table is None:
            for header in headers(self.path):
                yield header, header.parent.name if header.parent != self.path else header.stem, {}
            return
        with tables.Lookup() as named:
            for number, row in enumerate(tables.rows(table), start=2):
                given, patient = row[columns["file"]].replace("\\", "/"), row[columns["patient"]]
                file = self.path / given
                if not file.is_file():
                    file = Path(f"{file}.hea")
                named.put(_stem(file))
                if not given or not patient:
                    absent = ", ".join(name for name in ("patient", "file") if not row[columns[name]])
                    self.problems.add(Kind.MISSING_VALUE, given or f"{table.name}, line {number}", absent)
                    continue
                if not file.is_file():
                    self.problems.add(Kind.MISSING_FILE, given)
                    continue
                yield file, patient, row
            for file in files(self.path):
                recording = file.suffix.lower() in _EXTENSIONS
                if recording and named.put(_stem(file)):
                    self.problems.add(Kind.UNLABELLED, file.relative_to(self.path).as_posix(), f"not in {table.name}")

    def _entry(
        self, file: Path, patient: str, row: dict[str, str], columns: Mapping[str, str], ready: tuple[str, ...]
    ) -> Entry:
        value = {meaning: row[column] for meaning, column in columns.items()}
        record_id = value.get("record_id") or _relative(file, self.path)
        said = self._comments(file, record_id) if self.pressures == "header" else {}
        targets = self._measured(record_id, value, said, columns) | tables.targets(row, ready, record_id, self.problems)
        if not targets:
            self.problems.add(Kind.UNLABELLED, record_id, "none of its labels is known")
        return Entry(
            record_id=record_id,
            source=self.name,
            patient=patient,
            fold=self._fold(record_id, value.get("fold", ""), patient),
            load=partial(read_any, file),
            age_years=age_years(value.get("age") or said.get("age", "")),
            sex=sex(value.get("sex") or said.get("sex", "")),
            pacemaker=value.get("pacemaker", "").lower() in _YES,
            targets=targets,
        )

    def _measured(
        self, record_id: str, value: Mapping[str, str], said: Mapping[str, str], columns: Mapping[str, str]
    ) -> dict[str, int]:
        if self.pressures == "header":
            found, complaints = haemodynamics.from_ptb_comments(said, cmh2o=self.cmh2o)
        elif "mpap" in columns or "pawp" in columns:
            found, complaints = haemodynamics.from_columns(value, pvr_unit=self.pvr_unit)
        else:
            return {}
        for complaint in complaints:
            self.problems.add(Kind.BAD_VALUE, record_id, complaint)
        missing = _missing(found, self.definition)
        if missing:
            self.problems.add(Kind.MISSING_VALUE, record_id, ", ".join(missing))
        return haemodynamics.targets(found, self.definition)

    def _comments(self, file: Path, record_id: str) -> dict[str, str]:
        header = file.with_suffix(".hea")
        if not header.is_file():
            return {}
        try:
            return comments(header)
        except BadInputError as error:
            self.problems.add(Kind.UNREADABLE, record_id, error.message)
            return {}

    def _fold(self, record_id: str, given: str, patient: str) -> int:
        if given.isdecimal() and 1 <= int(given) <= N_FOLDS:
            return int(given)
        if given:
            self.problems.add(Kind.BAD_VALUE, record_id, f"fold {given!r} is not 1 to {N_FOLDS}")
        return fold_of(patient)


def _missing(found: Haemodynamics, definition: Definition) -> list[str]:
    """Name the numbers that are missing for a task to have its label."""
    missing = [name for name, number in (("mPAP", found.mpap_mmhg), ("PAWP", found.pawp_mmhg)) if number is None]
    undecided = haemodynamics.phenotype(found, definition) is haemodynamics.Phenotype.UNKNOWN
    return [*missing, "PVR"] if undecided and not missing else missing


def _stem(file: Path) -> str:
    """Files of one recording, header and samples, share it."""
    return file.with_suffix("").as_posix()


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()
