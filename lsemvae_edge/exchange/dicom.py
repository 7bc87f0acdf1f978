"""A stored attempt as DICOM General ECG Waveform Storage, PS3.3 A.34.4: measured leads alone, gaps by padding value."""

import io
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from lsemvae_edge import __version__
from lsemvae_edge.errors import UsageError
from lsemvae_edge.exchange.counts import count
from lsemvae_edge.exchange.exported import Exported
from lsemvae_edge.exchange.fhir_result import SIMULATED
from lsemvae_edge.exchange.fhir_terms import LEADS, string
from lsemvae_edge.exchange.files import recording
from lsemvae_edge.exchange.resampled import within
from lsemvae_edge.formats.dicom import ORIGIN
from lsemvae_edge.record import Record
from lsemvae_edge.store import Stored

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.9.1.2"
"""General ECG Waveform Storage."""
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
RATES_HZ = (200.0, 1000.0)
"""Sampling Frequency that this object admits."""
PADDING = -32768
IMPLEMENTATION = f"2.25.{UUID('d07fde6d-4b88-4bbe-b91d-72717e358363').int}"

_MEANINGS = {
    "aVR": "aVR, augmented voltage, right",
    "aVL": "aVL, augmented voltage, left",
    "aVF": "aVF, augmented voltage, foot",
}
"""Of CID 3001 where they are not ``Lead`` and its name."""


def encode(stored: Stored, exported: Exported, language: str) -> bytes:
    """Return the DICOM file.

    Raises
    ------
    UsageError
        If there is no signal in a standard lead, the clock was not set, or the rate or the values do not fit.
    MissingExtraError
        If pydicom is not installed.
    """
    pydicom = _pydicom()
    record = within(_standard(recording(exported)), *RATES_HZ)
    if exported.started_at is None:
        # DICOM must have a time of acquisition, and an invented one is worse than no file.
        raise UsageError(
            "The clock was not set when this was recorded, and DICOM needs a time.",
            "Correct the clock of that day first, or export the record as EDF or FHIR.",
        )
    dataset = pydicom.Dataset()
    later_s = float(record.meta.get("resampled_after_s", 0.0))
    _identify(dataset, exported, exported.started_at + timedelta(seconds=later_s))
    dataset.WaveformSequence = [_group(pydicom, record)]
    notes = _notes(exported, record)
    if notes:
        dataset.WaveformAnnotationSequence = [_annotation(pydicom, note) for note in notes]
    return _written(pydicom, dataset)


def _identify(dataset: Any, exported: Exported, started_at: datetime) -> None:
    """Patient, study, series, equipment and waveform identification; what nobody asked for stays empty."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SOP_CLASS
    dataset.SOPInstanceUID = _uid(exported.name("dicom/instance"))
    dataset.StudyInstanceUID = _uid(exported.visit_name("dicom/study"))
    dataset.SeriesInstanceUID = _uid(exported.name("dicom/series"))
    dataset.Modality = "ECG"
    dataset.PatientName = ""
    dataset.PatientID = exported.study_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Recorded under a study id; no name was asked"
    if exported.site:
        dataset.IssuerOfPatientID = string(exported.site)[:64]
    if exported.simulated:
        dataset.QualityControlSubject = "YES"
        dataset.PatientComments = SIMULATED
    day, time = f"{started_at:%Y%m%d}", f"{started_at:%H%M%S}.{started_at.microsecond:06d}"
    zone = f"{started_at:%z}"[:5]
    if zone:
        dataset.TimezoneOffsetFromUTC = zone
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = day
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = time
    dataset.AcquisitionDateTime = f"{day}{time}{zone}"
    dataset.StudyID = exported.visit.id[:16]
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = dataset.InstanceNumber = exported.number
    device = str(exported.record.meta.get("device") or "") if exported.record else ""
    dataset.Manufacturer = ""
    dataset.ManufacturerModelName = string(device)[:64]
    dataset.SoftwareVersions = f"lsemvae-edge {__version__}"[:64]
    dataset.AcquisitionContextSequence = []


def _group(pydicom: Any, record: Record) -> Any:
    counts = count(record.signal_mv)
    samples = np.where(record.gaps, np.int16(PADDING), counts.values)
    group = pydicom.Dataset()
    resampled_from_hz = record.meta.get("resampled_from_hz")
    group.WaveformOriginality = "DERIVED" if resampled_from_hz else "ORIGINAL"
    group.MultiplexGroupLabel = "RHYTHM"
    group.NumberOfWaveformChannels = len(record.leads)
    group.NumberOfWaveformSamples = record.n_samples
    group.SamplingFrequency = _decimal(record.fs_hz)
    group.ChannelDefinitionSequence = [_channel(pydicom, lead, float(counts.step), record) for lead in record.leads]
    group.WaveformBitsAllocated = 16
    group.WaveformSampleInterpretation = "SS"
    group.add_new("WaveformPaddingValue", "OW", np.array([PADDING], "<i2").tobytes())
    group.add_new("WaveformData", "OW", np.ascontiguousarray(samples.T, "<i2").tobytes())
    return group


def _channel(pydicom: Any, lead: str, step: float, record: Record) -> Any:
    channel = pydicom.Dataset()
    channel.ChannelLabel = f"Lead {lead}"
    channel.ChannelSourceSequence = [_code(pydicom, f"2:{LEADS[lead]}", "MDC", _MEANINGS.get(lead, f"Lead {lead}"))]
    channel.ChannelSampleSkew = "0"
    channel.WaveformBitsStored = 16
    status = ["TEST DATA"] if record.origin in ("demo", "simulated") else []
    if record.amplitude == "calibrated":
        channel.ChannelSensitivity = _decimal(step)
        channel.ChannelSensitivityUnitsSequence = [_code(pydicom, "mV", "UCUM", "millivolt")]
        channel.ChannelSensitivityCorrectionFactor = "1"
        channel.ChannelBaseline = "0"
    else:
        # Sensitivity is for defined units alone (PS3.3 C.10.9.1.4), and here nobody knows the unit.
        status.append("UNCALIBRATED")
    if status:
        channel.ChannelStatus = status
    return channel


def _notes(exported: Exported, record: Record) -> list[str]:
    notes = []
    if exported.simulated:
        notes += [SIMULATED, f"{ORIGIN} {record.origin}"]
    if from_hz := record.meta.get("resampled_from_hz"):
        notes.append(f"Resampled from {from_hz:g} Hz to {record.fs_hz:g} Hz.")
    if record.amplitude != "calibrated":
        notes.append(f"The amplitude is {record.amplitude}: the samples are no millivolts.")
    if exported.result is not None:
        notes += [exported.result.wording.headline, *exported.result.wording.notes]
    return [text for text in map(string, notes) if text]


def _annotation(pydicom: Any, text: str) -> Any:
    """One text on the whole of the one group, PS3.3 C.10.10."""
    annotation = pydicom.Dataset()
    annotation.ReferencedWaveformChannels = [1, 0]
    annotation.UnformattedTextValue = text[:1024]
    return annotation


def _code(pydicom: Any, value: str, scheme: str, meaning: str) -> Any:
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    if scheme == "UCUM":
        code.CodingSchemeVersion = "1.4"
    return code


def _written(pydicom: Any, dataset: Any) -> bytes:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
    meta.ImplementationClassUID = IMPLEMENTATION
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _standard(record: Record) -> Record:
    """Leave out what has no place in CID 3001, and leads of which nothing was received."""
    kept = [row for row, name in enumerate(record.leads) if name in LEADS and not record.gaps[row].all()]
    if not kept:
        raise UsageError("No standard lead of this recording holds a sample.", "Export it as JSON or FHIR.")
    return Record(
        signal_mv=record.signal_mv[kept],
        fs_hz=record.fs_hz,
        leads=tuple(record.leads[row] for row in kept),
        gaps=record.gaps[kept],
        started_at=record.started_at,
        meta=dict(record.meta),
        amplitude=record.amplitude,
        origin=record.origin,
    )


def _uid(name: UUID) -> str:
    """Return the UID under the root that needs no registration, PS3.5 B.2."""
    return f"2.25.{name.int}"


def _decimal(value: float) -> str:
    """Return a number in the 16 characters of a DS."""
    return next(text for digits in range(16, 0, -1) if len(text := f"{value:.{digits}g}") <= 16)


def _pydicom() -> Any:
    from lsemvae_edge.errors import MissingExtraError

    try:
        import pydicom
    except ImportError:
        raise MissingExtraError("Writing DICOM", "formats") from None
    return pydicom
