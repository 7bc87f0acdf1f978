"""The safety tables: what is counted, and that no answer is never counted as right."""

import json
import os
from dataclasses import asdict, replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the benchmarks need the extra `train`")
pytest.importorskip("pydantic", reason="the benchmarks need the extra `train`")

from lsemvae_edge import bundle as bundles
from lsemvae_edge import decision, metrics
from lsemvae_edge.benchmarks import safety
from lsemvae_edge.result import INCONCLUSIVE, TaskResult
from lsemvae_edge.runtime import open_session
from lsemvae_edge.screening import screen
from lsemvae_edge.synthetic.electrodes import contact_loss
from lsemvae_edge.synthetic.heart import Heart, simulate

DATA = os.environ.get("LSEMVAE_EDGE_DATA")


@pytest.fixture(scope="module")
def run():
    bundle = bundles.default()
    session = open_session(bundle)
    return lambda record: screen(record, bundle, session=session)


@pytest.fixture(scope="module")
def a_result(run):
    return run(simulate(Heart(), 12.0, 500.0, 0, ("I", "II")))


@pytest.fixture(scope="module")
def results(a_result):
    """Function that makes results of given outcomes and probabilities."""

    def make(*pairs, reason="why not"):
        made = []
        for outcome, probability in pairs:
            task = TaskResult(outcome, probability, reason if outcome == INCONCLUSIVE else None)
            tasks = {**a_result.tasks, "right_heart_pattern": task}
            made.append(replace(a_result, outcome=outcome, tasks=tasks))
        return made

    return make


def test_a_tally_counts_answers_and_reasons(results):
    row = safety._tally(
        "g",
        "k",
        results(("present", 0.9), ("not_present", 0.1))
        + results((INCONCLUSIVE, 0.5), (INCONCLUSIVE, None), reason="noise")
        + results((INCONCLUSIVE, 0.5), reason="between"),
    )
    assert (row.n, row.answered, row.share) == (5, 2, 0.4)
    assert list(row.reasons.items()) == [("noise", 2), ("between", 1)]
    assert row.detected is None
    assert safety._tally("g", "k", []).share == 0


def test_only_the_swap_check_counts_as_detected(results):
    found = results((INCONCLUSIVE, 0.5), reason=decision.SWAP_CHECK) + results((INCONCLUSIVE, 0.5), ("present", 0.9))
    row = safety._alarms("arms", found)
    assert (row.n, row.answered, row.detected) == (3, 1, 1)


def test_the_table_shows_counts_shares_and_reasons():
    rows = [
        safety.Row("no ECG", "held-out kinds", 4, 1, None, {"noise": 2, "between": 1}),
        safety.Row("electrodes", "swapped: arms", 4, 0, 3, {}),
    ]
    head, rule, first, second = safety.table(rows).splitlines()
    assert head.count("|") == rule.count("|") == first.count("|")
    assert first == "| no ECG | held-out kinds | 4 | 1 (25.0%) | - | noise (2); between (1) |"
    assert "| 0 (0.0%) | 3 (75.0%) |" in second


def test_no_answer_counts_as_wrong_among_all_and_not_among_answered(results):
    truth = np.array([True, True, True, True, False, False])
    found = results(
        ("present", 0.9), ("present", 0.8), ("not_present", 0.1), (INCONCLUSIVE, None), ("not_present", 0.2),
        (INCONCLUSIVE, 0.5),
    )  # fmt: skip
    point = safety.operating_point("fold 9", truth, found, "present")
    assert (point.n, point.positive, point.answered) == (6, 4, 4)
    assert point.sensitivity_answered == metrics.exact_interval(2, 3)
    assert point.sensitivity_all == metrics.exact_interval(2, 4)
    assert point.specificity_answered == metrics.exact_interval(1, 1)
    assert point.specificity_all == metrics.exact_interval(1, 2)
    ran = np.array([0.9, 0.8, 0.1, 0.2, 0.5])
    assert point.brier == pytest.approx(np.mean((ran - [1, 1, 1, 0, 0]) ** 2))
    assert point.brier_constant == pytest.approx(0.6 * 0.4)


def test_refusing_everything_shows(results):
    point = safety.operating_point("x", np.array([True, False]), results(*[(INCONCLUSIVE, 0.5)] * 2), "present")
    assert point.answered == 0
    assert point.sensitivity_answered is None
    assert point.sensitivity_all.value == point.specificity_all.value == 0
    assert point.predictive_values == {}
    assert "0.0%" in safety.operating_table([point])


@pytest.mark.parametrize(
    "pairs",
    [
        [("not_present", 0.1)] * 4,  # sensitivity 0 and specificity 1: no positive call to predict from
        [(INCONCLUSIVE, None)] * 4,  # the model never ran
    ],
    ids=["nobody called", "nobody run"],
)
def test_an_operating_point_is_plain_json(results, pairs):
    point = safety.operating_point("x", np.array([True, False, True, False]), results(*pairs), "present")
    json.dumps(asdict(point), allow_nan=False)
    assert "nan" not in safety.operating_table([point])


def test_the_operating_table_is_a_table(results):
    truth = np.array([True, True, False, False])
    found = results(("present", 0.9), ("not_present", 0.4), ("not_present", 0.1), ("not_present", 0.2))
    lines = safety.operating_table([safety.operating_point("fold 9", truth, found, "present")]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "4 (2)" in lines[2]
    assert "100.0%" in lines[2]


@pytest.mark.parametrize("kind", safety.STABILITY)
def test_a_changed_recording_is_the_same_heart(run, kind):
    record = contact_loss(simulate(Heart(), 12.0, 500.0, 1, ("I", "II")), 0.0, 0.1)
    changed = safety.STABILITY[kind](record)
    assert changed.leads == record.leads
    assert changed.duration_s == pytest.approx(record.duration_s, abs=0.51)
    whole = slice(1000, 1400)
    if changed.fs_hz == record.fs_hz and changed.n_samples == record.n_samples:
        ratio = np.corrcoef(changed.signal_mv[1, whole], record.signal_mv[1, whole])[0, 1]
        assert ratio > 0.99
    before, after = run(record), run(changed)
    assert after.heart_rate_bpm == pytest.approx(before.heart_rate_bpm, abs=2)


def test_a_rate_change_keeps_gaps_as_gaps():
    record = contact_loss(simulate(Heart(), 12.0, 500.0, 1, ("I", "II")), 5.0, 6.0)
    changed = safety.STABILITY["300 Hz"](record)
    assert changed.fs_hz == 300.0
    assert changed.gaps[:, 1550:1750].all()


def test_strange_inputs_are_counted_apart_when_held_out(run, monkeypatch):
    monkeypatch.setattr(safety, "N_NOT_ECG", len(safety.NOT_ECG))
    rows = safety._not_ecg(run, np.random.default_rng(0))
    by_kind = {row.kind: row for row in rows}
    assert by_kind["held-out kinds"].n == len(safety.HELD_OUT_KINDS)
    assert sum(row.n for row in rows) == len(safety.NOT_ECG)
    assert sum(row.answered for row in rows) <= 1


@pytest.mark.skipif(not DATA, reason="LSEMVAE_EDGE_DATA is not set: no real recordings here")
def test_a_few_real_recordings_fill_the_table(run):
    from lsemvae_edge.train import datasets

    listed = [entry for entry in datasets.entries(datasets.data_folder()) if entry.fold == metrics.VALIDATION_FOLD][:12]
    found = [run(entry.record()) for entry in listed]
    truth = np.array([entry.targets[datasets.RIGHT_HEART.name] for entry in listed], dtype=bool)
    point = safety.operating_point("a few", truth, found, "present")
    assert point.n == 12
    assert point.answered >= 8
    rows = {row.kind: row for row in safety._swaps(run, safety.judge(run, listed))}
    assert rows["not swapped"].n == 12
    assert rows["swapped: arms"].n == point.answered
    assert rows["swapped: arms"].answered < rows["not swapped"].answered
    assert rows["swapped: arms"].detected > rows["not swapped"].detected
