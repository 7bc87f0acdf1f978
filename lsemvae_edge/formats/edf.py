"""European Data Format, EDF and EDF+C, through edfio.

EDF knows no missing sample. A file written here keeps digital -32768 for gaps and says so in annotations: one at
the start, ``lsemvae-edge n_samples=… fs_hz=… gap=-32768``, and one over each gap. In files without that note
-32768 is a sample like any other. Further annotations, ``lsemvae-edge age_years: 45``, keep what the header cannot.
"""

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.formats import _person, steps
from lsemvae_edge.formats._build import Channel, build_record, check_extent
from lsemvae_edge.formats._contract import Format, Hints, Source, require
from lsemvae_edge.leads import canonical_name
from lsemvae_edge.record import Record

GAP_DIGITAL = -32768

_NOTE = re.compile(r"lsemvae-edge n_samples=(\d+) fs_hz=([0-9.e+-]+) gap=-32768")
_FACT = re.compile(r"lsemvae-edge (\w+): (.+)")
_POWERS = range(-5, 3)
"""Of these ten, the limits of 16 bits fit EDF's eight characters."""


def read(source: Source, hints: Hints) -> Record:
    """Read an EDF or EDF+C file.

    Raises
    ------
    BadInputError
        If the file is damaged, cut short, or discontinuous.
    MissingExtraError
        If edfio is not installed.
    """
    edfio = require("edfio", "Reading EDF")
    _check_layout(source.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            edf = edfio.read_edf(source.data, header_encoding="latin-1")
            return _to_record(edf, source)
        except BadInputError:
            raise
        # edfio checks a header field when it is used, with whatever error the conversion gives.
        except Exception as error:
            raise _damaged(f"has an invalid field ({type(error).__name__})") from error


def encode(record: Record, path: Path) -> Mapping[Path, bytes]:
    """Turn a record into an EDF+C file.

    Raises
    ------
    UsageError
        If the record is empty or its values are too large for EDF.
    MissingExtraError
        If edfio is not installed.
    """
    edfio = require("edfio", "Writing EDF")
    if record.n_samples == 0:
        raise UsageError("A recording without samples cannot be written as EDF.", "Use the native format.")
    step = _step_for(record.signal_mv)
    samples_per_block, block_s = _blocks(record)
    padded = math.ceil(record.n_samples / samples_per_block) * samples_per_block
    digital = np.full((len(record.leads), padded), GAP_DIGITAL, dtype=np.int16)
    counts = np.rint(np.nan_to_num(record.signal_mv.astype(np.float64)) / step).astype(np.int16)
    digital[:, : record.n_samples] = np.where(record.gaps, GAP_DIGITAL, counts)
    limits = (round(-32768 * step, 7), round(32767 * step, 7))
    signals = [
        edfio.EdfSignal.from_digital(
            row,
            samples_per_block / block_s,
            label=f"ECG {lead}"[:16],
            physical_dimension="mV" if record.amplitude == "calibrated" else "",
            physical_range=limits,
            digital_range=(-32768, 32767),
        )
        for lead, row in zip(record.leads, digital, strict=True)
    ]
    started = record.started_at
    edf = edfio.Edf(
        signals,
        patient=edfio.Patient(sex={"male": "M", "female": "F"}.get(str(record.meta.get("sex")), "X")),
        recording=edfio.Recording(
            startdate=started.date() if started and 1985 <= started.year <= 2084 else None,
            equipment_code=_ascii_word(record.meta.get("device")),
        ),
        starttime=started.time().replace(tzinfo=None) if started else time(),
        data_record_duration=block_s,
        annotations=[edfio.EdfAnnotation(*entry) for entry in _annotations(record)],
    )
    return {path: edf.to_bytes()}


@dataclass(frozen=True)
class _Note:
    """What the annotations of a file written here say."""

    n_samples: int
    fs_hz: float
    facts: dict[str, str]


def _to_record(edf: Any, source: Source) -> Record:
    if edf.reserved.startswith("EDF+D") and not edf.is_continuous:
        raise BadInputError(
            "The EDF+ file is discontinuous (EDF+D); only continuous recordings are read.",
            "Export it as EDF or EDF+C, one file for each part.",
        )
    note = _find_note(edf) if edf.reserved.startswith("EDF+") else None
    facts: dict[str, str] = note.facts if note else {}
    started_at = _started_at(edf)
    return build_record(
        [_channel(signal, note) for signal in edf.signals],
        format_name="edf",
        record_id=source.path.stem,
        started_at=started_at,
        meta=_meta(edf, started_at) | _person.from_pairs(facts),
        origin=_person.origin(facts.get("origin", "")),
        uncalibrated_as="relative" if facts.get("amplitude") == "relative" else "uncalibrated",
    )


def _channel(signal: Any, note: _Note | None) -> Channel:
    fs_hz = float(signal.sampling_frequency)
    if canonical_name(signal.label) is None:
        return Channel(signal.label, np.empty(0), None, fs_hz)
    digital = signal.digital
    check_extent(digital.size, fs_hz)
    if signal.digital_min == signal.digital_max or signal.physical_min == signal.physical_max:
        raise _damaged(f"has no range for channel {signal.label}")
    physical: NDArray[np.float64] = np.array(signal.data, dtype=np.float64)
    if note:
        physical[digital == GAP_DIGITAL] = np.nan
        physical = physical[: note.n_samples]
        if math.isclose(fs_hz, note.fs_hz, rel_tol=1e-4):
            fs_hz = note.fs_hz  # the header keeps only eight characters of it
    return Channel(signal.label, physical, signal.physical_dimension, fs_hz)


def _find_note(edf: Any) -> _Note | None:
    texts = [annotation.text for annotation in edf.annotations]
    facts = {found[1]: found[2] for found in map(_FACT.fullmatch, texts) if found}
    for found in map(_NOTE.fullmatch, texts):
        if found:
            return _Note(int(found.group(1)), float(found.group(2)), facts)
    return None


def _started_at(edf: Any) -> datetime | None:
    from edfio import AnonymizedDateError

    try:
        started: datetime = edf.startdatetime
    except (AnonymizedDateError, ValueError):
        return None
    # Anonymised plain EDF files carry 1 January 1985, midnight.
    return None if started == datetime(1985, 1, 1) else started


def _meta(edf: Any, started_at: datetime | None) -> dict[str, Any]:
    """Facts from the two identification fields; name and code of the person are not looked at."""
    meta: dict[str, Any] = {}
    person = edf.local_patient_identification.split()
    if len(person) >= 3:
        if found_sex := _person.sex(person[1]):
            meta["sex"] = found_sex
        if started_at and (birth := _edf_date(person[2])):
            years = _person.age_at(birth.date(), started_at.date())
            meta |= {} if years is None else {"age_years": years}
    recording = edf.local_recording_identification.split()
    if len(recording) >= 5 and recording[0] == "Startdate" and recording[4] != "X":
        meta["device"] = recording[4].replace("_", " ")
    return meta


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def _edf_date(text: str) -> datetime | None:
    """``02-MAY-1951``, in English whatever the locale."""
    day, _, rest = text.partition("-")
    month, _, year = rest.partition("-")
    try:
        return datetime(int(year), _MONTHS.index(month.upper()) + 1, int(day))
    except ValueError:
        return None


def _check_layout(data: bytes) -> None:
    """Compare the size the header claims with the size there is, which edfio would only warn of."""
    try:
        n_blocks, block_s, n_signals = int(data[236:244]), float(data[244:252]), int(data[252:256])
        header_bytes = int(data[184:192])
        if n_signals < 1 or header_bytes != 256 * (n_signals + 1):
            raise ValueError("sizes")
        at = 256 + 216 * n_signals
        per_block = [int(data[at + 8 * index : at + 8 * index + 8]) for index in range(n_signals)]
    except ValueError:
        raise _damaged("has an unreadable header, or is cut short") from None
    if min(per_block) < 1:
        raise _damaged("has a channel without samples")
    content = len(data) - header_bytes
    if n_blocks < 1 or content != 2 * sum(per_block) * n_blocks:
        raise _damaged("is cut short, or longer than its header says")
    if not 0 < block_s < math.inf:
        raise _damaged(f"states blocks of {block_s} seconds")


def _step_for(signal_mv: NDArray[np.float32]) -> float:
    """Smallest step of which 32767 hold the largest value."""
    largest = float(np.nanmax(np.abs(signal_mv))) if np.isfinite(signal_mv).any() else 0.0
    step = steps.smallest(largest, _POWERS)
    if step is None:
        raise UsageError("The values are too large for EDF.", "Use the native format.")
    return float(step)


def _blocks(record: Record) -> tuple[int, float]:
    """Choose samples in a block and its seconds, about 1, exact in the header's eight characters if possible."""
    for duration in (Fraction(n) for n in (1, 2, 4, 5, 8, 10, 20, 50, 100)):
        samples = Fraction(record.fs_hz) * duration
        if samples.denominator == 1 and samples >= 1:
            return int(samples), float(duration)
    samples_per_block = max(1, round(record.fs_hz))
    return samples_per_block, float(f"{samples_per_block / record.fs_hz:.6f}"[:8])


def _annotations(record: Record) -> list[tuple[float, float | None, str]]:
    facts = _person.to_pairs(record.meta, record.origin)
    if record.amplitude == "relative":
        facts["amplitude"] = "relative"
    notes = [f"n_samples={record.n_samples} fs_hz={record.fs_hz!r} gap=-32768"]
    notes += [f"{key}: {value}" for key, value in facts.items()]
    entries: list[tuple[float, float | None, str]] = [(0.0, None, f"lsemvae-edge {note}") for note in notes]
    common = record.gaps.all(axis=0)
    groups = [("all leads", common)] + [
        (lead, gaps & ~common) for lead, gaps in zip(record.leads, record.gaps, strict=True)
    ]
    for which, mask in groups:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.view(np.int8), [0]))))
        for start, end in edges.reshape(-1, 2).tolist():
            onset, length = round(start / record.fs_hz, 6), round((end - start) / record.fs_hz, 6)
            entries.append((onset, length, f"gap: {which}"))
    return entries


def _ascii_word(value: Any) -> str:
    """EDF+ subfields are ASCII without blanks; ``X`` stands for nothing."""
    text = "_".join(str(value or "").split()).encode("ascii", "ignore").decode()
    return "".join(character for character in text if character.isprintable())[:32] or "X"


def _damaged(how: str) -> BadInputError:
    return BadInputError(f"The EDF file {how}.", "Export the recording again.")


def _recognises(source: Source) -> bool:
    # Version "0" in eight characters, then the patient field in printable ones.
    return source.data[:8] == b"0       " and b"\0" not in source.data[8:168]


FORMAT = Format("edf", "EDF/EDF+", (".edf",), _recognises, read, encode)
