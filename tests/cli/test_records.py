"""``records``: the commands on what a kiosk stored."""

import json
import re
import secrets
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lsemvae_edge import formats, outbox, study_id
from lsemvae_edge.errors import ExitCode
from lsemvae_edge.kiosk import settings
from lsemvae_edge.outbox import Report
from lsemvae_edge.outbox.parking import Parked
from lsemvae_edge.screening import screen
from lsemvae_edge.store import places
from lsemvae_edge.visit import Attempt, Visit

ANNA, BIMALA = study_id.make("KG0001"), study_id.make("KG0002")
UNSET = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
"""What a machine without a battery shows five minutes after its start."""


@pytest.fixture(autouse=True)
def at_home(monkeypatch, tmp_path):
    """A machine of the test's own."""
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(tmp_path / "stores"))
    monkeypatch.setenv(places.KEY_VARIABLE, str(tmp_path / "keys" / "store.key"))
    monkeypatch.delenv("LSEMVAE_EDGE_KIOSK", raising=False)
    monkeypatch.delenv("SUDO_USER", raising=False)


@pytest.fixture
def store():
    """The clinic's store, open beside the command as a kiosk has it."""
    with places.create_store() as made:
        yield made


@pytest.fixture
def showing(monkeypatch):
    """Function within which the clock shows what the test says."""
    from lsemvae_edge.store import clock

    @contextmanager
    def set_to(moment):
        with monkeypatch.context() as patched:
            patched.setattr(clock, "now", lambda: moment)
            yield

    return set_to


@pytest.fixture(scope="module")
def screened(small_bundle, heart_record):
    """One recording with the result of a real screening."""
    record = replace(
        heart_record(),
        origin="live",
        started_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
        meta={"device": "Six 0007", "id": "r1", "clock_set": True},
    )
    return record, screen(record, small_bundle)


@pytest.fixture
def append(store, screened):
    """Function that stores an attempt."""

    def make(person=ANNA, number=1, visit=None, ended="screened", record=None, **more):
        of = visit or Visit(secrets.token_hex(16), person, "NURSE1", "40-64", False, True)
        kept, result = screened
        return store.append(
            Attempt(of, number, ended, record or kept, result if ended in ("screened", "refused") else None, **more)
        )

    return make


def told(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_machine_without_a_store_says_so(cli):
    code, out, _ = cli("records", "list", "--json")
    assert code == ExitCode.STORE
    assert told(out)[0]["message"] == "There is no store on this machine yet."


def test_the_list_has_the_newest_first_in_columns_and_tombstones_among_them(cli, store, append):
    append(ANNA)
    gone = append(BIMALA)
    append(BIMALA, ended="interrupted", detail="The link was lost.")
    store.wipe(gone.seq, reason="asked", operator="t")
    code, out, err = cli("records", "list")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["No.", "When", "Study", "id", "Try", "Result", "Operator", "Recorder"]
    assert [line.split()[0] for line in lines[1:]] == ["4", "3", "2"]
    assert "interrupted" in lines[1]
    assert BIMALA in lines[1]
    assert "wiped" in lines[2]
    assert ANNA in lines[3]
    assert BIMALA not in lines[2]
    assert lines[3].endswith("Six 0007")
    starts = {line.index("Six 0007") for line in (lines[1], lines[3])}
    assert len(starts) == 1


def test_the_list_is_narrowed(cli, store, append, screened):
    first = append(ANNA)
    append(ANNA, 2, visit=Visit(first.facts["visit"]["id"], ANNA, "NURSE1", "40-64", False, True))
    append(BIMALA)

    def seqs(*options):
        code, out, _ = cli("records", "list", "--json", *options)
        assert code == 0
        return [row["seq"] for row in told(out)]

    assert seqs() == [4, 3, 2]
    assert seqs("--study-id", ANNA.lower()) == [3, 2]
    assert seqs("--visit", first.facts["visit"]["id"]) == [3, 2]
    assert seqs("--limit", "1") == [4]
    assert seqs("--since", "2020-01-01") == [4, 3, 2]
    assert seqs("--since", "2999-01-01") == []
    assert cli("records", "list", "--limit", "0")[0] == ExitCode.USAGE
    code, _, err = cli("records", "list", "--since", "soon")
    assert (code, "is no day" in err) == (ExitCode.USAGE, True)


def test_where_the_clock_was_not_set_that_is_said_and_never_a_time(cli, store, append, showing):
    with showing(UNSET):
        seq = append().seq
    _, out, _ = cli("records", "list")
    assert "clock not set" in out
    assert "1970" not in out
    _, out, _ = cli("records", "show", seq)
    assert "clock not set" in out
    _, out, _ = cli("records", "list", "--json", "--since", "2026-01-01")
    assert [(row["at"], row["clock_set"]) for row in told(out)] == [(None, False)]


def test_a_record_is_shown_with_all_that_was_said_of_it(cli, store, append, screened):
    append()
    cli("records", "amend", "2", "--to", BIMALA, "--reason", "wrong card")
    cli("records", "over-read", "2", "--reader", "r1", "--pattern", "absent", "--rhythm", "sinus")
    cli("records", "outcome", "2", "--mpap", "30 mmHg", "--pawp", "10 mmHg", "--days", "12")
    code, out, _ = cli("records", "show", "2")
    assert code == 0
    for text in (
        BIMALA,
        ANNA,
        screened[1].wording.headline,
        "wrong card",
        "R1 reads: pattern absent",
        "mPAP 30 mmHg",
        "12 days after",
        "Six 0007",
    ):
        assert text in out
    _, out, _ = cli("records", "show", "2", "--json")
    (value,) = told(out)
    assert (value["study_id"], value["facts"]["original_study_id"]) == (BIMALA, ANNA)
    assert [len(value[name]) for name in ("amendments", "over_reads", "outcomes")] == [1, 1, 1]
    assert value["facts"]["result"]["schema"] == "lsemvae-edge/screening-result/1"


def test_a_wiped_record_is_shown_as_its_tombstone_and_an_absent_one_as_an_error(cli, store, append):
    append()
    store.wipe(2, reason="asked", operator="t")
    code, out, _ = cli("records", "show", "2")
    assert (code, "only this tombstone is left" in out, ANNA in out) == (0, True, False)
    assert cli("records", "show", "9")[0] == ExitCode.USAGE


@pytest.mark.parametrize("name", ["json", "fhir", "csv", "edf", "dicom", "pdf"])
def test_each_format_is_written_for_its_owner_under_a_name_without_id(cli, store, append, tmp_path, name):
    append()
    code, out, err = cli("records", "export", "2", "--format", name, "--out", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    (row,) = told(out)
    (path,) = (tmp_path / "out").iterdir()
    assert row["path"] == str(path)
    assert path.name.startswith("record-000002.")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert path.stat().st_size > 500


def test_an_exported_recording_is_the_one_that_was_recorded(cli, store, append, screened, tmp_path):
    append()
    cli("records", "export", "2", "--format", "dicom", "--out", tmp_path)
    read = formats.read(tmp_path / "record-000002.dcm")
    assert read.duration_s == screened[0].duration_s


def test_exports_are_noted_with_numbers_and_the_login_and_no_id(cli, store, append, tmp_path, monkeypatch):
    append()
    append()
    monkeypatch.setenv("SUDO_USER", "asha")
    cli("records", "export", "--all", "--format", "json,csv", "--out", tmp_path / "out")
    (note,) = store.entries(kinds=("export",))
    assert note.facts["seqs"] == [2, 3]
    assert note.facts["formats"] == ["json", "csv"]
    assert re.fullmatch(r"cli:[^/]+/asha", note.facts["operator"])
    assert ANNA not in json.dumps(dict(note.facts))
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_record_that_a_format_cannot_hold_does_not_stop_the_others(cli, store, append, tmp_path):
    append()
    store.append(Attempt(Visit(secrets.token_hex(16), ANNA, "N", "40-64", None, True), 1, "cancelled", None, None))
    code, out, err = cli("records", "export", "--all", "--format", "edf", "--out", tmp_path / "out")
    assert code == ExitCode.USAGE
    assert "Record 3 as edf" in err
    assert "Wrote 1 edf" in out
    code, _, _ = cli("records", "export", "3", "--format", "edf", "--out", tmp_path / "one")
    assert code == ExitCode.USAGE


def test_an_export_overwrites_nothing_unasked(cli, store, append, tmp_path):
    append()
    assert cli("records", "export", "2", "--format", "csv", "--out", tmp_path)[0] == 0
    code, _, err = cli("records", "export", "2", "--format", "csv", "--out", tmp_path)
    assert (code, "is there already" in err) == (ExitCode.USAGE, True)
    assert cli("records", "export", "2", "--format", "csv", "--out", tmp_path, "--replace")[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("2", "--study-id", ANNA),
        ("--all", "2"),
        ("9",),
        ("--study-id", "KG0009"),
        ("2", "--format", "docx"),
        ("2", "--format", ","),
    ],
    ids=["nothing", "two ways", "all and one", "absent", "nobody", "no format", "empty"],
)
def test_an_export_of_nothing_or_of_what_is_unclear_writes_and_notes_nothing(cli, store, append, tmp_path, options):
    append()
    assert cli("records", "export", *options, "--out", tmp_path / "out")[0] == ExitCode.USAGE
    assert not (tmp_path / "out").exists()
    assert not list(store.entries(kinds=("export",)))


def test_wiping_asks_and_does_nothing_where_nobody_can_answer(cli, store, append):
    append()
    code, _, err = cli("records", "wipe", "2", "--reason", "asked by the person")
    assert code == ExitCode.USAGE
    assert ANNA in err
    assert "--yes" in err
    assert [entry.seq for entry in store.attempts()] == [2]


@pytest.mark.parametrize(("typed", "left"), [("WIPE\n", []), ("wipe\n", [2]), ("\n", [2])])
def test_wiping_goes_on_at_one_word_alone(cli, store, append, monkeypatch, typed, left):
    import io

    append()

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal(typed))
    code, _, _ = cli("records", "wipe", "2", "--reason", "asked")
    assert code == (ExitCode.USAGE if left else 0)
    assert [entry.seq for entry in store.attempts()] == left


def test_all_of_a_person_are_wiped_with_what_was_said_and_the_store_still_verifies(cli, store, append):
    append(ANNA)
    append(ANNA)
    append(BIMALA)
    cli("records", "amend", "2", "--to", BIMALA, "--reason", "wrong card")
    cli("records", "amend", "2", "--to", ANNA, "--reason", "right after all")
    code, out, _ = cli("records", "wipe", "--study-id", ANNA, "--reason", "asked", "--yes", "--json")
    assert code == 0
    assert [row["seq"] for row in told(out)] == [2, 3]
    assert [entry.seq for entry in store.attempts()] == [4]
    assert all(ANNA not in json.dumps(dict(entry.facts)) for entry in store.entries())
    (wipe, *_) = store.entries(kinds=("wipe",))
    assert wipe.facts["operator"].startswith("cli:")
    code, out, _ = cli("records", "verify")
    assert (code, "Everything is as it was written." in out) == (0, True)
    assert cli("records", "wipe", "2", "--reason", "again", "--yes")[0] == ExitCode.USAGE
    assert cli("records", "export", "2", "--out", "/nowhere")[0] == ExitCode.STORE


def test_a_reason_that_names_the_person_is_refused(cli, store, append):
    append()
    code, _, err = cli("records", "wipe", "2", "--reason", f"{ANNA} asked", "--yes")
    assert (code, "without the study id" in err) == (ExitCode.USAGE, True)
    assert list(store.attempts())


def test_retention_wipes_what_is_old_and_needs_a_period(cli, store, append, showing):
    with showing(datetime.now(UTC) - timedelta(days=40)):
        append()
    young = append().seq
    code, _, err = cli("records", "retain", "--yes")
    assert (code, "No retention period" in err) == (ExitCode.USAGE, True)
    assert cli("records", "retain", "--older-than", "0", "--yes")[0] == ExitCode.USAGE
    assert cli("records", "retain", "--older-than", "30")[0] == ExitCode.USAGE
    code, out, _ = cli("records", "retain", "--older-than", "30", "--yes")
    assert (code, out) == (0, "Wiped 1 record older than 30 days\n")
    assert [entry.seq for entry in store.attempts()] == [young]


def test_retention_leaves_what_the_server_does_not_hold_yet(cli, store, append, showing, tmp_path, monkeypatch):
    monkeypatch.setenv("LSEMVAE_EDGE_KIOSK", str(tmp_path / "kiosk.json"))
    url = "https://fhir.example/r4"
    settings.update(lambda now: replace(now, fhir=settings.FhirServer(url), retention_days=30))
    with showing(datetime.now(UTC) - timedelta(days=40)):
        sent, unsent = append(), append()
        store.acknowledge(url, sent.seq, {"status": 200})
    assert cli("records", "retain", "--yes")[0] == 0
    assert [entry.seq for entry in store.attempts()] == [unsent.seq]


def test_a_wrong_id_is_corrected_by_the_sites_rules_and_the_first_one_stays(cli, store, append):
    append(ANNA)
    for wrong in (BIMALA[:-1] + "?", ANNA[:-2] + "9" + ANNA[-1], ANNA):
        code, out, err = cli("records", "amend", "2", "--to", wrong, "--reason", "wrong card")
        assert code in (ExitCode.BAD_INPUT, ExitCode.USAGE)
        assert wrong not in out + err
    assert cli("records", "amend", "2", "--to", BIMALA, "--reason", "wrong card")[0] == 0
    (entry,) = store.attempts(study_id=BIMALA)
    assert entry.facts["original_study_id"] == ANNA
    (amendment,) = store.entries(kinds=("amendment",))
    assert amendment.facts["operator"].startswith("cli:")


def test_all_attempts_of_a_visit_are_corrected_at_once(cli, store, append):
    first = append(ANNA)
    visit = Visit(first.facts["visit"]["id"], ANNA, "NURSE1", "40-64", False, True)
    append(ANNA, 2, visit=visit)
    append(ANNA)
    assert cli("records", "amend", "--visit", visit.id, "--to", BIMALA, "--reason", "wrong card")[0] == 0
    assert [entry.seq for entry in store.attempts(study_id=BIMALA)] == [3, 2]


def test_a_clock_is_corrected_for_a_whole_start_from_one_recording_whose_time_is_known(
    cli, store, append, screened, showing
):
    with showing(UNSET):
        known = append(record=replace(screened[0], started_at=UNSET - timedelta(seconds=20)))
    with showing(UNSET + timedelta(minutes=10)):
        append(record=replace(screened[0], started_at=UNSET))
    after = append()
    code, out, _ = cli("records", "correct-clock", known.seq, "--began", "2026-03-14T10:30+00:00")
    assert (code, out.startswith("Corrected the time of 2 records")) == (0, True)
    times = [entry.at for entry in store.attempts(newest_first=False)]
    assert [at[:19] for at in times[:2]] == ["2026-03-14T10:30:20", "2026-03-14T10:40:20"]
    assert times[2] == after.at


def test_a_clock_that_was_set_is_corrected_only_when_told_so(cli, store, append):
    append()
    code, _, err = cli("records", "correct-clock", "2", "--began", "2026-03-14T10:30+00:00")
    assert (code, "--even-if-set" in err) == (ExitCode.USAGE, True)
    assert cli("records", "correct-clock", "2", "--began", "2026-03-03T09:00+00:00", "--even-if-set")[0] == 0
    (entry,) = store.attempts()
    assert entry.at is not None


def test_verify_names_the_head_says_what_it_cannot_see_and_is_noted(cli, store, append):
    append()
    head = str(store.head())
    code, out, _ = cli("records", "head")
    assert (code, out.strip()) == (0, head)
    code, out, _ = cli("records", "verify")
    assert (code, "cut off at the end cannot be seen" in out) == (0, True)
    (note,) = store.entries(kinds=("verify",))
    assert note.facts["ok"] is True
    code, out, _ = cli("records", "verify", "--head", head, "--json")
    (value,) = told(out)
    assert (code, value["ok"], value["tail_checked"], value["caveat"]) == (0, True, True, None)
    assert cli("records", "verify", "--head", "nonsense")[0] == ExitCode.USAGE


def test_a_store_that_was_cut_does_not_verify_against_a_head_from_a_report(cli, store, append):
    append()
    code, out, _ = cli("records", "verify", "--head", "9-" + "0" * 16)
    assert code == ExitCode.STORE
    assert "Everything else is as it was written." in out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--reader", "Dr Rai", "--pattern", "absent", "--rhythm", "sinus"), ExitCode.BAD_INPUT),
        (("--reader", "R1", "--pattern", "perhaps", "--rhythm", "sinus"), ExitCode.USAGE),
        (("--reader", "R1", "--pattern", "absent", "--rhythm", "sinus", "--note", f"see {ANNA}"), ExitCode.BAD_INPUT),
    ],
)
def test_an_over_read_that_is_none_is_not_stored(cli, store, append, options, code):
    append()
    assert cli("records", "over-read", "2", *options)[0] == code
    assert not list(store.entries(kinds=("over_read",)))


@pytest.mark.parametrize(
    "options",
    [
        ("--days", "3"),
        ("--mpap", "30 mmHg"),
        ("--mpap", "30", "--days", "3"),
        ("--mpap", "30 mmHg", "--tr-velocity", "3 m/s", "--days", "3"),
        ("--mpap", "30 mmHg", "--days", "3", "--date", "2026-03-14"),
        ("--mpap", "30 mmHg", "--date", "14.3.2026"),
        ("--mpap", "30 mmHg", "--date", "2026-W10-1"),
        ("--mpap", "30 mmHg", "--date", "2026-13"),
        ("--mpap", "300 mmHg", "--days", "3"),
    ],
    ids=["no value", "no date", "no unit", "two examinations", "two dates", "date", "week", "month", "value"],
)
def test_an_outcome_that_is_unclear_is_not_stored(cli, store, append, options):
    append()
    assert cli("records", "outcome", "2", *options)[0] in (ExitCode.USAGE, ExitCode.BAD_INPUT)
    assert not list(store.entries(kinds=("outcome",)))


def test_of_an_examination_the_days_from_the_recording_are_kept_and_not_the_date(cli, store, append):
    append()
    today = datetime.now(UTC).date()
    later = today + timedelta(days=20)
    for text, days, precision in (
        (later.isoformat(), 20, "day"),
        (f"{later:%Y-%m}", (later.replace(day=16) - today).days, "month"),
        (f"{today.year}", (today.replace(month=7, day=2) - today).days, "year"),
    ):
        assert cli("records", "outcome", "2", "--rvsp", "5.2 kPa", "--no-rv-dilated", "--date", text)[0] == 0
        *_, outcome = store.entries(kinds=("outcome",))
        finding = outcome.facts["finding"]
        assert (finding["days"], finding["precision"], finding["rvsp_mmhg"]) == (days, precision, 39.003)
        assert finding["rv_dilated"] is False
        assert text not in json.dumps(finding)


def test_a_date_says_nothing_of_a_recording_without_a_clock(cli, store, append, showing):
    with showing(UNSET):
        seq = append().seq
    code, _, err = cli("records", "outcome", seq, "--mpap", "30 mmHg", "--date", "2026-03-14")
    assert (code, "--days" in err) == (ExitCode.USAGE, True)
    assert cli("records", "outcome", seq, "--mpap", "30 mmHg", "--days", "4")[0] == 0


def test_a_cohort_is_exported_noted_and_keeps_its_pseudonyms_with_a_key(cli, store, append, tmp_path):
    append()
    cli("records", "over-read", "2", "--reader", "r1", "--pattern", "absent", "--rhythm", "sinus")
    key = tmp_path / "pseudonyms.key"
    tables = []
    for name in ("a", "b"):
        code, out, _ = cli("records", "cohort", "--out", tmp_path / name, "--pseudonym-key", key, "--json")
        assert code == 0, out
        assert told(out)[0]["labelled"] == {"right_heart_pattern": 1}
        tables.append((tmp_path / name / "labels.csv").read_text())
    assert tables[0] == tables[1]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(list(store.entries(kinds=("cohort",)))) == 2
    key.chmod(0o644)
    code, _, err = cli("records", "cohort", "--out", tmp_path / "c", "--pseudonym-key", key)
    assert (code, "read by other users" in err) == (ExitCode.USAGE, True)
    code, out, _ = cli("records", "cohort", "--out", tmp_path / "d")
    assert "Wrote 1 recordings of 1 patients" in out


def test_drift_withholds_small_counts_unless_told(cli, store, append):
    for _ in range(6):
        append()
    append(ended="interrupted")
    code, out, err = cli("records", "drift")
    assert code == 0
    assert re.search(r"^\d{4}-W\d\d · Six 0007 · 7 attempts", out)
    assert re.search(r"withheld: .*interrupted", out)
    assert "withheld" in err
    _, out, _ = cli("records", "drift", "--all-counts")
    assert re.search(r"interrupted +1 +14 %", out)
    _, out, _ = cli("records", "drift", "--json")
    assert told(out)[0]["outcomes"]["interrupted"]["count"] is None
    assert ANNA not in out


def test_a_new_key_opens_the_store_and_the_old_one_does_not(cli, append, tmp_path, monkeypatch):
    from lsemvae_edge.errors import StoreError
    from lsemvae_edge.store import Store, StoreKey

    append()
    old = StoreKey.read(places.key_path())
    code, out, err = cli("records", "rotate-key", "--no-passphrase")
    assert code == 0, err
    assert "Wrapped" in out
    code, out, _ = cli("records", "list", "--json")
    assert [row["study_id"] for row in told(out)] == [ANNA]
    with pytest.raises(StoreError):
        Store.open(places.store_folder("clinic"), old)
    phrase = tmp_path / "phrase"
    phrase.write_text("four plain words here\n")
    assert cli("records", "rotate-key")[0] == ExitCode.USAGE
    assert cli("records", "rotate-key", "--no-passphrase", "--store", "demo")[0] == ExitCode.USAGE
    assert cli("records", "rotate-key", "--passphrase-file", phrase)[0] == 0
    assert cli("records", "list")[0] == ExitCode.STORE
    monkeypatch.setenv(places.PASSPHRASE_VARIABLE, str(phrase))
    assert cli("records", "list")[0] == 0


def test_demonstrations_are_apart_and_say_what_they_are(cli, append, screened):
    append()
    with places.open_store("demo") as demo:
        record = replace(screened[0], origin="demo")
        demo.append(
            Attempt(Visit(secrets.token_hex(16), "DEMO1", "", "40-64", None, True), 1, "interrupted", record, None)
        )
    code, out, err = cli("records", "list", "--store", "demo")
    assert (code, ANNA in out, "DEMO1" in out) == (0, False, True)
    assert "no persons' records" in err
    assert cli("records", "send", "--store", "demo")[0] == ExitCode.USAGE


def test_nothing_is_sent_where_no_server_is_configured(cli, append):
    append()
    code, _, err = cli("records", "send")
    assert (code, "No FHIR server is configured." in err) == (ExitCode.USAGE, True)


@pytest.mark.parametrize(
    ("report", "code", "says"),
    [
        (Report(3, 0), 0, "Sent 3, waiting 0, refused 0"),
        (Report(1, 2, reason="The server does not answer."), ExitCode.STORE, "does not answer"),
        (Report(1, 0, (Parked(5, "The server knows no such code."),)), ExitCode.STORE, "Record 5: The server knows"),
    ],
    ids=["all", "some wait", "one refused"],
)
def test_sending_says_what_the_server_has_and_fails_if_anything_is_left(
    cli, append, tmp_path, monkeypatch, report, code, says
):
    append()
    path = tmp_path / "kiosk.json"
    monkeypatch.setenv("LSEMVAE_EDGE_KIOSK", str(path))
    server = settings.FhirServer("http://127.0.0.1:9/fhir")
    settings.update(lambda now: replace(now, fhir=server, site="Clinic"))
    asked = []

    def send(store, destination):
        asked.append((store.kind, destination.url, destination.site))
        return report

    monkeypatch.setattr(outbox, "send", send)
    got, out, err = cli("records", "send")
    assert got == code
    assert says in out + err
    assert asked == [("clinic", server.url, "Clinic")]
    got, out, _ = cli("records", "send", "--json", "--retry-refused")
    assert told(out)[0]["sent"] == report.sent


def test_describing_the_commands_imports_nothing_heavy():
    code = (
        "import sys; from lsemvae_edge.cli import records; import argparse; "
        "records.add(argparse.ArgumentParser().add_subparsers()); "
        "print(sorted({'cryptography', 'pydicom', 'sqlite3', 'lsemvae_edge.store'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_new_ids_keep_the_kiosks_rules_and_are_all_different(cli):
    code, out, _ = cli("records", "new-ids", "kg", "--count", "200")
    made = out.split()
    assert (code, len(made), len(set(made))) == (0, 200, 200)
    rules = settings.read()
    assert all(study_id.checked(one, rules.study_id_pattern, True) == one for one in made)
    assert not any(study_id.has_blind_pair(one) for one in made)
    assert made[0] == study_id.make("KG0001")
    _, out, _ = cli("records", "new-ids", "kg", "--count", "1", "--json")
    assert told(out)[0]["study_id"] == made[0]


@pytest.mark.parametrize(
    "options",
    [("kg", "--count", "0"), ("kg", "--digits", "1", "--count", "11"), ("k g",), ("kg", "--digits", "12"), ("",)],
)
def test_ids_that_no_kiosk_of_this_site_would_take_are_not_made(cli, monkeypatch, tmp_path, options):
    monkeypatch.setenv("LSEMVAE_EDGE_KIOSK", str(tmp_path / "kiosk.json"))
    settings.update(lambda now: replace(now, study_id_pattern="[A-Z0-9]{4,8}"))
    assert cli("records", "new-ids", *options)[0] in (ExitCode.USAGE, ExitCode.BAD_INPUT)


# Restore ------------------------------------------------------------------------------------------


@pytest.fixture
def backup(store, append):
    """A copy of the store with one record, as an update keeps it; the store goes on to a second."""
    from lsemvae_edge.kiosk.updates import snapshots

    append(ANNA)
    copy = snapshots.take(store.folder, store.folder.with_name("clinic.before-2.0-abc"))
    append(BIMALA)
    store.close()
    return copy


def test_kept_copies_are_listed_and_one_is_restored(cli, store, backup):
    code, out, _ = cli("records", "restore")
    assert (code, out.split()) == (0, [str(backup)])
    code, _, err = cli("records", "restore", backup)
    assert (code, "Add --yes" in err) == (ExitCode.USAGE, True)
    code, out, _ = cli("records", "restore", backup, "--yes", "--json")
    (said,) = told(out)
    assert (code, said["schema"], said["left_out"]) == (0, "lsemvae-edge/restored/1", 1)
    assert backup.is_dir()
    assert [row["study_id"] for row in told(cli("records", "list", "--json")[1])] == [ANNA]
    assert cli("records", "verify")[0] == 0
    code, out, _ = cli("records", "restore", said["aside"], "--yes")
    assert (code, "nothing of it was changed" in out) == (0, True)
    assert [row["study_id"] for row in told(cli("records", "list", "--json")[1])] == [BIMALA, ANNA]


def test_what_a_restoration_would_leave_out_is_said_before(cli, store, backup, monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    code, _, err = cli("records", "restore", backup)
    assert code == ExitCode.USAGE
    assert "1 newer entry of the store is not in it." in err
    assert "Type RESTORE" in err
    assert [row["study_id"] for row in told(cli("records", "list", "--json")[1])] == [BIMALA, ANNA]


def test_a_damaged_copy_is_refused_with_the_code_of_the_store(cli, store, backup):
    (backup / "records.sqlite").write_bytes(b"nothing")
    code, _, err = cli("records", "restore", backup, "--yes")
    assert (code, "cannot be read" in err) == (ExitCode.STORE, True)


def test_while_a_kiosk_runs_nothing_is_restored(cli, store, backup):
    from lsemvae_edge.kiosk import instance

    with instance.only(store.folder):
        code, _, err = cli("records", "restore", backup, "--yes")
    assert (code, "A kiosk is running" in err) == (ExitCode.USAGE, True)


def test_root_restores_nothing_that_is_another_users(cli, store, backup, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    code, _, err = cli("records", "restore", backup, "--yes")
    if store.folder.stat().st_uid == 0:
        assert code == 0
    else:
        assert (code, "another user than root" in err) == (ExitCode.USAGE, True)


def test_without_a_copy_there_is_nothing_to_list(cli, store):
    code, _, err = cli("records", "restore")
    assert (code, "No copy" in err) == (ExitCode.USAGE, True)
