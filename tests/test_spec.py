"""The contract read strictly from JSON."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from lsemvae_edge.errors import BundleError, ExitCode
from lsemvae_edge.spec import LatentSpec, ModelSpec, from_dict

LATENT = LatentSpec(mean=(1.0, -1.0), whitening=((2.0, 0.0), (0.0, 0.5)), max_distance=3.0)


@pytest.fixture
def parsed(model_spec):
    return json.loads(json.dumps(asdict(replace(model_spec, latent=LATENT))))


def at(parsed, path):
    for key in path:
        parsed = parsed[key]
    return parsed


def test_a_contract_survives_json_exactly(model_spec, parsed):
    assert from_dict(ModelSpec, parsed) == replace(model_spec, latent=LATENT)
    assert from_dict(ModelSpec, json.loads(json.dumps(asdict(model_spec)))) == model_spec


def test_durations_follow_from_the_samples(model_spec):
    spec = model_spec.preprocess
    assert spec.fs_hz == 125.0
    assert spec.window_s == pytest.approx(928 / 125)
    assert spec.beat.n_samples == spec.beat.before_samples + spec.beat.after_samples == 100
    assert spec.context_s == pytest.approx(0.064 + 118 / 125)
    assert spec.required_s == pytest.approx(spec.window_s + 2 * spec.context_s)


def test_the_primary_task_is_found_by_its_role(model_spec):
    assert replace(model_spec, tasks=model_spec.tasks[::-1]).primary.name == "right_heart_pattern"


PLACES = [
    ((), "manifest"),
    (("preprocess",), "manifest.preprocess"),
    (("preprocess", "band"), "manifest.preprocess.band"),
    (("preprocess", "beat"), "manifest.preprocess.beat"),
    (("quality",), "manifest.quality"),
    (("tasks", 1), r"manifest.tasks\[1\]"),
    (("tasks", 1, "asked_if"), r"manifest.tasks\[1\].asked_if"),
    (("guards", 0), r"manifest.guards\[0\]"),
    (("latent",), "manifest.latent"),
    (("intended_use",), "manifest.intended_use"),
]


@pytest.mark.parametrize(("path", "where"), PLACES)
def test_an_unknown_key_is_refused_where_it_stands(parsed, path, where):
    at(parsed, path)["surprise"] = 1
    with pytest.raises(BundleError, match=rf"^{where}: unknown keys \['surprise'\]") as caught:
        from_dict(ModelSpec, parsed)
    assert caught.value.code == ExitCode.BUNDLE_REFUSED


@pytest.mark.parametrize(("path", "where"), PLACES)
def test_every_missing_key_is_refused_where_it_should_stand(parsed, path, where):
    for key in list(at(parsed, path)):
        value = at(parsed, path).pop(key)
        with pytest.raises(BundleError, match=rf"^{where}: unknown keys \[\], missing keys \['{key}'\]"):
            from_dict(ModelSpec, parsed)
        at(parsed, path)[key] = value
    from_dict(ModelSpec, parsed)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("id",), 3, "manifest.id"),
        (("id",), None, "manifest.id"),
        (("leads",), "I", "manifest.leads"),
        (("leads", 2), 2, r"manifest.leads\[2\]"),
        (("accepted_lead_sets", 0, 1), None, r"manifest.accepted_lead_sets\[0\]\[1\]"),
        (("tasks",), {}, "manifest.tasks"),
        (("tasks", 0), [], r"manifest.tasks\[0\]"),
        (("tasks", 0, "role"), "tertiary", r"manifest.tasks\[0\].role"),
        (("tasks", 0, "classes"), ["no", "yes", "maybe"], r"manifest.tasks\[0\].classes"),
        (("tasks", 0, "output"), 0.0, r"manifest.tasks\[0\].output"),
        (("tasks", 0, "output"), True, r"manifest.tasks\[0\].output"),
        (("tasks", 0, "lower"), False, r"manifest.tasks\[0\].lower"),
        (("tasks", 0, "lower"), "0.4", r"manifest.tasks\[0\].lower"),
        (("tasks", 1, "asked_if", "min_probability"), True, r"manifest.tasks\[1\].asked_if.min_probability"),
        (("guards", 0, "kind"), "too_old", r"manifest.guards\[0\].kind"),
        (("guards", 0, "max_logit"), None, r"manifest.guards\[0\].max_logit"),
        (("tasks", 0, "lead_baseline", 5), None, r"manifest.tasks\[0\].lead_baseline\[5\]"),
        (("latent", "whitening", 1, 0), "0", r"manifest.latent.whitening\[1\]\[0\]"),
        (("preprocess", "window_samples"), 928.0, "manifest.preprocess.window_samples"),
        (("preprocess", "beat", "min_beats"), 3.0, "manifest.preprocess.beat.min_beats"),
        (("preprocess", "band", "taps", 7), "0", r"manifest.preprocess.band.taps\[7\]"),
        (("quality", "max_windows_judged"), True, "manifest.quality.max_windows_judged"),
        (("quality", "rate_bpm"), [1.0], "manifest.quality.rate_bpm"),
        (("intended_use", "stand_in"), 5, "manifest.intended_use.stand_in"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_where_it_stands(parsed, path, value, where):
    at(parsed, path[:-1])[path[-1]] = value
    with pytest.raises(BundleError, match=f"^{where} "):
        from_dict(ModelSpec, parsed)


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_what_is_no_object_is_refused(value):
    with pytest.raises(BundleError, match="manifest is not an object"):
        from_dict(ModelSpec, value)


def test_whole_numbers_are_numbers_and_null_is_none(parsed):
    parsed["tasks"][0]["upper"] = 1
    parsed["intended_use"]["stand_in"] = None
    made = from_dict(ModelSpec, parsed)
    assert made.tasks[0].upper == 1.0
    assert isinstance(made.tasks[0].upper, float)
    assert made.intended_use.stand_in is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_thresholds_that_are_no_finite_number_are_refused(parsed, value):
    # Python's JSON reader takes NaN and Infinity, which are no JSON.
    parsed["tasks"][0]["upper"] = value
    with pytest.raises(BundleError):
        from_dict(ModelSpec, parsed)


@pytest.mark.parametrize("roles", [("primary", "primary"), ("secondary", "secondary")])
def test_exactly_one_task_is_the_primary(parsed, roles):
    for task, role in zip(parsed["tasks"], roles, strict=True):
        task["role"] = role
    with pytest.raises(BundleError, match="exactly one primary task"):
        from_dict(ModelSpec, parsed)


@pytest.mark.parametrize(("lower", "upper"), [(0.6, 0.4), (-0.1, 0.5), (0.5, 1.1)])
def test_thresholds_out_of_order_are_refused(parsed, lower, upper):
    parsed["tasks"][0].update(lower=lower, upper=upper)
    with pytest.raises(BundleError, match="right_heart_pattern has thresholds out of order"):
        from_dict(ModelSpec, parsed)


@pytest.mark.parametrize("output", [-1, 4])
def test_tasks_and_guards_read_logits_that_exist(parsed, output):
    parsed["tasks"][1]["output"] = output
    with pytest.raises(BundleError, match=f"Task heart_side reads logit {output} of 4"):
        from_dict(ModelSpec, parsed)
    parsed["tasks"][1]["output"] = 1
    parsed["guards"][1]["output"] = output
    with pytest.raises(BundleError, match=f"Guard not_ecg reads logit {output} of 4"):
        from_dict(ModelSpec, parsed)


@pytest.mark.parametrize("name", ["heart_side", "nobody"])
def test_a_task_waits_for_another_task_that_exists(parsed, name):
    parsed["tasks"][1]["asked_if"]["task"] = name
    with pytest.raises(BundleError, match=f"unknown task {name}"):
        from_dict(ModelSpec, parsed)


def test_band_filters_without_linear_phase_are_refused(parsed):
    taps = parsed["preprocess"]["band"]["taps"]
    taps[0] += 1e-6
    with pytest.raises(BundleError, match="symmetric odd-length"):
        from_dict(ModelSpec, parsed)
    parsed["preprocess"]["band"]["taps"] = [0.25, 0.25, 0.25, 0.25]
    with pytest.raises(BundleError, match="symmetric odd-length"):
        from_dict(ModelSpec, parsed)


@pytest.mark.parametrize(
    "path",
    [
        ("preprocess", "band", "taps", 118),
        ("tasks", 0, "calibration", "slope"),
        ("guards", 0, "max_logit"),
        ("latent", "mean", 0),
        ("latent", "max_distance"),
    ],
)
def test_numbers_that_are_not_finite_are_refused_everywhere(parsed, path):
    at(parsed, path[:-1])[path[-1]] = float("nan")
    with pytest.raises(BundleError):
        from_dict(ModelSpec, parsed)


def test_two_tasks_of_one_name_are_refused(parsed):
    parsed["tasks"][1].update(name="right_heart_pattern", asked_if=None)
    with pytest.raises(BundleError, match="right_heart_pattern"):
        from_dict(ModelSpec, parsed)


def test_a_baseline_has_one_value_for_each_lead(parsed):
    parsed["tasks"][1]["lead_baseline"].pop()
    with pytest.raises(BundleError, match="heart_side has a baseline of 5 of 6 leads"):
        from_dict(ModelSpec, parsed)


def test_the_latent_distance_is_mahalanobis():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + 5.0
    covariance = np.cov(means.T)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    latent = LatentSpec(tuple(means.mean(axis=0)), tuple(map(tuple, whitening)), 5.0)
    for mu in means[:5]:
        off = mu - means.mean(axis=0)
        assert latent.distance(mu) == pytest.approx(np.sqrt(off @ np.linalg.inv(covariance) @ off))
    assert latent.distance(latent.mean) == 0.0
    assert LATENT.distance(np.array([2.0, 1.0], dtype=np.float32)) == pytest.approx(np.sqrt(4.0 + 1.0))


@pytest.mark.parametrize("size", [1, 3])
def test_the_distance_of_another_latent_space_is_refused(size):
    with pytest.raises(BundleError, match="describes 2 latent values"):
        LATENT.distance(np.zeros(size))


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": ()},
        {"whitening": ()},
        {"mean": (1.0, 2.0, 3.0)},
        {"whitening": ((1.0, 0.0), (1.0,))},
        {"max_distance": 0.0},
        {"max_distance": -1.0},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_latent_space_that_does_not_fit_itself_is_refused(changes):
    with pytest.raises(BundleError, match="latent space"):
        replace(LATENT, **changes)


def test_a_whitening_may_leave_directions_out():
    latent = replace(LATENT, whitening=((1.0, 0.0),))
    assert latent.distance([4.0, 100.0]) == pytest.approx(3.0)
