"""Recordings of other hospitals and devices."""

import os
import pickle

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.metrics import TEST_FOLD
from lsemvae_edge.train import datasets

RIGHT_AXIS, LEFT_HYPERTROPHY, SINUS_RHYTHM = "47665007", "164873001", "426783006"


@pytest.fixture
def folder(tmp_path, write_csv):
    """Three recordings of one place, one of them from PTB-XL, and one recording of another."""
    here, there = (tmp_path / "other_recorders" / name for name in ("here", "there"))
    for place, ids in ((here, "abc"), (there, "d")):
        place.mkdir(parents=True)
        x = np.arange(len(ids) * 2 * 100, dtype=np.int16).reshape(len(ids), 2, 100)
        rates = np.array([500, 500, 257]) if place == here else 500
        np.savez(place / "lead_I_II_int16uV.npz", id=np.array(list(ids)), x=x, fs_hz=rates)
    rows = [
        row("b", "Chapman", f"{RIGHT_AXIS},{SINUS_RHYTHM}", "44", "80"),
        row("a", "PTB-XL", SINUS_RHYTHM, "50", "100"),
        row("c", "INCART", f"{RIGHT_AXIS},{LEFT_HYPERTROPHY}", "nan", "100"),
    ]
    write_csv(here / "meta.csv", rows)
    write_csv(there / "meta.csv", [row("d", "Ningbo", LEFT_HYPERTROPHY, "70", "100")])
    return tmp_path


def row(record_id, source, codes, age, n_samples):
    return {"id": record_id, "source": source, "dx_snomed": codes, "age": age, "n_samples_used": n_samples}


def test_what_comes_from_ptb_xl_is_left_out(folder):
    made = list(datasets.other_recorders(folder))
    assert [entry.record_id for entry in made] == ["b", "c", "d"]
    assert [entry.source for entry in made] == ["here", "here", "there"]
    assert [entry.site for entry in made] == ["Chapman", "INCART", "Ningbo"]


def test_the_recordings_are_read_in_millivolts_at_their_own_rate_and_length(folder):
    records = [entry.record() for entry in datasets.other_recorders(folder)]
    assert [record.fs_hz for record in records] == [500.0, 257.0, 500.0]
    assert [record.n_samples for record in records] == [80, 100, 100]
    assert {record.leads for record in records} == {("I", "II")}
    expected = np.arange(600).reshape(3, 2, 100)[1, :, :80] / 1000
    np.testing.assert_allclose(records[0].signal_mv, expected, rtol=1e-6)
    assert [record.meta.get("age_years") for record in records] == [44.0, None, 70.0]


def test_labels_follow_the_codes_and_two_sides_are_none(folder):
    made = list(datasets.other_recorders(folder))
    assert [dict(entry.targets) for entry in made] == [
        {"right_heart_pattern": 1, "heart_side": 1},
        {"right_heart_pattern": 1},
        {"right_heart_pattern": 0, "heart_side": 0},
    ]
    assert [datasets.RIGHT_AXIS_LIKE in entry.marks for entry in made] == [True, True, False]


def test_they_can_only_be_judged_by(folder):
    assert {entry.fold for entry in datasets.other_recorders(folder)} == {TEST_FOLD}


def test_entries_cross_to_another_process(folder):
    for entry in datasets.other_recorders(folder):
        again = pickle.loads(pickle.dumps(entry))
        assert again.record().sha256() == entry.record().sha256()


def test_the_real_ones_are_those_that_were_counted():
    if not os.environ.get(datasets.DATA_VARIABLE):
        pytest.skip("LSEMVAE_EDGE_DATA is not set: no real recordings here")
    made = list(datasets.other_recorders(datasets.data_folder()))
    if not made:
        pytest.skip("LSEMVAE_EDGE_DATA has no other recorders")
    assert all("PTB" not in entry.site for entry in made)
    assert len({(entry.source, entry.record_id) for entry in made}) == len(made)
    assert made[0].record().leads == ("I", "II")
