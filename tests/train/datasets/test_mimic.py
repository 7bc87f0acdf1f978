"""MIMIC-IV-ECG: a list of records, leads in an order of its own, labels by option."""

import pickle

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import reorder
from lsemvae_edge.record import Record
from lsemvae_edge.train.datasets import Kind, fold_of, kind_of, open_dataset

# The order of the files' columns.
LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
STUDIES = (("10000032", "40689238"), ("10000032", "44458630"), ("10000117", "42053961"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, simulated_twelve, write_csv):
    folder = tmp_path_factory.mktemp("mimic")
    rows = []
    for subject, study in STUDIES:
        path = f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
        rows.append(
            {
                "subject_id": subject,
                "study_id": study,
                "file_name": study,
                "ecg_time": "2180-07-23 08:44:00",
                "path": path,
            }
        )
        (folder / path).parent.mkdir(parents=True)
        signal = reorder(simulated_twelve.signal_mv, simulated_twelve.leads, LEADS)
        formats.write(Record(signal, 500.0, LEADS), folder / f"{path}.hea")
    rows.append({**rows[0], "subject_id": "", "study_id": "7"})
    rows.append({**rows[0], "study_id": "8", "path": "files/absent/8"})
    write_csv(folder / "record_list.csv", rows)
    return folder


def test_without_labels_the_recordings_serve_pre_training(folder):
    dataset = open_dataset("mimic-iv-ecg", folder)
    assert dataset.tasks == ()
    made = list(dataset)
    assert [entry.record_id for entry in made] == [*(study for _, study in STUDIES), "8"]
    assert [entry.patient for entry in made[:3]] == [subject for subject, _ in STUDIES]
    assert all(entry.fold == fold_of(entry.patient) and not entry.targets for entry in made)
    assert dataset.problems.counts == {Kind.MISSING_VALUE: 1}
    with pytest.raises(BadInputError) as caught:
        made[3].load()
    assert kind_of(caught.value) is Kind.MISSING_FILE


def test_leads_are_bound_by_name_whatever_their_order(folder, simulated_twelve):
    record = next(iter(open_dataset("mimic-iv-ecg", folder))).record()
    assert record.leads == LEADS
    np.testing.assert_allclose(
        reorder(record.signal_mv, record.leads, simulated_twelve.leads), simulated_twelve.signal_mv, atol=1e-3
    )


def test_labels_come_from_a_table_and_both_sides_of_it_are_checked(folder, tmp_path, write_csv):
    rows = [
        {"study_id": STUDIES[0][1], "subject_id": "", "age": "52", "sex": "F", "ph": "1", "note": "a"},
        {"study_id": STUDIES[1][1], "subject_id": "", "age": "300", "sex": "M", "ph": "", "note": "b"},
        {"study_id": STUDIES[0][1], "subject_id": "", "age": "1", "sex": "F", "ph": "0", "note": "c"},
        {"study_id": "8", "subject_id": "", "age": "", "sex": "", "ph": "maybe", "note": "d"},
        {"study_id": "99", "subject_id": "", "age": "", "sex": "", "ph": "0", "note": "e"},
    ]
    dataset = open_dataset("mimic-iv-ecg", folder, labels=str(write_csv(tmp_path / "labels.csv", rows)))
    assert [task.name for task in dataset.tasks] == ["ph"]
    made = list(dataset)
    assert [entry.targets for entry in made] == [{"ph": 1}, {}, {}, {}]
    assert [(entry.age_years, entry.sex) for entry in made[:2]] == [(52.0, "female"), (90.0, "male")]
    assert dataset.problems.counts == {
        Kind.MISSING_VALUE: 1,
        Kind.UNUSED_COLUMN: 1,
        Kind.DUPLICATE: 1,
        Kind.UNLABELLED: 1,
        Kind.BAD_VALUE: 1,
        Kind.MISSING_FILE: 1,
    }
    assert dataset.problems.examples[Kind.MISSING_FILE] == ["99"]
    assert dataset.problems.examples[Kind.UNLABELLED] == [STUDIES[2][1]]


def test_a_list_without_its_columns_is_refused(tmp_path, write_csv):
    write_csv(tmp_path / "record_list.csv", [{"subject_id": "1", "path": "x"}])
    with pytest.raises(BadInputError, match=r"record_list\.csv has no column study_id"):
        list(open_dataset("mimic-iv-ecg", tmp_path))
    with pytest.raises(BadInputError, match="Cannot read the table"):
        list(open_dataset("mimic-iv-ecg", tmp_path.parent))


def test_entries_cross_to_another_process(folder):
    entry = next(iter(open_dataset("mimic-iv-ecg", folder)))
    again = pickle.loads(pickle.dumps(entry))
    assert (again.record_id, again.record().sha256()) == (entry.record_id, entry.record().sha256())
