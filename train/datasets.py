"""Data sets as cohorts: recordings with labels, patients and folds, whatever files they came from."""

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from lsemvae_edge import formats, preprocess
from lsemvae_edge.errors import BadInputError, LsemvaeError
from lsemvae_edge.record import Amplitude, Record
from lsemvae_edge.spec import PreprocessSpec
from lsemvae_edge.train import labels

DATA_VARIABLE = "LSEMVAE_EDGE_DATA"
TWELVE_LEAD, LIMB_ONLY = "ptbxl_12lead", "ptbxl_limb_relative"


@dataclass(frozen=True)
class Entry:
    """One recording of a cohort, before its samples are read."""

    record_id: str
    source: str
    patient: str
    fold: int
    age_years: float | None
    pacemaker: bool
    label: labels.Labels
    load: Callable[[], Record]

    def record(self) -> Record:
        """Read the recording, with what the data set says of the person."""
        record = self.load()
        known = {"id": self.record_id, "pacemaker": self.pacemaker}
        if self.age_years is not None:
            known["age_years"] = self.age_years
        return replace(record, meta={**record.meta, **known})


@dataclass(frozen=True, eq=False)
class Cohort:
    """Conditioned recordings and what is known of them, aligned by position.

    Parameters
    ----------
    pairs : array (n, 2, n_samples), float32
        Leads I and II at the model's rate, filtered.
    right_heart, heart_side : array (n,), int
        Stand-in labels; -1 where a task has none.
    auxiliary : array (n, N_AUXILIARY), float32
        Further statements to learn from, NaN where unknown.
    fold, patient, source, right_axis_like, record_id : arrays (n,)
    """

    pairs: NDArray[np.float32]
    right_heart: NDArray[np.int64]
    heart_side: NDArray[np.int64]
    auxiliary: NDArray[np.float32]
    fold: NDArray[np.int64]
    patient: NDArray[np.str_]
    source: NDArray[np.str_]
    right_axis_like: NDArray[np.bool_]
    record_id: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.fold)

    def select(self, mask: NDArray[Any]) -> "Cohort":
        """Return the recordings of a boolean mask or an index array."""
        return Cohort(**{name: value[mask] for name, value in vars(self).items()})


def data_folder() -> Path:
    """Return the folder that ``LSEMVAE_EDGE_DATA`` names.

    Raises
    ------
    BadInputError
        If the variable is unset or names no folder.
    """
    value = os.environ.get(DATA_VARIABLE)
    if not value or not Path(value).is_dir():
        raise BadInputError(
            f"{DATA_VARIABLE} does not name a folder with training data.",
            f"Set {DATA_VARIABLE} to a PTB-XL download (see docs/training.md).",
        )
    return Path(value)


def entries(folder: Path) -> list[Entry]:
    """List the training recordings of a folder: the packed subset, or the same records of a PTB-XL download."""
    if (folder / TWELVE_LEAD).is_dir():
        return [*_packed(folder / TWELVE_LEAD, 1e-3, "calibrated"), *_packed(folder / LIMB_ONLY, 1e-3, "relative")]
    if (folder / "ptbxl_database.csv").is_file():
        return list(_official(folder))
    raise BadInputError(
        f"{folder} holds neither the packed subset nor a PTB-XL download.",
        "Point it at the folder that has ptbxl_database.csv and records500/.",
    )


def load_cohort(listed: list[Entry], spec: PreprocessSpec, *, same_band: bool = False) -> tuple[Cohort, dict[str, str]]:
    """Read and condition recordings.

    Parameters
    ----------
    listed : list of Entry
    spec : PreprocessSpec
    same_band : bool
        Filter the unfiltered folder as the other one was before us, so that a model cannot learn the folder. For
        training; what is judged stays as a recorder gives it.

    Returns
    -------
    cohort : Cohort
        All recordings that could be conditioned; signals are cut to the shortest common length.
    rejected : dict
        Reason for each recording left out, by id.
    """
    kept: list[tuple[Entry, NDArray[np.float32]]] = []
    rejected: dict[str, str] = {}
    for entry in listed:
        try:
            record = entry.load()
            if same_band and entry.source == TWELVE_LEAD:
                record = _band_of_limb_only(record)
            conditioned = preprocess.condition(record, spec)
            if conditioned.excluded.any() or not conditioned.pair.any():
                raise BadInputError("The signal has long gaps or is flat.")
        except LsemvaeError as error:
            rejected[entry.record_id] = error.message
            continue
        kept.append((entry, conditioned.pair.astype(np.float32)))
    if not kept:
        raise BadInputError("No recording could be read.", "Check the folder and the list of rejected recordings.")
    length = min(pair.shape[1] for _, pair in kept)
    rows = [entry for entry, _ in kept]
    return (
        Cohort(
            pairs=np.stack([pair[:, :length] for _, pair in kept]),
            right_heart=np.array([row.label.right_heart_pattern for row in rows]),
            # The limb-lead folder has no left-sided class, so it cannot teach the side.
            heart_side=np.array(
                [
                    -1 if row.label.heart_side is None or row.source == LIMB_ONLY else row.label.heart_side
                    for row in rows
                ]
            ),
            auxiliary=np.array([row.label.auxiliary for row in rows], dtype=np.float32),
            fold=np.array([row.fold for row in rows]),
            patient=np.array([row.patient for row in rows]),
            source=np.array([row.source for row in rows]),
            right_axis_like=np.array([row.label.right_axis_like for row in rows]),
            record_id=np.array([row.record_id for row in rows]),
        ),
        rejected,
    )


def other_recorders(folder: Path) -> Iterator[Record]:
    """Read the recordings of other hospitals and devices, which are judged by and never trained on.

    Those that come from PTB-XL are left out, since the model has seen their like.
    """
    for part in sorted((folder / "other_recorders").glob("*/meta.csv")):
        with np.load(part.parent / "lead_I_II_int16uV.npz", allow_pickle=False) as data:
            samples = dict(zip(data["id"].tolist(), data["x"], strict=True))
            rates = dict(zip(data["id"].tolist(), np.broadcast_to(data["fs_hz"], len(samples)).tolist(), strict=True))
        with part.open(newline="") as stream:
            for row in csv.DictReader(stream):
                if "PTB" in row["source"]:
                    continue
                pair = samples[row["id"]][:, : int(row["n_samples_used"])] * np.float32(1e-3)
                age = float(row["age"]) if row["age"] not in ("", "nan", "NaN") else None
                meta = {"id": row["id"], **({} if age is None else {"age_years": age})}
                yield Record(pair, rates[row["id"]], ("I", "II"), meta=meta)


def listed_ids() -> dict[str, str]:
    """Return the PTB-XL records that the shipped bundle was made from: ecg_id to folder name."""
    text = resources.files("lsemvae_edge.train").joinpath("ptbxl_ids.csv").read_text()
    return {row["ecg_id"]: row["source"] for row in csv.DictReader(text.splitlines())}


def _band_of_limb_only(record: Record) -> Record:
    """Filter as `LIMB_ONLY` was before it was published: Butterworth of order 4, 0.5-40 Hz, forwards and backwards."""
    sections = butter(4, (0.5, 40.0), "bandpass", fs=record.fs_hz, output="sos")
    bridged, _ = preprocess.bridge_gaps(record.signal_mv.astype(np.float64), np.logical_or.reduce(record.gaps), 0)
    return replace(record, signal_mv=sosfiltfilt(sections, bridged, axis=1).astype(np.float32))


def _packed(folder: Path, mv_per_unit: float, amplitude: Amplitude) -> Iterator[Entry]:
    (archive,) = folder.glob("lead_I_II_*.npz")
    with np.load(archive) as data:
        positions = {str(ecg_id): i for i, ecg_id in enumerate(data["ecg_id"])}
        samples = data["x"]
    with (folder / "meta.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if float(row.get("einthoven_residual") or 0) > 0.02:
                continue
            position = positions[row["ecg_id"]]

            def load(position: int = position) -> Record:
                return Record(samples[position] * np.float32(mv_per_unit), 500.0, ("I", "II"), amplitude=amplitude)

            yield _entry(row, folder.name, load)


def _official(folder: Path) -> Iterator[Entry]:
    wanted = listed_ids()
    with (folder / "ptbxl_database.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            ecg_id = str(int(float(row["ecg_id"])))
            if ecg_id not in wanted:
                continue

            def load(path: Path = folder / f"{row['filename_hr']}.hea") -> Record:
                return formats.read(path)

            yield _entry({**row, "ecg_id": ecg_id}, wanted[ecg_id], load)


def _entry(row: dict[str, str], source: str, load: Callable[[], Record]) -> Entry:
    age = float(row["age"]) if row.get("age") else None
    return Entry(
        record_id=row["ecg_id"],
        source=source,
        patient=str(int(float(row["patient_id"]))),
        fold=int(float(row["strat_fold"])),
        age_years=age,
        pacemaker="pacemaker" in row.get("pacemaker", "") or "PACE" in row["scp_codes"],
        label=labels.from_ptbxl(row),
        load=load,
    )
