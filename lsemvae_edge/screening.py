"""The way of one recording: quality, preprocessing, model, decision."""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

from lsemvae_edge import __version__, decision, preprocess, quality
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import UnusableRecordingError
from lsemvae_edge.leads import LIMB_LEADS, solve_i_ii
from lsemvae_edge.record import Record
from lsemvae_edge.result import (
    LeadResult,
    ModelInfo,
    QualityResult,
    RecordInfo,
    ScreeningResult,
)
from lsemvae_edge.runtime import Session, open_session
from lsemvae_edge.spec import ModelSpec

SIMULATED_ORIGINS = ("demo", "simulated")
STAGES = ("load", "preprocess", "quality", "inference", "decision")
"""Of ``timing_ms``, which has their ``total`` as well."""


def screen(
    record: Record,
    bundle: Bundle,
    *,
    session: Session | None = None,
    age_years: float | None = None,
    pacemaker: bool | None = None,
    electrodes_confirmed: bool = False,
) -> ScreeningResult:
    """Screen one recording.

    Parameters
    ----------
    record : Record
    bundle : Bundle
        The model and its contract.
    session : Session, optional
        An open session of this bundle, to be used again; by default one is opened if the recording is usable.
    age_years, pacemaker : optional
        What the operator said; by default what the recording says.
    electrodes_confirmed : bool
        The operator checked the electrodes after a swap warning.

    Returns
    -------
    ScreeningResult
        With null probabilities when quality refused the recording and the model did not run.

    Raises
    ------
    BadInputError
        If the recording's sampling rate is too low.
    BundleError
        If no runtime can run the bundle's model.
    """
    clock = _Clock()
    spec = bundle.spec
    assessed, conditioned = assess(record, spec, clock.lap)
    runtime, confirmed_swap = None, False
    if assessed.usable and conditioned is not None and assessed.start is not None:
        model_input = preprocess.cut(conditioned, spec.preprocess, assessed.start)
        clock.lap("preprocess")
        session = session or open_session(bundle)
        runtime = session.runtime
        clock.lap("load")
        output = session.run(model_input.signal)
        clock.lap("inference")
        told: dict[str, Any] = {"age_years": age_years, "pacemaker": pacemaker}
        seen = replace(
            circumstances(record, assessed),
            electrodes_confirmed=electrodes_confirmed,
            **{name: value for name, value in told.items() if value is not None},
        )
        tasks = decision.decide(spec, output, seen)
        confirmed_swap = electrodes_confirmed and "electrode_swap" in decision.tripped(spec, output)
        advice = None
    else:
        advice = assessed.advice
        tasks = decision.unanswered(spec, advice or decision.REFER_OR_REPEAT)
    wording = decision.word(spec, tasks, advice, confirmed_swap, record.origin in SIMULATED_ORIGINS)
    info = _record_info(record)
    clock.lap("decision")
    return ScreeningResult(
        outcome=tasks[spec.primary.name].outcome,
        tasks=tasks,
        quality=_quality_result(assessed, spec),
        heart_rate_bpm=assessed.heart_rate_bpm,
        record=info,
        model=ModelInfo(
            spec.id,
            bundle.sha256,
            spec.intended_use.stand_in,
            runtime,
            bundle.standing.kind if bundle.standing else None,
        ),
        wording=wording,
        timing_ms=clock.laps(),
        software_version=__version__,
    )


def model_ran(result: ScreeningResult) -> bool:
    """Whether quality let the model run, also when it then abstained."""
    return result.model.runtime is not None


def circumstances(record: Record, assessed: quality.Quality) -> decision.Circumstances:
    """Return what quality and the recording itself say beside the signal."""
    return decision.Circumstances(
        heart_rate_bpm=assessed.heart_rate_bpm,
        rhythm_reliable=assessed.rhythm_reliable,
        available_leads=_available(record),
        age_years=record.meta.get("age_years"),
        pacemaker=record.meta.get("pacemaker"),
    )


def assess(
    record: Record, spec: ModelSpec, lap: Callable[[str], None] = lambda _: None
) -> tuple[quality.Quality, preprocess.Conditioned | None]:
    """Condition a recording and judge it; one that cannot be conditioned is unusable, and has no conditioned form.

    ``lap`` is told the name of each stage when it ends.
    """
    try:
        conditioned = preprocess.condition(record, spec.preprocess)
    except UnusableRecordingError as error:
        lap("preprocess")
        return quality.unusable(f"{error.message} {error.next_step}"), None
    lap("preprocess")
    assessed = quality.assess(record, conditioned, spec.preprocess, spec.quality)
    lap("quality")
    return assessed, conditioned


def _available(record: Record) -> tuple[str, ...]:
    measured = tuple(record.limb())
    return LIMB_LEADS if solve_i_ii(record.limb()) is not None else measured


def _quality_result(assessed: quality.Quality, spec: ModelSpec) -> QualityResult:
    return QualityResult(
        usable=assessed.usable,
        advice=assessed.advice,
        window_start_s=assessed.window_start_s,
        window_s=spec.preprocess.window_s,
        flags=assessed.flags,
        einthoven_residual=assessed.einthoven_residual,
        leads={name: LeadResult(lead.usable, lead.flags) for name, lead in assessed.leads.items()},
    )


def _record_info(record: Record) -> RecordInfo:
    measured = tuple(record.limb())
    available = _available(record)
    return RecordInfo(
        id=record.meta.get("id"),
        sha256=record.sha256(),
        origin=record.origin,
        started_at=record.started_at.isoformat() if record.started_at else None,
        clock_set=record.meta.get("clock_set"),
        device=record.meta.get("device"),
        duration_s=record.duration_s,
        fs_hz=record.fs_hz,
        leads_measured=measured,
        leads_derived=tuple(name for name in available if name not in measured),
        leads_masked=tuple(name for name in LIMB_LEADS if name not in available),
        amplitude=record.amplitude,
    )


class _Clock:
    """Sums the milliseconds of named stages."""

    def __init__(self) -> None:
        self._begun = self._last = perf_counter()
        self._sums = dict.fromkeys(STAGES, 0.0)

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self._sums[stage] += 1e3 * (now - self._last)
        self._last = now

    def laps(self) -> dict[str, float]:
        rounded = {stage: round(value, 3) for stage, value in self._sums.items()}
        return {**rounded, "total": round(1e3 * (perf_counter() - self._begun), 3)}
