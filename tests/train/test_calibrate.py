"""Calibration and thresholds from validation recordings."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="calibration follows training; the base install has no torch")
pytest.importorskip("scipy", reason="calibration needs the extra `train`")
pytest.importorskip("pydantic", reason="calibration needs the extra `train`")

from lsemvae_edge.train import calibrate
from lsemvae_edge.train.cohort import Cohort
from lsemvae_edge.train.labels import N_AUXILIARY

N = 4000


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


@pytest.fixture(scope="module")
def validation():
    """Logits whose probability of truth is sigmoid(0.7 logit - 0.5), and the recordings that they are of."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (N, 4)).astype(np.float32)
    right = (rng.random(N) < sigmoid(0.7 * logits[:, 0] - 0.5)).astype(np.int64)
    side = (rng.random(N) < sigmoid(0.7 * logits[:, 1] - 0.5)).astype(np.int64)
    side[rng.random(N) < 0.6] = -1
    like = rng.random(N) < 0.1
    logits[like, 2] += 2
    cohort = Cohort(
        pairs=np.zeros((N, 2, 1), dtype=np.float32),
        right_heart=right,
        heart_side=side,
        auxiliary=np.zeros((N, N_AUXILIARY), dtype=np.float32),
        fold=np.full(N, 9),
        patient=np.arange(N).astype(str),
        source=np.full(N, "ptbxl_12lead"),
        right_axis_like=like,
        record_id=np.arange(N).astype(str),
    )
    return logits, cohort


@pytest.fixture(scope="module")
def tasks(validation):
    return calibrate.tasks(*validation)


def probabilities(task, logits):
    return sigmoid(task.calibration.slope * logits[:, task.output] + task.calibration.intercept)


def test_platt_scaling_finds_the_slope_and_intercept_that_made_the_data(validation):
    logits, cohort = validation
    made = calibrate.platt(cohort.right_heart, logits[:, 0].astype(np.float64))
    assert made.slope == pytest.approx(0.7, abs=0.06)
    assert made.intercept == pytest.approx(-0.5, abs=0.1)


def test_platt_scaling_is_the_maximum_of_the_smoothed_likelihood():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=60)
    truth = (rng.random(60) < sigmoid(logits)).astype(np.int64)
    made = calibrate.platt(truth, logits)
    target = np.where(truth == 1, (truth.sum() + 1) / (truth.sum() + 2), 1 / ((1 - truth).sum() + 2))
    error = sigmoid(made.slope * logits + made.intercept) - target
    assert error.mean() == pytest.approx(0, abs=1e-4)
    assert (error * logits).mean() == pytest.approx(0, abs=1e-4)


def test_platt_scaling_of_separated_classes_stays_finite():
    logits = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    made = calibrate.platt((logits > 0).astype(np.int64), logits)
    assert np.isfinite([made.slope, made.intercept]).all()
    assert made.slope > 0


def test_thresholds_lie_in_order_inside_zero_and_one(tasks):
    for task in tasks:
        assert 0 <= task.lower < task.upper <= 1


def test_the_tasks_read_their_own_logits(tasks):
    primary, secondary = tasks
    assert (primary.role, primary.output, primary.classes) == ("primary", 0, ("not_present", "present"))
    assert (secondary.role, secondary.output, secondary.classes) == ("secondary", 1, ("left", "right"))
    assert secondary.asked_if.task == primary.name
    assert secondary.asked_if.min_probability == primary.lower
    assert primary.asked_if is None


def test_the_band_without_answer_holds_the_stated_share(tasks, validation):
    logits, cohort = validation
    primary, secondary = tasks
    value = probabilities(primary, logits)
    in_band = np.mean((value >= primary.lower) & (value < primary.upper))
    assert in_band == pytest.approx(calibrate.NO_ANSWER_SHARE, abs=0.005)
    sided = cohort.heart_side >= 0
    value = probabilities(secondary, logits)[sided]
    in_band = np.mean((value >= secondary.lower) & (value < secondary.upper))
    assert in_band == pytest.approx(2 * calibrate.NO_ANSWER_SHARE, abs=0.01)


def test_the_primary_threshold_finds_the_stated_share_of_positives(tasks, validation):
    logits, cohort = validation
    value = probabilities(tasks[0], logits)[cohort.right_heart == 1]
    assert np.mean(value >= tasks[0].upper) < calibrate.PRIMARY_SENSITIVITY < np.mean(value >= tasks[0].lower)
    middle = (tasks[0].lower + tasks[0].upper) / 2
    assert np.mean(value >= middle) == pytest.approx(calibrate.PRIMARY_SENSITIVITY, abs=0.02)


def test_the_side_splits_at_one_half(tasks):
    assert tasks[1].lower < 0.5 < tasks[1].upper


def test_recordings_without_a_side_do_not_count_for_it(tasks, validation):
    logits, cohort = validation
    other = logits.copy()
    other[cohort.heart_side < 0, 1] = 100
    assert calibrate.tasks(other, cohort) == tasks


def test_guards_object_to_no_more_than_the_stated_share(validation):
    logits, cohort = validation
    swap, strange = calibrate.guards(logits, cohort)
    assert (swap.kind, swap.output) == ("electrode_swap", 2)
    assert (strange.kind, strange.output) == ("not_ecg", 3)
    assert np.mean(logits[:, 2] >= swap.max_logit) <= calibrate.SWAP_FALSE_ALARMS
    assert np.mean(logits[:, 3] >= strange.max_logit) == pytest.approx(calibrate.NOT_ECG_FALSE_ALARMS, abs=0.002)


def test_records_that_resemble_a_reversal_hold_the_swap_guard_back(validation):
    logits, cohort = validation
    like = cohort.right_axis_like
    swap, _ = calibrate.guards(logits, cohort)
    assert np.mean(logits[like, 2] >= swap.max_logit) <= 0.05
    plain = Cohort(**{**vars(cohort), "right_axis_like": np.zeros(N, dtype=bool)})
    free, _ = calibrate.guards(logits, plain)
    assert np.mean(logits[like, 2] >= free.max_logit) > 0.05, "without the second rule they would trip it"
    assert np.mean(logits[:, 2] >= free.max_logit) == pytest.approx(calibrate.SWAP_FALSE_ALARMS, abs=0.002)
