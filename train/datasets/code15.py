"""CODE-15 % (Ribeiro et al. 2021, Zenodo 10.5281/zenodo.4916206): 345,779 exams of 233,770 patients."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from lsemvae_edge.errors import MissingExtraError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.record import Record
from lsemvae_edge.train.datasets import tables
from lsemvae_edge.train.datasets.entry import Entry, Kind, Problems, RecordError, Sex, Task, fold_of
from lsemvae_edge.train.datasets.reading import age_years

FS_HZ = 400.0
LEADS = STANDARD_12
"""As the data set states them: DI, DII, DIII, AVR, AVL, AVF, V1 to V6; its archives carry no names."""

_LABELS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
_SEX: dict[str, Sex] = {"true": "male", "1": "male", "false": "female", "0": "female"}


@dataclass(config=ConfigDict(extra="forbid"))
class Code15:
    """A CODE-15 % download: ``exams.csv`` beside ``exams_part*.hdf5``, of which some may be absent.

    Parameters
    ----------
    path : Path
    """

    path: Path
    problems: Problems = field(default_factory=Problems, init=False, repr=False, compare=False)

    name: ClassVar[str] = "code-15"
    tasks: ClassVar[tuple[Task, ...]] = tuple(Task(name, (f"no {name}", name)) for name in _LABELS)

    def __iter__(self) -> Iterator[Entry]:
        self.problems.clear()
        return tables.streamed(self._entries(), self.problems, self.name)

    def _entries(self) -> Iterator[Entry]:
        with tables.Lookup() as exams:
            for row in tables.rows(self.path / "exams.csv", ("exam_id", "patient_id", *_LABELS)):
                if not exams.put(row["exam_id"], row):
                    self.problems.add(Kind.DUPLICATE, row["exam_id"])
            for part in sorted(self.path.glob("exams_part*.hdf5"), key=_number):
                try:
                    ids = _exam_ids(part)
                except RecordError as error:
                    self.problems.add(error.kind, part.name, error.message)
                    continue
                for position, exam in enumerate(ids):
                    row_of_exam = exams.take(exam)
                    if row_of_exam is None or not row_of_exam["patient_id"]:
                        self.problems.add(Kind.UNLABELLED, f"{part.name}, exam {exam}", "no patient in exams.csv")
                        continue
                    yield self._entry(row_of_exam, part, position)
            for exam in exams.unused():
                self.problems.add(Kind.MISSING_FILE, exam)

    def _entry(self, row: dict[str, str], part: Path, position: int) -> Entry:
        return Entry(
            record_id=row["exam_id"],
            source=self.name,
            patient=row["patient_id"],
            fold=fold_of(row["patient_id"]),
            load=partial(read_tracing, part, position),
            age_years=age_years(row.get("age", "")),
            sex=_SEX.get(row.get("is_male", "").lower()),
            targets=tables.targets(row, _LABELS, row["exam_id"], self.problems),
        )


def read_tracing(part: Path, position: int) -> Record:
    """Read one tracing, without the zeros that fill it up to 4096 samples on both sides.

    Raises
    ------
    RecordError
        If the archive cannot be read, or the tracing has not twelve leads or only zeros.
    """
    try:
        with _h5py().File(part) as archive:
            tracing = np.asarray(archive["tracings"][position], dtype=np.float32)
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise RecordError(Kind.UNREADABLE, f"Tracing {position} of {part.name} cannot be read: {error}.") from error
    if tracing.ndim != 2 or tracing.shape[1] != len(LEADS):
        raise RecordError(Kind.LEAD_COUNT, f"Tracing {position} of {part.name} is of shape {tracing.shape}.")
    recorded = np.flatnonzero((tracing != 0).any(axis=1))
    if recorded.size == 0:
        raise RecordError(Kind.UNREADABLE, f"Tracing {position} of {part.name} is all zero.")
    # Its documentation states no unit that its values bear out.
    return Record(tracing[recorded[0] : recorded[-1] + 1].T, FS_HZ, LEADS, amplitude="uncalibrated")


def _exam_ids(part: Path) -> list[str]:
    try:
        with _h5py().File(part) as archive:
            return [str(int(exam)) for exam in archive["exam_id"][:]]
    except (OSError, KeyError, ValueError) as error:
        raise RecordError(Kind.UNREADABLE, f"{part.name} cannot be read: {error}.") from error


def _number(part: Path) -> int:
    """Sort part 10 after part 9."""
    return int((re.findall(r"\d+", part.stem) or ["0"])[-1])


def _h5py() -> ModuleType:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise MissingExtraError("Reading CODE-15 %", "train") from None
