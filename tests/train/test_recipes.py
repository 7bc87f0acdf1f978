"""What the full-precision models read: leads by name, gaps, scale, and what is left out."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="training data needs the extra `train`")

from lsemvae_edge import preprocess
from lsemvae_edge.errors import BadInputError, UsageError
from lsemvae_edge.leads import LIMB_LEADS, PRECORDIAL_LEADS, STANDARD_12, derive_limb_leads
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.electrodes import add_noise
from lsemvae_edge.synthetic.heart import Heart, simulate
from lsemvae_edge.train import recipes
from lsemvae_edge.train.recipes import RECIPES, EdgeRecipe, Reason, ReferenceRecipe, RejectedError

REFERENCE, EDGE, BEAT = RECIPES["reference"], RECIPES["edge"], RECIPES["beat"]
TWELVE = add_noise(simulate(Heart(), 10.0, 500.0, 1), "mains50", 15.0, 2)
BOTH = pytest.mark.parametrize("recipe", [REFERENCE, EDGE], ids=lambda recipe: recipe.name)
ALL = pytest.mark.parametrize("recipe", [REFERENCE, EDGE, BEAT], ids=lambda recipe: recipe.name)


def chosen(record, names):
    rows = [record.leads.index(name) for name in names]
    return Record(record.signal_mv[rows], record.fs_hz, tuple(names))


def with_samples(record, name, values, at=slice(None)):
    signal = record.signal_mv.copy()
    signal[record.leads.index(name), at] = values
    return Record(signal, record.fs_hz, record.leads)


def reason(recipe, record):
    with pytest.raises(RejectedError) as refused:
        recipe.apply(record)
    return refused.value.reason


@pytest.mark.parametrize("noise", ["white", "mains50", "wander"])
def test_the_reference_recipe_is_neurokits_cleaning_and_a_z_score(noise):
    neurokit2 = pytest.importorskip("neurokit2", reason="the oracle is in the extra `dev`")
    record = add_noise(simulate(Heart(rate_bpm=81), 10.0, 500.0, 3), noise, 5.0, 4)
    cleaned = np.stack(
        [neurokit2.ecg_clean(lead, sampling_rate=500, method="neurokit") for lead in record.signal_mv.astype(float)]
    )
    ours = ReferenceRecipe().clean(record.signal_mv.astype(float))
    np.testing.assert_allclose(ours, cleaned, rtol=0, atol=1e-13)
    expected = (cleaned - cleaned.mean(axis=1, keepdims=True)) / cleaned.std(axis=1, keepdims=True)
    signal, present = REFERENCE.apply(record)
    np.testing.assert_allclose(signal, expected, rtol=0, atol=1e-6)
    assert present.all()


@pytest.mark.parametrize("fs_hz", [500.0, 250.0, 1000.0])
def test_the_reference_filters_are_scipys_at_other_rates_and_mains_too(fs_hz):
    from scipy.signal import butter, filtfilt, sosfiltfilt

    signal = np.random.default_rng(0).normal(size=(2, 3000)).cumsum(axis=1)
    recipe = ReferenceRecipe(fs_hz=fs_hz, n_samples=3000, mains_hz=60.0, order=4, high_pass_hz=1.0)
    period = int(fs_hz / 60)
    high_passed = sosfiltfilt(butter(4, 1.0, "highpass", output="sos", fs=fs_hz), signal, axis=1)
    expected = filtfilt(np.ones(period), [period], high_passed, axis=1)
    np.testing.assert_allclose(recipe.clean(signal), expected, rtol=0, atol=1e-10 * np.abs(signal).max())


def test_the_edge_recipe_is_the_devices_conditioning():
    signal, present = EDGE.apply(TWELVE)
    pair = preprocess.condition(TWELVE, preprocess.default_spec()).pair[:, : EDGE.n_samples]
    six = derive_limb_leads(pair[0], pair[1])
    scale = np.sqrt(np.mean(six**2))
    np.testing.assert_allclose(signal[:6], six / scale, rtol=0, atol=1e-6)
    assert present.all()
    # A chest lead goes the same way: one that carries lead I's samples comes out as lead I.
    as_chest = with_samples(TWELVE, "V3", TWELVE.signal_mv[0])
    np.testing.assert_array_equal(EDGE.apply(as_chest)[0][STANDARD_12.index("V3")], signal[0])


def middle_window(record):
    """What the device's model reads of the window that the recipe takes."""
    spec = preprocess.default_spec()
    return preprocess.cut(preprocess.condition(record, spec), spec, (EDGE.n_samples - spec.window_samples) // 2)


@pytest.mark.parametrize("axis_deg", [-40.0, 20.0, 130.0])
@pytest.mark.parametrize("leads", [("I", "II"), LIMB_LEADS, ("III", "aVF")])
def test_the_beat_recipe_is_the_devices_input_up_to_its_clip(axis_deg, leads):
    heart = simulate(Heart(qrs_axis_deg=axis_deg, rate_bpm=60), 10.0, 300.0, 5, LIMB_LEADS)
    record = chosen(add_noise(heart, "white", 20.0, 6), leads)
    signal, present = BEAT.apply(record)
    assert signal.shape == (12, preprocess.default_spec().beat.n_samples)
    assert present.tolist() == [True] * 6 + [False] * 6
    assert not signal[6:].any()
    clip = preprocess.default_spec().clip
    np.testing.assert_allclose(np.clip(signal[:6], -clip, clip), middle_window(record).signal, rtol=0, atol=2e-6)


def test_the_beat_recipe_reads_the_middle_window():
    record = add_noise(simulate(Heart(rate_bpm=60), 10.0, 300.0, 5, LIMB_LEADS), "white", 20.0, 6)
    first = preprocess.apply(record, preprocess.default_spec()).signal
    assert np.abs(first - middle_window(record).signal).max() > 0.01, "elsewhere other beats are whole"
    np.testing.assert_allclose(
        np.clip(BEAT.apply(record)[0][:6], -8, 8), middle_window(record).signal, rtol=0, atol=2e-6
    )


def test_chest_leads_are_averaged_over_the_same_beats_and_do_not_change_the_limb_leads():
    signal, present = BEAT.apply(TWELVE)
    assert present.all()
    np.testing.assert_array_equal(signal[:6], BEAT.apply(chosen(TWELVE, LIMB_LEADS))[0][:6])
    as_chest = with_samples(TWELVE, "V3", TWELVE.signal_mv[0])
    np.testing.assert_allclose(BEAT.apply(as_chest)[0][STANDARD_12.index("V3")], signal[0], rtol=0, atol=1e-6)


def test_a_window_without_a_repeated_beat_is_refused():
    noise = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32)
    assert reason(BEAT, Record(noise, 500.0, ("I", "II"))) == Reason.BEATS


@ALL
@given(order=st.permutations(STANDARD_12))
def test_leads_are_found_by_name(recipe, order):
    expected = recipe.apply(TWELVE)
    found = recipe.apply(chosen(TWELVE, order))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@ALL
@given(gain=st.floats(1e-4, 1e4), sign=st.sampled_from([-1, 1]))
def test_a_common_gain_changes_nothing(recipe, gain, sign):
    expected = sign * recipe.apply(TWELVE)[0]
    scaled = replace(TWELVE, signal_mv=(sign * gain * TWELVE.signal_mv.astype(float)).astype(np.float32))
    np.testing.assert_allclose(recipe.apply(scaled)[0], expected, rtol=0, atol=2e-5)


@given(names=st.sets(st.sampled_from(LIMB_LEADS), min_size=2, max_size=5))
def test_missing_limb_leads_follow_from_any_two(names):
    record = chosen(TWELVE, [*sorted(names), *PRECORDIAL_LEADS])
    for recipe in (REFERENCE, EDGE):
        np.testing.assert_allclose(recipe.apply(record)[0], recipe.apply(TWELVE)[0], rtol=0, atol=2e-4)


@given(absent=st.sets(st.sampled_from(PRECORDIAL_LEADS), min_size=1))
def test_absent_chest_leads_are_zero_on_the_edge_and_refused_by_the_reference(absent):
    record = chosen(TWELVE, [name for name in STANDARD_12 if name not in absent])
    signal, present = EDGE.apply(record)
    gone = np.isin(STANDARD_12, sorted(absent))
    np.testing.assert_array_equal(present, ~gone)
    assert not signal[gone].any()
    np.testing.assert_array_equal(signal[~gone], EDGE.apply(TWELVE)[0][~gone])
    assert reason(REFERENCE, record) == Reason.LEADS


@given(lead=st.sampled_from(STANDARD_12), start=st.integers(0, 4900), length=st.integers(1, 600))
def test_the_reference_bridges_gaps_of_one_lead_by_a_straight_line(lead, start, length):
    row = STANDARD_12.index(lead)
    stop = min(start + length, 5000)
    holed = with_samples(TWELVE, lead, np.nan, slice(start, stop))
    kept = np.r_[0:start, stop:5000]
    line = np.interp(np.arange(start, stop), kept, TWELVE.signal_mv[row, kept])
    filled = with_samples(TWELVE, lead, line, slice(start, stop))
    found, present = REFERENCE.apply(holed)
    assert np.isfinite(found).all()
    assert present.all()
    np.testing.assert_allclose(found, REFERENCE.apply(filled)[0], rtol=0, atol=1e-4)
    others = np.arange(12) != row
    np.testing.assert_array_equal(found[others], REFERENCE.apply(TWELVE)[0][others])


@given(lead=st.sampled_from(PRECORDIAL_LEADS), start=st.integers(1000, 3000), length=st.integers(1, 1000))
def test_the_edge_bridges_short_gaps_of_a_chest_lead_and_gives_up_a_lead_with_a_long_one(lead, start, length):
    signal, present = EDGE.apply(with_samples(TWELVE, lead, np.nan, slice(start, start + length)))
    row = STANDARD_12.index(lead)
    assert np.isfinite(signal).all()
    assert present[row] == (length <= round(preprocess.default_spec().max_bridge_s * 500))
    assert present.sum() == 11 + present[row]
    others = np.arange(12) != row
    np.testing.assert_array_equal(signal[others], EDGE.apply(TWELVE)[0][others])


@BOTH
@given(lead=st.sampled_from(LIMB_LEADS))
def test_a_limb_lead_without_a_sample_is_refused(recipe, lead):
    assert reason(recipe, with_samples(TWELVE, lead, np.nan)) == Reason.EMPTY_LEAD


@given(lead=st.sampled_from(STANDARD_12), value=st.floats(-1e3, 1e3, width=32), share=st.floats(0, 0.9))
def test_the_reference_refuses_a_constant_lead_also_one_with_gaps(lead, value, share):
    values = np.where(np.random.default_rng(0).random(5000) < share, np.nan, value)
    assert reason(REFERENCE, with_samples(TWELVE, lead, values)) == Reason.FLAT_LEAD


@given(lead=st.sampled_from(PRECORDIAL_LEADS), value=st.one_of(st.just(np.nan), st.floats(-1e3, 1e3, width=32)))
def test_a_chest_lead_without_signal_is_absent_on_the_edge(lead, value):
    signal, present = EDGE.apply(with_samples(TWELVE, lead, value))
    row = STANDARD_12.index(lead)
    assert not present[row]
    assert not signal[row].any()


def test_the_edge_refuses_constant_limb_leads_and_long_gaps_in_them():
    flat = with_samples(with_samples(chosen(TWELVE, ["I", "II"]), "I", 0.3), "II", -0.2)
    assert reason(EDGE, flat) == Reason.FLAT_LEAD
    assert reason(EDGE, with_samples(TWELVE, "II", np.nan, slice(2000, 2300))) == Reason.GAP
    assert reason(EDGE, chosen(TWELVE, ["I", *PRECORDIAL_LEADS])) == Reason.LEADS


@pytest.mark.parametrize("fs_hz", [100.0, 257.0, 300.0, 360.0, 400.0, 500.0, 1000.0])
def test_other_rates_give_the_same_picture(fs_hz):
    signal = TWELVE.signal_mv
    if fs_hz != 500.0:
        from scipy.signal import resample

        signal = resample(signal.astype(float), round(10 * fs_hz), axis=1)
    record = Record(signal, fs_hz, STANDARD_12)
    for recipe in (REFERENCE, EDGE):
        found, expected = recipe.apply(record)[0], recipe.apply(TWELVE)[0]
        assert found.shape == expected.shape
        middle = slice(expected.shape[1] // 10, -(expected.shape[1] // 10))
        for one, other in zip(found[:, middle], expected[:, middle], strict=True):
            assert np.corrcoef(one, other)[0, 1] > 0.97


@BOTH
def test_what_is_too_short_is_refused_and_of_what_is_longer_the_beginning_is_read(recipe):
    assert reason(recipe, replace(TWELVE, signal_mv=TWELVE.signal_mv[:, :4900], gaps=None)) == Reason.SHORT
    longer = Record(np.concatenate([TWELVE.signal_mv, 9 * TWELVE.signal_mv], axis=1), 500.0, STANDARD_12)
    found, expected = recipe.apply(longer)[0], recipe.apply(TWELVE)[0]
    # The edge's filter has no ends: it may look past the last sample that is kept.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if recipe is REFERENCE else 1e-6)


def test_the_edge_takes_the_shortest_six_lead_recording_and_no_rate_below_100_hz():
    assert EDGE.apply(simulate(Heart(), 9.96, 300.0, 1, LIMB_LEADS))[0].shape == (12, EDGE.n_samples)
    assert reason(EDGE, simulate(Heart(), 10.0, 90.0, 1)) == Reason.RATE


@ALL
def test_a_recipe_comes_back_from_its_description_and_a_strange_one_does_not(recipe):
    described = json.loads(json.dumps(recipe.to_dict()))
    assert recipes.from_dict(described) == recipe
    shorter = replace(recipe, n_samples=1000)
    assert recipes.from_dict(json.loads(json.dumps(shorter.to_dict()))) == shorter
    for strange in ({**described, "version": 0}, {**described, "name": "another"}, {**described, "new": 1}, {}):
        with pytest.raises(BadInputError, match="no recipe like"):
            recipes.from_dict(strange)


@pytest.mark.parametrize("recipe", [EDGE, BEAT], ids=lambda recipe: recipe.name)
def test_another_filter_on_the_device_is_another_recipe(recipe):
    described = {**recipe.to_dict(), "conditioning_sha256": "0" * 64}
    with pytest.raises(BadInputError):
        recipes.from_dict(described)


def test_recipes_are_named():
    assert recipes.recipe("edge") == EdgeRecipe()
    with pytest.raises(UsageError, match="no recipe 'medge'"):
        recipes.recipe("medge")


def test_a_refusal_crosses_to_another_process_whole():
    with pytest.raises(RejectedError) as refused:
        REFERENCE.apply(chosen(TWELVE, ["I", "II"]))
    again = pickle.loads(pickle.dumps(refused.value))
    assert (again.reason, again.message, again.next_step) == (
        Reason.LEADS,
        "Lacks V1, V2, V3, V4, V5, V6.",
        again.next_step,
    )
