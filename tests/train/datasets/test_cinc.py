"""The PhysioNet/CinC Challenges' folders: WFDB headers beside MATLAB files."""

import pickle

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import STANDARD_12
from lsemvae_edge.train import labels
from lsemvae_edge.train.datasets import Kind, fold_of, kind_of, open_dataset

scipy_io = pytest.importorskip("scipy.io", reason="scipy writes the MATLAB files as the Challenge did")


def write(folder, name, record, *, dx="426783006", age="61", sex="Female", comment="#", names=STANDARD_12):
    """Write a record as the Challenge does: one matrix `val` of int16, which begins 24 bytes into the file."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.rint(record.signal_mv[: len(names)] * 1000).astype(np.int16)
    scipy_io.savemat(folder / f"{name}.mat", {"val": counts}, format="4")
    lines = [f"{name}.mat {len(names)} 500 {counts.shape[1]} 05-May-2020 14:50:55"]
    for lead, row in zip(names, counts, strict=True):
        checksum = int(row.sum(dtype=np.int64).astype(np.int16))
        lines.append(f"{name}.mat 16+24 1000/mV 16 0 {row[0]} {checksum} 0 {lead}")
    lines += [f"{comment}Age: {age}", f"{comment}Sex: {sex}", f"{comment}Dx: {dx}", f"{comment}Rx: Unknown"]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, simulated_twelve):
    root = tmp_path_factory.mktemp("cinc")
    write(root / "training" / "georgia" / "g1", "E00001", simulated_twelve, dx="59118001,47665007")
    write(root / "training" / "georgia" / "g2", "E01001", simulated_twelve, dx="164873001", age="NaN", sex="Unknown")
    write(root / "training" / "ningbo", "JS00001", simulated_twelve, dx="426783006,10370003", comment="# ", sex="M")
    write(root / "training" / "ningbo", "JS00002", simulated_twelve, dx="Unknown")
    write(root / "training" / "ningbo", "JS00003", simulated_twelve, dx="89792004,67741000119109")
    write(root / "training" / "ptb-xl" / "g1", "HR00001", simulated_twelve)
    return root


def test_codes_become_the_stand_in_tasks(folder):
    dataset = open_dataset("cinc", folder)
    made = {entry.record_id: entry for entry in dataset}
    assert list(made) == ["E00001", "E01001", "JS00001", "JS00002", "JS00003"]
    assert made["E00001"].targets == {"right_heart_pattern": 1, "heart_side": 1}
    assert made["E01001"].targets == {"right_heart_pattern": 0, "heart_side": 0}
    assert made["JS00001"].targets == {"right_heart_pattern": 0}
    assert made["JS00002"].targets == {}
    assert made["JS00003"].targets == {"right_heart_pattern": 1}
    assert [entry.marks for entry in made.values()].count(frozenset({"right_axis_like"})) == 2
    assert [entry.source for entry in made.values()][1:3] == ["cinc/georgia", "cinc/ningbo"]
    assert (made["E00001"].age_years, made["E00001"].sex) == (61.0, "female")
    assert (made["E01001"].age_years, made["E01001"].sex) == (None, None)
    assert [name for name, entry in made.items() if entry.pacemaker] == ["JS00001"]
    assert all(entry.patient == name and entry.fold == fold_of(name) for name, entry in made.items())
    assert dataset.problems.counts == {Kind.UNLABELLED: 1, Kind.ELSEWHERE: 1}


def test_ptb_xl_comes_along_only_when_asked(folder):
    dataset = open_dataset("cinc", folder, ptb_xl=True)
    assert "HR00001" in [entry.record_id for entry in dataset]
    assert Kind.ELSEWHERE not in dataset.problems.counts


def test_the_samples_are_those_of_the_matrix(folder, simulated_twelve):
    record = next(iter(open_dataset("cinc", folder))).record()
    assert (record.leads, record.fs_hz, record.amplitude) == (STANDARD_12, 500.0, "calibrated")
    np.testing.assert_allclose(record.signal_mv, simulated_twelve.signal_mv, atol=6e-4)


def test_the_same_record_in_two_folders_counts_once(tmp_path, simulated_twelve):
    write(tmp_path / "a", "E00001", simulated_twelve)
    write(tmp_path / "b", "E00001", simulated_twelve)
    dataset = open_dataset("cinc", tmp_path)
    assert len(list(dataset)) == 1
    assert dataset.problems.counts == {Kind.DUPLICATE: 1}


def test_wrong_leads_and_damaged_files_are_told_apart(tmp_path, simulated_twelve):
    write(tmp_path, "A1", simulated_twelve, names=STANDARD_12[:11])
    write(tmp_path, "A2", simulated_twelve, names=(*STANDARD_12[:10], "V9", "X"))
    write(tmp_path, "A3", simulated_twelve, names=tuple(f"ch{k}" for k in range(12)))
    write(tmp_path, "A4", simulated_twelve)
    (tmp_path / "A4.mat").write_bytes((tmp_path / "A4.mat").read_bytes()[:1000])
    write(tmp_path, "A5", simulated_twelve)
    (tmp_path / "A5.hea").write_bytes(b"\xff\x00 nothing")
    kinds = {}
    for entry in open_dataset("cinc", tmp_path):
        with pytest.raises(BadInputError) as caught:
            entry.load()
        kinds[entry.record_id] = kind_of(caught.value)
    assert kinds == {
        "A1": Kind.LEAD_COUNT,
        "A2": Kind.UNKNOWN_LEAD,
        "A3": Kind.UNKNOWN_LEAD,
        "A4": Kind.UNREADABLE,
        "A5": Kind.UNREADABLE,
    }


def test_limb_leads_that_follow_from_others_are_not_missing(tmp_path, simulated_twelve):
    # The rows keep their samples of I, II, III, aVR, aVL, aVF; what is asked is only whether the record is let in.
    write(tmp_path, "A1", simulated_twelve, names=("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
    (entry,) = open_dataset("cinc", tmp_path)
    assert len(entry.load().leads) == 8


def test_an_empty_folder_has_nothing_left(tmp_path):
    with pytest.raises(BadInputError, match="No recording is left of the data set cinc"):
        list(open_dataset("cinc", tmp_path))


def test_entries_cross_to_another_process(folder):
    entry = next(iter(open_dataset("cinc", folder)))
    again = pickle.loads(pickle.dumps(entry))
    assert (again.targets, again.record().sha256()) == (entry.targets, entry.record().sha256())


def test_a_code_has_one_side_only():
    assert not set(labels.RIGHT_HEART_SNOMED) & set(labels.LEFT_OVERLOAD_SNOMED)
    assert set(labels.RIGHT_HEART_SNOMED) >= labels.RIGHT_AXIS_LIKE_SNOMED
