"""Against Medplum's FHIR engine, which validates by the definitions of R4 and resolves the transaction by itself."""

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from lsemvae_edge.outbox import Destination, send

HERE = Path(__file__).parent / "medplum"
FOLDER = Path(os.environ.get("LSEMVAE_EDGE_MEDPLUM", HERE))


@pytest.fixture(scope="module")
def medplum():
    """Address of the server."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on this machine")
    if not (FOLDER / "node_modules/@medplum/fhir-router").is_dir():
        pytest.skip(f"Medplum is not installed; run npm install --ignore-scripts --prefix {FOLDER}")
    process = subprocess.Popen([node, str(HERE / "server.cjs"), str(FOLDER)], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/fhir/R4"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def found(url, kind) -> list[dict]:
    with urllib.request.urlopen(f"{url}/{kind}?_count=100", timeout=10) as answer:
        return [entry["resource"] for entry in json.load(answer).get("entry", ())]


def test_every_kind_of_attempt_is_taken_and_a_repeat_is_there_once(medplum, store, making):
    for attempt in (
        making.attempt(),
        making.attempt(stand_in=None),
        making.attempt(making.record(amplitude="uncalibrated")),
        making.attempt(making.with_gap(making.record(), 0, 5000, lead=1)),
        making.attempt(outcome="inconclusive", reason="The model's answer lies between its thresholds."),
        making.attempt(outcome="inconclusive", ran=False),
        making.nothing(),
    ):
        store.append(attempt)
    first = next(store.entries(kinds=("attempt",))).seq
    store.over_read(first, {"pattern": "present", "rhythm": "sinus", "quality": "good"}, operator="X")
    report = send(store, Destination(medplum, site="Jiri"))
    assert (report.sent, report.parked, report.reason) == (7, (), "")
    again = send(store, Destination(f"{medplum}/", site="Jiri"))  # another name of the same server
    assert again.sent == 7
    reports = found(medplum, "DiagnosticReport")
    assert len(reports) == 7
    assert len(found(medplum, "Patient")) == 1
    assert {each["subject"]["reference"].split("/")[0] for each in reports} == {"Patient"}
    assert len(found(medplum, "RiskAssessment")) == 1


def test_its_validation_is_awake(medplum):
    bad = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:0b8f0e62-5b0e-4a55-8f9a-1f7c1f1d4a01",
                "resource": {
                    "resourceType": "Observation",
                    "id": "0b8f0e62-5b0e-4a55-8f9a-1f7c1f1d4a01",
                    "status": "final",
                    "code": {"text": "x"},
                    "valueString": "x",
                    "dataAbsentReason": {"text": "obs-6"},
                },
                "request": {"method": "PUT", "url": "Observation/0b8f0e62-5b0e-4a55-8f9a-1f7c1f1d4a01"},
            }
        ],
    }
    from lsemvae_edge.outbox.client import post

    answer = post(Destination(medplum), bad, "x")
    assert answer.meaning == "refused"
    assert "obs-6" in answer.reason
