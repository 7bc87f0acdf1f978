"""FHIR: against the R4B definitions of `fhir.resources`, and against rules of R4 that its models do not check."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import exchange
from lsemvae_edge.exchange import fhir, fhir_terms
from lsemvae_edge.leads import STANDARD_12

pytest.importorskip("fhir.resources", reason="FHIR is validated with fhir.resources")

DATE_TIME = re.compile(r"\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2}))?)?)?")
CODE = re.compile(r"[^\s]+(\s[^\s]+)*")
STATUSES = {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown"}
"""Of Observation, DiagnosticReport and RiskAssessment alike; fhir.resources does not check them."""
SAMPLES = re.compile(r"(-?\d+|E)( (-?\d+|E))*")


def made(stored, **told) -> dict:
    """The transaction as it goes over the wire, valid by R4B and by the rules of `check`."""
    from fhir.resources.R4B.bundle import Bundle

    found = json.loads(json.dumps(fhir.bundle(stored, **told), allow_nan=False))
    Bundle.model_validate(found)
    check(found)
    return found


def resources(bundle, kind) -> list[dict]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def observation(bundle, code) -> dict:
    (found,) = (
        each for each in resources(bundle, "Observation") if code in [one["code"] for one in each["code"]["coding"]]
    )
    return found


def check(bundle: dict) -> None:
    urls = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(urls)) == len(urls), "bdl-7: fullUrl is unique"
    for entry in bundle["entry"]:
        resource, request = entry["resource"], entry["request"]
        assert re.fullmatch(r"[A-Za-z0-9\-.]{1,64}", resource["id"])
        assert request == {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}
        assert entry["fullUrl"] == f"urn:uuid:{resource['id']}"
        visit(resource, urls)
        assert resource.get("status", "final") in STATUSES
        if resource["resourceType"] == "Observation":
            check_observation(resource)
        if resource["resourceType"] == "RiskAssessment":
            for prediction in resource["prediction"]:
                low, high = (prediction["probabilityRange"][end] for end in ("low", "high"))
                assert low["code"] == high["code"] == "%", "ras-1"
                assert 0 <= low["value"] <= high["value"] <= 100, "ras-1, ras-2"


def check_observation(resource: dict) -> None:
    own = {(one["system"], one["code"]) for one in resource["code"]["coding"]}
    for part in (resource, *resource.get("component", ())):
        values = [name for name in part if name.startswith("value")]
        assert len(values) <= 1
        assert not (values and "dataAbsentReason" in part), "obs-6"
        if part is not resource:
            assert values or "dataAbsentReason" in part, "obs-3, a component says something"
            codes = {(one["system"], one["code"]) for one in part["code"]["coding"]}
            assert not codes & own or not any(name.startswith("value") for name in resource), "obs-7"


def visit(value, urls, name="") -> None:
    """Rules that hold wherever an element stands."""
    if isinstance(value, dict):
        assert value, f"ele-1: {name} is empty"
        if "reference" in value:
            assert value["reference"] in urls, "every reference is to a resource of this transaction"
        if name == "coding" or {"system", "code"} <= set(value):
            assert re.match(r"(https?://|urn:(uuid|oid|iso|ietf):)", value["system"]), "a system is absolute"
            assert CODE.fullmatch(value["code"])
        if "unit" in value and "code" in value:
            assert value.get("system") == "http://unitsofmeasure.org", "qty-3"
        if "data" in value and "period" in value:
            assert SAMPLES.fullmatch(value["data"])
            assert value["period"] > 0
            assert value["dimensions"] == 1
        for key, inner in value.items():
            visit(inner, urls, key)
    elif isinstance(value, list):
        assert value, f"ele-1: {name} is empty"
        for inner in value:
            visit(inner, urls, name)
    elif isinstance(value, str):
        assert value, f"ele-1: {name} is empty"
        assert value == value.strip(), f"{name} has blanks at its ends"
        if name in ("issued", "effectiveDateTime", "occurrenceDateTime"):
            assert DATE_TIME.fullmatch(value)
            assert name != "issued" or "T" in value, "an instant has a time and a zone"
    else:
        assert value is not None, f"{name} is null"


def test_a_stored_attempt_is_a_valid_transaction_of_resources_with_ids_of_their_own(kept, making):
    found = made(kept(making.attempt()), site=making.SITE)
    kinds = [entry["resource"]["resourceType"] for entry in found["entry"]]
    assert kinds == ["Patient", "Device", "Observation", "Device", "Observation", "DiagnosticReport"]
    (report,) = resources(found, "DiagnosticReport")
    assert len(report["result"]) == 2


def test_a_repeat_is_the_same_to_the_letter(kept, making, store):
    stored = kept(making.attempt())
    assert made(stored) == made(store.read(stored.entry.seq))


def test_two_attempts_of_a_visit_share_the_patient_and_nothing_of_the_recording(kept, making):
    visit = making.visit()
    first, second = (made(kept(making.attempt(of=visit, number=number))) for number in (1, 2))
    assert resources(first, "Patient") == resources(second, "Patient")
    names = [{entry["request"]["url"] for entry in found["entry"]} for found in (first, second)]
    assert {url.split("/")[0] for url in names[0] & names[1]} == {"Patient", "Device"}


def test_one_study_id_at_two_places_is_two_patients(kept, making):
    visits = making.visit(), making.visit()
    stored = [kept(making.attempt(of=visit)) for visit in visits]
    at = [made(stored[0], site="Jiri"), made(stored[1], site="Jiri"), made(stored[1], site="Lukla")]
    ids = [resources(found, "Patient")[0]["id"] for found in at]
    assert ids[0] == ids[1] != ids[2]
    nowhere = [resources(made(one), "Patient")[0]["id"] for one in stored]
    assert nowhere[0] != nowhere[1], "without a place, two visits are not taken for one person's"


def test_samples_times_the_factor_are_the_signal_and_gaps_are_e(kept, making):
    record = making.with_gap(making.with_gap(making.record(), 100, 150), 200, 210, lead=1)
    found = observation(made(kept(making.attempt(record))), "131328")
    assert [part["code"]["coding"][0]["code"] for part in found["component"]] == ["131329", "131330"]
    for row, part in enumerate(found["component"]):
        sampled = part["valueSampledData"]
        assert sampled["origin"] == {"value": 0, "unit": "mV", "system": "http://unitsofmeasure.org", "code": "mV"}
        assert sampled["period"] == pytest.approx(2.0)
        words = sampled["data"].split(" ")
        assert [word == "E" for word in words] == record.gaps[row].tolist()
        values = np.array([np.nan if word == "E" else float(word) for word in words]) * sampled["factor"]
        np.testing.assert_allclose(values, record.signal_mv[row], atol=0.51 * sampled["factor"])


def test_each_measured_lead_has_its_mdc_code_and_no_other_is_sent(kept, making):
    leads = (*reversed(STANDARD_12), "X9")
    record = making.noise(leads=leads)
    found = observation(made(kept(making.attempt(record))), "131328")
    codes = {part["code"]["text"]: part["code"]["coding"][0] for part in found["component"]}
    assert set(codes) == {f"Lead {name}" for name in STANDARD_12}
    # ISO/IEEE 11073-10101: partition 2, base 256, lead numbers of annex A.4.
    assert codes["Lead III"] == {
        "system": "urn:iso:std:iso:11073:10101", "code": "131389", "display": "MDC_ECG_ELEC_POTL_III",
    }  # fmt: skip
    assert codes["Lead aVF"]["code"] == "131392"
    assert codes["Lead V6"]["code"] == "131336"


@pytest.mark.parametrize("amplitude", ["uncalibrated", "relative"])
def test_without_calibration_nothing_says_millivolts(amplitude, kept, making):
    found = made(kept(making.attempt(making.record(amplitude=amplitude))))
    wave = observation(found, "131328")
    for part in wave["component"]:
        assert set(part["valueSampledData"]["origin"]) == {"value", "unit"}
        assert amplitude in part["valueSampledData"]["origin"]["unit"]
    assert '"mV"' not in json.dumps(found)
    assert any(amplitude in note["text"] for note in wave["note"])


def test_a_lead_without_any_sample_has_a_reason_instead(kept, making):
    record = making.with_gap(making.record(), 0, 5000, lead=1)
    lost = observation(made(kept(making.attempt(record))), "131328")["component"][1]
    assert lost["dataAbsentReason"]["coding"][0]["code"] == "error"


def test_a_stand_in_is_preliminary_says_so_and_is_no_risk_and_no_disease(kept, making):
    found = made(kept(making.attempt()))
    for each in (*resources(found, "Observation"), *resources(found, "DiagnosticReport")):
        assert each["status"] == "preliminary"
    assert not resources(found, "RiskAssessment")
    (report,) = resources(found, "DiagnosticReport")
    assert "conclusionCode" not in report
    assert "stand-in" in report["conclusion"]
    screening = observation(found, "screening")
    for each in (report, screening):
        assert [tag["code"] for tag in each["meta"]["tag"]] == ["stand-in"]
    systems = set(re.findall(r'"system": "([^"]+)"', json.dumps(found)))
    assert not any("snomed" in system or "icd" in system for system in systems)
    assert screening["valueCodeableConcept"]["coding"][0]["system"] == fhir_terms.CODES
    assert "0.91" not in json.dumps(found), "the probability stays at home"
    for shared in (resources(found, "Patient")[0], resources(found, "Device")[0]):
        assert "meta" not in shared, "persons and recorders are what they are, whichever model is asked"


def test_a_model_of_its_own_label_gives_a_final_result_and_a_risk_in_percent(kept, making):
    found = made(kept(making.attempt(stand_in=None)))
    assert {each["status"] for each in resources(found, "Observation")} == {"final"}
    (risk,) = resources(found, "RiskAssessment")
    (prediction,) = risk["prediction"]
    assert prediction["probabilityRange"]["low"]["value"] == 91.0
    assert prediction["outcome"]["coding"][0]["system"] == fhir_terms.CODES


def test_no_answer_is_no_value_but_a_reason(kept, making):
    reason = "The model's answer lies between its thresholds."
    found = made(kept(making.attempt(outcome="inconclusive", reason=reason, stand_in=None)))
    screening = observation(found, "screening")
    assert "valueCodeableConcept" not in screening
    assert screening["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert screening["dataAbsentReason"]["text"] == reason
    assert not resources(found, "RiskAssessment")


def test_refused_by_quality_is_not_performed(kept, making):
    found = made(kept(making.attempt(outcome="inconclusive", reason="Record again.", ran=False)))
    assert observation(found, "screening")["dataAbsentReason"]["coding"][0]["code"] == "not-performed"


def test_an_attempt_without_recording_is_a_cancelled_report(kept, making):
    found = made(kept(making.nothing()))
    assert [entry["resource"]["resourceType"] for entry in found["entry"]] == ["Patient", "DiagnosticReport"]
    (report,) = resources(found, "DiagnosticReport")
    assert report["status"] == "cancelled"
    assert "The recorder was switched off." in report["conclusion"]


def test_a_recording_that_was_interrupted_is_sent_without_a_result(kept, making):
    attempt = replace(making.attempt(), ended="interrupted", result=None, detail="The recorder was switched off.")
    found = made(kept(attempt))
    assert observation(found, "131328")["status"] == "preliminary"
    assert "The recorder was switched off." in resources(found, "DiagnosticReport")[0]["conclusion"]


def test_an_amended_id_moves_the_record_to_the_other_person_under_the_same_ids(kept, making, store):
    stored = kept(making.attempt(stand_in=None))
    before = made(stored, site=making.SITE)
    store.amend(stored.entry.seq, study_id=making.OTHER_ID, reason="typed wrongly", operator="OP7")
    after = made(store.read(stored.entry.seq), site=making.SITE)
    assert making.STUDY_ID not in json.dumps(after)
    assert resources(after, "Patient")[0]["identifier"][0]["value"] == making.OTHER_ID
    urls = [{entry["request"]["url"] for entry in found["entry"]} for found in (before, after)]
    assert {url.split("/")[0] for url in urls[0] ^ urls[1]} == {"Patient"}
    assert {each["status"] for each in resources(after, "Observation")} == {"corrected"}


def test_names_notes_operators_and_birth_dates_are_not_there(kept, making):
    text = json.dumps(made(kept(making.attempt()), site=making.SITE))
    assert "SECRET" not in text
    assert "birthDate" not in text
    assert set(json.loads(text)["entry"][0]["resource"]) == {"resourceType", "id", "identifier"}


def test_an_over_read_is_an_observation_without_its_reader(kept, making, store):
    stored = kept(making.attempt(stand_in=None))
    reading = {"reader": "DRSECRET", "pattern": "present", "rhythm": "sinus", "quality": "good", "note": "SECRET"}
    store.over_read(stored.entry.seq, reading, operator="OPSECRET")
    found = made(store.read(stored.entry.seq))
    over_read = observation(found, "over-read")
    assert over_read["valueCodeableConcept"]["coding"][0]["code"] == "over-read-present"
    assert [part["valueString"] for part in over_read["component"]] == ["sinus", "good"]
    assert "SECRET" not in json.dumps(found)
    assert len(resources(found, "DiagnosticReport")[0]["result"]) == 3


@pytest.mark.parametrize("origin", ["demo", "simulated"])
def test_a_simulated_record_is_test_data_in_every_resource(origin, demo_store, making):
    stored = demo_store.read(demo_store.append(making.attempt(making.record(origin=origin), stand_in=None)).seq)
    found = made(stored, site=making.SITE)
    for entry in found["entry"]:
        assert entry["resource"]["meta"]["security"][0]["code"] == "HTEST"
        assert "HTEST" in [tag["code"] for tag in entry["resource"]["meta"]["tag"]]
    assert {each["status"] for each in resources(found, "Observation")} == {"preliminary"}
    assert not resources(found, "RiskAssessment")
    assert "no person's" in resources(found, "DiagnosticReport")[0]["conclusion"]


def test_a_real_looking_record_of_a_demonstration_is_marked_as_well(kept, making):
    stored = kept(making.attempt())
    real, marked = made(stored, site=making.SITE), made(stored, site=making.SITE, synthetic=True)
    assert all("security" in entry["resource"]["meta"] for entry in marked["entry"])
    assert resources(real, "Patient")[0]["id"] != resources(marked, "Patient")[0]["id"]


def test_without_a_clock_the_time_is_said_to_be_unknown(kept, making):
    record = making.record(started_at=datetime(1970, 1, 1, 0, 5, tzinfo=UTC))
    record = replace(record, meta={**record.meta, "clock_set": False})
    stored = kept(making.attempt(record))
    unset = replace(stored, entry=replace(stored.entry, at=None, clock_set=False))
    wave = observation(made(unset), "131328")
    assert "effectiveDateTime" not in wave
    assert wave["_effectiveDateTime"]["extension"][0]["valueCode"] == "unknown"
    assert "issued" not in wave
    assert observation(made(stored), "131328")["effectiveDateTime"] > "2020", "the store's corrected time counts"


def test_a_clock_that_was_wrong_gives_way_to_the_stores_correction(kept, making, store):
    stored = kept(making.attempt())
    before = observation(made(stored), "131328")["effectiveDateTime"]
    store.correct_clock(stored.entry.boot, 86_400.0, operator="OP7", even_if_set=True)
    after = observation(made(store.read(stored.entry.seq)), "131328")["effectiveDateTime"]
    moved = datetime.fromisoformat(after) - datetime.fromisoformat(before)
    assert moved.total_seconds() == pytest.approx(86_400, abs=60)


def test_a_time_without_zone_is_sent_as_a_day(kept, making):
    record = making.record(started_at=datetime(2026, 5, 4, 3, 2, 1))
    assert observation(made(kept(making.attempt(record))), "131328")["effectiveDateTime"] == "2026-05-04"


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_bundle_calls_its_classes_is_a_valid_code(code, words):
    (coding,) = fhir_terms.own(code, words)["coding"]
    assert CODE.fullmatch(coding["code"])
    assert coding.get("display", "x").strip()


def test_the_export_is_the_bundle(kept, making):
    stored = kept(making.attempt())
    assert json.loads(exchange.export(stored, "fhir", site="Jiri")) == json.loads(
        json.dumps(fhir.bundle(stored, site="Jiri"))
    )


def first(found, kind):
    return resources(found, kind)[0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: first(found, "Patient").update(birthDat="1970-01-01"),
        lambda found: first(found, "Observation").update(status="finished"),
        lambda found: first(found, "Observation").pop("code"),
        lambda found: observation(found, "screening").update(dataAbsentReason={"text": "obs-6"}),
        lambda found: first(found, "DiagnosticReport")["subject"].update(reference="Patient/1"),
        lambda found: first(found, "DiagnosticReport").update(issued="2026-05-04"),
        lambda found: first(found, "DiagnosticReport").update(performer=[]),
        lambda found: first(found, "Device").update(note=[{"text": ""}]),
        lambda found: observation(found, "131328")["component"][0]["valueSampledData"].update(data="1 2  3"),
        lambda found: observation(found, "131328")["component"][0]["valueSampledData"]["origin"].pop("system"),
        lambda found: found["entry"][1].update(fullUrl=found["entry"][0]["fullUrl"]),
        lambda found: found["entry"][1]["request"].update(method="POST"),
    ],
)
def test_the_checks_of_these_tests_are_awake(spoil, kept, making):
    from fhir.resources.R4B.bundle import Bundle

    found = made(kept(making.attempt()))
    spoil(found)
    with pytest.raises((AssertionError, ValueError)):
        _ = Bundle.model_validate(found), check(found)
