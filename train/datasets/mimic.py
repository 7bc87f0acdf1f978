"""MIMIC-IV-ECG (Gow et al. 2023, PhysioNet 10.13026/4nqg-sb35): 800,000 recordings of 160,000 patients."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from lsemvae_edge.train.datasets import tables
from lsemvae_edge.train.datasets.entry import Entry, Kind, Problems, Task, fold_of
from lsemvae_edge.train.datasets.reading import age_years, read_twelve, sex

_KEY = "study_id"
_PERSON = (_KEY, "subject_id", "age", "sex", "gender", "file_name", "ecg_time", "path")


@dataclass(config=ConfigDict(extra="forbid"))
class MimicEcg:
    """A MIMIC-IV-ECG download: ``record_list.csv`` beside ``files/``.

    Its files list the leads as I, II, III, aVR, aVF, aVL, V1 to V6; they are bound by the names in each header.

    Parameters
    ----------
    path : Path
    labels : Path, optional
        Table with ``study_id``, a column of 0 and 1 for each task, and if known ``age`` and ``sex``. Without it the
        recordings have no labels, which is enough for pre-training.
    """

    path: Path
    labels: Path | None = None
    problems: Problems = field(default_factory=Problems, init=False, repr=False, compare=False)

    name: ClassVar[str] = "mimic-iv-ecg"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """One task for each column of ready labels."""
        if self.labels is None:
            return ()
        return tuple(tables.task(column) for column in tables.ready_columns(self.labels, _PERSON)[0])

    def __iter__(self) -> Iterator[Entry]:
        self.problems.clear()
        return tables.streamed(self._entries(), self.problems, self.name)

    def _entries(self) -> Iterator[Entry]:
        with ExitStack() as stack:
            known = None
            if self.labels is not None:
                known = stack.enter_context(tables.Lookup())
                columns = tables.load_labels(known, self.labels, _KEY, _PERSON, self.problems)
            for row in tables.rows(self.path / "record_list.csv", ("subject_id", _KEY, "path")):
                missing = [name for name in ("subject_id", _KEY, "path") if not row[name]]
                if missing:
                    self.problems.add(Kind.MISSING_VALUE, row[_KEY] or row["path"], ", ".join(missing))
                    continue
                label = None if known is None else known.take(row[_KEY])
                if known is not None and label is None:
                    self.problems.add(Kind.UNLABELLED, row[_KEY])
                label = label or {}
                yield Entry(
                    record_id=row[_KEY],
                    source=self.name,
                    patient=row["subject_id"],
                    fold=fold_of(row["subject_id"]),
                    load=partial(read_twelve, self.path / f"{row['path']}.hea"),
                    age_years=age_years(label.get("age", "")),
                    sex=sex(label.get("sex") or label.get("gender") or ""),
                    targets=tables.targets(label, columns, row[_KEY], self.problems) if label else {},
                )
            if known is not None:
                for study in known.unused():
                    self.problems.add(Kind.MISSING_FILE, study)
