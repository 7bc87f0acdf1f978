"""A cohort of a store: what training reads of it, and what does not leave the kiosk."""

import csv
import json

import numpy as np
import pytest

from lsemvae_edge import formats
from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.followup import Catheter, Echo, OverRead, cohort, to_facts

KEY = bytes(range(32))


def rows(folder, name=cohort.LABELS):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def find(store, seq, *findings):
    for finding in findings:
        add = store.over_read if isinstance(finding, OverRead) else store.outcome
        add(seq, to_facts(finding), operator="t")


def reading(pattern, reader="R1"):
    return OverRead(reader, pattern, "sinus", "good")


def test_recordings_come_back_bit_for_bit_and_nothing_else_of_them(store, attempt, tmp_path):
    one = attempt()
    store.append(one)
    exported = cohort.export(store, tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    record = formats.read(tmp_path / "out" / row["file"])
    np.testing.assert_array_equal(record.signal_mv, one.record.signal_mv)
    assert record.sha256() == one.record.sha256()
    assert (record.started_at, dict(record.meta)) == (None, {})
    assert (exported.recordings, exported.patients) == (1, 1)


def test_no_id_time_or_device_is_anywhere_in_the_folder(store, attempt, visit, tmp_path):
    of = visit("KGSECRET7", note="lives at the bridge")
    stored = store.append(attempt(of, device="Six 987654"))
    find(store, stored.seq, reading("present", "READER-9"), Catheter(10, "day", 30.0, 10.0, 3.0))
    cohort.export(store, tmp_path / "out", key=KEY)
    paths = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(paths) == 4
    for path in paths:
        content = path.read_bytes() + path.name.encode()
        for secret in ("KGSECRET7", of.id, "987654", "bridge", "NURSE1", "2026-03-02", "READER-9", stored.hash):
            assert secret.encode() not in content, (path, secret)


def test_a_patient_has_one_pseudonym_in_an_export_and_another_in_the_next_unless_a_key_is_given(
    store, attempt, visit, tmp_path
):
    for of in (visit("KG0001"), visit("KG0001"), visit("KG0002")):
        store.append(attempt(of))
    named = {}
    for name, key in (("a", None), ("b", None), ("c", KEY), ("d", KEY)):
        cohort.export(store, tmp_path / name, key=key)
        named[name] = sorted(row["patient"] for row in rows(tmp_path / name))
        assert len(set(named[name])) == 2
    assert named["c"] == named["d"]
    assert not set(named["a"]) & set(named["b"])
    assert not set(named["a"]) & set(named["c"])


def test_an_amended_study_id_is_the_patient(store, attempt, visit, tmp_path):
    first = store.append(attempt(visit("KG0001")))
    store.append(attempt(visit("KG0002")))
    store.amend(first.seq, study_id="KG0002", reason="wrong card", operator="t")
    assert cohort.export(store, tmp_path / "out").patients == 1


def test_what_was_not_agreed_to_or_not_finished_or_wiped_is_left_out_and_counted(store, attempt, visit, tmp_path):
    kept = store.append(attempt())
    store.append(attempt(visit(consent=False)))
    store.append(attempt(ended="interrupted", detail="The link was lost."))
    store.append(attempt(ended="cancelled"))
    gone = store.append(attempt())
    store.wipe(gone.seq, reason="asked", operator="t")
    refused = store.append(attempt(ended="refused", outcome="inconclusive"))
    exported = cohort.export(store, tmp_path / "out")
    assert exported.recordings == 2
    assert exported.left_out == {"no consent": 1, "not finished": 2, "wiped": 1}
    assert {row["ended"] for row in rows(tmp_path / "out", cohort.DETAILS)} == {"screened", "refused"}
    assert kept.seq != refused.seq


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([("R1", "present")], "1"),
        ([("R1", "absent")], "0"),
        ([("R1", "unsure")], ""),
        ([("R1", "present"), ("R2", "absent")], ""),
        ([("R1", "present"), ("R2", "unsure")], ""),
        ([("R1", "present"), ("R2", "present")], "1"),
        ([("R1", "present"), ("R1", "absent")], "0"),
        ([], ""),
    ],
    ids=["present", "absent", "unsure", "disagree", "half", "agree", "second thought", "unread"],
)
def test_readers_give_a_label_where_they_agree_and_the_last_word_of_each_counts(
    store, attempt, tmp_path, patterns, expected
):
    stored = store.append(attempt())
    find(store, store.append(attempt()).seq, reading("present"))
    find(store, stored.seq, *(reading(pattern, reader) for reader, pattern in patterns))
    cohort.export(store, tmp_path / "out", key=KEY)
    details = {row["file"]: row["readers"] for row in rows(tmp_path / "out", cohort.DETAILS)}
    labels = sorted(row[cohort.PATTERN_TASK] for row in rows(tmp_path / "out"))
    assert labels == sorted(["1", expected])
    assert sorted(details.values()) == sorted(["1", str(len({reader for reader, _ in patterns}))])


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Catheter(90, "day", 30.0, 10.0, 3.0)], "30"),
        ([Catheter(-90, "day", 30.0, 10.0, 3.0)], "30"),
        ([Catheter(91, "day", 30.0, 10.0, 3.0)], None),
        ([Catheter(74, "month", 30.0, 10.0, 3.0)], "30"),
        ([Catheter(75, "month", 30.0, 10.0, 3.0)], None),
        ([Catheter(0, "year", 30.0, 10.0, 3.0)], None),
        ([Catheter(80, "day", 30.0, 10.0, 3.0), Catheter(-5, "day", 18.0, None, None)], "18"),
        ([Catheter(5, "day", 30.0, 10.0, 3.0), Catheter(5, "day", 31.0, 10.0, 3.0)], "31"),
    ],
    ids=["last day", "before", "too late", "month", "month may be too late", "year", "nearest", "corrected"],
)
def test_an_examination_counts_only_as_near_as_its_date_is_sure_to_be(store, attempt, tmp_path, outcomes, expected):
    stored = store.append(attempt())
    find(store, stored.seq, *outcomes)
    cohort.export(store, tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    assert row.get("mPAP") == expected


def test_an_outcome_counts_for_all_attempts_of_its_visit_and_no_other_visit(store, attempt, visit, tmp_path):
    of = visit("KG0001")
    store.append(attempt(of, 1, ended="refused", outcome="inconclusive"))
    second = store.append(attempt(of, 2))
    store.append(attempt(visit("KG0001"), 3))
    find(store, second.seq, Catheter(1, "day", 30.0, 10.0, 3.0), Echo(2, "day", 3.0, 40.0, True))
    exported = cohort.export(store, tmp_path / "out")
    assert exported.labelled == {"mPAP": 2, "PAWP": 2, "PVR_WU": 2, cohort.DILATION_TASK: 2}
    assert cohort.export(store, tmp_path / "labelled", only_labelled=True).left_out == {"no label": 1}
    told = {row["attempt"]: row["tr_velocity_m_s"] for row in rows(tmp_path / "out", cohort.DETAILS)}
    assert told == {"1": "3", "2": "3", "3": ""}


def test_a_folder_that_holds_something_and_a_store_without_recordings_are_refused(store, attempt, tmp_path):
    with pytest.raises(StoreError, match="No recording is left"):
        cohort.export(store, tmp_path / "empty")
    store.append(attempt())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        cohort.export(store, tmp_path / "out")
    with pytest.raises(UsageError, match="bytes"):
        cohort.export(store, tmp_path / "short", key=b"short")


def test_training_reads_the_cohort_with_the_labels_that_were_found(store, attempt, visit, tmp_path):
    datasets = pytest.importorskip("lsemvae_edge.train.datasets", reason="training needs the extra `train`")
    found = {
        "PRE": (reading("present"), Catheter(3, "day", 35.0, 12.0, 4.5)),
        "POST": (reading("absent"), Catheter(3, "day", 30.0, 22.0, None)),
        "NONE": (reading("absent"), Catheter(3, "day", 18.0, 9.0, 1.0), Echo(1, "day", None, None, False)),
        "ECHO": (reading("unsure"), Echo(1, "day", 3.2, 50.0, True)),
        "BARE": (),
    }
    ids = {}
    for name, findings in found.items():
        one = attempt(visit(name), number=len(ids) + 1)
        find(store, store.append(one).seq, *findings)
        ids[one.record.sha256()] = name
    cohort.export(store, tmp_path / "out")
    dataset = datasets.open_dataset("folder", tmp_path / "out")
    entries = list(dataset)
    targets = {ids[entry.record().sha256()]: entry.targets for entry in entries}
    wedge, pattern, dilated = "elevated_wedge", cohort.PATTERN_TASK, cohort.DILATION_TASK
    assert targets == {
        "PRE": {"pulmonary_hypertension": 1, "capillary": 0, wedge: 0, pattern: 1},
        "POST": {"pulmonary_hypertension": 1, "capillary": 1, wedge: 1, pattern: 0},
        "NONE": {"pulmonary_hypertension": 0, wedge: 0, pattern: 0, dilated: 0},
        "ECHO": {dilated: 1},
        "BARE": {},
    }
    assert len({entry.patient for entry in entries}) == 5
    assert {entry.age_years for entry in entries} == {40.0}
    # What is blank is unknown; nothing is unreadable, unnamed or left unused.
    assert set(dataset.problems.counts) <= {datasets.Kind.MISSING_VALUE, datasets.Kind.UNLABELLED}


def test_train_prepare_makes_shards_of_the_cohort(store, attempt, heart_record, tmp_path, capsys):
    pytest.importorskip("lsemvae_edge.train.prepare", reason="training needs the extra `train`")
    from lsemvae_edge.cli import main

    for seed, mpap in ((1, 35.0), (2, 18.0)):
        one = attempt()
        object.__setattr__(one, "record", heart_record(duration_s=12.0, seed=seed))
        find(store, store.append(one).seq, Catheter(3, "day", mpap, 12.0, 4.5))
    cohort.export(store, tmp_path / "out")
    where = ("--data", str(tmp_path / "out"), "--out", str(tmp_path / "shards"))
    code = main(["train", "prepare", "--dataset", "folder", "--recipe", "edge", "--workers", "1", "--json", *where])
    told = json.loads(capsys.readouterr().out)
    assert code == 0, told
    assert told["kept"] == 2
