"""The bill of materials: complete, and the same every time."""

import json
import os
import subprocess
import sys
from datetime import date
from hashlib import sha256

import pytest

pytest.importorskip("cyclonedx", reason="the bill of materials needs the extra `export`")

from lsemvae_edge.quantize import sbom as sboms

DATA = sboms.DataSet("A cohort", "1.0.3", "CC-BY-4.0", "https://example.org/cohort", "Someone et al. 2020")
FACTS = {
    "name": "made-by-hand",
    "version": 3,
    "licence": "CC-BY-4.0",
    "files": {"model.tflite": b"m", "card.md": b"c"},
    "libraries": {"torch": "2.13.0", "numpy": "2.4.6"},
    "data": (DATA,),
    "made_on": date(2026, 1, 2),
}


def made(**changes):
    return json.loads(sboms.sbom(**{**FACTS, **changes}))


def test_it_holds_the_model_its_files_its_makers_and_its_data():
    found = made()
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["timestamp"].startswith("2026-01-02T00:00:00")
    model = found["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "made-by-hand", "3")
    assert model["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    hashes = {file["name"]: file["hashes"][0] for file in model["components"]}
    assert hashes == {
        name: {"alg": "SHA-256", "content": sha256(content).hexdigest()} for name, content in FACTS["files"].items()
    }
    by_type = {kind: [one for one in found["components"] if one["type"] == kind] for kind in ("library", "data")}
    assert {one["purl"] for one in by_type["library"]} == {"pkg:pypi/torch@2.13.0", "pkg:pypi/numpy@2.4.6"}
    (data,) = by_type["data"]
    assert (data["name"], data["version"], data["description"]) == ("A cohort", "1.0.3", "Someone et al. 2020")
    assert data["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert data["externalReferences"][0]["url"] == "https://example.org/cohort"
    (depends,) = [one for one in found["dependencies"] if one["ref"] == "model"]
    assert set(depends["dependsOn"]) == {one["bom-ref"] for one in found["components"]}


def test_a_licence_without_identifier_is_named():
    assert made(licence="weights: none")["metadata"]["component"]["licenses"] == [
        {"license": {"name": "weights: none"}}
    ]


def test_it_follows_from_its_arguments_alone():
    reordered = {
        "files": dict(reversed(FACTS["files"].items())),
        "libraries": dict(reversed(FACTS["libraries"].items())),
    }
    assert sboms.sbom(**FACTS) == sboms.sbom(**{**FACTS, **reordered})
    code = f"""
import datetime
from lsemvae_edge.quantize.sbom import DataSet, sbom
print(hash("salt"))
print(sbom(**{FACTS!r}).decode())
"""
    printed = set()
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        printed.add(done.stdout.partition("\n")[2])
    assert printed == {sboms.sbom(**FACTS).decode() + "\n"}


def test_its_serial_number_changes_with_the_content():
    serials = {
        made(**changes)["serialNumber"]
        for changes in ({}, {"version": 4}, {"name": "other"}, {"files": {"model.tflite": b"n", "card.md": b"c"}})
    }
    assert len(serials) == 4
    assert all(serial.startswith("urn:uuid:") for serial in serials)


def test_it_reads_back_by_the_library():
    from cyclonedx.model.bom import Bom

    bom = Bom.from_json(made())
    assert bom.metadata.component.name == "made-by-hand"
    assert bom.validate()


def test_versions_are_those_installed():
    found = sboms.versions(("numpy", "no-such-distribution"))
    assert set(found) == {"numpy"}
