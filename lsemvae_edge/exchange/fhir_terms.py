"""Words of FHIR R4: code systems, and the small types that everything is made of."""

import re
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

Json = dict[str, Any]

MDC = "urn:iso:std:iso:11073:10101"
"""ISO/IEEE 11073-10101, under the name that FHIR R4 gives it (section 4.3, terminologies-systems)."""
LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
ABSENT_EXTENSION = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
SERVICE = "http://terminology.hl7.org/CodeSystem/v2-0074"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"

CODES = "urn:uuid:f9b7ca9b-f6aa-4ef3-9168-acc452a011a7"
"""This project's own code system; its codes stand in docs/exchange.md."""
STUDY_IDS = "urn:uuid:4def767e-7703-479e-a234-cd9d6e69aa8d"
"""System of study ids; who assigned one stands beside it."""
HEADS = "urn:uuid:0233d7cc-9afb-4627-a128-0533e56ac49d"
"""System of heads of a store: ``seq:hash``."""

LEADS = {"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64} | {f"V{n}": n + 2 for n in range(1, 7)}
"""Lead numbers of ISO/IEEE 11073-10101, annex A.4."""
POTENTIAL = 2 * 65536 + 256
"""``MDC_ECG_ELEC_POTL``, partition 2; a lead's potential is this and the lead's number."""


def coding(system: str, code: str, display: str | None = None) -> Json:
    """Return one coding."""
    return {"system": system, "code": code} | ({"display": display} if display else {})


def concept(system: str, code: str, display: str | None = None, *, words: str | None = None) -> Json:
    """Return one concept with one coding."""
    made: Json = {"coding": [coding(system, code, display)]}
    text = string(words or display or "")
    return made | ({"text": text} if text else {})


def own(code: str, words: str) -> Json:
    """Return one concept of this project's code system; whatever a bundle calls its classes becomes a valid code."""
    return concept(CODES, re.sub(r"[^A-Za-z0-9_.-]+", "-", code).strip("-") or "unnamed", string(words) or None)


def lead(name: str) -> Json:
    """Return the electric potential of a lead."""
    code, reference = POTENTIAL + LEADS[name], f"MDC_ECG_ELEC_POTL_{name.upper()}"
    return concept(MDC, str(code), reference, words=f"Lead {name}")


def quantity(value: float, unit: str, code: str) -> Json:
    """Return a measured number with its UCUM unit."""
    return {"value": value, "unit": unit, "system": UCUM, "code": code}


def absent(code: str, words: str) -> Json:
    """Return why there is no value: a code of HL7, and a sentence."""
    return {"coding": [coding(ABSENT, code)], "text": string(words)}


def reference(resource: Json) -> Json:
    """Return a reference to a resource of the same transaction; the server puts its own address in the place."""
    return {"reference": f"urn:uuid:{resource['id']}", "type": resource["resourceType"]}


def string(text: str) -> str:
    """Return text as FHIR's ``string`` admits it: no control characters, no blanks at its ends."""
    return "".join(mark if mark.isprintable() or mark in "\n\t" else " " for mark in text).strip()


def moment(name: str, at: datetime | None) -> Json:
    """Return an element of type ``dateTime``: with its zone, else by the day alone, else said to be unknown.

    FHIR R4 wants a zone wherever there is a time of day (section 2.24.0.1), and a zone is not guessed.
    """
    if at is None:
        return {f"_{name}": {"extension": [{"url": ABSENT_EXTENSION, "valueCode": "unknown"}]}}
    return {name: at.isoformat(timespec="milliseconds") if at.tzinfo else at.date().isoformat()}


def narrative(lines: Sequence[str]) -> Json:
    """Return the text that a reader without knowledge of the resource is shown."""
    body = "".join(f"<p>{escape(string(line), quote=False)}</p>" for line in lines if string(line))
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}
