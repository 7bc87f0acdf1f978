"""The drift report: what it counts, and what it keeps to itself."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import decision
from lsemvae_edge.followup import drift
from lsemvae_edge.metrics import exact_interval
from lsemvae_edge.store import Entry

MONDAY = "2026-03-02T09:00:00+00:00"


@pytest.fixture
def kept(store, attempt):
    """Function that stores attempts and gives a store whose entries were made when the test says."""

    def make(*groups):
        entries = []
        for at, count, changes in groups:
            for _ in range(count):
                entry = store.append(attempt(**changes))
                entries.append(replace(entry, at=at, clock_set=at is not None))
        return SimpleNamespace(attempts=lambda **_: iter(entries), kind="clinic")

    return make


def test_each_attempt_counts_once_in_the_week_and_with_the_recorder_it_was_made_with(kept):
    rows = drift.report(
        kept(
            (MONDAY, 7, {"outcome": "present"}),
            ("2026-03-08T23:00:00+00:00", 8, {"outcome": "not_present"}),
            ("2026-03-09T00:00:00+00:00", 6, {"device": "Other 9"}),
            ("2026-03-09T00:00:00+00:00", 9, {}),
            (None, 5, {}),
        )
    )
    assert [(row.week, row.recorder, row.attempts) for row in rows] == [
        ("2026-W10", "Six 0007", 15),
        ("2026-W11", "Other 9", 6),
        ("2026-W11", "Six 0007", 9),
        (drift.NO_CLOCK, "Six 0007", 5),
    ]
    shares = rows[0].outcomes
    assert {name: share.count for name, share in shares.items() if share.count} == {"present": 7, "not_present": 8}
    assert shares["present"].share == exact_interval(7, 15)
    assert rows[0].models == ("small-1",)


def test_why_there_was_no_answer_and_what_quality_noticed_is_counted_by_name(kept):
    (row,) = drift.report(
        kept(
            (MONDAY, 6, {"outcome": "inconclusive", "reason": decision.UNFAMILIAR}),
            (MONDAY, 5, {"outcome": "inconclusive", "reason": decision.NOT_ECG}),
            (MONDAY, 5, {"outcome": "inconclusive", "reason": "What a later version says."}),
            (MONDAY, 7, {"outcome": "inconclusive", "ended": "refused"}),
            (MONDAY, 5, {"ended": "interrupted"}),
        )
    )
    assert {name: share.count for name, share in row.reasons.items()} == {"unfamiliar": 6, "not_ecg": 5, "other": 5}
    assert {name: share.count for name, share in row.flags.items()} == {"muscle_noise": 7}
    assert row.flags["muscle_noise"].share == exact_interval(7, 28)
    counts = {name: share.count for name, share in row.outcomes.items()}
    assert counts == {
        "present": 0, "not_present": 0, "inconclusive": 16, "refused": 7, "interrupted": 5, "cancelled": 0,
    }  # fmt: skip


def test_where_the_number_without_answer_is_withheld_so_are_its_reasons(kept):
    (row,) = drift.report(
        kept(
            (MONDAY, 9, {"outcome": "inconclusive", "reason": decision.UNFAMILIAR}),
            (MONDAY, 12, {}),
            (MONDAY, 2, {"outcome": "present"}),
        )
    )
    assert (row.outcomes["inconclusive"].count, row.outcomes["not_present"].count) == (None, 12)
    assert {name: share.count for name, share in row.reasons.items()} == {"unfamiliar": None}


def test_every_reason_that_a_result_can_have_has_a_name(kept):
    sentences = {
        value
        for name, value in vars(decision).items()
        if name in ("NOT_ECG", "UNFAMILIAR", "SWAP_CHECK", "BETWEEN", "PACED", "TOO_YOUNG", "LEADS_NOT_ACCEPTED")
        or name.startswith("RATE_")
    }
    assert set(drift.REASONS) == sentences


def test_weeks_with_few_attempts_are_joined_and_told_apart_by_nothing(kept):
    rows = drift.report(
        kept((MONDAY, 6, {}), ("2026-03-09T00:00:00+00:00", 3, {}), ("2026-03-16T00:00:00+00:00", 4, {"device": "B"}))
    )
    assert [(row.week, row.attempts) for row in rows] == [("2026-W10", 6), (drift.FEW, 7)]
    _, rest = drift.report(kept((MONDAY, 6, {}), ("2026-03-09T00:00:00+00:00", 3, {})))
    assert (rest.week, rest.attempts, rest.outcomes) == (drift.FEW, None, {})
    assert drift.to_dict(rest)["attempts"] is None


def test_who_may_see_the_records_sees_all_counts(kept):
    (row,) = drift.report(kept((MONDAY, 1, {"outcome": "present"}), (MONDAY, 2, {})), smallest=1)
    assert (row.attempts, row.outcomes["present"].count) == (3, 1)


@given(st.lists(st.integers(0, 12), min_size=2, max_size=6).filter(lambda counts: sum(counts) >= 5), st.integers(2, 6))
def test_no_small_count_follows_from_the_others(counts, smallest):
    total = sum(counts)
    named = {str(at): count for at, count in enumerate(counts)}
    shares = drift._shares(named, total, smallest, whole=True)
    shown = {name: share.count for name, share in shares.items() if share.count is not None}
    assert all(count == 0 or count >= smallest for count in shown.values())
    withheld = total - sum(shown.values())
    hidden = len(shares) - len(shown)
    # What is withheld together is never one count alone, nor so little that it is small itself, unless it is all.
    assert hidden == 0 or (hidden >= 2 and withheld >= smallest) or not any(shown.values())


def test_a_report_holds_no_id(kept, visit):
    of = visit("KGSECRET7")
    text = json.dumps([drift.to_dict(row) for row in drift.report(kept((MONDAY, 6, {"of": of})))])
    for secret in ("KGSECRET7", of.id, "NURSE1"):
        assert secret not in text


def test_wiped_and_damaged_records_are_not_counted():
    gone = [
        Entry(seq, "attempt", "b", seq, MONDAY, True, {}, "0" * 64, wiped=seq % 2 == 0, damaged=seq % 2 == 1)
        for seq in range(1, 9)
    ]
    assert drift.report(SimpleNamespace(attempts=lambda **_: iter(gone))) == []


def test_a_real_store_is_reported_with_the_week_of_its_clock(store, attempt):
    for number in range(5):
        store.append(attempt(number=number + 1))
    (row,) = drift.report(store)
    year, week, _ = datetime.now(UTC).isocalendar()
    assert (row.week, row.attempts) == (f"{year}-W{week:02}", 5)
