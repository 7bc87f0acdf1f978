"""What one screening says, as a value: read by the terminal, the report, the store and other programs."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lsemvae_edge.errors import BadInputError

SCHEMA = "lsemvae-edge/screening-result/1"
INCONCLUSIVE = "inconclusive"
NOT_ASKED = "not_asked"


@dataclass(frozen=True)
class TaskResult:
    """Answer to one question: one of the task's classes, ``inconclusive`` or ``not_asked``.

    ``probability`` is the calibrated probability of the task's positive class; None only when
    the model did not run or the task was not asked. ``reason`` says why there is no answer.
    ``lead_contributions``, filled whenever the probability is, tells what each available lead added to the log-odds of
    the positive class, over what it adds in an average recording.
    """

    outcome: str
    probability: float | None
    reason: str | None
    lead_contributions: dict[str, float] | None = None


@dataclass(frozen=True)
class LeadResult:
    """Quality of one limb lead in the analysed window (or the best window, if none was good enough)."""

    usable: bool
    flags: tuple[str, ...]


@dataclass(frozen=True)
class QualityResult:
    """Quality of the recording; ``advice`` is one plain sentence for the operator."""

    usable: bool
    advice: str | None
    window_start_s: float | None
    window_s: float
    flags: tuple[str, ...]
    einthoven_residual: float | None
    leads: dict[str, LeadResult]


@dataclass(frozen=True)
class RecordInfo:
    """Which recording was screened."""

    id: str | None
    sha256: str
    origin: str
    started_at: str | None
    clock_set: bool | None
    device: str | None
    duration_s: float
    fs_hz: float
    leads_measured: tuple[str, ...]
    leads_derived: tuple[str, ...]
    leads_masked: tuple[str, ...]
    amplitude: str


@dataclass(frozen=True)
class ModelInfo:
    """Which model answered; ``stand_in`` says what its label stands in for, None for a real label.

    ``trust`` is the kind of the bundle's `Standing` on this machine, None if nobody asked for it.
    """

    id: str
    sha256: str
    stand_in: str | None
    runtime: str | None
    trust: str | None = None


@dataclass(frozen=True)
class Wording:
    """What a health worker reads; whole sentences, written in `lsemvae_edge.decision` alone."""

    headline: str
    advice: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScreeningResult:
    """The result of one recording; ``outcome`` is the primary task's."""

    outcome: str
    tasks: dict[str, TaskResult]
    quality: QualityResult
    heart_rate_bpm: float | None
    record: RecordInfo
    model: ModelInfo
    wording: Wording
    timing_ms: dict[str, float]
    software_version: str

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values under its schema."""
        return {"schema": SCHEMA, **asdict(self)}


def result_from_dict(value: Mapping[str, Any]) -> ScreeningResult:
    """Return the result that `ScreeningResult.to_dict` wrote, also by an older version of this software.

    Parameters
    ----------
    value : mapping
        Keys that this version does not know are left out.

    Raises
    ------
    BadInputError
        If it is no result under its schema; names the place.
    """
    if not isinstance(value, Mapping) or value.get("schema") != SCHEMA:
        raise BadInputError("The result is not of a kind that this software knows.", "Update lsemvae-edge.")
    return _built(ScreeningResult, value, "result")


_T = TypeVar("_T")


def _built(kind: type[_T], value: Any, where: str) -> _T:
    if not isinstance(value, Mapping):
        raise _strange(where)
    values = {}
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    for field in fields(kind):  # type: ignore[arg-type]  # callers give dataclasses
        if field.name in value:
            values[field.name] = _read(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is MISSING:
            raise _strange(f"{where}.{field.name}")
    return kind(**values)


def _read(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = [inner for inner in get_args(hint) if inner is not type(None)]
        return _read(hint, value, where)
    if is_dataclass(hint) and isinstance(hint, type):
        return _built(hint, value, where)
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _read(get_args(hint)[1], item, f"{where}.{key:.40}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_read(get_args(hint)[0], item, where) for item in value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint):
        return value
    raise _strange(where)


@lru_cache(maxsize=16)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _strange(where: str) -> BadInputError:
    return BadInputError(f"The result has no {where} that this software understands.", "Update lsemvae-edge.")
