"""What one screening says, as a value: read by the terminal, the report, the store and other programs."""

from dataclasses import asdict, dataclass
from typing import Any

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
