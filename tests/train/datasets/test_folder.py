"""A hospital's own cohort."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.record import Record
from lsemvae_edge.train.datasets import Kind, fold_of, kind_of, open_dataset
from lsemvae_edge.train.datasets.tables import rows as read_rows

PTB_COMMENTS = """# age: 63
# sex: male
# Diagnose:
# Hemodynamics:
# Pulmonary artery pressure (at rest) (syst/diast): n/a
# Pulmonary artery pressure (at rest) (mean): {mpap}
# Pulmonary capillary wedge pressure (at rest): {pawp}
# Cardiac output (at rest): {output}
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, simulated_twelve):
    """One recording as WFDB, EDF and a six-lead native file, and pydicom's sample."""
    sample = get_testdata_file("waveform_ecg.dcm", download=False)
    if sample is None:
        pytest.skip("this pydicom comes without its sample")
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "ecg").mkdir()
    six = Record(simulated_twelve.signal_mv[:6], 500.0, simulated_twelve.leads[:6])
    formats.write(simulated_twelve, folder / "ecg" / "one.hea")
    (folder / "ecg" / "two.dcm").write_bytes(Path(sample).read_bytes())
    formats.write(simulated_twelve, folder / "three.edf")
    formats.write(six, folder / "four.lser", format=formats.FORMATS[0].name)
    return folder


def cohort(recordings, write_csv, tmp_path, rows, delimiter=",", **options):
    table = write_csv(tmp_path / "table.csv", rows, delimiter=delimiter)
    return open_dataset("folder", recordings, labels=table, **options)


def row(patient, file, **more):
    return {"Patient ID": patient, "File": file, **more}


def test_pressures_become_labels_whatever_format_the_recordings_are_in(recordings, write_csv, tmp_path):
    rows = [
        row("a", "ecg/one", **{"mPAP (mmHg)": "35", "PAWP": "12", "PVR_dyn": "360", "Age": "61", "Sex": "f"}),
        row("b", "ecg\\two.dcm", **{"mPAP (mmHg)": "18", "PAWP": "9", "PVR_dyn": "100", "Age": "", "Sex": "m"}),
        row("c", "three.edf", **{"mPAP (mmHg)": "30", "PAWP": "22", "PVR_dyn": "", "Age": "70", "Sex": ""}),
        row("c", "four.lser", **{"mPAP (mmHg)": "", "PAWP": "9000", "PVR_dyn": "", "Age": "70", "Sex": ""}),
    ]
    dataset = cohort(recordings, write_csv, tmp_path, rows, delimiter=";")
    assert [task.name for task in dataset.tasks] == ["pulmonary_hypertension", "capillary", "elevated_wedge"]
    made = list(dataset)
    assert [entry.targets for entry in made] == [
        {"pulmonary_hypertension": 1, "capillary": 0, "elevated_wedge": 0},
        {"pulmonary_hypertension": 0, "elevated_wedge": 0},
        {"pulmonary_hypertension": 1, "capillary": 1, "elevated_wedge": 1},
        {},
    ]
    assert [entry.record_id for entry in made] == ["ecg/one.hea", "ecg/two.dcm", "three.edf", "four.lser"]
    assert [entry.patient for entry in made] == ["a", "b", "c", "c"]
    assert all(entry.fold == fold_of(entry.patient) for entry in made)
    assert (made[0].age_years, made[0].sex) == (61.0, "female")
    assert dataset.problems.counts == {Kind.BAD_VALUE: 1, Kind.MISSING_VALUE: 1, Kind.UNLABELLED: 1}
    assert dataset.problems.examples[Kind.MISSING_VALUE] == ["four.lser: mPAP, PAWP"]
    loaded = [entry.record() for entry in made]
    assert [len(record.leads) for record in loaded] == [12, 12, 12, 6]
    assert loaded[1].fs_hz == 1000
    for record in (loaded[0], loaded[2]):
        np.testing.assert_allclose(record.signal_mv[:6], loaded[3].signal_mv, atol=5e-3)


def test_the_papers_rule_and_other_thresholds_are_options(recordings, write_csv, tmp_path):
    rows = [row("a", "ecg/one", mPAP="23", PAWP="12", PVR="1")]
    for definition, expected in (
        (None, {"pulmonary_hypertension": 1, "elevated_wedge": 0}),
        ({"rule": "wedge"}, {"pulmonary_hypertension": 1, "capillary": 0, "elevated_wedge": 0}),
        ({"mpap_above_mmhg": 25}, {"pulmonary_hypertension": 0, "elevated_wedge": 0}),
    ):
        options = {} if definition is None else {"definition": json.dumps(definition)}
        (entry,) = cohort(recordings, write_csv, tmp_path, rows, **options)
        assert entry.targets == expected
    for wrong in ("{", json.dumps({"rules": "wedge"})):
        with pytest.raises(UsageError, match="cannot be opened so: definition"):
            cohort(recordings, write_csv, tmp_path, rows, definition=wrong)


def test_ready_labels_are_the_columns_of_noughts_and_ones(recordings, write_csv, tmp_path):
    rows = [
        row("a", "ecg/one", ph="1", smoker="0", ward="A", fold="9"),
        row("b", "ecg/two.dcm", ph="0", smoker="1", ward="B", fold="11"),
        row("c", "three.edf", ph="", smoker="1", ward="C", fold=""),
        row("d", "four.lser", ph="x", smoker="", ward="0", fold="10"),
    ]
    dataset = cohort(recordings, write_csv, tmp_path, rows)
    assert [task.name for task in dataset.tasks] == ["ph", "smoker"]
    made = list(dataset)
    assert [entry.targets for entry in made] == [{"ph": 1, "smoker": 0}, {"ph": 0, "smoker": 1}, {"smoker": 1}, {}]
    assert [entry.fold for entry in made] == [9, fold_of("b"), fold_of("c"), 10]
    assert dataset.problems.counts == {Kind.UNUSED_COLUMN: 1, Kind.BAD_VALUE: 2, Kind.UNLABELLED: 1}
    named = cohort(recordings, write_csv, tmp_path, rows, ready="ph")
    assert [task.name for task in named.tasks] == ["ph"]
    with pytest.raises(BadInputError, match="no column phh"):
        list(cohort(recordings, write_csv, tmp_path, rows, ready="phh"))


def test_both_sides_of_the_table_are_checked(recordings, write_csv, tmp_path):
    rows = [
        row("a", "ecg/one.hea", ph="1"),
        row("a", "ecg/one.hea", ph="0"),
        row("b", "ecg/absent.dcm", ph="1"),
        row("", "three.edf", ph="1"),
        row("c", "", ph="1"),
    ]
    dataset = cohort(recordings, write_csv, tmp_path, rows)
    assert [(entry.record_id, entry.targets) for entry in dataset] == [("ecg/one.hea", {"ph": 1})]
    assert dataset.problems.counts == {
        Kind.DUPLICATE: 1,
        Kind.MISSING_FILE: 1,
        Kind.MISSING_VALUE: 2,
        Kind.UNLABELLED: 2,
    }
    assert dataset.problems.examples[Kind.MISSING_FILE] == ["ecg/absent.dcm"]
    assert [name.split(":")[0] for name in dataset.problems.examples[Kind.UNLABELLED]] == ["ecg/two.dcm", "four.lser"]
    assert "table.csv, line 6: file" in dataset.problems.examples[Kind.MISSING_VALUE]


def test_no_lead_known_by_name_is_its_own_kind(tmp_path, write_csv, simulated_twelve):
    formats.write(simulated_twelve, tmp_path / "one.hea")
    header = (tmp_path / "one.hea").read_text()
    for lead in simulated_twelve.leads:
        header = header.replace(f" {lead}\n", f" channel{lead}\n")
    (tmp_path / "one.hea").write_text(header)
    (tmp_path / "two.dcm").write_bytes(b"garbage")
    write_csv(tmp_path / "labels.csv", [row("a", "one.hea", ph="1"), row("b", "two.dcm", ph="0")])
    kinds = []
    for entry in open_dataset("folder", tmp_path):
        with pytest.raises(BadInputError) as caught:
            entry.load()
        kinds.append(kind_of(caught.value))
    assert kinds == [Kind.UNKNOWN_LEAD, Kind.UNREADABLE]


@pytest.fixture
def ptb(tmp_path, simulated_twelve):
    """Headers as in the PTB Diagnostic ECG Database, a folder for each patient."""
    numbers = [("36 mmHg", "12 mmHg", "4,8 l/min"), ("18 mmHg", "n/a", "n/a"), ("40 cmH2O", "20 mmHg", "n/a")]
    for k, (mpap, pawp, output) in enumerate(numbers, start=1):
        header = tmp_path / f"patient00{k}" / f"s00{k}_re.hea"
        header.parent.mkdir()
        formats.write(simulated_twelve, header)
        text = "".join(line for line in header.read_text().splitlines(keepends=True) if not line.startswith("#"))
        header.write_text(text + PTB_COMMENTS.format(mpap=mpap, pawp=pawp, output=output))
    return tmp_path


def test_pressures_in_headers_need_no_table(ptb):
    dataset = open_dataset("folder", ptb, pressures="header")
    made = list(dataset)
    assert [entry.patient for entry in made] == ["patient001", "patient002", "patient003"]
    assert [entry.targets for entry in made] == [
        {"pulmonary_hypertension": 1, "capillary": 0, "elevated_wedge": 0},
        {"pulmonary_hypertension": 0},
        {"elevated_wedge": 1},
    ]
    assert (made[0].age_years, made[0].sex) == (63.0, "male")
    assert dataset.problems.counts == {Kind.MISSING_VALUE: 2, Kind.BAD_VALUE: 1}
    taken = list(open_dataset("folder", ptb, pressures="header", cmh2o="as_mmhg"))
    assert taken[2].targets == {"pulmonary_hypertension": 1, "capillary": 1, "elevated_wedge": 1}
    assert len(taken[0].record().leads) == 12


def test_a_table_may_name_the_patients_of_headers_with_pressures(ptb, write_csv):
    write_csv(ptb / "labels.csv", [{"patient": "p", "file": "patient001/s001_re.hea"}])
    dataset = open_dataset("folder", ptb, pressures="header")
    (entry,) = dataset
    assert entry.patient == "p"
    assert entry.targets["pulmonary_hypertension"] == 1
    assert dataset.problems.counts == {Kind.UNLABELLED: 2}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("patient", "mPAP"), "no column file"),
        (("id",), "no column patient and no column file"),
        (("patient", "Patient ID", "file"), "two columns for patient"),
    ],
)
def test_a_table_without_its_columns_is_refused(tmp_path, write_csv, columns, message):
    write_csv(tmp_path / "labels.csv", [dict.fromkeys(columns, "1")])
    with pytest.raises(BadInputError, match=message):
        list(open_dataset("folder", tmp_path))


def test_a_folder_without_a_table_says_so(tmp_path):
    with pytest.raises(BadInputError, match=r"Cannot read the table .*labels\.csv"):
        list(open_dataset("folder", tmp_path))


def test_entries_cross_to_another_process(recordings, write_csv, tmp_path):
    dataset = cohort(recordings, write_csv, tmp_path, [row("a", "ecg/one", ph="1")])
    assert len(list(read_rows(tmp_path / "table.csv"))) == 1
    (entry,) = pickle.loads(pickle.dumps(dataset))
    again = pickle.loads(pickle.dumps(entry))
    assert (again.targets, again.record().sha256()) == (entry.targets, entry.record().sha256())
