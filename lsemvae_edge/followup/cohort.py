"""A training cohort of a store: recordings, and the labels that clinicians, echo and catheter gave later.

The folder is what ``train prepare --dataset folder`` and ``train recalibrate`` read (``docs/datasets.md``)::

    labels.csv            patient, file, age, pacemaker, and what there is of mPAP, PAWP, PVR_WU, right_heart_pattern, …
    details.csv           for people: when after the recording, by how many readers, echo values
    README.txt            where it comes from, and what the columns mean
    recordings/*.lser     signal, gaps, rate and leads, bit for bit; no time, no device, no id

No study id leaves the store: a patient is a keyed hash of it. The key is drawn for each export and forgotten, unless
one is given, so that a later export names the same patients.
"""

import csv
import hmac
import io
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.followup.findings import PRECISION_DAYS, Catheter, Echo, OverRead, from_facts
from lsemvae_edge.formats import native
from lsemvae_edge.record import Record
from lsemvae_edge.visit import YOUNGEST

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Store, Stored

LABELS, DETAILS, README, RECORDINGS = "labels.csv", "details.csv", "README.txt", "recordings"
PATTERN_TASK = "right_heart_pattern"
DILATION_TASK = "rv_dilated"
WITHIN_DAYS = 90
"""An examination counts for recordings at most so many days apart from it, unless told otherwise."""
KEY_BYTES = 32

_MEASURED = ("mPAP", "PAWP", "PVR_WU")
_COLUMNS = ("patient", "file", "age", "pacemaker", *_MEASURED, PATTERN_TASK, DILATION_TASK)
_DETAILS = (
    "file", "attempt", "ended", "age_band", "days_to_catheter", "catheter_precision", "days_to_echo", "echo_precision",
    "tr_velocity_m_s", "rvsp_mmhg", "readers", "rhythm", "quality",
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and what it left out.

    Parameters
    ----------
    folder : Path
    recordings : int
    patients : int
    labelled : dict of str to int
        Recordings with a value, by column of the table.
    left_out : dict of str to int
        Attempts that are not in it, by reason.
    """

    folder: Path
    recordings: int
    patients: int
    labelled: dict[str, int]
    left_out: dict[str, int]


def export(
    store: "Store",
    folder: Path,
    *,
    key: bytes | None = None,
    within_days: int = WITHIN_DAYS,
    only_labelled: bool = False,
) -> Exported:
    """Write a cohort into a new folder.

    Parameters
    ----------
    store : Store
    folder : Path
        Must not exist, or be empty.
    key : bytes, optional
        Of the pseudonyms; by default a new one that nobody keeps, so that no two exports can be joined.
    within_days : int
        An examination counts for recordings at most so many days apart from it.
    only_labelled : bool
        Leave out recordings without any label; by default they are there, for pre-training.

    Raises
    ------
    UsageError
        If the folder holds something, or the key is short.
    StoreError
        If it cannot be written, or no recording is left.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already, and is not empty.", "Name a new folder.")
    if key is not None and len(key) < KEY_BYTES:
        raise UsageError(f"A key of pseudonyms has {KEY_BYTES} bytes or more.", "Let the command make one.")
    secret = key or secrets.token_bytes(KEY_BYTES)
    left_out: Counter[str] = Counter()
    rows: list[dict[str, str]] = []
    details: list[dict[str, str]] = []
    outcomes = _outcomes(store)
    try:
        (folder / RECORDINGS).mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in store.attempts(newest_first=False, wiped=True):
            reason = _unfit(entry)
            stored = None if reason else store.read(entry.seq)
            if stored is not None and stored.attempt.record is None:
                reason, stored = "no recording", None
            if stored is None:
                left_out[reason or ""] += 1
                continue
            patient = _pseudonym(secret, "patient", stored.attempt.visit.study_id)
            labels, told = _labels(stored, outcomes.get(stored.attempt.visit.id, ()), within_days)
            if only_labelled and not labels:
                left_out["no label"] += 1
                continue
            # The order of recordings would tell the order of patients.
            name = f"{RECORDINGS}/{_pseudonym(secret, 'recording', f'{store.kind} {entry.seq} {entry.hash}')}.lser"
            assert stored.attempt.record is not None
            _write(folder / name, native.encode(_bare(stored.attempt.record)))
            rows.append({"patient": patient, "file": name, **_person(stored), **labels})
            details.append({"file": name, **told})
        if not rows:
            raise StoreError("No recording is left for a cohort.", _advice(left_out))
        columns = [name for name in _COLUMNS if any(name in row for row in rows)]
        _write(folder / LABELS, _table(columns, sorted(rows, key=lambda row: row["file"])))
        _write(folder / DETAILS, _table(_DETAILS, sorted(details, key=lambda row: row["file"])))
        _write(folder / README, _readme(store.kind, within_days, key is not None).encode())
    except OSError as error:
        raise StoreError(
            f"The cohort cannot be written: {error.strerror}.", f"Make room, remove {folder} and export again."
        ) from error
    labelled = {name: sum(name in row for row in rows) for name in columns if name not in _COLUMNS[:4]}
    return Exported(folder, len(rows), len({row["patient"] for row in rows}), labelled, dict(left_out))


def _unfit(entry: "Entry") -> str | None:
    """Why an attempt is not exported, None if it is."""
    if entry.wiped:
        return "wiped"
    if entry.damaged:
        return "damaged"
    if not entry.facts["visit"]["consent"]:
        return "no consent"
    if entry.facts["ended"] not in ("screened", "refused"):
        return "not finished"
    return None


def _outcomes(store: "Store") -> dict[str, list[Echo | Catheter]]:
    """Return what was found about a person, by visit: whichever of its attempts it was entered for."""
    visits = {entry.seq: entry.facts["visit"]["id"] for entry in store.attempts() if entry.facts}
    found: dict[str, list[Echo | Catheter]] = {}
    for entry in store.entries(kinds=("outcome",)):
        visit = visits.get(entry.facts.get("seq", -1))
        if visit is not None:
            finding = from_facts(entry.facts["finding"])
            assert not isinstance(finding, OverRead)
            found.setdefault(visit, []).append(finding)
    return found


def _labels(
    stored: "Stored", outcomes: Iterable[Echo | Catheter], within_days: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Cells of the table of labels, and of that of details; what is not known is absent."""
    labels: dict[str, str] = {}
    told = {
        "attempt": str(stored.attempt.number),
        "ended": stored.attempt.ended,
        "age_band": stored.attempt.visit.age_band,
    }
    near = [finding for finding in outcomes if abs(finding.days) + PRECISION_DAYS[finding.precision] <= within_days]
    catheter = _nearest([finding for finding in near if isinstance(finding, Catheter)])
    if isinstance(catheter, Catheter):
        values = (catheter.mpap_mmhg, catheter.pawp_mmhg, catheter.pvr_wu)
        labels.update({name: f"{value:g}" for name, value in zip(_MEASURED, values, strict=True) if value is not None})
        told.update(days_to_catheter=str(catheter.days), catheter_precision=catheter.precision)
    echo = _nearest([finding for finding in near if isinstance(finding, Echo)])
    if isinstance(echo, Echo):
        if echo.rv_dilated is not None:
            labels[DILATION_TASK] = str(int(echo.rv_dilated))
        told.update(days_to_echo=str(echo.days), echo_precision=echo.precision)
        numbers = {"tr_velocity_m_s": echo.tr_velocity_m_s, "rvsp_mmhg": echo.rvsp_mmhg}
        told.update({name: f"{value:g}" for name, value in numbers.items() if value is not None})
    readings = _last_of_each_reader(stored)
    told["readers"] = str(len(readings))
    for name in ("rhythm", "quality"):
        told[name] = " / ".join(sorted({getattr(reading, name) for reading in readings}))
    patterns = {reading.pattern for reading in readings}
    # Readers who disagree, and one who is unsure, give no label.
    if patterns in ({"present"}, {"absent"}):
        labels[PATTERN_TASK] = str(int(patterns == {"present"}))
    return labels, told


def _nearest(findings: "list[Echo | Catheter]") -> Echo | Catheter | None:
    """Take the one nearest to the recording; of several as near the one entered last."""
    return min(
        reversed(findings), key=lambda finding: abs(finding.days) + PRECISION_DAYS[finding.precision], default=None
    )


def _last_of_each_reader(stored: "Stored") -> list[OverRead]:
    last: dict[str, OverRead] = {}
    for entry in stored.over_reads:
        reading = from_facts(entry.facts["reading"])
        assert isinstance(reading, OverRead)
        last[reading.reader] = reading
    return list(last.values())


def _person(stored: "Stored") -> dict[str, str]:
    visit = stored.attempt.visit
    known = {True: "yes", False: "no", None: ""}
    return {"age": f"{YOUNGEST[visit.age_band]:g}", "pacemaker": known[visit.pacemaker]}


def _bare(record: Record) -> Record:
    """Return the signal alone: when, where and with which device it was recorded could name a person."""
    return replace(record, started_at=None, meta={})


def _pseudonym(secret: bytes, what: str, text: str) -> str:
    return hmac.new(secret, f"{what}\0{text}".encode(), sha256).hexdigest()[:16]


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _table(columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _advice(left_out: Mapping[str, int]) -> str:
    found = ", ".join(f"{number} {reason}" for reason, number in sorted(left_out.items()))
    return f"Left out: {found}." if found else "The store holds no attempt yet."


def _readme(kind: str, within_days: int, joinable: bool) -> str:
    origin = (
        "Simulated recordings of a demonstration store: no person's.\n"
        if kind == "demo"
        else "Recordings of a kiosk.\n"
    )
    key = (
        "Exports with the same key have the same pseudonyms; whoever has that key and the study ids can join them."
        if joinable
        else "The pseudonyms' key was drawn for this export and forgotten."
    )
    return f"""{origin}

Read it with: lsemvae-edge train prepare --dataset folder --data THIS_FOLDER --recipe edge --out SHARDS

patient      pseudonym; all recordings of one person have the same. {key}
age          lowest age of the band that was noted, not the age
mPAP, PAWP   mmHg, PVR_WU in Wood units, of the catheter nearest to the recording and at most {within_days} days from it
{PATTERN_TASK}
             1 or 0 as all clinicians read it who read this recording; blank if one was unsure or they disagree
{DILATION_TASK}   1 or 0, of the echo nearest to the recording and at most {within_days} days from it

Recordings that quality refused are among them: leaving them out would make figures look better than they are.
A pseudonymous heart trace is still a person's data. Keep this folder as you keep the records.
"""


def describe(exported: Exported) -> dict[str, Any]:
    """Return what was exported as plain JSON values."""
    return {
        "folder": str(exported.folder),
        "recordings": exported.recordings,
        "patients": exported.patients,
        "labelled": exported.labelled,
        "left_out": exported.left_out,
    }
