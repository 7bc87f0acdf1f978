"""Every metric against its definition, spelt out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import metrics
from lsemvae_edge.metrics import (
    Interval,
    auroc,
    average_precision,
    brier,
    calibration_error,
    difference_with_interval,
    exact_interval,
    patient_bootstrap,
    patient_folds,
    with_interval,
)

# Few levels, so that ties are common.
scored = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=1, max_size=40)


def split(rows):
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows], dtype=float)


@given(scored)
def test_auroc_is_the_share_of_pairs_in_order_ties_counted_half(rows):
    truth, score = split(rows)
    pairs = [(p, n) for p in score[truth] for n in score[~truth]]
    if not pairs:
        assert np.isnan(auroc(truth, score))
        return
    in_order = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)
    assert auroc(truth, score) == pytest.approx(in_order / len(pairs))


@given(scored)
def test_average_precision_is_the_sum_of_precision_over_recall_steps(rows):
    truth, score = split(rows)
    if not truth.any():
        assert np.isnan(average_precision(truth, score))
        return
    expected, recall_before = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        called = score >= threshold
        precision = (truth & called).sum() / called.sum()
        recall = (truth & called).sum() / truth.sum()
        expected += (recall - recall_before) * precision
        recall_before = recall
    assert average_precision(truth, score) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("truth", "score", "expected"),
    [
        ([1, 0], [0.9, 0.1], 1.0),
        ([0, 1], [0.9, 0.1], 0.5),
        ([1, 0, 1, 0], [4, 3, 2, 1], (1 + 2 / 3) / 2),
        ([1, 0, 1, 0], [1, 1, 1, 1], 0.5),
        ([0, 0, 1, 1], [2, 1, 1, 0], 0.5 * 1 / 3 + 0.5 * 2 / 4),
        ([1, 1, 1], [1, 2, 3], 1.0),
    ],
)
def test_average_precision_of_cases_made_by_hand(truth, score, expected):
    assert average_precision(truth, score) == pytest.approx(expected)


@given(scored)
def test_only_the_order_of_scores_matters(rows):
    truth, score = split(rows)
    warped = np.exp(score / 2)
    for metric in (auroc, average_precision):
        np.testing.assert_equal(metric(truth, warped), metric(truth, score))


def test_brier_is_the_mean_squared_difference():
    assert brier([1, 0, 1], [0.8, 0.3, 1.0]) == pytest.approx((0.04 + 0.09 + 0) / 3)


def test_calibration_error_is_zero_for_rates_that_are_met_and_the_gap_otherwise():
    truth = np.tile([1, 0, 0, 0, 0, 1, 1, 1, 1, 0], 10)
    rates = np.tile([0.2] * 5 + [0.8] * 5, 10)
    assert calibration_error(truth, rates, bins=2) == pytest.approx(0, abs=1e-12)
    assert calibration_error(truth, rates + 0.1, bins=2) == pytest.approx(0.1)
    # Equal mass: one bin of 3 and one of 2.
    assert calibration_error([0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.9], bins=2) == pytest.approx(
        (3 * abs(1 / 3 - 0.2) + 2 * abs(1 - 0.8)) / 5
    )


def test_calibration_error_bears_fewer_recordings_than_bins():
    assert calibration_error([1, 0], [1.0, 0.25], bins=10) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 20), (20, 20), (1, 20), (13, 20), (81, 97), (3, 1000), (2400, 2550)]
)
@pytest.mark.parametrize("level", [0.95, 0.9, 0.99])
def test_the_exact_interval_is_scipys_clopper_pearson(successes, trials, level):
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    expected = stats.binomtest(successes, trials).proportion_ci(level, method="exact")
    made = exact_interval(successes, trials, level)
    assert made.value == successes / trials
    assert (made.low, made.high) == pytest.approx((expected.low, expected.high), abs=1e-8)


def test_no_trials_have_no_interval():
    assert exact_interval(0, 0) is None


patients_of = st.lists(st.integers(0, 12), min_size=1, max_size=60)


@given(patients_of, st.integers(0, 5))
def test_a_resample_draws_whole_patients(patients, seed):
    patients = np.array(patients)
    (index,) = patient_bootstrap(patients, n_resamples=1, seed=seed)
    drawn = np.bincount(index, minlength=patients.size)
    times = {person: set(drawn[patients == person].tolist()) for person in set(patients.tolist())}
    assert all(len(count) == 1 for count in times.values())
    assert sum(count.pop() for count in times.values()) == len(times)


def test_resamples_differ_from_each_other_and_repeat_with_their_seed():
    patients = np.repeat(np.arange(30), 2)
    first, again, other = (patient_bootstrap(patients, 5, seed) for seed in (1, 1, 2))
    assert len({tuple(index) for index in first}) == 5
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1)), min_size=1, max_size=120),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_no_patient_is_in_two_folds_and_positives_are_spread_evenly(rows, n_folds, seed):
    patients = np.array([row[0] for row in rows])
    strata = np.array([row[1] for row in rows])
    folds = patient_folds(patients, strata, n_folds, seed)
    assert set(folds.tolist()) <= set(range(n_folds))
    fold_of = {person: set(folds[patients == person].tolist()) for person in set(patients.tolist())}
    assert all(len(found) == 1 for found in fold_of.values())
    for stratum in (0, 1):
        members = [person for person in fold_of if strata[patients == person].max() == stratum]
        sizes = np.bincount([next(iter(fold_of[person])) for person in members], minlength=n_folds)
        assert sizes.max() - sizes.min() <= 1


def test_folds_repeat_with_their_seed_and_change_with_another():
    patients, strata = np.arange(50), np.arange(50) % 5 == 0
    np.testing.assert_array_equal(patient_folds(patients, strata, seed=3), patient_folds(patients, strata, seed=3))
    assert (patient_folds(patients, strata, seed=3) != patient_folds(patients, strata, seed=4)).any()


def cohort(n_positive=40, n_negative=60, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n_positive + n_negative) < n_positive
    return truth, truth + rng.normal(size=truth.size), np.arange(truth.size) // 2


def test_an_interval_holds_its_estimate_and_most_resamples():
    truth, score, patients = cohort()
    resamples = patient_bootstrap(patients, 400)
    interval = with_interval(auroc, truth, score, resamples)
    assert interval.value == auroc(truth, score)
    assert 0.5 < interval.low < interval.value < interval.high < 1.0
    values = np.array([auroc(truth[index], score[index]) for index in resamples])
    assert np.mean((values >= interval.low) & (values <= interval.high)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("n_positive", "n_negative"), [(9, 50), (50, 9), (0, 50)])
def test_fewer_than_ten_of_a_class_give_no_interval(n_positive, n_negative):
    truth, score, patients = cohort(n_positive, n_negative)
    resamples = patient_bootstrap(patients, 10)
    assert metrics.MIN_POSITIVES == 10
    assert with_interval(auroc, truth, score, resamples) is None
    assert difference_with_interval(auroc, truth, score, score, resamples) is None


def test_ten_of_each_class_are_enough():
    truth, score, patients = cohort(10, 10)
    assert isinstance(with_interval(auroc, truth, score, patient_bootstrap(patients, 50)), Interval)


def test_a_difference_is_bootstrapped_in_pairs():
    truth, score, patients = cohort()
    resamples = patient_bootstrap(patients, 200)
    assert difference_with_interval(auroc, truth, score, score, resamples) == Interval(0.0, 0.0, 0.0)
    noisy = score + np.random.default_rng(5).normal(0, 0.05, score.size)
    difference = difference_with_interval(auroc, truth, score, noisy, resamples)
    alone = with_interval(auroc, truth, score, resamples)
    assert difference.value == pytest.approx(auroc(truth, score) - auroc(truth, noisy))
    # Shared resamples make the difference of two alike scores far surer than either score.
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


def test_folds_with_a_fixed_role_differ():
    assert (metrics.VALIDATION_FOLD, metrics.TEST_FOLD) == (9, 10)
