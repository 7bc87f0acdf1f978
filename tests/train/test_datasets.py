"""The packed subset and a PTB-XL download are one cohort."""

import csv
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import formats, preprocess
from lsemvae_edge.errors import BadInputError, ExitCode
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12, derive_limb_leads
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import datasets
from lsemvae_edge.train.datasets import LIMB_ONLY, TWELVE_LEAD, Cohort

COLUMNS = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "heart_axis", "pacemaker", "strat_fold", "filename_hr")


@dataclass
class Recording:
    row: dict[str, str]
    source: str
    pair_uv: np.ndarray


def recordings():
    """Three listed records of each folder, samples in whole microvolts."""
    statements = [
        ("{'NORM': 100.0, 'SR': 0.0}", "MID", ""),
        ("{'RVH': 50.0}", "RAD", ""),
        ("{'LVH': 100.0}", "LAD", "ja, pacemaker"),
    ]
    made = []
    for source in (TWELVE_LEAD, LIMB_ONLY):
        ids = [ecg_id for ecg_id, folder in datasets.listed_ids().items() if folder == source][:3]
        for k, (ecg_id, (codes, axis, pacemaker)) in enumerate(zip(ids, statements, strict=True)):
            limb = simulate(Heart(qrs_axis_deg=40.0 + 30 * k), 10.0, 500.0, int(ecg_id), ("I", "II")).signal_mv
            row = {
                "ecg_id": ecg_id,
                "patient_id": f"{1000 + int(ecg_id) // 2}.0",
                "age": "" if k == 0 else "61.0",
                "sex": str(k % 2),
                "scp_codes": codes,
                "heart_axis": axis,
                "pacemaker": pacemaker,
                "strat_fold": str(8 + k),
                "filename_hr": f"records500/00000/{int(ecg_id):05d}_hr",
            }
            made.append(Recording(row, source, np.rint(1000 * limb).astype(np.int16)))
    return made


def write_csv(path, rows, columns=COLUMNS):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A PTB-XL download in small, with one record that is not listed."""
    folder = tmp_path_factory.mktemp("ptbxl")
    listed = datasets.listed_ids()
    stranger = next(str(k) for k in range(1, 22000) if str(k) not in listed)
    rows = []
    for recording in recordings():
        target = folder / recording.row["filename_hr"]
        target.parent.mkdir(parents=True, exist_ok=True)
        chest = np.random.default_rng(0).normal(0, 0.3, (6, 5000))
        twelve = np.concatenate([derive_limb_leads(*(recording.pair_uv / 1000)), chest])
        formats.write(Record(twelve, 500.0, STANDARD_12), target.with_suffix(".hea"), format="wfdb")
        rows.append({**recording.row, "ecg_id": f"{recording.row['ecg_id']}.0"})
    rows.append({**rows[0], "ecg_id": stranger, "filename_hr": "records500/00000/absent_hr"})
    write_csv(folder / "ptbxl_database.csv", rows)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The packed subset made from the same samples, in another order, with one contradictory record."""
    folder = tmp_path_factory.mktemp("packed")
    for source in (TWELVE_LEAD, LIMB_ONLY):
        (folder / source).mkdir()
        chosen = [recording for recording in recordings() if recording.source == source][::-1]
        rows = [{**recording.row, "einthoven_residual": "0.002"} for recording in chosen]
        if source == LIMB_ONLY:
            chosen = [*chosen, chosen[0]]
            rows.append({**rows[0], "ecg_id": "99999", "einthoven_residual": "0.05"})
        write_csv(folder / source / "meta.csv", rows[::-1], (*COLUMNS, "einthoven_residual"))
        np.savez(
            folder / source / "lead_I_II_500hz_int16uV.npz",
            ecg_id=np.array([int(row["ecg_id"]) for row in rows]),
            x=np.stack([recording.pair_uv for recording in chosen]),
        )
    return folder


@pytest.fixture(scope="module")
def spec():
    return preprocess.default_spec()


def by_id(cohort):
    return cohort.select(np.argsort(cohort.record_id))


def test_the_list_of_records_is_complete_and_names_each_once():
    listed = datasets.listed_ids()
    assert len(listed) == 4153
    assert set(listed.values()) == {TWELVE_LEAD, LIMB_ONLY}
    assert all(ecg_id == str(int(ecg_id)) and 1 <= int(ecg_id) <= 21837 for ecg_id in listed)
    text = datasets.resources.files("lsemvae_edge.train").joinpath("ptbxl_ids.csv").read_text().splitlines()
    assert len(text) == 1 + len(listed), "a repeated id would vanish in the dictionary"


def test_a_download_and_the_packed_subset_give_the_same_cohort(official, packed, spec):
    (from_official, rejected), (from_packed, also) = (
        datasets.load_cohort(datasets.entries(folder), spec) for folder in (official, packed)
    )
    assert rejected == also == {}
    first, second = by_id(from_official), by_id(from_packed)
    assert len(first) == len(second) == 6
    # Only numbers of either source's own scale differ, which the model's input is invariant to.
    np.testing.assert_allclose(first.pairs, second.pairs, atol=2e-6)
    assert np.abs(first.pairs).max() > 0.1
    for name in ("record_id", "source", "patient", "fold", "right_heart", "heart_side", "right_axis_like", "auxiliary"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_the_model_sees_the_same_input_from_either_layout(official, packed, spec):
    inputs = []
    for folder in (official, packed):
        listed = sorted(datasets.entries(folder), key=lambda entry: entry.record_id)
        inputs.append([preprocess.apply(entry.record(), spec).signal for entry in listed])
    np.testing.assert_allclose(inputs[0], inputs[1], atol=1e-4)


def test_labels_follow_the_statements_and_the_limb_leads_teach_no_side(packed, spec):
    cohort, _ = datasets.load_cohort(datasets.entries(packed), spec)
    for source, side in ((TWELVE_LEAD, {9: 1, 10: 0, 8: -1}), (LIMB_ONLY, {8: -1, 9: -1, 10: -1})):
        part = cohort.select(cohort.source == source)
        folds = part.fold.tolist()
        assert dict(zip(folds, part.heart_side.tolist(), strict=True)) == side
        assert dict(zip(folds, part.right_heart.tolist(), strict=True)) == {8: 0, 9: 1, 10: 0}
        assert dict(zip(folds, part.right_axis_like.tolist(), strict=True)) == {8: False, 9: True, 10: False}


def test_for_training_both_folders_get_the_band_that_one_was_published_in(packed, spec):
    scipy_signal = pytest.importorskip("scipy.signal", reason="scipy is the oracle")
    listed = datasets.entries(packed)
    as_recorded = by_id(datasets.load_cohort(listed, spec)[0])
    alike = by_id(datasets.load_cohort(listed, spec, same_band=True)[0])
    limb_only = as_recorded.source == LIMB_ONLY
    np.testing.assert_array_equal(alike.pairs[limb_only], as_recorded.pairs[limb_only])
    sections = scipy_signal.butter(4, (0.5, 40.0), "bandpass", fs=500.0, output="sos")
    records = {entry.record_id: entry.load() for entry in listed}
    for row in np.flatnonzero(~limb_only):
        record = records[alike.record_id[row]]
        filtered = scipy_signal.sosfiltfilt(sections, record.signal_mv.astype(np.float64), axis=1)
        expected = preprocess.condition(Record(filtered, 500.0, record.leads), spec).pair
        np.testing.assert_allclose(alike.pairs[row], expected, atol=1e-5)
        assert np.abs(alike.pairs[row] - as_recorded.pairs[row]).max() > 1e-3


def test_a_short_gap_survives_the_common_band(packed, spec):
    entry = next(entry for entry in datasets.entries(packed) if entry.source == TWELVE_LEAD)
    signal = entry.load().signal_mv.copy()
    signal[:, 2000:2005] = np.nan
    gappy = datasets.replace(entry, load=lambda: Record(signal, 500.0, ("I", "II")))
    assert datasets.load_cohort([gappy], spec)[1] == {}
    assert datasets.load_cohort([gappy], spec, same_band=True)[1] == {}


def test_a_record_carries_what_is_known_of_the_person(official):
    entries = {entry.fold: entry for entry in datasets.entries(official) if entry.source == TWELVE_LEAD}
    assert entries[8].age_years is None
    assert "age_years" not in entries[8].record().meta
    assert entries[10].record().meta["age_years"] == 61.0
    assert entries[10].record().meta["pacemaker"] is True
    assert entries[9].record().meta["pacemaker"] is False
    assert entries[9].record().meta["id"] == entries[9].record_id
    assert set(LIMB_LEADS) <= set(entries[9].record().leads)


def test_contradictory_and_unlisted_records_are_left_out(official, packed):
    for folder in (official, packed):
        assert {entry.record_id for entry in datasets.entries(folder)} == {r.row["ecg_id"] for r in recordings()}


def test_listing_reads_no_samples(official, tmp_path):
    (tmp_path / "ptbxl_database.csv").write_bytes((official / "ptbxl_database.csv").read_bytes())
    assert len(datasets.entries(tmp_path)) == 6


def test_a_record_that_cannot_be_read_is_named_and_left_out(official, tmp_path, spec):
    (tmp_path / "ptbxl_database.csv").write_bytes((official / "ptbxl_database.csv").read_bytes())
    (tmp_path / "records500").symlink_to(official / "records500")
    listed = datasets.entries(tmp_path)
    good, bad, gappy, flat = listed[:4]

    def missing():
        return formats.read(tmp_path / "absent.hea")

    def with_gap():
        signal = good.load().signal_mv.copy()
        signal[:, 1000:1400] = np.nan
        return Record(signal, 500.0, STANDARD_12)

    listed = [
        good,
        datasets.replace(bad, load=missing),
        datasets.replace(gappy, load=with_gap),
        datasets.replace(flat, load=lambda: Record(np.zeros((2, 5000)), 500.0, ("I", "II"))),
    ]
    cohort, rejected = datasets.load_cohort(listed, spec)
    assert cohort.record_id.tolist() == [good.record_id]
    assert set(rejected) == {bad.record_id, gappy.record_id, flat.record_id}
    assert "There is no file" in rejected[bad.record_id]
    with pytest.raises(BadInputError, match="No recording could be read"):
        datasets.load_cohort(listed[1:], spec)


def test_select_keeps_all_columns_aligned(packed, spec):
    cohort, _ = datasets.load_cohort(datasets.entries(packed), spec)
    part = cohort.select(cohort.fold == 9)
    assert isinstance(part, Cohort)
    assert len(part) == 2
    for name, value in vars(part).items():
        np.testing.assert_array_equal(value, getattr(cohort, name)[cohort.fold == 9], err_msg=name)


@pytest.mark.parametrize("value", [None, "", "/nonexistent/folder"])
def test_a_missing_data_folder_says_what_to_set(monkeypatch, value):
    if value is None:
        monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(datasets.DATA_VARIABLE, value)
    with pytest.raises(BadInputError, match="LSEMVAE_EDGE_DATA does not name a folder") as caught:
        datasets.data_folder()
    assert caught.value.code == ExitCode.BAD_INPUT
    assert "Set LSEMVAE_EDGE_DATA" in caught.value.next_step


def test_the_data_folder_is_the_one_that_was_set(monkeypatch, tmp_path):
    monkeypatch.setenv(datasets.DATA_VARIABLE, str(tmp_path))
    assert datasets.data_folder() == tmp_path


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="neither the packed subset nor a PTB-XL download"):
        datasets.entries(tmp_path)


def test_other_recorders_leave_out_what_comes_from_ptb_xl(tmp_path):
    folder = tmp_path / "other_recorders" / "somewhere"
    folder.mkdir(parents=True)
    x = np.arange(3 * 2 * 100, dtype=np.int16).reshape(3, 2, 100)
    np.savez(folder / "lead_I_II_int16uV.npz", id=np.array(["a", "b", "c"]), x=x, fs_hz=np.array([500, 500, 257]))
    rows = [
        {"id": "b", "source": "Chapman", "n_samples_used": "80", "age": "44"},
        {"id": "a", "source": "PTB-XL", "n_samples_used": "100", "age": "50"},
        {"id": "c", "source": "INCART", "n_samples_used": "100", "age": "nan"},
    ]
    write_csv(folder / "meta.csv", rows, tuple(rows[0]))
    records = list(datasets.other_recorders(tmp_path))
    assert [record.meta["id"] for record in records] == ["b", "c"]
    assert [record.fs_hz for record in records] == [500.0, 257.0]
    assert records[0].n_samples == 80
    np.testing.assert_allclose(records[0].signal_mv, x[1, :, :80] / 1000, rtol=1e-6)
    assert [record.meta.get("age_years") for record in records] == [44.0, None]
