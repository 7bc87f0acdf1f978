"""The recording as a value."""

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import BadInputError, ExitCode
from lsemvae_edge.record import Record


def signal(n_leads=2, n_samples=10):
    return np.arange(n_leads * n_samples, dtype=np.float32).reshape(n_leads, n_samples)


def test_a_record_keeps_float32_rows_bound_to_standard_names():
    record = Record(signal().astype(np.float64), 250, ["lead ii", "AVR"])
    assert record.signal_mv.dtype == np.float32
    assert record.leads == ("II", "aVR")
    assert record.n_samples == 10
    assert record.fs_hz == 250.0
    assert isinstance(record.fs_hz, float)
    assert record.duration_s == pytest.approx(0.04)
    assert not record.gaps.any()
    assert record.gaps.shape == (2, 10)


def test_one_lead_may_come_as_one_row():
    assert Record(np.zeros(7), 500.0, ("I",)).signal_mv.shape == (1, 7)


def test_samples_that_are_not_finite_are_gaps():
    values = signal()
    values[0, 3], values[1, 5], values[1, 6] = np.nan, np.inf, -np.inf
    record = Record(values, 500.0, ("I", "II"))
    assert np.argwhere(record.gaps).tolist() == [[0, 3], [1, 5], [1, 6]]
    assert np.isnan(record.signal_mv[record.gaps]).all()
    assert np.isfinite(record.signal_mv[~record.gaps]).all()


@pytest.mark.parametrize("per_lead", [False, True])
def test_stated_gaps_hide_their_samples_and_join_those_of_the_signal(per_lead):
    values = signal()
    values[0, 0] = np.nan
    stated = np.zeros((2, 10) if per_lead else 10, dtype=bool)
    stated[..., 4] = True
    if per_lead:
        stated[1, 4] = False
    record = Record(values, 500.0, ("I", "II"), gaps=stated)
    assert np.argwhere(record.gaps).tolist() == ([[0, 0], [0, 4]] if per_lead else [[0, 0], [0, 4], [1, 4]])
    np.testing.assert_array_equal(np.isnan(record.signal_mv), record.gaps)


def test_nothing_of_a_record_can_be_changed():
    values, gaps, meta = signal(), np.zeros(10, dtype=bool), {"id": "a"}
    record = Record(values, 500.0, ("I", "II"), gaps=gaps, meta=meta)
    with pytest.raises(ValueError, match="read-only"):
        record.signal_mv[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        record.gaps[0, 0] = True
    with pytest.raises(TypeError):
        record.meta["id"] = "b"
    with pytest.raises(FrozenInstanceError):
        record.fs_hz = 1.0
    values[0, 0], gaps[0], meta["id"] = 99, True, "c"
    assert record.signal_mv[0, 0] == 0
    assert not record.gaps[0, 0]
    assert record.meta["id"] == "a"


def test_limb_gives_measured_limb_leads_in_standard_order():
    record = Record(signal(4), 500.0, ("V1", "aVF", "Resp", "I"))
    assert list(record.limb()) == ["I", "aVF"]
    np.testing.assert_array_equal(record.limb()["aVF"], record.signal_mv[1])


@given(st.integers(0, 1), st.integers(0, 9), st.floats(0.01, 5))
def test_the_digest_changes_with_every_sample(lead, at, change):
    values = signal()
    before = Record(values, 500.0, ("I", "II")).sha256()
    values[lead, at] += np.float32(change)
    assert Record(values, 500.0, ("I", "II")).sha256() != before


def test_the_digest_is_of_what_was_recorded_alone():
    record = Record(signal(), 500.0, ("I", "II"))
    when = datetime(2026, 1, 2, tzinfo=UTC)
    same = Record(signal(), 500, ("lead i", "LEAD II"), started_at=when, meta={"id": "x"}, origin="live")
    assert record.sha256() == same.sha256()
    gap = np.zeros(10, dtype=bool)
    gap[3] = True
    others = [
        Record(signal(), 250.0, ("I", "II")),
        Record(signal(), 500.0, ("I", "III")),
        Record(signal(), 500.0, ("II", "I")),
        Record(signal(), 500.0, ("I", "II"), amplitude="relative"),
        Record(signal(), 500.0, ("I", "II"), gaps=gap),
        Record(signal(1, 20), 500.0, ("I",)),
    ]
    assert len({record.sha256(), *(other.sha256() for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3, 4)), 500.0, ("I", "II")), "n_leads, n_samples"),
        ((np.zeros((2, 9)), 500.0, ("I",)), "2 channels but 1 lead names"),
        ((np.zeros((2, 9)), 500.0, ("I", "Lead I")), "same lead twice"),
        ((np.zeros((1, 9)), 0.0, ("I",)), "sampling rate"),
        ((np.zeros((1, 9)), -500.0, ("I",)), "sampling rate"),
        ((np.zeros((1, 9)), float("nan"), ("I",)), "sampling rate"),
        ((np.zeros((1, 9)), float("inf"), ("I",)), "sampling rate"),
        ((np.zeros((2, 9)), 500.0, ("I", "II"), np.zeros(8, dtype=bool)), "Gaps of shape"),
        ((np.zeros((2, 9)), 500.0, ("I", "II"), np.zeros((1, 9), dtype=bool)), "Gaps of shape"),
    ],
)
def test_contradictory_recordings_are_refused(arguments, message):
    with pytest.raises(BadInputError, match=message) as caught:
        Record(*arguments)
    assert caught.value.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize("field", ["amplitude", "origin"])
def test_unknown_kinds_are_refused(field):
    with pytest.raises(BadInputError, match=f"Unknown {field}"):
        Record(np.zeros((1, 9)), 500.0, ("I",), **{field: "guessed"})
