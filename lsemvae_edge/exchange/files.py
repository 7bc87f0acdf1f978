"""Page, table, EDF+ and JSON of a stored attempt: the writers are elsewhere, what only a store knows is added here."""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

from lsemvae_edge.errors import UsageError
from lsemvae_edge.exchange.exported import Exported
from lsemvae_edge.formats import csv, edf
from lsemvae_edge.language import get
from lsemvae_edge.record import Record
from lsemvae_edge.report.facts import VisitFacts
from lsemvae_edge.store import Entry, Stored

SCHEMA = "lsemvae-edge/record/1"


def pdf(stored: Stored, exported: Exported, language: str) -> bytes:
    """Return the printed page."""
    if exported.result is None or exported.record is None:
        raise UsageError("This attempt has no result, so there is no page of it.", "Export it as JSON.")
    # fpdf2 and the font take longer to import than anything else here.
    from lsemvae_edge.report.pdf import render

    facts = VisitFacts(
        study_id=exported.study_id,
        attempt=exported.number,
        # The settings of the day of the recording are not in the store.
        of=None,
        operator=exported.visit.operator,
        site=exported.site,
        head=str(stored.entry.head),
        reprint=True,
    )
    return render(exported.result, exported.record, language=get(language), visit=facts)


def table(stored: Stored, exported: Exported, language: str) -> bytes:
    """Return the samples as CSV; the study id and the outcome stand in comments, which readers pass over."""
    record = recording(exported)
    lines = [f"# study_id: {exported.study_id}", f"# attempt: {exported.number}", f"# record: {exported.hash}"]
    if exported.result is not None:
        lines.append(f"# outcome: {exported.result.outcome}")
        if exported.result.model.stand_in:
            lines.append(f"# stand_in: {' '.join(exported.result.model.stand_in.split())}")
    (samples,) = csv.encode(record, Path("record.csv")).values()
    return "\n".join(lines).encode() + b"\n" + samples


def european(stored: Stored, exported: Exported, language: str) -> bytes:
    """Return EDF+ with annotations for gaps; the study id is the patient's code, which EDF+ keeps for that."""
    record = recording(exported)
    (content,) = edf.encode(record, Path("record.edf")).values()
    import edfio  # the line above has told whether it is there

    made = edfio.read_edf(content, header_encoding="latin-1")
    code = "".join(mark for mark in exported.study_id if mark.isascii() and mark.isprintable() and mark != " ")
    made.patient = edfio.Patient(
        code=code[:32] or "X", sex=cast(Literal["F", "M", "X"], made.patient.sex), birthdate=None
    )
    result = exported.result
    notes = [] if result is None else [f"lsemvae-edge outcome: {result.outcome}", *result.wording.notes]
    made.add_annotations([edfio.EdfAnnotation(0.0, None, note) for note in notes])
    buffer = io.BytesIO()
    made.write(buffer)
    return buffer.getvalue()


def document(stored: Stored, exported: Exported, language: str) -> bytes:
    """Return all that was said as JSON, without the samples."""
    result, visit = exported.result, asdict(exported.visit)
    # What an operator typed freely may name somebody.
    del visit["note"]
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "simulated": exported.simulated,
        "site": exported.site,
        "entry": {
            "seq": exported.seq,
            "hash": exported.hash,
            "at": stored.entry.at,
            "clock_set": stored.entry.clock_set,
        },
        "visit": visit,
        "attempt": exported.number,
        "ended": stored.attempt.ended,
        "detail": exported.detail,
        "electrodes_confirmed": stored.attempt.electrodes_confirmed,
        "study_id_corrected": exported.amended,
        "started_at": None if exported.started_at is None else exported.started_at.isoformat(),
        "result": None if result is None else result.to_dict(),
        "over_reads": [_later(entry) for entry in stored.over_reads],
        "outcomes": [_later(entry) for entry in stored.outcomes],
    }
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"


def recording(exported: Exported) -> Record:
    """Return the recording.

    Raises
    ------
    UsageError
        If nothing was received.
    """
    if exported.record is None or exported.record.n_samples == 0:
        raise UsageError("This attempt holds no signal.", "Export it as JSON or FHIR.")
    return exported.record


def _later(entry: Entry) -> dict[str, Any]:
    return {"seq": entry.seq, "at": entry.at, **{key: value for key, value in entry.facts.items() if key != "seq"}}
