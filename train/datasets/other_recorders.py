"""Recordings of other hospitals and devices, which are judged by and never trained on."""

import csv
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from lsemvae_edge.record import Record
from lsemvae_edge.train import labels
from lsemvae_edge.train.datasets.entry import Entry
from lsemvae_edge.train.datasets.reading import age_years
from lsemvae_edge.train.datasets.tasks import marks, stand_in_targets

TEST_ONLY_FOLD = 10


def other_recorders(folder: Path) -> Iterator[Entry]:
    """List the recordings of other hospitals and devices, all in fold 10.

    Those that come from PTB-XL are left out, since the model has seen their like.
    """
    for part in sorted((folder / "other_recorders").glob("*/meta.csv")):
        with part.open(newline="") as stream:
            for row in csv.DictReader(stream):
                if "PTB" in row["source"]:
                    continue
                label = labels.from_snomed(row["dx_snomed"].split(","))
                yield Entry(
                    record_id=row["id"],
                    source=part.parent.name,
                    patient=row["id"],
                    fold=TEST_ONLY_FOLD,
                    load=partial(_load, part.parent, row["id"], int(row["n_samples_used"])),
                    age_years=age_years(row["age"]),
                    site=row["source"],
                    targets=stand_in_targets(label),
                    marks=marks(label),
                )


def _load(folder: Path, record_id: str, n_samples: int) -> Record:
    samples, fs_hz = _archive(folder)[record_id]
    return Record(samples[:, :n_samples] * np.float32(1e-3), fs_hz, ("I", "II"), amplitude="calibrated")


@lru_cache(maxsize=4)
def _archive(folder: Path) -> dict[str, tuple[Any, float]]:
    with np.load(folder / "lead_I_II_int16uV.npz", allow_pickle=False) as data:
        rates = np.broadcast_to(data["fs_hz"], len(data["id"])).tolist()
        return {
            record_id: (samples, rate)
            for record_id, samples, rate in zip(data["id"].tolist(), data["x"], rates, strict=True)
        }
