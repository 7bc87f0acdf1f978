"""Attempts made by hand, with everything in them that an export must carry or must not."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.record import Record
from lsemvae_edge.result import (
    LeadResult,
    ModelInfo,
    QualityResult,
    RecordInfo,
    ScreeningResult,
    TaskResult,
    Wording,
)
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.visit import Attempt, Visit

STAND_IN = "right-heart pattern, not pulmonary hypertension"
STUDY_ID, OTHER_ID, OPERATOR, SITE = "KTM0042X", "KTM0043Y", "OP7SECRET", "Jiri health post"


def visit(study_id=STUDY_ID, **changes) -> Visit:
    told = {"age_band": "40-64", "pacemaker": False, "consent": True, "note": "NOTESECRET"}
    return Visit(**{"id": uuid.uuid4().hex, "study_id": study_id, "operator": OPERATOR, **told, **changes})


def record(duration_s=10.0, fs_hz=500.0, leads=("I", "II"), seed=0, **changes) -> Record:
    made = simulate(Heart(), duration_s, fs_hz, seed, leads)
    started_at = datetime.now(UTC).replace(microsecond=250_000) - timedelta(seconds=duration_s)
    meta = {"device": "Polar H10 (virtual)", "id": "9f3b", "clock_set": True}
    return replace(made, **{"origin": "live", "started_at": started_at, "meta": meta, **changes})


def with_gap(made: Record, begin: int, end: int, lead: int | None = None) -> Record:
    gaps = made.gaps.copy()
    gaps[slice(None) if lead is None else lead, begin:end] = True
    return replace(made, gaps=gaps)


def result(made: Record, outcome="present", stand_in=STAND_IN, reason=None, ran=True, **changes) -> ScreeningResult:
    probability = {"present": 0.91, "not_present": 0.07}.get(outcome, 0.5) if ran else None
    measured = tuple(made.limb())
    about = RecordInfo(
        "9f3b", made.sha256(), made.origin, None, True, made.meta.get("device"), made.duration_s, made.fs_hz,
        measured, tuple(name for name in LIMB_LEADS if name not in measured), (), made.amplitude,
    )  # fmt: skip
    return ScreeningResult(
        outcome=outcome,
        tasks={
            "right_heart_pattern": TaskResult(outcome, probability, reason),
            "heart_side": TaskResult("not_asked", None, None),
        },
        quality=QualityResult(ran, None, 0.5, 7.4, (), None, {name: LeadResult(True, ()) for name in measured}),
        heart_rate_bpm=71.96,
        record=about,
        model=ModelInfo("made-by-hand", "ab" * 32, stand_in, "litert" if ran else None, "anchored"),
        wording=Wording(
            "Pattern seen: right-heart pattern",
            "Refer this person to a clinician.",
            ("Research use, not a diagnosis.",),
        ),
        timing_ms={"total": 1.0},
        software_version="0.0.0",
        **changes,
    )


def attempt(made: Record | None = None, of: Visit | None = None, number=1, **told) -> Attempt:
    made = record() if made is None else made
    return Attempt(of or visit(), number, "screened", made, result(made, **told))


def nothing(of: Visit | None = None) -> Attempt:
    return Attempt(of or visit(), 1, "interrupted", None, None, "The recorder was switched off.")


def noise(n_samples=100, fs_hz=250.0, leads=("II", "aVF"), seed=0, scale=1.0, **changes) -> Record:
    rng = np.random.default_rng(seed)
    return Record(
        rng.normal(0, scale, (len(leads), n_samples)).astype(np.float32), fs_hz, leads, origin="live", **changes
    )
