"""Lead names and the algebra of the limb leads."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import (
    LIMB_LEADS,
    PRECORDIAL_LEADS,
    STANDARD_12,
    canonical_name,
    canonical_names,
    consistency_residual,
    derive_limb_leads,
    reorder,
    solve_i_ii,
)
from lsemvae_edge.synthetic.heart import Heart, simulate

millivolts = st.floats(-20, 20, allow_nan=False, width=64)
pairs = st.integers(1, 40).flatmap(lambda n: arrays(np.float64, (2, n), elements=millivolts))


def limb(pair):
    return dict(zip(LIMB_LEADS, derive_limb_leads(*pair), strict=True))


def test_standard_lead_names_are_in_clinical_order():
    assert LIMB_LEADS == ("I", "II", "III", "aVR", "aVL", "aVF")
    assert PRECORDIAL_LEADS == ("V1", "V2", "V3", "V4", "V5", "V6")
    assert STANDARD_12 == LIMB_LEADS + PRECORDIAL_LEADS


@given(arrays(np.float64, (3, 8), elements=millivolts))
def test_derived_leads_are_the_differences_of_electrode_potentials(electrodes):
    ra, la, ll = electrodes
    derived = derive_limb_leads(la - ra, ll - ra)
    wilson = (ra + la + ll) / 3
    expected = [la - ra, ll - ra, ll - la, 1.5 * (ra - wilson), 1.5 * (la - wilson), 1.5 * (ll - wilson)]
    np.testing.assert_allclose(derived, expected, atol=1e-12)


@given(pairs)
def test_einthoven_and_goldberger_identities_hold(pair):
    i, ii, iii, avr, avl, avf = derive_limb_leads(*pair)
    np.testing.assert_array_equal(i, pair[0])
    np.testing.assert_array_equal(ii, pair[1])
    np.testing.assert_allclose(i + iii, ii, atol=1e-12)
    np.testing.assert_allclose(avr + avl + avf, 0, atol=1e-12)
    np.testing.assert_allclose(avl - avr, 1.5 * i, atol=1e-12)
    np.testing.assert_allclose(avf - avr, 1.5 * ii, atol=1e-12)
    np.testing.assert_allclose(avf - avl, 1.5 * iii, atol=1e-12)


def test_derived_leads_keep_the_floating_type_and_integers_become_float64():
    for kind, expected in ((np.float32, np.float32), (np.float64, np.float64), (np.int16, np.float64)):
        assert derive_limb_leads(np.ones(3, kind), np.full(3, 2, kind)).dtype == expected
    # aVR of odd integers is not an integer.
    assert derive_limb_leads(np.array([1]), np.array([2]))[3, 0] == -1.5


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("i", "I"), ("I", "I"), (" ii ", "II"), ("AVR", "aVR"), ("avl", "aVL"), ("aVF", "aVF"), ("v1", "V1"),
        ("Lead I", "I"), ("lead iii", "III"), ("Lead aVR", "aVR"), ("LEAD_aVF", "aVF"), ("LeadII", "II"),
        ("MDC_ECG_LEAD_I", "I"), ("MDC_ECG_LEAD_III", "III"), ("MDC_ECG_LEAD_AVR", "aVR"), ("MDC_ECG_LEAD_V6", "V6"),
        ("mdc_ecg_lead_avf", "aVF"), ("ECG II", "II"), ("ecg_v3", "V3"), ("EKG I", "I"), ("ECG Lead aVL", "aVL"),
    ],
)  # fmt: skip
def test_every_alias_gives_its_standard_name(label, name):
    assert canonical_name(label) == name


@pytest.mark.parametrize(
    "label", ["", "  ", "IV", "V7", "V0", "aV", "Resp", "lead", "Lead ", "MDC_ECG_LEAD_", "II2", "PLETH"]
)
def test_labels_that_name_no_standard_lead_give_none(label):
    assert canonical_name(label) is None


def test_unknown_labels_are_kept_beside_standard_ones():
    assert canonical_names([" Resp ", "lead ii"]) == ("Resp", "II")


@pytest.mark.parametrize("labels", [("I", "i"), ("II", "I", "MDC_ECG_LEAD_II"), ("avr", "Lead aVR"), ("Resp", "Resp ")])
def test_two_labels_of_one_lead_are_refused(labels):
    with pytest.raises(BadInputError, match="same lead twice") as caught:
        canonical_names(labels)
    assert "one channel per lead" in caught.value.next_step


@given(st.permutations(STANDARD_12))
def test_reorder_binds_rows_by_name_not_position(order):
    signal = np.array([[STANDARD_12.index(name)] for name in order])
    picked = reorder(signal, [f"Lead {name.upper()}" for name in order], STANDARD_12)
    np.testing.assert_array_equal(picked[:, 0], np.arange(12))


def test_reorder_names_the_lead_that_is_absent():
    with pytest.raises(BadInputError, match="lacks lead aVR, V1; it has I, II"):
        reorder(np.zeros((2, 3)), ("I", "II"), ("I", "aVR", "V1"))


@pytest.mark.parametrize("names", list(combinations(LIMB_LEADS, 2)), ids="+".join)
@given(pair=pairs)
def test_any_two_limb_leads_give_back_i_and_ii(names, pair):
    six = limb(pair)
    np.testing.assert_allclose(solve_i_ii({name: six[name] for name in names}), pair, atol=1e-11)


@given(pairs, st.sets(st.sampled_from(LIMB_LEADS), min_size=3))
def test_more_consistent_leads_give_the_same_i_and_ii(pair, names):
    six = limb(pair)
    np.testing.assert_allclose(solve_i_ii({name: six[name] for name in names}), pair, atol=1e-11)


def test_measured_i_and_ii_are_taken_as_they_are_whatever_the_others_say():
    measured = {"aVF": np.full(4, 9.0), "II": np.arange(4.0), "I": np.ones(4), "III": np.full(4, -3.0)}
    np.testing.assert_array_equal(solve_i_ii(measured), [measured["I"], measured["II"]])
    del measured["II"]
    np.testing.assert_array_equal(solve_i_ii(measured)[0], measured["I"])


@pytest.mark.parametrize("name", LIMB_LEADS)
def test_one_limb_lead_alone_gives_nothing(name):
    assert solve_i_ii({name: np.ones(5)}) is None


def test_chest_leads_do_not_count_as_limb_leads():
    chest = {name: np.ones(5) for name in PRECORDIAL_LEADS}
    assert solve_i_ii(chest) is None
    assert solve_i_ii({**chest, "aVR": np.ones(5)}) is None
    assert solve_i_ii({}) is None


def test_the_floating_type_survives_solving():
    six = {name: lead.astype(np.float32) for name, lead in limb(np.ones((2, 4))).items()}
    assert solve_i_ii({"III": six["III"], "aVR": six["aVR"]}).dtype == np.float32
    assert solve_i_ii({"I": six["I"], "II": six["II"]}).dtype == np.float32


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("names", [LIMB_LEADS, ("I", "II", "III"), ("aVR", "aVL", "aVF"), ("II", "aVL", "aVF", "III")])
def test_consistent_leads_leave_no_residual(names, kind):
    six = limb(np.random.default_rng(0).normal(size=(2, 500)))
    residual = consistency_residual({name: six[name].astype(kind) for name in names})
    assert residual == pytest.approx(0, abs=1e-6)


def test_offsets_of_single_leads_are_no_contradiction():
    six = limb(np.random.default_rng(0).normal(size=(2, 500)))
    shifted = {name: lead + offset for offset, (name, lead) in enumerate(six.items())}
    assert consistency_residual(shifted) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_leads_under_wrong_names_leave_a_large_residual(kind):
    record = simulate(Heart(), leads=LIMB_LEADS)
    shuffled = ("aVF", "aVR", "I", "aVL", "II", "III")
    mislabelled = dict(zip(shuffled, record.signal_mv.astype(kind), strict=True))
    assert consistency_residual(mislabelled) > 0.3
    at_other_times = {name: np.roll(lead, 97 * k) for k, (name, lead) in enumerate(record.limb().items())}
    assert consistency_residual(at_other_times) > 0.3


def test_samples_that_were_not_received_are_left_out_of_the_residual():
    six = {name: lead.copy() for name, lead in limb(np.random.default_rng(0).normal(size=(2, 500))).items()}
    six["II"][10:20] = np.nan
    assert consistency_residual(six) == pytest.approx(0, abs=1e-9)
    six["I"][:] = np.nan
    assert consistency_residual(six) is None


@pytest.mark.parametrize("names", [(), ("I",), ("I", "II"), ("aVR", "III"), ("I", "V1", "II")], ids=str)
def test_two_limb_leads_cannot_contradict_each_other(names):
    assert consistency_residual({name: np.arange(5.0) for name in names}) is None


def test_leads_without_motion_have_no_residual():
    assert consistency_residual({name: np.full(9, 2.0) for name in LIMB_LEADS}) is None
