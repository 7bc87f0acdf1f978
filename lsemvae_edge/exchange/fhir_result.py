"""What was found, as FHIR: the screening's and a clinician's Observation, the report, and a risk if it may be said."""

from lsemvae_edge.exchange import fhir_terms as terms
from lsemvae_edge.exchange.exported import Exported
from lsemvae_edge.exchange.fhir_terms import Json
from lsemvae_edge.result import INCONCLUSIVE, NOT_ASKED, ScreeningResult
from lsemvae_edge.screening import model_ran
from lsemvae_edge.store import Entry

SIMULATED = "This is a demonstration or a simulated recording: it is no person's."
_STAND_IN = (
    "The model was trained on a stand-in label: {label}. Nothing here is a finding of the disease it stands in for."
)


def status(exported: Exported) -> str:
    """Return the status of an Observation: never final with a stand-in, and said to be corrected after an amendment."""
    if exported.stand_in or exported.simulated:
        return "preliminary"
    return "corrected" if exported.amended else "final"


def issued(exported: Exported) -> Json:
    """Return when the result was made available: when the store had it, if the clock was set."""
    at = exported.stored_at
    return {"issued": at.isoformat(timespec="milliseconds")} if at is not None and at.tzinfo else {}


def software(exported: Exported, result: ScreeningResult) -> Json:
    """Return the model, and the software around it, as a Device."""
    model = result.model
    made: Json = {
        "resourceType": "Device",
        "id": str(exported.shared_name(f"model/{model.sha256}/{result.software_version}/{exported.simulated}")),
        "deviceName": [{"name": terms.string(f"lsemvae-edge, model {model.id}"), "type": "model-name"}],
        "type": terms.own("screening-software", "Software that screens six-lead ECGs; research use"),
        "version": [
            {"type": terms.own("software-version", "Version of lsemvae-edge"), "value": result.software_version},
            {"type": terms.own("bundle-sha256", "SHA-256 of the bundle's manifest"), "value": model.sha256},
        ],
    }
    if model.stand_in:
        made["note"] = [{"text": terms.string(_STAND_IN.format(label=model.stand_in))}]
    return made


def screening(exported: Exported, result: ScreeningResult, patient: Json, device: Json, waveform: Json | None) -> Json:
    """Return the answer of the model under this project's own codes, or why there is none."""
    made: Json = {
        "resourceType": "Observation",
        "id": str(exported.name("screening")),
        "identifier": [{"system": terms.HEADS, "value": f"{exported.seq}:{exported.hash}"}],
        "status": status(exported),
        "category": [terms.concept(terms.CATEGORY, "procedure", "Procedure")],
        "code": terms.own("screening", "Six-lead ECG screening"),
        "subject": patient,
        **terms.moment("effectiveDateTime", exported.started_at),
        **issued(exported),
        "method": {"text": terms.string(f"lsemvae-edge {result.software_version}, model {result.model.id}")},
        "device": terms.reference(device),
        "note": [{"text": line} for line in _words(exported, result)],
        "component": _components(exported, result),
    }
    if waveform is not None:
        made["derivedFrom"] = [terms.reference(waveform)]
    reasons = [task.reason for task in result.tasks.values() if task.outcome == result.outcome and task.reason]
    made |= _value(result.outcome, reasons[0] if reasons else None, result)
    made["text"] = terms.narrative([result.wording.headline, *_words(exported, result)])
    return made


def risk(exported: Exported, result: ScreeningResult, patient: Json, observation: Json) -> Json | None:
    """Return the probability as a RiskAssessment; None with a stand-in, a simulated recording or no answer."""
    if exported.stand_in or exported.simulated:
        return None
    told = {name: task for name, task in result.tasks.items() if task.outcome not in (INCONCLUSIVE, NOT_ASKED)}
    predictions = []
    for name, task in told.items():
        if task.probability is not None:
            share = terms.quantity(round(100 * task.probability, 1), "%", "%")
            predictions.append(
                {"outcome": terms.own(f"task-{name}", _spoken(name)), "probabilityRange": {"low": share, "high": share}}
            )
    if not predictions:
        return None
    return {
        "resourceType": "RiskAssessment",
        "id": str(exported.name("risk")),
        "status": status(exported),
        "method": terms.own("screening", f"lsemvae-edge {result.software_version}, model {result.model.id}"),
        "subject": patient,
        **terms.moment("occurrenceDateTime", exported.started_at),
        "basis": [terms.reference(observation)],
        "prediction": predictions,
    }


def over_read(exported: Exported, entry: Entry, patient: Json, waveform: Json | None) -> Json:
    """Return a clinician's reading of the recording; who read is a code that stays in the store."""
    facts = entry.facts.get("reading") or {}
    pattern = str(facts.get("pattern") or "unsure")
    made: Json = {
        "resourceType": "Observation",
        "id": str(exported.name(f"over-read/{entry.hash}")),
        "status": status(exported),
        "category": [terms.concept(terms.CATEGORY, "procedure", "Procedure")],
        "code": terms.own("over-read", "A clinician's reading of this ECG"),
        "subject": patient,
        **terms.moment("effectiveDateTime", exported.started_at),
        "component": [
            {"code": terms.own(f"over-read-{name}", words), "valueString": terms.string(str(facts[name]))}
            for name, words in (("rhythm", "Rhythm"), ("quality", "What the recording is good for"))
            if facts.get(name)
        ],
    }
    if not made["component"]:
        del made["component"]
    if pattern == "unsure":
        made["dataAbsentReason"] = terms.absent("unknown", "The clinician was unsure.")
    else:
        made["valueCodeableConcept"] = terms.own(f"over-read-{pattern}", f"Pattern {pattern}")
    if waveform is not None:
        made["derivedFrom"] = [terms.reference(waveform)]
    return made


def report(exported: Exported, patient: Json, results: list[Json]) -> Json:
    """Return the report that binds an attempt together; it exists also where nothing was recorded."""
    result = exported.result
    if result is not None:
        lines = [result.wording.headline, *_words(exported, result)]
    else:
        lines = [f"Attempt {exported.number} gave no result.", exported.detail or ""]
        lines += [SIMULATED] if exported.simulated else []
    made: Json = {
        "resourceType": "DiagnosticReport",
        "id": str(exported.name("report")),
        "identifier": [{"system": terms.HEADS, "value": f"{exported.seq}:{exported.hash}"}],
        "text": terms.narrative([f"Study id {exported.study_id}, attempt {exported.number}.", *lines]),
        "status": _report_status(exported),
        "category": [terms.concept(terms.SERVICE, "EC", "Electrocardiac (e.g., EKG, EEC, Holter)")],
        "code": terms.concept(terms.LOINC, "11524-6", "EKG study", words="Six-lead ECG screening"),
        "subject": patient,
        **terms.moment("effectiveDateTime", exported.started_at),
        **issued(exported),
        "conclusion": terms.string(" ".join(line for line in lines if line)),
    }
    if results:
        made["result"] = [terms.reference(each) for each in results]
    return made


def _report_status(exported: Exported) -> str:
    if exported.record is None and exported.result is None:
        return "cancelled"
    return status(exported)


def _value(outcome: str, reason: str | None, result: ScreeningResult) -> Json:
    """Return an outcome, or the reason why there is none; FHIR admits one of the two (obs-6)."""
    if outcome == NOT_ASKED:
        return {"dataAbsentReason": terms.absent("not-applicable", "The question was not asked of this recording.")}
    if outcome != INCONCLUSIVE:
        return {"valueCodeableConcept": terms.own(outcome, _spoken(outcome))}
    code = "unknown" if model_ran(result) else "not-performed"
    return {"dataAbsentReason": terms.absent(code, reason or "No answer.")}


def _components(exported: Exported, result: ScreeningResult) -> list[Json]:
    visit, quality = exported.visit, result.quality
    made: list[Json] = [
        {"code": terms.own(f"task-{name}", _spoken(name)), **_value(task.outcome, task.reason, result)}
        for name, task in result.tasks.items()
    ]
    rate: Json = {"code": terms.concept(terms.LOINC, "8867-4", "Heart rate")}
    if result.heart_rate_bpm is None:
        rate["dataAbsentReason"] = terms.absent("error", "The heart rate could not be measured.")
    else:
        rate["valueQuantity"] = terms.quantity(round(result.heart_rate_bpm, 1), "beats/minute", "/min")
    usable: Json = {"code": terms.own("usable", "The recording can be analysed"), "valueBoolean": quality.usable}
    paced: Json = {"code": terms.own("pacemaker", "The person has a pacemaker, as told")}
    if visit.pacemaker is None:
        paced["dataAbsentReason"] = terms.absent("asked-unknown", "The person did not know.")
    else:
        paced["valueBoolean"] = visit.pacemaker
    made += [rate, usable, paced]
    made.append({"code": terms.own("age-band", "Age band, as told"), "valueString": visit.age_band})
    made.append({"code": terms.own("attempt", "Number of this attempt in the visit"), "valueInteger": exported.number})
    return made


def _words(exported: Exported, result: ScreeningResult) -> list[str]:
    """Return everything the health worker read, and what a reader far away must know beside it."""
    wording = result.wording
    lines = [wording.advice, *wording.notes]
    lines += [_STAND_IN.format(label=result.model.stand_in)] if result.model.stand_in else []
    lines += [SIMULATED] if exported.simulated else []
    return [line for line in map(terms.string, lines) if line]


def _spoken(name: str) -> str:
    return name.replace("_", " ")
