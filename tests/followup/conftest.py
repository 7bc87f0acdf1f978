"""A store with attempts as a kiosk makes them, whose results are made by hand."""

import secrets
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lsemvae_edge import decision
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

LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")


@pytest.fixture
def store(tmp_path):
    """An empty store of a clinic."""
    key = StoreKey.create(tmp_path / "store.key")
    with Store.create(tmp_path / "clinic", key, kind="clinic") as made:
        yield made


@pytest.fixture
def visit():
    """Function that makes a person's visit."""

    def make(study_id="KG0001", **changes):
        told = {"operator": "NURSE1", "age_band": "40-64", "pacemaker": False, "consent": True, **changes}
        return Visit(secrets.token_hex(16), study_id, **told)

    return make


@pytest.fixture
def attempt(heart_record, visit):
    """Function that makes an attempt with a result."""

    def make(of=None, number=1, outcome="not_present", reason=None, ended="screened", device="Six 0007", **more):
        record = heart_record(duration_s=2.0, seed=number)
        record = replace(
            record,
            origin="live",
            started_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
            meta={"device": device, "id": "r", "clock_set": True},
        )
        return Attempt(
            of or visit(),
            number,
            ended,
            record,
            result_of(record, outcome, reason, refused=ended == "refused")
            if ended in ("screened", "refused")
            else None,
            **more,
        )

    return make


def result_of(record, outcome, reason, *, refused=False):
    """Return a result that nothing but its outcome was computed for."""
    tasks = {"right_heart_pattern": TaskResult(outcome, None if refused else 0.5, reason)}
    return ScreeningResult(
        outcome,
        tasks,
        QualityResult(
            not refused,
            None,
            0.0,
            5.0,
            ("muscle_noise",) if refused else (),
            0.01,
            {name: LeadResult(True, ()) for name in LIMB},
        ),
        72.0,
        RecordInfo(
            "r", record.sha256(), "live", record.started_at.isoformat(), True, record.meta["device"],
            record.duration_s, record.fs_hz, record.leads, LIMB[2:], (), "calibrated",
        ),
        ModelInfo("small-1", "0" * 64, "a stand-in", None if refused else "litert"),
        Wording(decision.NO_ANSWER, decision.REFER_OR_REPEAT, (decision.RESEARCH_USE,)),
        {"total": 1.0},
        "0",
    )  # fmt: skip
