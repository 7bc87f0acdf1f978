"""PTB-XL, packed and as published, and the student's list of it."""

import os
import pickle
from importlib import resources

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import preprocess
from lsemvae_edge.errors import BadInputError, ExitCode
from lsemvae_edge.leads import LIMB_LEADS, STANDARD_12
from lsemvae_edge.train import datasets
from lsemvae_edge.train.datasets import LIMB_ONLY, TWELVE_LEAD, Kind, open_dataset


def test_the_list_of_records_is_complete_and_names_each_once():
    listed = datasets.listed_ids()
    assert len(listed) == 4153
    assert set(listed.values()) == {TWELVE_LEAD, LIMB_ONLY}
    assert all(ecg_id == str(int(ecg_id)) and 1 <= int(ecg_id) <= 21837 for ecg_id in listed)
    text = resources.files("lsemvae_edge.train").joinpath("ptbxl_ids.csv").read_text().splitlines()
    assert len(text) == 1 + len(listed), "a repeated id would vanish in the dictionary"


def test_the_model_sees_the_same_input_from_either_layout(official, packed, spec):
    inputs = []
    for folder in (official, packed):
        listed = sorted(datasets.entries(folder), key=lambda entry: entry.record_id)
        inputs.append([preprocess.apply(entry.record(), spec).signal for entry in listed])
    # Whole microvolts, of the filtered part after filtering.
    np.testing.assert_allclose(inputs[0], inputs[1], atol=2e-3)


def test_a_record_carries_what_is_known_of_the_person(official):
    entries = {entry.fold: entry for entry in datasets.entries(official) if entry.source == TWELVE_LEAD}
    assert entries[8].age_years is None
    assert "age_years" not in entries[8].record().meta
    assert entries[9].record().meta["age_years"] == 61.0
    assert entries[10].age_years == 90.0, "300 stands for over 89"
    assert [entries[fold].sex for fold in (8, 9, 10)] == ["male", "female", "male"]
    assert entries[10].record().meta["pacemaker"] is True
    assert entries[9].record().meta["pacemaker"] is False
    assert entries[9].record().meta["id"] == entries[9].record_id
    assert set(LIMB_LEADS) <= set(entries[9].record().leads)


def test_a_record_carries_where_and_with_what_it_was_recorded(official, packed):
    for folder in (official, packed):
        entries = {entry.fold: entry for entry in datasets.entries(folder) if entry.source == TWELVE_LEAD}
        assert [entries[fold].site for fold in (8, 9, 10)] == ["0", "12", ""]
        assert [entries[fold].device for fold in (8, 9, 10)] == ["CS-12 E", "AT-6 C 5.5", ""]


def test_a_listed_record_of_the_limb_lead_part_has_no_more_than_that_part_has(official, packed):
    from_official, from_packed = (
        {entry.record_id: entry.load() for entry in datasets.entries(folder) if entry.source == LIMB_ONLY}
        for folder in (official, packed)
    )
    assert from_official.keys() == from_packed.keys()
    for record_id, record in from_official.items():
        assert record.leads == from_packed[record_id].leads == LIMB_LEADS
        np.testing.assert_allclose(8 * record.signal_mv, from_packed[record_id].signal_mv, atol=8e-3)
    whole = [entry.load() for entry in open_dataset("ptbxl", official) if entry.record_id in from_official]
    assert all(record.leads == STANDARD_12 for record in whole)


def test_contradictory_and_unlisted_records_are_left_out(official, packed, ptbxl_recordings):
    for folder in (official, packed):
        assert {entry.record_id for entry in datasets.entries(folder)} == {r.row["ecg_id"] for r in ptbxl_recordings}


def test_listing_reads_no_samples(official, tmp_path):
    (tmp_path / "ptbxl_database.csv").write_bytes((official / "ptbxl_database.csv").read_bytes())
    assert len(datasets.entries(tmp_path)) == 6


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


def test_a_whole_download_has_all_records_and_says_which_is_missing(official, stranger):
    dataset = open_dataset("ptbxl", official)
    made = {entry.record_id: entry for entry in dataset}
    assert len(made) == 7
    assert {entry.source for entry in made.values()} == {"ptbxl"}
    assert sum("heart_side" in entry.targets for entry in made.values()) == 4
    with pytest.raises(BadInputError, match="There is no file") as caught:
        made[stranger].load()
    assert datasets.kind_of(caught.value) is Kind.MISSING_FILE
    assert len(list(open_dataset("ptbxl", official, listed="true"))) == 6


def test_the_lower_rate_is_another_file(official):
    first = next(iter(open_dataset("ptbxl", official, rate="100")))
    with pytest.raises(BadInputError, match=r"records100/00000/.*_lr\.hea"):
        first.load()


def test_rows_without_patient_or_with_a_repeated_id_are_reported(tmp_path, official, write_csv):
    rows = list(datasets.ptbxl.tables.rows(official / "ptbxl_database.csv"))[:3]
    rows = [rows[0], {**rows[1], "patient_id": ""}, {**rows[2], "scp_codes": "{'NORM':"}, rows[0]]
    write_csv(tmp_path / "ptbxl_database.csv", rows)
    dataset = open_dataset("ptbxl", tmp_path)
    for _ in range(2):
        assert len(list(dataset)) == 1
        assert dataset.problems.counts == {Kind.BAD_VALUE: 2, Kind.DUPLICATE: 1}, "counted anew each time"
    write_csv(tmp_path / "ptbxl_database.csv", rows[1:3])
    with pytest.raises(BadInputError, match=r"No recording is left.*value without meaning: 2"):
        list(dataset)


def test_packed_records_carry_every_lead_that_is_there_or_follows(packed, ptbxl_recordings):
    made = {entry.record_id: entry.record() for entry in open_dataset("packed", packed)}
    for recording in ptbxl_recordings:
        record = made[recording.row["ecg_id"]]
        has_chest = recording.source == TWELVE_LEAD and recording is not ptbxl_recordings[0]
        assert record.leads == (STANDARD_12 if has_chest else LIMB_LEADS)
        assert record.amplitude == ("calibrated" if recording.source == TWELVE_LEAD else "relative")
        one, two = recording.packed_uv / 1000
        np.testing.assert_allclose(record.signal_mv[:3], [one, two, two - one], atol=1e-6)
        np.testing.assert_allclose(record.signal_mv[5], two - one / 2, atol=1e-6)
        if has_chest:
            np.testing.assert_allclose(record.signal_mv[6:], recording.eight_uv[2:] / 1000, atol=1e-6)


def test_packed_parts_and_band_are_options(packed):
    raw = open_dataset("packed", packed, parts=TWELVE_LEAD)
    same = open_dataset("packed", packed, parts=f"{TWELVE_LEAD}, {LIMB_ONLY}", same_band="yes")
    pairs = zip(raw, (entry for entry in same if entry.source == TWELVE_LEAD), strict=True)
    for as_recorded, alike in pairs:
        expected = datasets.packed.band_of_limb_only(as_recorded.load())
        np.testing.assert_array_equal(alike.load().signal_mv, expected.signal_mv)
        assert np.abs(expected.signal_mv - as_recorded.load().signal_mv).max() > 1e-3
    assert all(entry.load().leads == ("I", "II") for entry in open_dataset("packed", packed, pair_only=True))


def test_packed_troubles_are_named(tmp_path, packed, write_csv):
    folder = tmp_path / LIMB_ONLY
    folder.mkdir()
    archive = next((packed / LIMB_ONLY).glob("*.npz"))
    (folder / archive.name).write_bytes(archive.read_bytes())
    rows = list(datasets.packed.tables.rows(packed / LIMB_ONLY / "meta.csv"))
    write_csv(folder / "meta.csv", [rows[0], rows[1], {**rows[1], "ecg_id": "12345"}])
    dataset = open_dataset("packed", tmp_path, parts=LIMB_ONLY)
    assert [entry.record_id for entry in dataset] == [rows[1]["ecg_id"]]
    assert dataset.problems.counts == {Kind.CONTRADICTORY: 1, Kind.MISSING_FILE: 1, Kind.UNLABELLED: 2}
    assert dataset.problems.examples[Kind.MISSING_FILE] == ["12345"]
    (folder / archive.name).unlink()
    with pytest.raises(BadInputError, match="0 archives"):
        list(dataset)


@pytest.mark.parametrize("kind", ["packed", "ptbxl"])
def test_entries_cross_to_another_process(kind, packed, official):
    dataset = open_dataset(kind, packed if kind == "packed" else official)
    here = next(iter(dataset))
    there = next(iter(pickle.loads(pickle.dumps(dataset))))
    again = pickle.loads(pickle.dumps(here))
    assert again.record().sha256() == there.record().sha256() == here.record().sha256()
    assert (again.targets, again.marks, again.patient, again.fold) == (
        here.targets,
        here.marks,
        here.patient,
        here.fold,
    )


def test_folds_keep_patients_apart_and_labels_are_those_that_were_counted():
    if not os.environ.get(datasets.DATA_VARIABLE):
        pytest.skip("LSEMVAE_EDGE_DATA is not set: no real recordings here")
    folder = datasets.data_folder()
    if not (folder / TWELVE_LEAD).is_dir():
        pytest.skip("LSEMVAE_EDGE_DATA names a PTB-XL download, not the packed subset")
    dataset = open_dataset("packed", folder)
    made = list(dataset)
    assert len(made) == 4153
    assert dataset.problems.counts == {Kind.CONTRADICTORY: 1}
    fold_of_patient = {}
    for entry in made:
        assert fold_of_patient.setdefault(entry.patient, entry.fold) == entry.fold
    full = [entry for entry in made if entry.source == TWELVE_LEAD]
    assert sum(entry.targets["right_heart_pattern"] for entry in full) == 213
    assert sum(entry.targets["right_heart_pattern"] for entry in made) == 213 + 156
    assert full[0].record().leads == STANDARD_12
