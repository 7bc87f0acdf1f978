"""WFDB header files (``.hea``): text to plain values, nothing looked up elsewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time

from lsemvae_edge.errors import BadInputError

DEFAULT_GAIN = 200.0
"""Counts in a unit when the header leaves it out, which also means: not calibrated."""

_DEFAULT_FS_HZ = 250.0
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RECORD = re.compile(
    rf"(?P<name>[^\s/]+)(?P<segments>/\d+)?\s+(?P<n_signals>\d+)(?:\s+(?P<fs>{_NUMBER})\S*)?(?P<rest>.*)"
)
_STORAGE = re.compile(r"(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?")
_GAIN = re.compile(rf"(?P<gain>{_NUMBER})(?:\((?P<baseline>[+-]?\d+)\))?(?:/(?P<unit>\S+))?")
_MAX_SIGNALS = 1000


@dataclass(frozen=True)
class SignalLine:
    """One signal as its header line describes it.

    Parameters
    ----------
    file_name, storage : str
        Signal file and the number of its storage format.
    per_frame, skew, byte_offset : int
        Samples in a frame; samples by which the signal is late in the file; bytes before its first sample.
    gain, baseline : float
        Counts in a unit; count at zero.
    unit : str or None
        None when the header leaves the gain out or gives 0: not calibrated.
    initial_value, checksum : int or None
        As stated; None when left out.
    label : str
        Name of the signal.
    """

    file_name: str
    storage: str
    per_frame: int
    skew: int
    byte_offset: int
    gain: float
    baseline: float
    unit: str | None
    initial_value: int | None
    checksum: int | None
    label: str


@dataclass(frozen=True)
class Header:
    """A header file's content.

    Parameters
    ----------
    fs_hz : float
        Frames in a second.
    n_frames : int or None
        None when the header leaves it to the size of the files.
    started_at : datetime or None
        Only when both date and time are stated.
    signals : tuple of SignalLine
        In file order.
    comments : mapping of str to str
        ``#key: value`` lines, keys in lower case.
    """

    fs_hz: float
    n_frames: int | None
    started_at: datetime | None
    signals: tuple[SignalLine, ...]
    comments: Mapping[str, str]


def looks_like_header(data: bytes) -> bool:
    """Whether bytes begin as a WFDB header: a record line, then a signal (or segment) line."""
    start = data[:4096]
    if b"\0" in start:
        return False
    lines = _content_lines(start.decode("latin-1"))[:2]
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None or not re.fullmatch(r"(?:\s+[\d:./A-Za-z()-]+)*\s*", record["rest"]):
        return False
    if record["segments"] or int(record["n_signals"][:6]) == 0 or len(lines) < 2:
        return True
    fields = lines[1].split()
    return len(fields) >= 2 and (_STORAGE.fullmatch(fields[1]) is not None)


def parse(data: bytes) -> Header:
    """Parse a header file.

    Raises
    ------
    BadInputError
        If it breaks the syntax, or describes a multi-segment record or no signal.
    """
    text = _text(data)
    lines = _content_lines(text)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise damaged("has no record line")
    if record["segments"]:
        raise BadInputError(
            "The WFDB record has several segments, which are not read here.", "Name one of its segments instead."
        )
    n_signals = int(record["n_signals"][:6])
    if not 1 <= n_signals <= _MAX_SIGNALS:
        raise damaged(f"describes {n_signals} signals")
    if len(lines) - 1 < n_signals:
        raise damaged(f"is cut short: {n_signals} signals stated, {len(lines) - 1} described")
    n_frames, started_at = _rest_of_record_line(record["rest"].split())
    return Header(
        fs_hz=float(record["fs"] or _DEFAULT_FS_HZ),
        n_frames=n_frames,
        started_at=started_at,
        signals=tuple(_signal(line, index) for index, line in enumerate(lines[1 : n_signals + 1])),
        comments=_comments(text),
    )


def _signal(line: str, index: int) -> SignalLine:
    fields = line.split(None, 8)
    storage = _STORAGE.fullmatch(fields[1]) if len(fields) > 1 else None
    if storage is None:
        raise damaged(f"has an unreadable line for signal {index + 1}")
    gain = _GAIN.fullmatch(fields[2]) if len(fields) > 2 else None
    if len(fields) > 2 and gain is None:
        raise damaged(f"has an unreadable gain for signal {index + 1}")
    try:
        adc_zero, initial, checksum = (int(fields[at]) if len(fields) > at else None for at in (4, 5, 6))
    except ValueError:
        raise damaged(f"has an unreadable number for signal {index + 1}") from None
    calibrated = gain is not None and float(gain["gain"]) != 0.0
    baseline = gain["baseline"] if gain is not None else None
    return SignalLine(
        file_name=fields[0],
        storage=storage["format"],
        per_frame=int(storage["per_frame"] or 1),
        skew=int(storage["skew"] or 0),
        byte_offset=int(storage["offset"] or 0),
        gain=float(gain["gain"]) if gain is not None and calibrated else DEFAULT_GAIN,
        baseline=float(baseline if baseline is not None else adc_zero or 0),
        unit=(gain["unit"] or "mV") if gain is not None and calibrated else None,  # mV is the format's own default
        initial_value=initial,
        checksum=checksum,
        label=fields[8].strip() if len(fields) > 8 else f"signal {index + 1}",
    )


def _rest_of_record_line(fields: list[str]) -> tuple[int | None, datetime | None]:
    """Parse the number of frames, then time and date, which the CinC Challenge wrote in the other order."""
    n_frames: int | None = None
    if fields and fields[0].isdigit():
        n_frames = int(fields[0][:15]) or None
        fields = fields[1:]
    day: date | None = None
    clock: time | None = None
    for field in fields:
        day = day or _date(field)
        clock = clock or _time(field)
    return n_frames, datetime.combine(day, clock) if day and clock is not None else None


def _date(field: str) -> date | None:
    for pattern in ("%d/%m/%Y", "%d-%b-%Y"):
        try:
            return datetime.strptime(field, pattern).date()
        except ValueError:
            continue
    return None


def _time(field: str) -> time | None:
    found = re.fullmatch(r"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,6}))?", field)
    if not found:
        return None
    try:
        return time(int(found[1]), int(found[2]), int(found[3]), int((found[4] or "0").ljust(6, "0")))
    except ValueError:
        return None


def _comments(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.strip().lstrip("#").partition(":")
        if line.lstrip().startswith("#") and colon:
            pairs.setdefault(key.strip().lower(), value.strip())
    return pairs


def _content_lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def damaged(how: str) -> BadInputError:
    """Return the error for a header that cannot be used."""
    return BadInputError(f"The WFDB header {how}.", "Copy the record's files again.")
