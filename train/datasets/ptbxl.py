"""PTB-XL as PhysioNet publishes it (Wagner et al. 2020, Sci Data 7:154; PhysioNet 10.13026/kfzx-aw45)."""

from collections.abc import Callable, Iterator
from dataclasses import field, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict
from pydantic.dataclasses import dataclass
from scipy.signal import butter, sosfiltfilt

from lsemvae_edge import preprocess
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.record import Record
from lsemvae_edge.train import labels
from lsemvae_edge.train.datasets import tables
from lsemvae_edge.train.datasets.entry import Entry, Kind, Problems, Sex, Task
from lsemvae_edge.train.datasets.reading import age_years, read_twelve
from lsemvae_edge.train.datasets.tasks import HEART_SIDE, RIGHT_HEART, marks, stand_in_targets

TWELVE_LEAD, LIMB_ONLY = "ptbxl_12lead", "ptbxl_limb_relative"
DATABASE = "ptbxl_database.csv"
COLUMNS = ("ecg_id", "patient_id", "scp_codes", "strat_fold")

_SEX: dict[str, Sex] = {"0": "male", "1": "female"}


@dataclass(config=ConfigDict(extra="forbid"))
class PtbXl:
    """A PTB-XL download: ``ptbxl_database.csv`` beside ``records500/`` or ``records100/``.

    Parameters
    ----------
    path : Path
    rate : {500, 100}
        Which of the two sampling rates, in hertz.
    listed : bool
        Only the records that the shipped bundle was made from, as the packed subset has them.
    """

    path: Path
    rate: Annotated[Literal[500, 100], BeforeValidator(int)] = 500
    listed: bool = False
    problems: Problems = field(default_factory=Problems, init=False, repr=False, compare=False)

    name: ClassVar[str] = "ptbxl"
    tasks: ClassVar[tuple[Task, ...]] = (RIGHT_HEART, HEART_SIDE)

    def __iter__(self) -> Iterator[Entry]:
        self.problems.clear()
        return tables.streamed(self._entries(), self.problems, self.name)

    def _entries(self) -> Iterator[Entry]:
        wanted = listed_ids() if self.listed else None
        file_column = "filename_hr" if self.rate == 500 else "filename_lr"
        for row in tables.rows(self.path / DATABASE, (*COLUMNS, file_column)):
            source: str = self.name
            read: Callable[[Path], Record] = read_twelve
            if wanted is not None:
                ecg_id = _whole(row["ecg_id"])
                if ecg_id not in wanted:
                    continue
                source = wanted[ecg_id]
                read = _limb_leads if source == LIMB_ONLY else read_twelve
            entry = entry_of(row, source, partial(read, self.path / f"{row[file_column]}.hea"), self.problems)
            if entry is not None:
                yield entry


def listed_ids() -> dict[str, str]:
    """Return the PTB-XL records that the shipped bundle was made from: ecg_id to folder name."""
    with resources.as_file(resources.files("lsemvae_edge.train").joinpath("ptbxl_ids.csv")) as path:
        return {row["ecg_id"]: row["source"] for row in tables.rows(path)}


def entry_of(row: dict[str, str], source: str, load: Callable[[], Record], problems: Problems) -> Entry | None:
    """Turn a row of PTB-XL's table into an entry, or None if it has no patient, fold or statements."""
    try:
        label = labels.from_ptbxl(row)
        ecg_id, patient, fold = (_whole(row[name]) for name in ("ecg_id", "patient_id", "strat_fold"))
    except (ValueError, SyntaxError) as error:
        problems.add(Kind.BAD_VALUE, row["ecg_id"], str(error))
        return None
    return Entry(
        record_id=ecg_id,
        source=source,
        patient=patient,
        fold=int(fold),
        load=load,
        age_years=age_years(row.get("age", "")),
        sex=_SEX.get(row.get("sex", "")),
        site=row.get("site", "").removesuffix(".0"),
        device=" ".join(row.get("device", "").split()),
        pacemaker="pacemaker" in row.get("pacemaker", "") or "PACE" in row["scp_codes"],
        # The limb-lead folder has no left-sided class, so it cannot teach the side.
        targets=stand_in_targets(label, side=source != LIMB_ONLY),
        auxiliary=label.auxiliary,
        marks=marks(label),
    )


def band_of_limb_only(record: Record) -> Record:
    """Filter as `LIMB_ONLY` was before it was published: Butterworth of order 4, 0.5-40 Hz, forwards and backwards."""
    sections = butter(4, (0.5, 40.0), "bandpass", fs=record.fs_hz, output="sos")
    bridged, _ = preprocess.bridge_gaps(record.signal_mv.astype(np.float64), np.logical_or.reduce(record.gaps), 0)
    return replace(record, signal_mv=sosfiltfilt(sections, bridged, axis=1).astype(np.float32))


def _limb_leads(header: Path) -> Record:
    """Read what the packed subset holds of these records: the limb leads, in its band."""
    record = read_twelve(header)
    names = tuple(name for name in LIMB_LEADS if name in record.leads)
    rows = [record.leads.index(name) for name in names]
    return band_of_limb_only(replace(record, signal_mv=record.signal_mv[rows], gaps=record.gaps[rows], leads=names))


def _whole(text: str) -> str:
    """Whole numbers stand in the table as ``"9"`` or ``"9.0"``."""
    return str(int(float(text)))
