"""Calibration, thresholds, guards and the familiar part of the latent space from validation recordings."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="calibration follows training; the base install has no torch")
pytest.importorskip("scipy", reason="calibration needs the extra `train`")
pytest.importorskip("pydantic", reason="calibration needs the extra `train`")
pytest.importorskip("mapie", reason="risk control needs the extra `train`")

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train import calibrate
from lsemvae_edge.train.calibrate import DELTA, FALSE_ALARMS, MISSED

N = 2000
N_DRAWS = 200
MOST_BROKEN = DELTA * N_DRAWS + 3 * np.sqrt(N_DRAWS * DELTA * (1 - DELTA))
"""Broken promises among the draws: the stated share of them, and three standard deviations."""


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


@pytest.fixture(scope="module")
def validation():
    """Logits (n, 4) whose probability of truth is sigmoid(0.7 logit - 0.5), targets, and what resembles a swap."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (N, 4)).astype(np.float32)
    targets = (rng.random((N, 2)) < sigmoid(0.7 * logits[:, :2] - 0.5)).astype(np.float32)
    targets[rng.random(N) < 0.6, 1] = np.nan
    like = rng.random(N) < 0.1
    logits[like, 2] += 2
    return logits, targets, like


@pytest.fixture(scope="module")
def baseline():
    return np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def tasks(validation, baseline):
    return calibrate.tasks(*validation[:2], baseline)


def probabilities(task, logits):
    return sigmoid(task.calibration.slope * logits.astype(np.float64) + task.calibration.intercept)


def exchangeable(rng, n, steps=None):
    """Labels, and the probabilities of a model; in ``steps`` a logit, as integers give them, if not None."""
    truth = (rng.random(n) < 0.3).astype(np.int64)
    logit = rng.normal(size=n) + 1.2 * truth - 1.0
    return truth, sigmoid(logit if steps is None else np.round(logit * steps) / steps)


def test_platt_scaling_finds_the_slope_and_intercept_that_made_the_data(validation):
    logits, targets, _ = validation
    made = calibrate.platt(targets[:, 0].astype(np.int64), logits[:, 0].astype(np.float64))
    assert made.slope == pytest.approx(0.7, abs=0.08)
    assert made.intercept == pytest.approx(-0.5, abs=0.12)


@pytest.mark.parametrize("steps", [None, 8], ids=["float", "int8"])
def test_the_promise_holds_in_as_many_draws_as_was_stated(steps):
    rng = np.random.default_rng(3)
    truth, probability = exchangeable(rng, 200_000, steps)
    positives, negatives = np.sort(probability[truth == 1]), np.sort(probability[truth == 0])
    missed, alarmed = [], []
    for _ in range(N_DRAWS):
        few, of_few = exchangeable(rng, 240, steps)
        lower, upper = calibrate.controlled(of_few, few, MISSED, FALSE_ALARMS)
        assert lower <= upper
        missed.append(np.searchsorted(positives, lower) / positives.size)
        alarmed.append(1 - np.searchsorted(negatives, upper) / negatives.size)
    # It may be broken now and then: thresholds that never do would answer fewer than they could.
    assert 0 < np.mean(np.array(missed) > MISSED) * N_DRAWS <= MOST_BROKEN
    assert 0 < np.mean(np.array(alarmed) > FALSE_ALARMS) * N_DRAWS <= MOST_BROKEN


def test_one_threshold_answers_everybody_where_both_promises_can_be_kept():
    truth = (np.arange(400) % 2).astype(np.int64)
    probability = sigmoid(np.random.default_rng(0).normal(size=400) + 6.0 * truth - 3.0)
    lower, upper = calibrate.controlled(probability, truth, MISSED, FALSE_ALARMS)
    assert lower == upper
    assert np.mean(probability[truth == 1] < lower) < MISSED
    assert np.mean(probability[truth == 0] >= upper) < FALSE_ALARMS


def test_asking_for_more_answers_fewer():
    truth, probability = exchangeable(np.random.default_rng(0), 2000)
    gaps = [np.subtract(*calibrate.controlled(probability, truth, share, share)[::-1]) for share in (0.3, 0.15, 0.05)]
    assert 0 <= gaps[0] < gaps[1] < gaps[2]


@pytest.mark.parametrize("n", [4, 12])
@pytest.mark.filterwarnings("ignore:No predict parameters:UserWarning")
def test_too_few_recordings_for_the_promise_are_refused(n, tasks):
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 2
    with pytest.raises(
        BadInputError, match=f"{n // 2} positive and {n // 2} negative recordings are too few"
    ) as caught:
        calibrate.refit(tasks[0], truth, (rng.normal(size=n) + truth).astype(np.float32))
    assert "Label more recordings" in caught.value.next_step


def test_the_contract_names_both_tasks_and_asks_the_side_where_the_pattern_is_not_excluded(tasks, baseline):
    assert [(task.name, task.role, task.output) for task in tasks] == [
        ("right_heart_pattern", "primary", 0),
        ("heart_side", "secondary", 1),
    ]
    assert [task.classes for task in tasks] == [("not_present", "present"), ("left", "right")]
    assert tasks[0].asked_if is None
    assert (tasks[1].asked_if.task, tasks[1].asked_if.min_probability) == (tasks[0].name, tasks[0].lower)
    for task in tasks:
        np.testing.assert_allclose(task.lead_baseline, baseline[:, task.output], atol=1e-5)


def test_thresholds_lie_in_order_inside_zero_and_one(tasks):
    assert all(0 < task.lower <= task.upper < 1 for task in tasks)


def test_thresholds_keep_their_promise_on_the_recordings_that_they_come_from(validation, tasks):
    logits, targets, _ = validation
    for column, task in enumerate(tasks):
        known = ~np.isnan(targets[:, column])
        truth, probability = targets[known, column], probabilities(task, logits[known, column])
        assert np.mean(probability[truth == 1] < task.lower) <= MISSED
        assert np.mean(probability[truth == 0] >= task.upper) <= FALSE_ALARMS
        assert np.mean(probability) == pytest.approx(truth.mean(), abs=0.01)


def test_recordings_without_a_label_do_not_count(validation, tasks, baseline):
    logits, targets, _ = validation
    other = logits.copy()
    other[np.isnan(targets[:, 1]), 1] = 100
    assert calibrate.tasks(other, targets, baseline) == tasks


@pytest.mark.parametrize("prevalence", [0.01, 0.2, 0.6])
def test_prevalence_moves_probabilities_and_no_outcome(prevalence, validation, tasks):
    logits, truth = validation[0][:, 0], validation[1][:, 0].astype(np.int64)
    moved = calibrate.refit(tasks[0], truth, logits, prevalence=prevalence)
    assert moved.calibration.slope == tasks[0].calibration.slope
    here, there = probabilities(tasks[0], logits), probabilities(moved, logits)
    for own, new in ((tasks[0].lower, moved.lower), (tasks[0].upper, moved.upper)):
        assert np.mean((here >= own) != (there >= new)) < 0.002
    # Weighing the classes as they will come, the shifted probabilities are calibrated in the large.
    weight = np.where(truth == 1, prevalence / truth.mean(), (1 - prevalence) / (1 - truth.mean()))
    assert np.average(there, weights=weight) == pytest.approx(prevalence, rel=0.1)


def test_their_own_prevalence_changes_nothing(validation, tasks):
    logits, truth = validation[0][:, 0], validation[1][:, 0].astype(np.int64)
    assert calibrate.refit(tasks[0], truth, logits, prevalence=float(truth.mean())) == tasks[0]


def test_guards_object_to_no_more_than_the_stated_share(validation):
    logits, _, like = validation
    swap, strange = calibrate.guards(logits, like, 2)
    assert (swap.kind, swap.output) == ("electrode_swap", 2)
    assert (strange.kind, strange.output) == ("not_ecg", 3)
    assert np.mean(logits[:, 2] >= swap.max_logit) <= calibrate.SWAP_FALSE_ALARMS
    assert np.mean(logits[:, 3] >= strange.max_logit) == pytest.approx(calibrate.NOT_ECG_FALSE_ALARMS, abs=0.002)


def test_records_that_resemble_a_reversal_hold_the_swap_guard_back(validation):
    logits, _, like = validation
    swap, _ = calibrate.guards(logits, like, 2)
    assert np.mean(logits[like, 2] >= swap.max_logit) <= 0.05
    free, _ = calibrate.guards(logits, np.zeros(N, dtype=bool), 2)
    assert np.mean(logits[like, 2] >= free.max_logit) > 0.05, "without the second rule they would trip it"
    assert np.mean(logits[:, 2] >= free.max_logit) == pytest.approx(calibrate.SWAP_FALSE_ALARMS, abs=0.002)


@pytest.fixture(scope="module")
def means():
    """Fused means of training and validation recordings (n, 8), of unequal spread and dependent on each other."""
    rng = np.random.default_rng(2)
    mixing = np.diag(np.logspace(-0.5, 0.5, 8)) @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    return tuple((rng.normal(size=(n, 8)) @ mixing + 3.0).astype(np.float32) for n in (3000, 2000))


def test_the_stated_share_of_validation_recordings_is_unfamiliar(means):
    made = calibrate.latent(*means)
    distance = np.array([made.distance(mu) for mu in means[1]])
    assert np.mean(distance >= made.max_distance) == pytest.approx(calibrate.UNFAMILIAR, abs=0.002)


def test_the_distance_is_mahalanobis_of_the_training_recordings(means):
    made = calibrate.latent(*means)
    centre = means[0].mean(axis=0).astype(np.float64)
    np.testing.assert_allclose(made.mean, centre, atol=1e-4)
    inverse = np.linalg.inv(np.cov(means[0].T.astype(np.float64)))
    expected = [np.sqrt((mu - centre) @ inverse @ (mu - centre)) for mu in means[1][:50].astype(np.float64)]
    found = [made.distance(mu) for mu in means[1][:50]]
    assert np.corrcoef(expected, found)[0, 1] > 0.99, "up to the shrinkage of the covariance"


def test_means_far_away_are_refused_however_they_lie(means):
    made = calibrate.latent(*means)
    direction = np.random.default_rng(4).normal(size=(50, 8))
    spread = np.linalg.norm(means[0].std(axis=0))
    for one in direction / np.linalg.norm(direction, axis=1, keepdims=True):
        assert made.distance(np.asarray(made.mean) + 10 * spread * one) >= made.max_distance
    assert made.distance(made.mean) < 1e-6


def test_a_latent_space_with_a_dead_direction_is_described_too():
    rng = np.random.default_rng(0)
    mu = rng.normal(size=(300, 4)).astype(np.float32)
    mu[:, 3] = 0.5
    made = calibrate.latent(mu[:200], mu[200:])
    assert np.isfinite(made.whitening).all()
    assert made.distance([0, 0, 0, 50.0]) >= made.max_distance
