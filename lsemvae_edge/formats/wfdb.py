"""PhysioNet's WFDB records: a header plus signal files, as the CinC Challenges use them too."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.formats import _person
from lsemvae_edge.formats._build import Channel, build_record, check_extent
from lsemvae_edge.formats._contract import Format, Hints, Source, load
from lsemvae_edge.formats._wfdb_header import Header, SignalLine, damaged, looks_like_header, parse
from lsemvae_edge.formats._wfdb_samples import STORAGES
from lsemvae_edge.leads import canonical_name
from lsemvae_edge.record import Record

SIGNAL_EXTENSIONS = (".dat", ".mat")

_MISSING_16 = -(1 << 15)
_GAINS = [digit * 10.0**power for power in range(5, -7, -1) for digit in (5, 2, 1)]
_NO_UNIT = "NU"
"""WFDB's own abbreviation for "no units": read again, it is no unit of voltage, so not calibrated."""


def read(source: Source, hints: Hints) -> Record:
    """Read a WFDB record, given its header or one of its signal files.

    Raises
    ------
    BadInputError
        If a file is absent, cut short, or does not fit the header's checksums; if the record has several segments.
    """
    header_source = source if looks_like_header(source.data) else load(source.path.with_suffix(".hea"))
    header = parse(header_source.data)
    channels: list[Channel] = []
    for signals in _by_file(header.signals):
        channels += _read_signal_file(header, signals, header_source.path.parent)
    return build_record(
        channels,
        format_name="wfdb",
        record_id=header_source.path.stem,
        started_at=header.started_at,
        meta=_person.from_pairs(dict(header.comments)),
        origin=_person.origin(header.comments.get("origin", "")),
        uncalibrated_as="relative" if header.comments.get("amplitude") == "relative" else "uncalibrated",
    )


def encode(record: Record, path: Path) -> Mapping[Path, bytes]:
    """Turn a record into a header and a 16-bit signal file in which -32768 is a gap.

    Raises
    ------
    UsageError
        If the file's name is none that WFDB allows, or the values are too large.
    """
    stem = path.stem
    if not re.fullmatch(r"[A-Za-z0-9_-]+", stem):
        raise UsageError(
            f"WFDB allows only letters, digits, '_' and '-' in a record's name, not {stem!r}.", "Choose another name."
        )
    if record.n_samples == 0:
        raise UsageError("A recording without samples cannot be written as WFDB.", "Use the native format.")
    gain = _gain_for(record.signal_mv)
    counts = np.rint(np.nan_to_num(record.signal_mv.astype(np.float64)) * gain).astype("<i2")
    counts[record.gaps] = _MISSING_16
    unit = "mV" if record.amplitude == "calibrated" else _NO_UNIT
    when = ""
    if record.started_at is not None:
        when = f" {record.started_at:%H:%M:%S.%f} {record.started_at:%d/%m/}{record.started_at.year:04d}"
    lines = [f"{stem} {len(record.leads)} {record.fs_hz!r} {record.n_samples}{when}"]
    for lead, row in zip(record.leads, counts, strict=True):
        checksum = int(row.sum(dtype=np.int64)) % 65536
        lines.append(f"{stem}.dat 16 {gain:g}(0)/{unit} 16 0 {row[0]} {checksum} 0 {lead}")
    pairs = _person.to_pairs(record.meta, record.origin)
    if record.amplitude == "relative":
        pairs["amplitude"] = "relative"
    lines += [f"#{key}: {value}" for key, value in pairs.items()]
    header = ("\n".join(lines) + "\n").encode()
    # The header comes last, so that a reader never finds one without its signal file.
    return {path.with_suffix(".dat"): counts.T.tobytes(), path.with_suffix(".hea"): header}


@dataclass(frozen=True)
class _Layout:
    """Frames of one signal file."""

    storage: str
    byte_offset: int
    per_frame: int
    n_frames: int


def _by_file(signals: Sequence[SignalLine]) -> list[list[SignalLine]]:
    groups: dict[str, list[SignalLine]] = {}
    for signal in signals:
        groups.setdefault(signal.file_name, []).append(signal)
    return list(groups.values())


def _read_signal_file(header: Header, signals: Sequence[SignalLine], folder: Path) -> list[Channel]:
    name = signals[0].file_name
    if Path(name).name != name or name in ("-", "~", ".", ".."):
        raise damaged(f"names a signal file outside its folder ({name!r})")
    path = folder / name
    if not path.is_file():
        raise BadInputError(f"The WFDB record's signal file {name} is missing.", f"Copy {name} beside the header.")
    raw = np.frombuffer(load(path).data, np.uint8)
    layout = _layout(header, signals, raw.size)
    storage = STORAGES[layout.storage]
    n_values = layout.per_frame * layout.n_frames
    frames = storage.decode(raw[layout.byte_offset :][: storage.n_bytes(n_values)], n_values).reshape(
        layout.n_frames, layout.per_frame
    )
    trusted = _states_checksums(header.signals)
    channels, first = [], 0
    for signal in signals:
        counts = frames[:, first : first + signal.per_frame].reshape(-1)
        first += signal.per_frame
        if trusted:
            _verify(signal, counts)
        channels.append(_channel(signal, counts, header.fs_hz * signal.per_frame, storage.missing))
    return channels


def _layout(header: Header, signals: Sequence[SignalLine], file_bytes: int) -> _Layout:
    name = signals[0].file_name
    if len({(signal.storage, signal.byte_offset) for signal in signals}) > 1:
        raise damaged(f"gives several storage formats for {name}")
    first = signals[0]
    storage = STORAGES.get(first.storage)
    if storage is None:
        raise BadInputError(
            f"The WFDB signal file {name} is in storage format {first.storage}, which is not read here.",
            f"Convert it (xform) to one of: {', '.join(STORAGES)}.",
        )
    per_frame = sum(signal.per_frame for signal in signals)
    if per_frame < 1 or min(signal.per_frame for signal in signals) < 1:
        raise damaged(f"gives {name} frames without samples")
    available = max(0, file_bytes - first.byte_offset)
    n_frames = header.n_frames
    if n_frames is None:
        n_frames = available * 12 // storage.n_bytes(12) // per_frame
    check_extent(n_frames, header.fs_hz)
    if storage.n_bytes(n_frames * per_frame) > available:
        raise BadInputError(
            f"The WFDB signal file {name} is cut short: it has fewer samples than its header states.",
            f"Copy {name} again.",
        )
    return _Layout(first.storage, first.byte_offset, per_frame, n_frames)


def _states_checksums(signals: Sequence[SignalLine]) -> bool:
    """Tell real checksums from the zeros some exporters put in both fields of every signal."""
    return any(signal.initial_value or signal.checksum for signal in signals)


def _verify(signal: SignalLine, counts: NDArray[np.integer]) -> None:
    """Compare a signal with the first value and the 16-bit sum that the header states."""
    if signal.skew:
        return  # both are then of samples that the file has before its first frame
    fits_sum = signal.checksum is None or (int(counts.sum(dtype=np.int64)) - signal.checksum) % 65536 == 0
    if not fits_sum or (signal.initial_value is not None and int(counts[0]) != signal.initial_value):
        raise BadInputError(
            f"Signal {signal.label} of {signal.file_name} does not fit the checksum in the WFDB header.",
            "Copy the record's files again; one of them was altered.",
        )


def _channel(signal: SignalLine, counts: NDArray[np.integer], fs_hz: float, missing: int) -> Channel:
    if canonical_name(signal.label) is None:
        return Channel(signal.label, np.empty(0), None, fs_hz)
    samples = (counts.astype(np.float64) - signal.baseline) / signal.gain
    samples[counts == missing] = np.nan
    if signal.skew:
        late = min(signal.skew * signal.per_frame, samples.size)
        samples = np.concatenate((samples[late:], np.full(late, np.nan)))
    return Channel(signal.label, samples, signal.unit, fs_hz)


def _gain_for(signal_mv: NDArray[np.float32]) -> float:
    """Largest gain at which the largest value still fits 16 bits."""
    largest = float(np.nanmax(np.abs(signal_mv))) if np.isfinite(signal_mv).any() else 0.0
    for gain in _GAINS:
        if largest * gain <= 32767:
            return gain
    raise UsageError("The values are too large for WFDB's 16 bits.", "Use the native format.")


def _recognises(source: Source) -> bool:
    return looks_like_header(source.data) or _has_header_beside(source.path)


def _has_header_beside(path: Path) -> bool:
    """Signal files carry no signature; what makes one is a header that names it."""
    header = path.with_suffix(".hea")
    if header == path or not header.is_file():
        return False
    try:
        return any(signal.file_name == path.name for signal in parse(load(header).data).signals)
    except BadInputError:
        return path.suffix.lower() in SIGNAL_EXTENSIONS  # reading says what is wrong with the header


FORMAT = Format("wfdb", "WFDB", (".hea", ".dat"), _recognises, read, encode)
