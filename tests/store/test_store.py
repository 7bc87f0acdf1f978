"""What is appended comes back, also what was said of it later."""

import stat
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lsemvae_edge.errors import StoreError
from lsemvae_edge.record import Record
from lsemvae_edge.store import Head, Store, attempts, clock
from lsemvae_edge.visit import Attempt, Visit


def assert_same(one: Attempt, other: Attempt):
    assert other.visit == one.visit
    assert (other.number, other.ended, other.detail) == (one.number, one.ended, one.detail)
    assert other.electrodes_confirmed == one.electrodes_confirmed
    assert other.result == one.result
    if one.record is None:
        assert other.record is None
        return
    assert other.record.signal_mv.tobytes() == one.record.signal_mv.tobytes()
    np.testing.assert_array_equal(other.record.gaps, one.record.gaps)
    for name in ("fs_hz", "leads", "started_at", "amplitude", "origin"):
        assert getattr(other.record, name) == getattr(one.record, name)
    assert dict(other.record.meta) == dict(one.record.meta)
    assert other.record.sha256() == one.record.sha256()


def test_an_attempt_comes_back_also_from_another_opening(store, key, make_attempt):
    attempt = make_attempt(electrodes_confirmed=True)
    entry = store.append(attempt)
    assert_same(attempt, store.read(entry.seq).attempt)
    store.close()
    with Store.open(store.folder, key) as again:
        stored = again.read(entry.seq)
        assert_same(attempt, stored.attempt)
        assert stored.entry.hash == entry.hash
        assert stored.entry.head == again.head() == Head(entry.seq, entry.hash)
        assert again.kind == "clinic"


TEXT = st.text(max_size=20)
LEAF = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | TEXT


@settings(max_examples=60)
@given(
    signal=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6)),
    meta=st.dictionaries(st.from_regex("[a-z_]{1,8}", fullmatch=True), LEAF | st.lists(LEAF, max_size=3), max_size=4),
    text=TEXT,
    number=st.integers(1, 9),
    pacemaker=st.none() | st.booleans(),
    origin=st.sampled_from(["live", "file", "demo", "simulated"]),
    amplitude=st.sampled_from(["calibrated", "uncalibrated", "relative"]),
)
def test_every_attempt_survives_the_form_in_which_it_is_encrypted(
    signal, meta, text, number, pacemaker, origin, amplitude
):
    leads = ("I", "II", "V1", "V2", "V3", "V4")[: signal.shape[0]]
    record = Record(signal, 500.0, leads, meta=meta, origin=origin, amplitude=amplitude)
    visit = Visit("0" * 32, text, text, "18-39", pacemaker, True, text)
    attempt = Attempt(visit, number, "interrupted", record, None, text)
    facts, packed = attempts.to_facts(attempt), attempts.to_signal(record)
    assert_same(attempt, attempts.to_attempt(facts, attempts.to_record(packed)))


def test_gaps_and_an_attempt_without_a_recording_come_back(store, make_attempt, make_record):
    gaps = np.zeros((2, 500), dtype=bool)
    gaps[1, 100:250] = True
    gapped = make_attempt(record=make_record(gaps=gaps), result=None, ended="interrupted", detail="The link was lost.")
    nothing = make_attempt(record=None, result=None, ended="cancelled")
    for attempt in (gapped, nothing):
        assert_same(attempt, store.read(store.append(attempt).seq).attempt)


def test_a_list_has_facts_and_reads_no_signal(store, make_attempt, monkeypatch):
    for seed in range(3):
        store.append(make_attempt(seed=seed))
    monkeypatch.setattr(attempts, "to_record", lambda signal: pytest.fail("a list read a signal"))
    monkeypatch.setattr(store._log, "signal", lambda row: pytest.fail("a list read a signal"))
    listed = list(store.attempts())
    assert [entry.seq for entry in listed] == [4, 3, 2]
    facts = listed[0].facts
    assert facts["visit"]["study_id"] == "ZQXJ7KVW93"
    assert facts["original_study_id"] is None
    assert facts["result"]["outcome"] == "not_present"
    assert (facts["number"], facts["ended"], facts["detail"]) == (1, "screened", None)
    assert facts["record"]["duration_s"] == 2.0
    assert facts["software_version"]


def test_attempts_are_found_by_person_and_by_visit(store, make_attempt, make_visit):
    visit = make_visit("AAAA1")
    first = [store.append(make_attempt(visit, number)).seq for number in (1, 2)]
    other = store.append(make_attempt(make_visit("BBBB2"))).seq
    later = store.append(make_attempt(make_visit("AAAA1"))).seq
    assert [entry.seq for entry in store.attempts(study_id="AAAA1")] == [later, *reversed(first)]
    assert [entry.seq for entry in store.attempts(study_id="AAAA1", limit=1)] == [later]
    assert [entry.seq for entry in store.attempts(visit=visit.id, newest_first=False)] == first
    assert [entry.seq for entry in store.attempts(newest_first=False, limit=3)] == [*first, other]
    assert not list(store.attempts(study_id="CCCC3"))


def test_many_entries_are_listed_in_order_both_ways(store):
    for number in range(150):
        store.note("print", {"number": number})
    assert [entry.seq for entry in store.entries()] == list(range(1, 152))
    assert [entry.seq for entry in store.entries(newest_first=True)] == list(range(151, 0, -1))
    assert [entry.facts["number"] for entry in store.entries(kinds=("print",), limit=100)] == list(range(100))
    assert len(list(store.entries(kinds=("sign_in",)))) == 0


def test_an_amendment_corrects_the_id_and_leaves_the_first_one(store, make_attempt):
    seq = store.append(make_attempt()).seq
    store.amend(seq, study_id="WRONG2", reason="typed again", operator="op7")
    store.amend(seq, study_id="RIGHT1", reason="typed once more", operator="op7")
    stored = store.read(seq)
    assert stored.attempt.visit.study_id == stored.entry.facts["visit"]["study_id"] == "RIGHT1"
    assert stored.entry.facts["original_study_id"] == "ZQXJ7KVW93"
    assert [one.facts["before"] for one in stored.amendments] == ["ZQXJ7KVW93", "WRONG2"]
    assert [entry.seq for entry in store.attempts(study_id="RIGHT1")] == [seq]
    assert not list(store.attempts(study_id="ZQXJ7KVW93"))
    assert store.verify().ok


def test_over_reads_and_outcomes_are_found_with_their_record(store, make_attempt):
    seqs = [store.append(make_attempt(seed=seed)).seq for seed in range(2)]
    reading = store.over_read(seqs[0], {"right_heart_pattern": "present"}, operator="dr1")
    finding = store.outcome(seqs[0], {"mpap_mmhg": 31.0}, operator="dr1")
    stored = store.read(seqs[0])
    assert stored.over_reads == [reading]
    assert stored.outcomes == [finding]
    assert stored.over_reads[0].facts == {
        "seq": seqs[0], "reading": {"right_heart_pattern": "present"}, "operator": "dr1"
    }  # fmt: skip
    assert not store.read(seqs[1]).over_reads


def test_only_an_attempt_can_be_spoken_of(store, make_attempt):
    note = store.note("export", {"seq": 1})
    for act in (
        lambda seq: store.read(seq),
        lambda seq: store.amend(seq, study_id="A", reason="", operator=""),
        lambda seq: store.over_read(seq, {}, operator=""),
        lambda seq: store.outcome(seq, {}, operator=""),
        lambda seq: store.wipe(seq, reason="", operator=""),
    ):
        with pytest.raises(StoreError, match="no recording"):
            act(note.seq)
        with pytest.raises(StoreError, match="no record 99"):
            act(99)
    assert store.verify().n_entries == 2


@pytest.mark.parametrize("kind", ["attempt", "wipe", "Sign In", "", "a" * 40, "x;y"])
def test_a_note_cannot_pass_for_what_the_store_writes(store, kind):
    with pytest.raises(ValueError, match="kind"):
        store.note(kind, {})


def test_a_destination_gets_attempts_amendments_and_over_reads_until_it_has_them(store, key, make_attempt):
    seqs = [store.append(make_attempt(seed=seed)).seq for seed in range(2)]
    amendment = store.amend(seqs[0], study_id="RIGHT1", reason="", operator="")
    reading = store.over_read(seqs[1], {}, operator="")
    store.note("sign_in", {})
    assert [entry.seq for entry in store.pending("fhir")] == [*seqs, amendment.seq, reading.seq]
    assert store.pending("fhir")[0].facts["visit"]["study_id"] == "RIGHT1"
    store.acknowledge("fhir", seqs[0], {"id": "r1"})
    store.acknowledge("fhir", amendment.seq, {"id": "r2"})
    assert [entry.seq for entry in store.pending("fhir")] == [seqs[1], reading.seq]
    assert len(store.pending("elsewhere")) == 4
    store.close()
    with Store.open(store.folder, key) as again:
        assert [entry.seq for entry in again.pending("fhir")] == [seqs[1], reading.seq]


def test_demonstrations_reach_neither_a_clinics_store_nor_a_destination(
    tmp_path, store, key, make_attempt, make_record
):
    simulated = make_attempt(record=make_record(origin="simulated"))
    with pytest.raises(StoreError, match="simulated"):
        store.append(simulated)
    with Store.create(tmp_path / "demo", key, kind="demo") as demo:
        demo.append(simulated)
        demo.append(make_attempt())
        assert len(list(demo.attempts())) == 2
        assert demo.pending("fhir") == []


def test_time_that_goes_backwards_is_noted_and_never_refused(store, monkeypatch):
    first = store.note("print", {})
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real().replace(year=real().year - 1))
    second = store.note("print", {})
    third = store.note("print", {})
    assert [entry.kind for entry in store.entries()] == ["created", "print", "clock_went_back", "print", "print"]
    (back,) = store.entries(kinds=("clock_went_back",))
    assert back.facts["back_s"] == pytest.approx(365.5 * 86400, rel=0.01)
    assert second.at < first.at
    assert third.boot_seq == first.boot_seq + 3
    assert store.verify().ok


def test_an_unset_clock_is_said_and_corrected_later(store, monkeypatch):
    real = clock.now
    monkeypatch.setattr(clock, "boot", lambda: "b" * 32)
    monkeypatch.setattr(clock, "now", lambda: real().replace(year=1970))
    unset = store.note("print", {})
    assert unset.at is None
    assert not unset.clock_set
    monkeypatch.setattr(clock, "now", real)
    plausible = store.note("print", {})
    store.correct_clock("b" * 32, 3600.0, operator="op7")
    after = store.note("print", {})
    by_seq = {entry.seq: entry for entry in store.entries()}
    assert by_seq[unset.seq].at.startswith("1970")
    assert not by_seq[unset.seq].clock_set
    assert by_seq[plausible.seq].at == plausible.at
    store.correct_clock("b" * 32, 86400.0 * 400, operator="op7", even_if_set=True)
    by_seq = {entry.seq: entry for entry in store.entries()}
    assert by_seq[plausible.seq].at > plausible.at
    assert by_seq[after.seq].at > after.at
    assert store.note("print", {}).at[:4] == str(real().year)
    assert by_seq[1].at[:4] == str(real().year), "another start of the machine is not touched"


def test_starts_of_the_machine_are_counted_apart(store, monkeypatch):
    monkeypatch.setattr(clock, "boot", lambda: "b" * 32)
    assert [store.note("print", {}).boot_seq for _ in range(2)] == [1, 2]
    monkeypatch.setattr(clock, "boot", lambda: "c" * 32)
    assert store.note("print", {}).boot_seq == 1
    monkeypatch.setattr(clock, "boot", lambda: "b" * 32)
    assert store.note("print", {}).boot_seq == 3
    assert store.verify().ok


def test_nobody_else_can_enter_folder_or_files(store, key, make_attempt, make_visit):
    store.append(make_attempt())
    store.journal(make_visit(), 1)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    for path in store.folder.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    store.close()
    store.folder.chmod(0o750)
    with pytest.raises(StoreError, match="Other users") as refused:
        Store.open(store.folder, key)
    assert "chmod 700" in refused.value.next_step


def test_threads_share_a_store(store, make_attempt):
    errors = []

    def work(seed):
        try:
            for number in range(5):
                store.append(make_attempt(number=number, seed=seed))
                list(store.attempts(limit=3))
        except Exception as error:  # noqa: BLE001  # reported by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert store.verify().n_entries == 21
    assert store.verify().ok


def test_a_store_is_not_made_over_another(store, key, tmp_path):
    with pytest.raises(StoreError, match="not empty"):
        Store.create(store.folder, key, kind="clinic")
    (tmp_path / "nothing").mkdir(mode=0o700)
    with pytest.raises(StoreError, match="no store"):
        Store.open(tmp_path / "nothing", key)
    with pytest.raises(StoreError, match="no store"):
        Store.open(tmp_path / "absent", key)
    with pytest.raises(StoreError, match="cannot be made"):
        Store.create(tmp_path / "x" / ("y" * 300), key, kind="clinic")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_printed_head_is_read_again(store):
    head = store.note("print", {}).head
    printed = Head.parse(f" {str(head).upper()} ")
    assert printed.seq == head.seq
    assert head.hash.startswith(printed.hash)
    for text in ("", "12", "12-xyz", "12-" + "a" * 15):
        with pytest.raises(Exception, match="no head"):
            Head.parse(text)


def test_an_attempt_of_an_older_form_is_named(store):
    with pytest.raises(StoreError, match="does not know"):
        attempts.to_attempt({"visit": {}}, None)


def test_another_visits_fields_are_not_lost(make_visit):
    visit = replace(make_visit(), note="came with her mother")
    facts = attempts.to_facts(Attempt(visit, 2, "cancelled", None, None))
    assert attempts.to_attempt(facts, None).visit == visit


def test_a_commit_is_on_the_disk_and_what_is_freed_is_overwritten(store):
    with store._log.database.reading() as connection:
        found = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
