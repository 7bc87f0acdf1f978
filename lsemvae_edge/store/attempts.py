"""An attempt as what is encrypted: facts, which a list needs, and the signal, which it does not."""

import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lsemvae_edge import __version__
from lsemvae_edge.errors import BadInputError, StoreError
from lsemvae_edge.formats import native
from lsemvae_edge.record import Record
from lsemvae_edge.result import result_from_dict
from lsemvae_edge.visit import Attempt, Visit

_LEVEL = 6


def to_facts(attempt: Attempt) -> dict[str, Any]:
    """Return everything but the signal as plain JSON values."""
    return {
        "visit": asdict(attempt.visit),
        "number": attempt.number,
        "ended": attempt.ended,
        "detail": attempt.detail,
        "electrodes_confirmed": attempt.electrodes_confirmed,
        "result": None if attempt.result is None else attempt.result.to_dict(),
        "record": None if attempt.record is None else _about(attempt.record),
        "software_version": __version__,
    }


def to_signal(record: Record) -> bytes:
    """Return a whole recording, bit for bit, as small as it gets."""
    return zlib.compress(native.encode(record), _LEVEL)


def to_record(signal: bytes) -> Record:
    """Return the recording.

    Raises
    ------
    StoreError
        If it is damaged; encryption finds that first, unless this software is at fault.
    """
    try:
        return native.decode(zlib.decompress(signal))
    except (zlib.error, BadInputError) as error:
        raise StoreError("A stored recording cannot be read.", "Run `lsemvae-edge records verify`.") from error


def to_attempt(facts: Mapping[str, Any], record: Record | None) -> Attempt:
    """Return the attempt again.

    Raises
    ------
    StoreError
        If the facts are not those of one.
    """
    try:
        result = facts["result"]
        return Attempt(
            visit=Visit(**facts["visit"]),
            number=facts["number"],
            ended=facts["ended"],
            record=record,
            result=None if result is None else result_from_dict(result),
            detail=facts["detail"],
            electrodes_confirmed=facts["electrodes_confirmed"],
        )
    except (KeyError, TypeError, BadInputError) as error:
        raise StoreError(
            "A stored attempt is of a form that this software does not know.", "Update lsemvae-edge."
        ) from error


def _about(record: Record) -> dict[str, Any]:
    return {
        "id": record.meta.get("id"),
        "sha256": record.sha256(),
        "origin": record.origin,
        "started_at": None if record.started_at is None else record.started_at.isoformat(),
        "clock_set": record.meta.get("clock_set"),
        "clock_set_by": record.meta.get("clock_set_by"),
        "device": record.meta.get("device"),
        "duration_s": record.duration_s,
        "fs_hz": record.fs_hz,
        "leads": list(record.leads),
        "missing": float(record.gaps.mean()) if record.gaps.size else 0.0,
        "amplitude": record.amplitude,
    }
