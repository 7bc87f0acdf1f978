"""A PTB-XL download and the packed subset, in small, of the same recordings."""

import csv
from dataclasses import dataclass

import numpy as np
import pytest

from lsemvae_edge import formats, preprocess
from lsemvae_edge.leads import PRECORDIAL_LEADS, STANDARD_12, derive_limb_leads
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate

LIMB_ONLY, TWELVE_LEAD = "ptbxl_limb_relative", "ptbxl_12lead"
COLUMNS = (
    "ecg_id", "patient_id", "age", "sex", "site", "device", "scp_codes", "heart_axis", "pacemaker", "strat_fold",
    "filename_hr", "filename_lr",
)  # fmt: skip


@dataclass
class Recording:
    row: dict[str, str]
    source: str
    eight_uv: np.ndarray

    @property
    def pair_uv(self):
        return self.eight_uv[:2]

    @property
    def packed_uv(self):
        """Leads I and II as the packed subset has them: one part is filtered, and in a scale of its own."""
        if self.source == TWELVE_LEAD:
            return self.pair_uv
        from lsemvae_edge.train.datasets.ptbxl import band_of_limb_only

        filtered = band_of_limb_only(Record(self.pair_uv / 1000, 500.0, ("I", "II"))).signal_mv
        return np.rint(8000 * filtered).astype(np.int16)


@pytest.fixture(scope="session")
def ptbxl_recordings():
    """Three listed records of each folder, leads I, II, V1 to V6 in whole microvolts."""
    datasets = pytest.importorskip("lsemvae_edge.train.datasets", reason="training data needs the extra `train`")
    statements = [
        ("{'NORM': 100.0, 'SR': 0.0}", "MID", ""),
        ("{'RVH': 50.0}", "RAD", ""),
        ("{'LVH': 100.0}", "LAD", "ja, pacemaker"),
    ]
    made = []
    for source in (TWELVE_LEAD, LIMB_ONLY):
        ids = [ecg_id for ecg_id, folder in datasets.listed_ids().items() if folder == source][:3]
        for k, (ecg_id, (codes, axis, pacemaker)) in enumerate(zip(ids, statements, strict=True)):
            heart = Heart(qrs_axis_deg=40.0 + 30 * k)
            eight = simulate(heart, 10.0, 500.0, int(ecg_id), ("I", "II", *PRECORDIAL_LEADS)).signal_mv
            row = {
                "ecg_id": ecg_id,
                "patient_id": f"{1000 + int(ecg_id) // 2}.0",
                "age": ("", "61.0", "300.0")[k],
                "sex": str(k % 2),
                "site": ("0.0", "12.0", "")[k],
                "device": ("CS-12   E", "AT-6 C 5.5", "")[k],
                "scp_codes": codes,
                "heart_axis": axis,
                "pacemaker": pacemaker,
                "strat_fold": str(8 + k),
                "filename_hr": f"records500/00000/{int(ecg_id):05d}_hr",
                "filename_lr": f"records100/00000/{int(ecg_id):05d}_lr",
            }
            made.append(Recording(row, source, np.rint(1000 * eight).astype(np.int16)))
    return made


@pytest.fixture(scope="session")
def stranger():
    """An ecg_id that the shipped bundle was not made from."""
    datasets = pytest.importorskip("lsemvae_edge.train.datasets", reason="training data needs the extra `train`")
    return next(str(k) for k in range(1, 22000) if str(k) not in datasets.listed_ids())


@pytest.fixture(scope="session")
def write_csv():
    def write(path, rows, columns=None, delimiter=","):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns or tuple(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture(scope="session")
def official(tmp_path_factory, ptbxl_recordings, stranger, write_csv):
    """A PTB-XL download in small, with one record that is not listed and has no file."""
    folder = tmp_path_factory.mktemp("ptbxl")
    rows = []
    for recording in ptbxl_recordings:
        target = folder / recording.row["filename_hr"]
        target.parent.mkdir(parents=True, exist_ok=True)
        eight = recording.eight_uv / 1000
        twelve = np.concatenate([derive_limb_leads(*eight[:2]), eight[2:]])
        formats.write(Record(twelve, 500.0, STANDARD_12), target.with_suffix(".hea"), format="wfdb")
        rows.append({**recording.row, "ecg_id": f"{recording.row['ecg_id']}.0"})
    rows.append({**rows[0], "ecg_id": stranger, "filename_hr": "records500/00000/absent_hr"})
    write_csv(folder / "ptbxl_database.csv", rows, COLUMNS)
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory, ptbxl_recordings, write_csv):
    """The packed subset made from the same samples, in another order, with one contradictory record."""
    folder = tmp_path_factory.mktemp("packed")
    for source in (TWELVE_LEAD, LIMB_ONLY):
        (folder / source).mkdir()
        chosen = [recording for recording in ptbxl_recordings if recording.source == source][::-1]
        rows = [{**recording.row, "einthoven_residual": "0.002"} for recording in chosen]
        if source == LIMB_ONLY:
            chosen = [*chosen, chosen[0]]
            rows.append({**rows[0], "ecg_id": "99999", "einthoven_residual": "0.05"})
        write_csv(folder / source / "meta.csv", rows[::-1], (*COLUMNS, "einthoven_residual"))
        ids = np.array([int(row["ecg_id"]) for row in rows])
        np.savez(
            folder / source / "lead_I_II_500hz_int16uV.npz",
            ecg_id=ids,
            x=np.stack([recording.packed_uv for recording in chosen]),
        )
        if source == TWELVE_LEAD:
            # In yet another order, and without the last record.
            np.savez(
                folder / source / "leads_V1-V6_500hz_int16uV.npz",
                ecg_id=ids[1::-1],
                x=np.stack([recording.eight_uv[2:] for recording in chosen[1::-1]]),
            )
    return folder


@pytest.fixture(scope="session")
def spec():
    return preprocess.default_spec()


@pytest.fixture(scope="session")
def simulated_twelve():
    """A simulated heart in twelve leads, 10 s at 500 Hz."""
    return simulate(Heart(), 10.0, 500.0, 3)
