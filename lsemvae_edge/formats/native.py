"""The toolkit's own format: everything a ``Record`` holds, bit for bit, with a digest. No pickle.

Layout, little-endian: ``LSER`` · version u32 · header length u32 · header (JSON, UTF-8) ·
samples float32 (n_leads, n_samples) · gap bits (lowest bit first, same order, padded to a byte) ·
SHA-256 of all before.
"""

import json
import math
import struct
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.formats._contract import Format, Hints, Source
from lsemvae_edge.record import Record

_MAGIC = b"LSER"
_VERSION = 1
_PREFIX = struct.Struct("<4sII")
_DIGEST_BYTES = 32
_KEYS = {"amplitude", "fs_hz", "leads", "meta", "n_samples", "origin", "started_at"}


def decode(data: bytes) -> Record:
    """Turn the bytes of a native file into the record that was written.

    Raises
    ------
    BadInputError
        If the file is cut short, altered, or of a newer version.
    """
    if len(data) < _PREFIX.size + _DIGEST_BYTES:
        raise _damaged("is cut short")
    magic, version, header_bytes = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise _damaged("does not begin as one")
    if version != _VERSION:
        raise BadInputError(
            f"The file is of version {version} of the native format; this software reads version {_VERSION}.",
            "Update lsemvae-edge.",
        )
    if sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
        raise _damaged("is cut short or altered: its SHA-256 does not fit")
    body = memoryview(data)[_PREFIX.size : -_DIGEST_BYTES]
    if header_bytes > len(body):
        raise _damaged("has a header longer than itself")
    # The digest fits, so what follows fails only on a file made by something else than encode().
    header = _parse_header(bytes(body[:header_bytes]))
    leads, n_samples = header["leads"], header["n_samples"]
    n_values = len(leads) * n_samples
    samples, gap_bits = body[header_bytes : header_bytes + 4 * n_values], body[header_bytes + 4 * n_values :]
    if len(samples) != 4 * n_values or len(gap_bits) != (n_values + 7) // 8:
        raise _damaged("has another size than its header says")
    gaps = np.unpackbits(np.frombuffer(gap_bits, np.uint8), count=n_values, bitorder="little").astype(bool)
    shape = (len(leads), n_samples)
    try:
        return Record(
            signal_mv=np.frombuffer(samples, "<f4").reshape(shape),
            fs_hz=header["fs_hz"],
            leads=tuple(leads),
            gaps=gaps.reshape(shape),
            started_at=None if header["started_at"] is None else datetime.fromisoformat(header["started_at"]),
            meta=_unpack(header["meta"]),
            amplitude=header["amplitude"],
            origin=header["origin"],
        )
    except (TypeError, ValueError) as error:
        raise _damaged(f"has an invalid header ({error})") from error


def encode(record: Record) -> bytes:
    """Turn a record into the bytes of a native file.

    Raises
    ------
    UsageError
        If ``meta`` holds what has no place in JSON.
    """
    header = {
        "amplitude": record.amplitude,
        "fs_hz": record.fs_hz,
        "leads": list(record.leads),
        "meta": _pack(dict(record.meta), "meta"),
        "n_samples": record.n_samples,
        "origin": record.origin,
        "started_at": None if record.started_at is None else record.started_at.isoformat(),
    }
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    content = b"".join(
        (
            _PREFIX.pack(_MAGIC, _VERSION, len(text)),
            text,
            np.ascontiguousarray(record.signal_mv, "<f4").tobytes(),
            np.packbits(record.gaps, axis=None, bitorder="little").tobytes(),
        )
    )
    return content + sha256(content).digest()


def _parse_header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged("has an unreadable header") from error
    if not isinstance(header, dict) or set(header) != _KEYS:
        raise _damaged("has a header with other keys than this version's")
    leads, n_samples = header["leads"], header["n_samples"]
    if not (
        isinstance(leads, list)
        and all(isinstance(lead, str) for lead in leads)
        and isinstance(n_samples, int)
        and n_samples >= 0
        and isinstance(header["fs_hz"], int | float)
        and isinstance(header["meta"], dict)
    ):
        raise _damaged("has an invalid header")
    return header


# JSON knows neither tuples, nor times, nor NaN; each is written as an object with one reserved key.
_TUPLE, _TIME, _FLOAT = "$tuple", "$datetime", "$float"


def _pack(value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, datetime):
        return {_TIME: value.isoformat()}
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(item, where) for item in value]}
    if isinstance(value, list):
        return [_pack(item, where) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and not key.startswith("$") for key in value):
            raise UsageError(f"Keys in {where} must be text that does not begin with '$'.", "Rename the key.")
        return {key: _pack(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise UsageError(
        f"{where} holds a {type(value).__name__}, which the native format cannot keep.",
        "Use text, numbers, booleans, times, lists, tuples or dictionaries.",
    )


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_TUPLE}:
        return tuple(_unpack(item) for item in value[_TUPLE])
    if set(value) == {_TIME}:
        return datetime.fromisoformat(value[_TIME])
    if set(value) == {_FLOAT}:
        return float(value[_FLOAT])
    return {key: _unpack(item) for key, item in value.items()}


def _damaged(how: str) -> BadInputError:
    return BadInputError(f"The native recording {how}.", "Copy the file again from where it was recorded.")


def _recognises(source: Source) -> bool:
    return source.data.startswith(_MAGIC)


def _read(source: Source, hints: Hints) -> Record:
    return decode(source.data)


def _encode_file(record: Record, path: Path) -> Mapping[Path, bytes]:
    return {path: encode(record)}


FORMAT = Format("native", "native (.lser)", (".lser",), _recognises, _read, _encode_file)
