"""How right the answers are: no answer is never right, a constant is beaten or not, doubt is measured in log-odds."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from lsemvae_edge import metrics
from lsemvae_edge.benchmarks import operating
from lsemvae_edge.result import INCONCLUSIVE, TaskResult

TASK = "right_heart_pattern"


def results(*pairs):
    """Results of given outcomes and probabilities, as far as these tables read them."""
    return [
        SimpleNamespace(outcome=outcome, tasks={TASK: TaskResult(outcome, probability, None)})
        for outcome, probability in pairs
    ]


def stated(probability):
    return results(*(("present" if p >= 0.5 else "not_present", float(p)) for p in probability))


def drawn(n=400, seed=0):
    """Truth that follows from its probability."""
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-rng.normal(-0.5, 1.5, n)))
    return rng.random(n) < probability, probability


def moved(probability, slope=1.0, shift=0.0):
    return 1 / (1 + np.exp(-(slope * np.log(probability / (1 - probability)) + shift)))


def test_no_answer_counts_as_wrong_among_all_and_not_among_answered():
    truth = np.array([True, True, True, True, False, False])
    found = results(
        ("present", 0.9), ("present", 0.8), ("not_present", 0.1), (INCONCLUSIVE, None), ("not_present", 0.2),
        (INCONCLUSIVE, 0.5),
    )  # fmt: skip
    point = operating.operating_point("fold 9", truth, found, "present")
    assert (point.n, point.positive, point.answered) == (6, 4, 4)
    assert point.sensitivity_answered == metrics.exact_interval(2, 3)
    assert point.sensitivity_all == metrics.exact_interval(2, 4)
    assert point.specificity_answered == metrics.exact_interval(1, 1)
    assert point.specificity_all == metrics.exact_interval(1, 2)
    ran = np.array([0.9, 0.8, 0.1, 0.2, 0.5])
    assert point.brier == pytest.approx(np.mean((ran - [1, 1, 1, 0, 0]) ** 2))
    assert point.brier_constant == pytest.approx(0.6 * 0.4)
    assert point.brier_skill is None  # too few for an interval


def test_refusing_everything_shows():
    point = operating.operating_point("x", np.array([True, False]), results(*[(INCONCLUSIVE, 0.5)] * 2), "present")
    assert point.answered == 0
    assert point.sensitivity_answered is None
    assert point.sensitivity_all.value == point.specificity_all.value == 0
    assert point.predictive_values == {}
    assert "0.0%" in operating.operating_table([point])


@pytest.mark.parametrize(
    "pairs",
    [
        [("not_present", 0.1)] * 40,  # sensitivity 0 and specificity 1: no positive call to predict from
        [("present", 1.0), ("not_present", 0.0)] * 20,  # no finite slope fits
        [(INCONCLUSIVE, None)] * 40,  # the model never ran
        [],
    ],
    ids=["nobody called", "separated", "nobody run", "no recording"],
)
def test_every_figure_is_plain_json(pairs, model_spec):
    truth = np.array([True, False] * 20)[: len(pairs)]
    point = operating.operating_point("x", truth, results(*pairs), "present")
    found = operating.abstentions("x", truth, results(*pairs), model_spec.primary)
    json.dumps([asdict(one) for one in (point, *found)], allow_nan=False)
    assert "nan" not in operating.operating_table([point]) + operating.abstention_table(found)


def test_the_operating_table_is_a_table():
    truth, probability = drawn(60)
    lines = operating.operating_table(
        [operating.operating_point("fold 9", truth, stated(probability), "present")]
    ).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert f"60 ({truth.sum()})" in lines[2]
    assert "100.0%" in lines[2]
    assert " - " not in lines[2]


def test_skill_is_what_the_brier_score_saves_over_the_best_constant():
    truth, probability = drawn()
    point = operating.operating_point("x", truth, stated(probability), "present")
    assert point.brier_skill.value == pytest.approx(1 - point.brier / point.brier_constant)
    assert 0 < point.brier_skill.low < point.brier_skill.value < point.brier_skill.high < 1
    constant = operating.operating_point("x", truth, stated(np.full(truth.size, truth.mean())), "present")
    assert constant.brier_skill.value == pytest.approx(0, abs=1e-12)
    assert constant.brier_skill.high <= 1e-9  # no constant beats the best one of a resample
    worse = operating.operating_point("x", truth, stated(1 - probability), "present")
    assert worse.brier_skill.high < 0


def test_skill_has_no_number_with_one_class_only():
    assert np.isnan(operating.brier_skill(np.ones(3, dtype=bool), np.full(3, 0.5)))


def test_intervals_are_over_patients():
    truth, probability = (np.repeat(values, 4) for values in drawn(100))
    found = stated(probability)
    apart = operating.operating_point("x", truth, found, "present").brier_skill
    patient = np.repeat(np.arange(100).astype(str), 4)
    together = operating.operating_point("x", truth, found, "present", patient).brier_skill
    assert together.value == apart.value
    assert together.high - together.low > 1.6 * (apart.high - apart.low)


def test_slope_and_intercept_tell_overconfident_from_shifted():
    truth, probability = drawn(2000)
    right, twice, shifted = (
        operating.operating_point("x", truth, stated(moved(probability, *change)), "present")
        for change in ((1.0, 0.0), (2.0, 0.0), (1.0, -1.0))
    )
    assert right.calibration_slope.low < 1 < right.calibration_slope.high
    assert right.calibration_intercept.low < 0 < right.calibration_intercept.high
    assert twice.calibration_slope.value == pytest.approx(right.calibration_slope.value / 2, rel=1e-4)
    assert shifted.calibration_slope.value == pytest.approx(right.calibration_slope.value, rel=1e-4)
    assert shifted.calibration_intercept.low > 0.5
    assert max(twice.calibration_error, shifted.calibration_error) > 2 * right.calibration_error


def test_the_calibration_error_is_over_bins_of_equal_mass():
    # All but ten of 100 recordings are below 0.1, in one bin of ten of equal width.
    probability = np.concatenate([np.linspace(0.001, 0.09, 90), np.linspace(0.5, 0.9, 10)])
    truth = np.arange(100) % 3 == 0
    point = operating.operating_point("x", truth, stated(probability), "present")
    parts = np.arange(100).reshape(10, 10)
    assert point.calibration_error == pytest.approx(
        np.mean([abs(truth[part].mean() - probability[part].mean()) for part in parts])
    )


def test_the_least_sure_get_no_answer_first(model_spec):
    # Twenty recordings, thresholds 0.4 and 0.6: the two nearest to one half are wrong, and so is one far away.
    truth = np.array([True] * 8 + [False] * 12)
    probability = np.concatenate([np.linspace(0.7, 0.98, 7), [0.49], np.linspace(0.02, 0.3, 10), [0.95, 0.52]])
    found = operating.abstentions("fold 9", truth, stated(probability), model_spec.primary)
    assert [one.coverage for one in found] == [1.0, 0.9, 0.85, 0.75]
    assert [one.answered for one in found] == [20, 18, 17, 15]
    assert [one.n for one in found] == [20] * 4
    everyone, first, *_ = found
    assert everyone.error == metrics.exact_interval(3, 20)
    assert everyone.sensitivity == metrics.exact_interval(7, 8)
    assert everyone.specificity == metrics.exact_interval(10, 12)
    assert first.error == metrics.exact_interval(1, 18)
    assert first.sensitivity == metrics.exact_interval(7, 7)
    assert first.specificity == metrics.exact_interval(10, 11)
    lines = operating.abstention_table(found).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3].startswith("| fold 9 | 90% | 18 of 20 | 0.056 (")


def test_doubt_is_measured_from_the_middle_of_the_thresholds_in_log_odds(model_spec):
    task = replace(model_spec.primary, lower=0.1, upper=0.5)  # their middle is a probability of 0.25
    truth = np.array([True, False, False, False])
    found = operating.abstentions("x", truth, stated([0.27, 0.22, 0.5, 0.1]), task)
    assert found[0].error == metrics.exact_interval(1, 4)  # 0.27 is called, and so is 0.5
    # Of 0.27 and 0.22, 0.27 lies nearer to the middle: 0.10 against 0.17.
    assert (found[3].answered, found[3].sensitivity) == (3, None)


def test_recordings_of_equal_doubt_are_answered_together(model_spec):
    truth = np.array([True, False, True, False])
    found = operating.abstentions("x", truth, stated([0.9, 0.1, 0.8, 0.8]), model_spec.primary)
    assert [one.answered for one in found] == [4, 2, 2, 2]
    found = operating.abstentions("x", truth, stated([0.8] * 4), model_spec.primary)
    assert [one.answered for one in found] == [4, 0, 0, 0]
    assert found[1].error is None


def test_coverage_is_of_recordings_that_the_model_ran_on(model_spec):
    truth = np.array([True, True, False, False])
    found = results((INCONCLUSIVE, None), ("present", 0.9), (INCONCLUSIVE, 0.55), ("not_present", 0.1))
    (everyone, *_) = operating.abstentions("x", truth, found, model_spec.primary)
    assert (everyone.n, everyone.answered) == (3, 3)
    assert everyone.error == metrics.exact_interval(1, 3)
