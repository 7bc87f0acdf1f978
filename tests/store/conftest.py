"""A clinic's store, and attempts to put into it."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

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
from lsemvae_edge.store import Store, StoreKey
from lsemvae_edge.visit import Attempt, Visit

STUDY_ID = "ZQXJ7KVW93"


@pytest.fixture(scope="session")
def key() -> StoreKey:
    return StoreKey(bytes(range(32)))


@pytest.fixture
def store(tmp_path, key):
    with Store.create(tmp_path / "clinic", key, kind="clinic") as made:
        yield made


@pytest.fixture(scope="session")
def make_visit():
    def make(study_id=STUDY_ID, **changes) -> Visit:
        return replace(Visit(uuid.uuid4().hex, study_id, "op7", "40-64", None, True), **changes)

    return make


@pytest.fixture(scope="session")
def make_record():
    def make(seed=0, seconds=2.0, fs_hz=250.0, **changes) -> Record:
        rng = np.random.default_rng(seed)
        signal = np.round(rng.normal(0.0, 0.3, (2, int(seconds * fs_hz))) / 0.00305) * 0.00305
        values = {
            "signal_mv": signal.astype(np.float32),
            "fs_hz": fs_hz,
            "leads": ("I", "II"),
            "started_at": datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
            "meta": {"device": "Testbox 12", "id": f"rec-{seed}", "clock_set": True},
            "origin": "live",
        }
        return Record(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def make_result():
    def make(record: Record, outcome="not_present") -> ScreeningResult:
        return ScreeningResult(
            outcome=outcome,
            tasks={
                "right_heart_pattern": TaskResult(outcome, 0.125, None, {"I": -0.5, "II": 0.25}),
                "heart_side": TaskResult("not_asked", None, None),
            },
            quality=QualityResult(
                True, None, 0.25, 8.0, ("wander",), None,
                {"I": LeadResult(True, ()), "II": LeadResult(True, ("mains",))},
            ),
            heart_rate_bpm=71.5,
            record=RecordInfo(
                record.meta.get("id"), record.sha256(), record.origin, "2026-03-01T09:30:00+00:00", True, "Testbox 12",
                record.duration_s, record.fs_hz, record.leads, ("III",), (), record.amplitude,
            ),
            model=ModelInfo("small", "ab" * 32, "right-heart pattern", "litert", "anchored"),
            wording=Wording("Pattern not seen", "This does not rule out disease.", ("A note.",)),
            timing_ms={"total": 12.5},
            software_version="0.1",
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def make_attempt(make_visit, make_record, make_result):
    def make(visit=None, number=1, seed=0, **changes) -> Attempt:
        record = make_record(seed)
        made = Attempt(visit or make_visit(), number, "screened", record, make_result(record))
        return replace(made, **changes)

    return make
