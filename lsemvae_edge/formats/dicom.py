"""DICOM waveforms (12-lead, General and Ambulatory ECG) through pydicom; names and numbers of persons are not kept."""

import io
import re
import warnings
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.formats import _person
from lsemvae_edge.formats._build import Channel, build_record, check_extent
from lsemvae_edge.formats._contract import Format, Hints, Source, require
from lsemvae_edge.leads import LIMB_LEADS, canonical_name
from lsemvae_edge.record import Record

ORIGIN = "lsemvae-edge origin:"
"""Beginning of the annotation by which a demonstration stays one."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_LEAD_NUMBERS = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {n + 2: f"V{n}" for n in range(1, 7)}
"""Lead numbers shared by ISO/IEEE 11073-10101 (``2:n``) and SCP-ECG (``5.6.3-9-n``)."""

_LEAD_CODE = re.compile(r"(?:2:|5\.6\.3-9-)(\d+)")
_NOT_RHYTHM = ("median", "average", "averaged", "representative", "template")
_SAMPLE_TYPES = {
    (8, "SB"): "i1", (8, "UB"): "u1",
    (16, "SS"): "i2", (16, "US"): "u2",
    (32, "SL"): "i4", (32, "UL"): "u4",
}  # fmt: skip
_AGE_UNITS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read(source: Source, hints: Hints) -> Record:
    """Read the rhythm recording of a DICOM ECG file.

    Of several groups the one with most limb leads, then the longest, is taken; averaged beats never are.

    Raises
    ------
    BadInputError
        If the file is damaged or holds no rhythm recording with limb leads.
    MissingExtraError
        If pydicom is not installed.
    """
    pydicom = require("pydicom", "Reading DICOM")
    if _DEFLATED in source.data[:2048]:
        # A few kilobytes of it may unpack to more than the memory there is.
        raise BadInputError("The DICOM file is deflated (compressed).", "Export it uncompressed (Explicit VR).")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(source.data), stop_before_pixels=True)
            return _to_record(dataset, source)
        except BadInputError:
            raise
        # pydicom parses elements when they are used, with whatever error the damage gives.
        except Exception as error:
            raise _damaged(f"is cut short, or has an unreadable element ({type(error).__name__})") from error


def _to_record(dataset: Any, source: Source) -> Record:
    groups = dataset.get("WaveformSequence") or []
    if not groups:
        raise BadInputError(
            "The DICOM file holds no waveform.", "Export the ECG as a DICOM waveform, not as a picture."
        )
    group = _rhythm_group(groups)
    started_at = _timestamp(str(dataset.get("AcquisitionDateTime") or ""), dataset)
    return build_record(
        _channels(group, little_endian=_is_little_endian(dataset)),
        format_name="dicom",
        record_id=source.path.stem,
        started_at=started_at,
        meta=_meta(dataset, started_at),
        origin=_person.origin(_stated_origin(dataset)),
    )


def _stated_origin(dataset: Any) -> str:
    """Return what this package wrote about the recording's origin; empty if it did not make the file."""
    for annotation in dataset.get("WaveformAnnotationSequence") or []:
        text = str(annotation.get("UnformattedTextValue") or "")
        if text.startswith(ORIGIN):
            return text.removeprefix(ORIGIN)
    return ""


def _rhythm_group(groups: Iterable[Any]) -> Any:
    def worth(group: Any) -> tuple[int, float]:
        leads = {_lead_of(channel) for channel in group.get("ChannelDefinitionSequence") or []}
        return len(leads & set(LIMB_LEADS)), float(group.NumberOfWaveformSamples) / float(group.SamplingFrequency)

    rhythm = [group for group in groups if not _is_averaged(group)]
    if not rhythm:
        raise BadInputError(
            "The DICOM file holds averaged beats only, no rhythm recording.", "Export the rhythm (10 s) waveform."
        )
    return max(rhythm, key=worth)


def _is_averaged(group: Any) -> bool:
    label = str(group.get("MultiplexGroupLabel") or "").lower()
    if "rhythm" in label:
        return False
    # DERIVED alone means only processed, but no recorder calls its plain rhythm so without a label.
    return any(word in label for word in _NOT_RHYTHM) or (not label and group.get("WaveformOriginality") == "DERIVED")


def _channels(group: Any, little_endian: bool) -> list[Channel]:
    definitions = list(group.get("ChannelDefinitionSequence") or [])
    n_channels, n_samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    fs_hz = float(group.SamplingFrequency)
    if n_channels < 1 or n_channels != len(definitions):
        raise _damaged(f"states {n_channels} channels but describes {len(definitions)}")
    check_extent(n_samples, fs_hz)
    kind = (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))
    if kind not in _SAMPLE_TYPES:
        raise BadInputError(
            f"The DICOM file keeps its samples as {kind[0]}-bit {kind[1]}, which is not read here.",
            "Export the waveform as 16-bit integers.",
        )
    dtype = np.dtype(_SAMPLE_TYPES[kind]).newbyteorder("<" if little_endian else ">")
    n_values = n_channels * n_samples
    data = bytes(group.WaveformData)
    if len(data) < n_values * dtype.itemsize:
        raise _damaged("is cut short: it has fewer samples than it states")
    counts = np.frombuffer(data, dtype, n_values).reshape(n_samples, n_channels).T
    padding = _padding(group.get("WaveformPaddingValue"), dtype)
    return [_channel(definition, row, padding, fs_hz) for definition, row in zip(definitions, counts, strict=True)]


def _channel(definition: Any, counts: NDArray[Any], padding: int | None, fs_hz: float) -> Channel:
    label = _lead_of(definition) or _meaning(definition) or str(definition.get("ChannelLabel") or "unnamed")
    samples = counts.astype(np.float64)
    unit: str | None = None
    if definition.get("ChannelSensitivity") is not None:
        correction = definition.get("ChannelSensitivityCorrectionFactor")
        samples *= float(definition.ChannelSensitivity) * (1.0 if correction is None else float(correction))
        samples += float(definition.get("ChannelBaseline") or 0.0)
        units = definition.get("ChannelSensitivityUnitsSequence")
        unit = str(units[0].get("CodeValue") or "") if units else None
    if padding is not None:
        samples[counts == padding] = np.nan
    skew = round(float(definition.get("ChannelSampleSkew") or 0.0))
    return Channel(label, _delayed(samples, skew), unit, fs_hz)


def _delayed(samples: NDArray[np.float64], n_late: int) -> NDArray[np.float64]:
    """Move a channel that began ``n_late`` samples after the others to where it belongs."""
    if n_late == 0:
        return samples
    moved = np.full_like(samples, np.nan)
    if 0 < n_late < samples.size:
        moved[n_late:] = samples[:-n_late]
    elif -samples.size < n_late < 0:
        moved[:n_late] = samples[-n_late:]
    return moved


def _lead_of(definition: Any) -> str | None:
    """Tell a channel's standard lead from its code, else from the code's meaning or the channel's label."""
    by_code: str | None = None
    for source in definition.get("ChannelSourceSequence") or []:
        code = str(source.get("CodeValue") or source.get("LongCodeValue") or "").strip()
        if found := _LEAD_CODE.fullmatch(code):
            by_code = _LEAD_NUMBERS.get(int(found.group(1)))
        else:
            by_code = canonical_name(code)
        break
    by_meaning = canonical_name(_meaning(definition))
    if by_code and by_meaning and by_code != by_meaning:
        raise _damaged(f"calls one channel both {by_code} (code) and {by_meaning} (meaning)")
    return by_code or by_meaning or canonical_name(str(definition.get("ChannelLabel") or ""))


def _meaning(definition: Any) -> str:
    """Code meaning without what stands in brackets: ``Lead I (Einthoven)`` is ``Lead I``."""
    for source in definition.get("ChannelSourceSequence") or []:
        return re.sub(r"\(.*?\)", "", str(source.get("CodeMeaning") or "")).strip()
    return ""


def _padding(value: Any, dtype: np.dtype[Any]) -> int | None:
    if value is None or value == b"":
        return None
    if isinstance(value, bytes):
        return int(np.frombuffer(value, dtype, 1)[0])
    return int(value)


def _is_little_endian(dataset: Any) -> bool:
    return dataset.original_encoding[1] is not False


def _meta(dataset: Any, started_at: datetime | None) -> dict[str, Any]:
    maker = [str(dataset.get(key) or "").strip() for key in ("Manufacturer", "ManufacturerModelName")]
    found = {
        "device": " ".join(part for part in maker if part) or None,
        "sex": _person.sex(str(dataset.get("PatientSex") or "")),
        "age_years": _age(str(dataset.get("PatientAge") or ""), str(dataset.get("PatientBirthDate") or ""), started_at),
    }
    return {key: value for key, value in found.items() if value is not None}


def _age(age: str, birth: str, started_at: datetime | None) -> float | None:
    """Years from an age string such as ``045Y``, else from the birth date, which itself is not kept."""
    if stated := re.fullmatch(r"\s*(\d{3})([DWMY])\s*", age):
        years = int(stated.group(1)) * _AGE_UNITS[stated.group(2)]
        return round(years, 2) if years <= 150 else None
    born = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", birth.strip())
    if not born or not started_at:
        return None
    try:
        return _person.age_at(datetime(*map(int, born.groups())).date(), started_at.date())  # type: ignore[arg-type]
    except ValueError:
        return None


def _timestamp(text: str, dataset: Any) -> datetime | None:
    """DICOM date-time ``YYYYMMDDHHMMSS.FFFFFF&ZZXX``, the offset from the file's common one if absent."""
    found = re.fullmatch(r"(\d{14})(?:\.(\d{1,6}))?([+-]\d{4})?", text.strip())
    if not found:
        return None
    moment, fraction, offset = found.groups()
    offset = offset or str(dataset.get("TimezoneOffsetFromUTC") or "").strip()
    try:
        started = datetime.strptime(moment, "%Y%m%d%H%M%S").replace(microsecond=int((fraction or "0").ljust(6, "0")))
        if re.fullmatch(r"[+-]\d{4}", offset):
            sign = -1 if offset[0] == "-" else 1
            started = started.replace(
                tzinfo=timezone(sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5])))
            )
    except ValueError:
        return None
    return started


def _damaged(how: str) -> BadInputError:
    return BadInputError(f"The DICOM file {how}.", "Export the recording again.")


def _recognises(source: Source) -> bool:
    return source.data[128:132] == b"DICM"


FORMAT = Format("dicom", "DICOM waveform", (".dcm",), _recognises, read)
