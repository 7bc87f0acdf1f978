"""PDF, EDF+, CSV and JSON: what only the store knows is in them, what must not leave is not."""

import json
import re

import numpy as np
import pytest

from lsemvae_edge import exchange, formats
from lsemvae_edge.errors import UsageError

SIGNALS = ("dicom", "edf", "csv")


@pytest.fixture
def reread(tmp_path):
    """Function that exports a stored attempt and reads the file back."""

    def one(stored, format, **told):
        path = tmp_path / f"x{exchange.suffix(format)}"
        path.write_bytes(exchange.export(stored, format, **told))
        return formats.read(path)

    return one


def test_every_format_has_its_extension_and_gives_the_same_bytes_again(kept, making):
    stored = kept(making.attempt())
    assert exchange.FORMATS == ("pdf", "fhir", "dicom", "edf", "csv", "json")
    for format in exchange.FORMATS:
        assert exchange.suffix(format).startswith(".")
        first = exchange.export(stored, format, site=making.SITE)
        assert isinstance(first, bytes)
        assert first == exchange.export(stored, format, site=making.SITE)


@pytest.mark.parametrize("call", [lambda stored: exchange.export(stored, "doc"), lambda _: exchange.suffix("DOC")])
def test_another_format_is_refused(call, kept, making):
    stored = kept(making.nothing())
    with pytest.raises(UsageError) as error:
        call(stored)
    assert error.value.next_step == "Choose one of: pdf, fhir, dicom, edf, csv, json."


@pytest.mark.parametrize("format", SIGNALS)
def test_samples_gaps_and_rate_come_back(format, kept, making, reread):
    record = making.with_gap(making.with_gap(making.record(leads=("I", "II", "V2")), 100, 150), 200, 210, lead=1)
    back = reread(kept(making.attempt(record)), format)
    assert (back.leads, back.fs_hz, back.amplitude, back.origin) == (record.leads, record.fs_hz, "calibrated", "file")
    assert np.array_equal(back.gaps, record.gaps)
    np.testing.assert_allclose(back.signal_mv, record.signal_mv, atol=1e-4)


@pytest.mark.parametrize("format", SIGNALS)
def test_without_calibration_no_unit_comes_back(format, kept, making, reread):
    back = reread(kept(making.attempt(making.record(amplitude="uncalibrated"))), format)
    assert back.amplitude == "uncalibrated"


@pytest.mark.parametrize("format", exchange.FORMATS)
def test_the_corrected_study_id_is_exported_and_the_first_is_not(format, kept, making, store):
    seq = kept(making.attempt()).entry.seq
    store.amend(seq, study_id=making.OTHER_ID, reason="typed wrongly", operator="OP7")
    text = text_of(exchange.export(store.read(seq), format, site=making.SITE), format)
    assert making.OTHER_ID in text
    assert making.STUDY_ID not in text


@pytest.mark.parametrize("format", exchange.FORMATS)
def test_free_notes_do_not_leave(format, kept, making):
    assert "NOTESECRET" not in text_of(exchange.export(kept(making.attempt()), format), format)


@pytest.mark.parametrize("format", exchange.FORMATS)
def test_a_simulated_record_is_marked_in_every_format(format, demo_store, making):
    stored = demo_store.read(demo_store.append(making.attempt(making.record(origin="simulated"))).seq)
    text = text_of(exchange.export(stored, format), format)
    assert re.search("simulated|HTEST", text, re.IGNORECASE)


@pytest.mark.parametrize("format", exchange.FORMATS)
def test_a_store_of_demonstrations_marks_what_does_not_say_so_itself(format, kept, making):
    stored = kept(making.attempt())
    pattern = re.compile('demonstration|origin: demo|HTEST|"simulated": true', re.IGNORECASE)
    plain = text_of(exchange.export(stored, format), format)
    assert not pattern.search(plain)
    assert pattern.search(text_of(exchange.export(stored, format, synthetic=True), format))


@pytest.mark.parametrize("format", ["edf", "csv"])
def test_a_simulated_record_stays_so_when_it_is_read_again(format, demo_store, making, reread):
    stored = demo_store.read(demo_store.append(making.attempt(making.record(origin="simulated"))).seq)
    assert reread(stored, format).origin == "simulated"


@pytest.mark.parametrize("format", ["pdf", "dicom", "edf", "csv"])
def test_where_nothing_was_recorded_there_is_nothing_to_write(format, kept, making):
    with pytest.raises(UsageError):
        exchange.export(kept(making.nothing()), format)


def test_edf_carries_the_study_id_as_patient_code_and_the_gaps_as_annotations(kept, making):
    edfio = pytest.importorskip("edfio")
    record = making.with_gap(making.record(), 1000, 1500)
    edf = edfio.read_edf(exchange.export(kept(making.attempt(record)), "edf"), header_encoding="latin-1")
    assert edf.patient.code == making.STUDY_ID
    assert edf.patient.name == "X"
    assert edf.local_patient_identification == f"{making.STUDY_ID} X X X"
    notes = {annotation.text: annotation for annotation in edf.annotations}
    assert (notes["gap: all leads"].onset, notes["gap: all leads"].duration) == (2.0, 1.0)
    assert "lsemvae-edge outcome: present" in notes
    assert "Research use, not a diagnosis." in notes


def test_csv_says_the_stand_in_and_whose_it_is_in_comments(kept, making):
    lines = exchange.export(kept(making.attempt()), "csv").decode().splitlines()
    assert f"# study_id: {making.STUDY_ID}" in lines
    assert f"# stand_in: {making.STAND_IN}" in lines
    assert "# units: mV" in lines


def test_json_holds_the_result_under_its_schema_and_what_was_said_later(kept, making, store):
    seq = kept(making.attempt()).entry.seq
    reading = {"reader": "DR4", "pattern": "present", "rhythm": "sinus", "quality": "good", "note": ""}
    store.over_read(seq, reading, operator="OP7")
    store.outcome(seq, {"schema": "lsemvae-edge/echo/1", "days": 3}, operator="OP7")
    found = json.loads(exchange.export(store.read(seq), "json", site=making.SITE))
    assert found["schema"] == "lsemvae-edge/record/1"
    assert found["result"]["schema"] == "lsemvae-edge/screening-result/1"
    assert found["visit"]["study_id"] == making.STUDY_ID
    assert [one["reading"]["pattern"] for one in found["over_reads"]] == ["present"]
    assert [one["finding"]["days"] for one in found["outcomes"]] == [3]


def test_an_attempt_without_recording_is_json(kept, making):
    found = json.loads(exchange.export(kept(making.nothing()), "json"))
    assert found["result"] is None
    assert found["detail"] == "The recorder was switched off."


def test_the_page_is_in_the_language_that_was_asked_for(kept, making):
    stored = kept(making.attempt())
    english = exchange.export(stored, "pdf", language="en")
    assert english.startswith(b"%PDF")
    assert making.STUDY_ID in text_of(english, "pdf")
    assert exchange.export(stored, "pdf", language="es") != english


def test_a_page_claims_no_number_of_attempts_that_nobody_kept(kept, making):
    text = text_of(exchange.export(kept(making.attempt(number=2)), "pdf", language="en"), "pdf")
    assert "Attempt 2" in text
    assert "Attempt 2 of" not in text


def text_of(content: bytes, format: str) -> str:
    if format == "pdf":
        pymupdf = pytest.importorskip("pymupdf")
        return "".join(page.get_text() for page in pymupdf.open(stream=content)).replace("\xad", "")
    return content.decode("utf-8", "replace")
