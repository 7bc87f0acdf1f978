"""A stored attempt as a FHIR R4 (4.0.1) transaction; what is mapped to what stands in ``docs/exchange.md``.

Every resource has an id that follows from what it describes, and is put under it, so that a transaction that is sent
again changes nothing. R4B (4.3.0) has the same definitions of all the resources used here.
"""

import json
from typing import Any

from lsemvae_edge.exchange import fhir_result
from lsemvae_edge.exchange import fhir_terms as terms
from lsemvae_edge.exchange.exported import Exported, of
from lsemvae_edge.exchange.fhir_terms import Json
from lsemvae_edge.exchange.sampled import components
from lsemvae_edge.record import Record
from lsemvae_edge.store import Stored

VERSION = "4.0"
MEDIA_TYPE = f"application/fhir+json; fhirVersion={VERSION}"


def bundle(stored: Stored, *, site: str = "", synthetic: bool = False) -> Json:
    """Return the transaction of one attempt.

    Parameters
    ----------
    stored : Stored
    site : str
        Name of the place within which study ids are unique; without one, only attempts of a visit share a Patient.
    synthetic : bool
        It comes from a store for demonstrations.

    Returns
    -------
    dict
        A Bundle of type ``transaction``: Patient, Devices, Observations, a DiagnosticReport; a RiskAssessment only if
        the model's label is no stand-in.
    """
    return _transaction(stored, of(stored, site=site, synthetic=synthetic))


def encode(stored: Stored, exported: Exported, language: str) -> bytes:
    """Return the transaction as JSON."""
    return json.dumps(_transaction(stored, exported), ensure_ascii=False, allow_nan=False).encode()


def _transaction(stored: Stored, exported: Exported) -> Json:
    person = _patient(exported)
    patient = terms.reference(person)
    resources = [person]
    results: list[Json] = []
    recorder: Json | None = None
    waveform: Json | None = None
    if exported.record is not None:
        recorder = _recorder(exported, exported.record)
        resources.append(recorder)
        if exported.record.n_samples and any(name in terms.LEADS for name in exported.record.leads):
            waveform = _waveform(exported, exported.record, patient, recorder)
            resources.append(waveform)
            results.append(waveform)
    if exported.result is not None:
        software = fhir_result.software(exported, exported.result)
        screening = fhir_result.screening(exported, exported.result, patient, software, waveform)
        resources += [software, screening]
        results.append(screening)
        risk = fhir_result.risk(exported, exported.result, patient, screening)
        resources += [risk] if risk else []
    for entry in stored.over_reads:
        reading = fhir_result.over_read(exported, entry, patient, waveform)
        resources.append(reading)
        results.append(reading)
    resources.append(fhir_result.report(exported, patient, results))
    for resource in resources:
        _mark(resource, exported, of_model=resource not in (person, recorder, waveform))
    return {
        "resourceType": "Bundle",
        "id": str(exported.name("transaction")),
        "type": "transaction",
        "entry": [
            {
                "fullUrl": f"urn:uuid:{resource['id']}",
                "resource": resource,
                "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"},
            }
            for resource in resources
        ],
    }


def _patient(exported: Exported) -> Json:
    """Return the person: a pseudonym and nothing else."""
    identifier: Json = {"use": "secondary", "system": terms.STUDY_IDS, "value": exported.study_id}
    if exported.site:
        identifier["assigner"] = {"display": terms.string(exported.site)}
    return {"resourceType": "Patient", "id": str(exported.person_name()), "identifier": [identifier]}


def _recorder(exported: Exported, record: Record) -> Json:
    name = terms.string(str(record.meta.get("device") or "")) or "ECG recorder, kind not known"
    return {
        "resourceType": "Device",
        "id": str(exported.shared_name(f"recorder/{exported.site}/{name}/{exported.simulated}")),
        "deviceName": [{"name": name, "type": "user-friendly-name"}],
        "type": terms.concept(terms.MDC, "528390", "MDC_DEV_SPEC_PROFILE_MIN_ECG", words="Electrocardiograph"),
    }


def _waveform(exported: Exported, record: Record, patient: Json, recorder: Json) -> Json:
    notes = []
    if record.amplitude != "calibrated":
        notes.append(
            f"The amplitude is {record.amplitude}: the samples are no millivolts, and only their shape counts."
        )
    if record.gaps.any():
        notes.append(f'Samples that were not received are "E": {100 * record.gaps.mean():.1f} % of all.')
    made: Json = {
        "resourceType": "Observation",
        "id": str(exported.name("waveform")),
        "identifier": [{"system": terms.HEADS, "value": f"{exported.seq}:{exported.hash}"}],
        "status": fhir_result.status(exported),
        "category": [terms.concept(terms.CATEGORY, "procedure", "Procedure")],
        "code": terms.concept(terms.MDC, str(terms.POTENTIAL), "MDC_ECG_ELEC_POTL", words="ECG"),
        "subject": patient,
        **terms.moment("effectiveDateTime", exported.started_at),
        **fhir_result.issued(exported),
        "device": terms.reference(recorder),
        "component": components(record),
    }
    if notes:
        made["note"] = [{"text": note} for note in notes]
    return made


def _mark(resource: Json, exported: Exported, *, of_model: bool) -> None:
    """Say on every resource what must not be taken for more than it is."""
    tags: list[Json] = []
    meta: dict[str, Any] = {}
    if exported.simulated:
        label = terms.coding(terms.ACT_REASON, "HTEST", "test health data")
        meta["security"] = [label]
        tags.append(label)
    if of_model and exported.result is not None and exported.result.model.stand_in is not None:
        tags.append(terms.coding(terms.CODES, "stand-in", "The model's label stands in for another"))
    if tags:
        meta["tag"] = tags
        resource["meta"] = meta
