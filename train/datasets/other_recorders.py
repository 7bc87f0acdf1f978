"""Recordings of other hospitals and devices, which are judged by and never trained on."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lsemvae_edge.record import Record


def other_recorders(folder: Path) -> Iterator[Record]:
    """Read the recordings of other hospitals and devices.

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
