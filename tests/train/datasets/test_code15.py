"""CODE-15 %: archives of zero-padded tracings and one table of exams."""

import pickle

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")
pytest.importorskip("h5py", reason="CODE-15 % is in HDF5")

import h5py

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train.datasets import Kind, fold_of, kind_of, open_dataset

N = 4096


def exam(number, patient, **labels):
    row = {"exam_id": number, "age": 40 + number, "is_male": str(number % 2 == 0), "nn_predicted_age": 41.5}
    row |= dict.fromkeys(("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"), "False") | labels
    return {k: str(v) for k, v in row.items()} | {"patient_id": patient, "normal_ecg": "False", "trace_file": "?"}


def padded(seconds, seed):
    signal = simulate(Heart(), seconds, 400.0, seed).signal_mv
    tracing = np.zeros((N, 12), np.float32)
    start = (N - signal.shape[1]) // 2
    tracing[start : start + signal.shape[1]] = signal.T
    return tracing


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_csv):
    folder = tmp_path_factory.mktemp("code15")
    rows = [exam(1, "70", AF="True"), exam(2, "70"), exam(3, "71", RBBB="True"), exam(4, "72"), exam(9, "73")]
    write_csv(folder / "exams.csv", rows)
    # The dummy row that ends each archive has the id 0 and is not in the table.
    for part, ids, seconds in ((2, (3, 1, 0), (10, 7, 0)), (10, (4, 2, 0), (10, 10, 0))):
        with h5py.File(folder / f"exams_part{part}.hdf5", "w") as archive:
            archive["exam_id"] = np.array(ids)
            archive["tracings"] = np.stack(
                [padded(s, i) if s else np.zeros((N, 12)) for i, s in zip(ids, seconds, strict=True)]
            )
    return folder


def test_each_tracing_finds_its_exam_whatever_the_order(folder):
    dataset = open_dataset("code-15", folder)
    made = list(dataset)
    assert [entry.record_id for entry in made] == ["3", "1", "4", "2"], "part 2 comes before part 10"
    assert [entry.patient for entry in made] == ["71", "70", "72", "70"]
    assert made[1].fold == made[3].fold == fold_of("70")
    assert [task.name for task in dataset.tasks] == ["1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"]
    assert made[0].targets == {"1dAVb": 0, "RBBB": 1, "LBBB": 0, "SB": 0, "ST": 0, "AF": 0}
    assert [(entry.age_years, entry.sex) for entry in made[:2]] == [(43.0, "female"), (41.0, "female")]
    assert dataset.problems.counts == {Kind.UNLABELLED: 2, Kind.MISSING_FILE: 1}
    assert dataset.problems.examples[Kind.MISSING_FILE] == ["9"]


def test_the_zeros_on_both_sides_are_cut_off(folder):
    made = {entry.record_id: entry.record() for entry in open_dataset("code-15", folder)}
    for number, seconds in (("3", 10), ("1", 7)):
        record = made[number]
        assert (record.leads, record.fs_hz, record.amplitude) == (STANDARD_12, 400.0, "uncalibrated")
        np.testing.assert_array_equal(record.signal_mv, simulate(Heart(), seconds, 400.0, int(number)).signal_mv)


def test_a_tracing_of_zeros_and_one_of_eleven_leads_are_left_out(tmp_path, write_csv):
    write_csv(tmp_path / "exams.csv", [exam(1, "1"), exam(2, "2")])
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as archive:
        archive["exam_id"], archive["tracings"] = np.array([1]), np.zeros((1, N, 12))
    with h5py.File(tmp_path / "exams_part1.hdf5", "w") as archive:
        archive["exam_id"], archive["tracings"] = np.array([2]), np.ones((1, N, 11))
    kinds = []
    for entry in open_dataset("code-15", tmp_path):
        with pytest.raises(BadInputError) as caught:
            entry.load()
        kinds.append(kind_of(pickle.loads(pickle.dumps(caught.value))))
    assert kinds == [Kind.UNREADABLE, Kind.LEAD_COUNT]


def test_a_damaged_archive_is_named_and_the_rest_is_read(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "exams_part2.hdf5").write_bytes(b"not HDF5")
    dataset = open_dataset("code-15", tmp_path)
    assert [entry.record_id for entry in dataset] == ["4", "2"]
    assert dataset.problems.counts[Kind.UNREADABLE] == 1
    assert "exams_part2.hdf5" in dataset.problems.examples[Kind.UNREADABLE][0]
    (tmp_path / "exams_part10.hdf5").unlink()
    with pytest.raises(BadInputError, match="No recording is left"):
        list(dataset)


def test_entries_cross_to_another_process(folder):
    entry = next(iter(open_dataset("code-15", folder)))
    assert pickle.loads(pickle.dumps(entry)).record().sha256() == entry.record().sha256()
