"""Every metric against its definition, spelt out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge import metrics
from lsemvae_edge.metrics import (
    AtThreshold,
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


# Many resamples at once ------------------------------------------------------------------------

# Distinct scores: between ties the order inside an equal-mass bin depends on the resample's own order.
probabilities = st.lists(st.tuples(st.booleans(), st.integers(1, 999)), min_size=2, max_size=40)
AT_ONCE = {
    "auroc": auroc,
    "average_precision": average_precision,
    "brier": brier,
    "calibration_intercept": metrics.calibration_intercept,
    "accuracy": AtThreshold("accuracy", 0.4),
    "f1": AtThreshold("f1", 0.4),
    "mcc": AtThreshold("mcc", 0.4),
    "sensitivity": AtThreshold("sensitivity", 0.4),
    "specificity": AtThreshold("specificity", 0.4),
    "ppv": AtThreshold("positive_predictive_value", 0.4, prevalence=0.05),
    "npv": AtThreshold("negative_predictive_value", 0.4),
}


def one_by_one(metric, truth, score, resamples):
    """Call a metric for each resample: the plain definition."""
    return np.array([metric(truth[index], score[index]) for index in resamples])


@pytest.mark.parametrize("name", AT_ONCE)
@given(rows=probabilities, seed=st.integers(0, 99))
def test_many_resamples_at_once_are_the_same_as_one_by_one(name, rows, seed):
    truth, score = split(rows)
    score = score / 1000
    resamples = patient_bootstrap(np.arange(truth.size) // 2, 6, seed)
    at_once = metrics.resampled_values(AT_ONCE[name], truth, score, resamples)
    np.testing.assert_allclose(at_once, one_by_one(AT_ONCE[name], truth, score, resamples), atol=1e-7)


@given(st.lists(st.booleans(), min_size=2, max_size=45), st.integers(0, 99))
def test_the_calibration_error_of_many_resamples_is_that_of_each(labels, seed):
    truth = np.array(labels)
    score = np.random.default_rng(seed).permutation(np.linspace(0.02, 0.98, truth.size))
    resamples = patient_bootstrap(np.arange(truth.size) // 3, 5, seed)
    at_once = metrics.resampled_values(calibration_error, truth, score, resamples)
    np.testing.assert_allclose(at_once, one_by_one(calibration_error, truth, score, resamples), atol=1e-12)


def test_the_calibration_slope_of_many_resamples_is_that_of_each():
    truth, score, patients = cohort()
    score = 1 / (1 + np.exp(-score))
    resamples = patient_bootstrap(patients, 20)
    at_once = metrics.resampled_values(metrics.calibration_slope, truth, score, resamples)
    np.testing.assert_allclose(at_once, one_by_one(metrics.calibration_slope, truth, score, resamples), atol=1e-6)


def test_a_metric_without_a_form_for_many_resamples_is_called_for_each():
    truth, score, patients = cohort()
    resamples = patient_bootstrap(patients, 5)
    values = metrics.resampled_values(lambda t, s: float(s[t].mean()), truth, score, resamples)
    np.testing.assert_allclose(values, [score[i][truth[i]].mean() for i in resamples])


def test_resamples_in_parts_are_the_same_as_in_one(monkeypatch):
    from lsemvae_edge.metrics import intervals

    truth, score, patients = cohort()
    resamples = patient_bootstrap(patients, 30)
    whole = metrics.resampled_values(auroc, truth, score, resamples)
    monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", 7 * truth.size)
    np.testing.assert_array_equal(metrics.resampled_values(auroc, truth, score, resamples), whole)


@given(patients_of, st.integers(0, 5))
def test_resamples_are_the_drawn_patients_recordings_in_order(patients, seed):
    patients = np.array(patients)
    people = np.unique(patients)
    rng = np.random.default_rng(seed)
    for index in patient_bootstrap(patients, 3, seed):
        drawn = people[rng.integers(0, people.size, people.size)]
        expected = np.concatenate([np.flatnonzero(patients == person) for person in drawn])
        np.testing.assert_array_equal(index, expected)


# Against scikit-learn --------------------------------------------------------------------------


@given(scored)
def test_ranking_and_decisions_agree_with_scikit_learn(rows):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    truth, score = split(rows)
    called = score >= 1
    counts = metrics.confusion(truth, called)
    assert counts.accuracy() == pytest.approx(sklearn.accuracy_score(truth, called))
    assert counts.f1() == pytest.approx(sklearn.f1_score(truth, called, zero_division=0))
    if truth.size > 1:
        assert counts.mcc() == pytest.approx(sklearn.matthews_corrcoef(truth, called), abs=1e-12)
    if truth.any() and not truth.all():
        assert auroc(truth, score) == pytest.approx(sklearn.roc_auc_score(truth, score))
        assert average_precision(truth, score) == pytest.approx(sklearn.average_precision_score(truth, score))
        false_rate, true_rate, _ = sklearn.roc_curve(truth, score, drop_intermediate=False)
        np.testing.assert_allclose(metrics.roc_curve(truth, score), (false_rate, true_rate))


@given(scored)
def test_the_curves_enclose_their_areas(rows):
    truth, score = split(rows)
    if not truth.any() or truth.all():
        return
    false_rate, true_rate = metrics.roc_curve(truth, score)
    area = np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2)
    assert area == pytest.approx(auroc(truth, score))
    recall, precision = metrics.precision_recall_curve(truth, score)
    assert np.sum(np.diff(recall, prepend=0) * precision) == pytest.approx(average_precision(truth, score))


def test_calibration_slope_and_intercept_are_those_of_a_logistic_regression():
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is the oracle")
    truth, logit, _ = cohort()
    logit = 1.7 * logit - 0.4
    probability = 1 / (1 + np.exp(-logit))

    def loss(shift, slope):
        return np.mean(np.logaddexp(0, shift + slope * logit) - truth * (shift + slope * logit))

    both = optimize.minimize(lambda p: loss(*p), [0.0, 1.0], tol=1e-10).x
    alone = optimize.minimize_scalar(lambda shift: loss(shift, 1.0), tol=1e-12).x
    assert metrics.calibration_slope(truth, probability) == pytest.approx(both[1], abs=1e-4)
    assert metrics.calibration_intercept(truth, probability) == pytest.approx(alone, abs=1e-6)


@given(st.floats(0.3, 3.0), st.floats(-1.5, 1.5))
def test_stretching_and_shifting_logits_shows_in_slope_and_intercept(stretch, shift):
    truth, logit, _ = cohort()
    slope = metrics.calibration_slope(truth, 1 / (1 + np.exp(-logit)))
    stretched = metrics.calibration_slope(truth, 1 / (1 + np.exp(-stretch * logit - shift)))
    assert stretched == pytest.approx(slope / stretch, rel=1e-4)
    there = metrics.calibration_intercept(truth, 1 / (1 + np.exp(-logit)))
    moved = metrics.calibration_intercept(truth, 1 / (1 + np.exp(-logit - shift)))
    assert moved == pytest.approx(there - shift, abs=1e-5)


def test_separated_or_single_classes_have_no_slope_and_a_stated_certainty_stays_finite():
    assert np.isnan(metrics.calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]))
    assert np.isnan(metrics.calibration_slope([1, 1, 1], [0.1, 0.2, 0.8]))
    assert np.isnan(metrics.calibration_intercept([1, 1, 1], [0.1, 0.2, 0.8]))
    assert np.isfinite(metrics.calibration_intercept([1, 0, 1, 0], [1.0, 0.0, 0.0, 1.0]))


def test_the_brier_score_of_the_constant_is_that_of_the_share_of_positives():
    truth = np.array([1, 0, 0, 0, 1])
    assert metrics.brier_of_constant(truth) == pytest.approx(brier(truth, np.full(5, 0.4)))


def test_reliability_bins_hold_every_recording_once():
    truth, score, _ = cohort()
    bins = metrics.reliability(truth, 1 / (1 + np.exp(-score)), 7)
    assert sum(one.n for one in bins) == truth.size
    assert sum(one.positive for one in bins) == truth.sum()
    assert max(one.n for one in bins) - min(one.n for one in bins) <= 1
    assert [one.stated for one in bins] == sorted(one.stated for one in bins)


# Operating points ------------------------------------------------------------------------------


@given(scored, st.floats(0.01, 1.0))
def test_the_threshold_reaches_its_sensitivity_and_no_higher_one_does(rows, wanted):
    truth, score = split(rows)
    if not truth.any():
        return
    threshold = metrics.threshold_at_sensitivity(truth, score, wanted)
    assert (score[truth] >= threshold).mean() >= wanted - 1e-9
    higher = score[score > threshold]
    next_one = np.unique(higher)[1:2] if higher.size else []
    for candidate in next_one:
        assert (score[truth] >= candidate).mean() < wanted


@given(scored)
def test_youdens_threshold_is_the_best_of_all(rows):
    truth, score = split(rows)
    if not truth.any() or truth.all():
        return

    def youden(threshold):
        return (score[truth] >= threshold).mean() + (score[~truth] < threshold).mean() - 1

    best = max(youden(threshold) for threshold in score)
    assert youden(metrics.youden_threshold(truth, score)) == pytest.approx(best)


def test_operating_points_need_the_classes_they_are_chosen_by():
    with pytest.raises(ValueError, match="at least one positive"):
        metrics.threshold_at_sensitivity([0, 0], [0.1, 0.2], 0.8)
    with pytest.raises(ValueError, match="in \\(0, 1\\]"):
        metrics.threshold_at_sensitivity([1, 0], [0.1, 0.2], 0.0)
    with pytest.raises(ValueError, match="Both classes"):
        metrics.youden_threshold([1, 1], [0.1, 0.2])


def test_a_threshold_lies_between_two_scores():
    assert metrics.threshold_at_sensitivity([1, 1, 0], [0.8, 0.4, 0.2], 0.5) == pytest.approx(0.6)
    assert metrics.threshold_at_sensitivity([1, 1, 0], [0.8, 0.4, 0.2], 1.0) == pytest.approx(0.3)
    neighbours = [np.nextafter(0.5, 1), 0.5]
    assert metrics.threshold_at_sensitivity([1, 0], neighbours, 1.0) == neighbours[0]


def test_predictive_values_follow_bayes_and_at_the_own_prevalence_are_plain_shares():
    ppv, npv = metrics.predictive_values(0.8, 0.9, 0.05)
    assert ppv == pytest.approx(0.04 / (0.04 + 0.095))
    assert npv == pytest.approx(0.855 / (0.855 + 0.01))
    truth, score, _ = cohort()
    called = score >= 0.5
    own = AtThreshold("positive_predictive_value", 0.5)(truth, score)
    assert own == pytest.approx(truth[called].mean())
    assert np.isnan(metrics.predictive_values(0.0, 1.0, 0.05)[0])


@given(scored, st.integers(0, 19))
def test_net_benefit_is_hits_less_weighed_false_alarms(rows, twentieths):
    truth, score = split(rows)
    probability, threshold = (score + 3) / 6, twentieths / 20
    called = probability >= threshold
    odds = threshold / (1 - threshold)
    expected = ((called & truth).sum() - odds * (called & ~truth).sum()) / truth.size
    assert metrics.net_benefit(truth, probability, [threshold])[0] == pytest.approx(expected)


def test_a_decision_curve_stands_between_acting_on_everybody_and_its_interval():
    truth, score, patients = cohort()
    probability = 1 / (1 + np.exp(-3 * (score - 0.5)))
    thresholds = np.linspace(0, 0.9, 10)
    curve = metrics.decision_curve(truth, probability, thresholds, patient_bootstrap(patients, 200))
    rate = truth.mean()
    np.testing.assert_allclose(curve.treat_all, rate - (1 - rate) * thresholds / (1 - thresholds), atol=1e-12)
    assert curve.model[0] == pytest.approx(rate)  # at 0 everybody is called
    assert (curve.low <= curve.model).all()
    assert (curve.model <= curve.high).all()
    assert curve.model[5] > max(curve.treat_all[5], 0)
    assert metrics.decision_curve(truth, probability, thresholds).low is None


def test_several_metrics_in_one_pass_are_the_same_as_each_alone():
    truth, score, patients = cohort()
    score = 1 / (1 + np.exp(-score))
    resamples = patient_bootstrap(patients, 50)
    wanted = {**AT_ONCE, "mean": lambda t, s: float(s[t].mean()), "slope": metrics.calibration_slope}
    together = metrics.with_intervals(wanted, truth, score, resamples)
    assert together == {name: with_interval(metric, truth, score, resamples) for name, metric in wanted.items()}
    few = np.arange(truth.size) < 3
    assert metrics.with_intervals({"auroc": auroc}, few, score, resamples) == {"auroc": None}


def test_a_resample_without_a_class_is_left_out_of_the_interval():
    truth, score = np.arange(20) < 10, np.arange(20)[::-1].astype(float)
    patients = (np.arange(20) >= 10).astype(int)  # two patients, one for each class: half the resamples have one only
    interval = with_interval(auroc, truth, score, patient_bootstrap(patients, 40))
    assert interval == Interval(1.0, 1.0, 1.0)
