"""Stand-in labels from PTB-XL's statements."""

import math

import pytest

from lsemvae_edge.train import labels
from lsemvae_edge.train.labels import from_ptbxl, from_snomed


def row(*codes, axis="", sex="", likelihood=100.0):
    return {"scp_codes": str(dict.fromkeys(codes, likelihood)), "heart_axis": axis, "sex": sex}


@pytest.mark.parametrize("code", ["RVH", "RAO/RAE", "IRBBB", "CRBBB", "LPFB"])
def test_every_right_sided_statement_is_a_right_heart_pattern(code):
    made = from_ptbxl(row("SR", code))
    assert made.right_heart_pattern == 1
    assert made.heart_side == 1


@pytest.mark.parametrize("axis", ["RAD", "ARAD"])
def test_a_right_axis_alone_is_a_right_heart_pattern(axis):
    made = from_ptbxl(row("NORM", axis=axis))
    assert made.right_heart_pattern == 1
    assert made.heart_side == 1
    assert made.right_axis_like


@pytest.mark.parametrize("code", ["LVH", "LAO/LAE"])
def test_left_sided_overload_is_the_other_side(code):
    made = from_ptbxl(row(code, axis="LAD"))
    assert made.right_heart_pattern == 0
    assert made.heart_side == 0
    assert not made.right_axis_like


@pytest.mark.parametrize("codes", [("NORM",), ("SR", "IMI"), ("CLBBB",), ()])
def test_neither_side_leaves_the_side_open(codes):
    made = from_ptbxl(row(*codes, axis="MID"))
    assert made.right_heart_pattern == 0
    assert made.heart_side is None


@pytest.mark.parametrize(("codes", "axis"), [(("RVH", "LVH"), ""), (("LAO/LAE", "CRBBB"), "LAD"), (("LVH",), "RAD")])
def test_both_sides_leave_the_side_open_but_keep_the_pattern(codes, axis):
    made = from_ptbxl(row(*codes, axis=axis))
    assert made.right_heart_pattern == 1
    assert made.heart_side is None


def test_a_statement_counts_whatever_its_likelihood():
    # PTB-XL writes 0 where the report gives no likelihood.
    assert from_ptbxl(row("RVH", likelihood=0.0)).right_heart_pattern == 1


@pytest.mark.parametrize(
    ("codes", "axis", "like"),
    [
        (("RVH",), "", True),
        (("LPFB",), "", True),
        (("IRBBB",), "", False),
        (("RAO/RAE",), "MID", False),
        (("NORM",), "ARAD", True),
    ],
)
def test_what_looks_like_swapped_arms_is_marked(codes, axis, like):
    assert from_ptbxl(row(*codes, axis=axis)).right_axis_like is like


def test_auxiliary_statements_stand_in_a_fixed_order():
    made = from_ptbxl(row("LVH", "AFIB", axis="LAD", sex="1")).auxiliary
    assert len(made) == labels.N_AUXILIARY
    named = dict(zip(labels.AUXILIARY_CODES, made, strict=False))
    assert {code for code, value in named.items() if value} == {"LVH", "AFIB"}
    assert made[len(labels.AUXILIARY_CODES) :] == (0.0, 1.0, 0.0, 1.0)


def test_unknown_axis_and_sex_are_not_learned_from():
    made = from_ptbxl({"scp_codes": "{'NORM': 80.0}"}).auxiliary
    assert all(math.isnan(value) for value in made[-4:])
    assert not any(math.isnan(value) for value in made[:-4])
    assert made[0] == 1.0


@pytest.mark.parametrize(
    ("codes", "right", "side"),
    [
        (("426783006",), 0, None),
        (("446358003",), 1, 1),
        (("713426002", "164873001"), 1, None),
        (("67741000119109",), 0, 0),
        (("195126007",), 0, None),
        (("55827005",), 0, None),
        ((), 0, None),
    ],
)
def test_snomed_codes_give_the_same_stand_in_labels(codes, right, side):
    made = from_snomed(codes)
    assert (made.right_heart_pattern, made.heart_side, made.right_axis_like) == (right, side, False)


def test_a_right_axis_in_snomed_codes_looks_like_swapped_arms():
    for code in ("47665007", "89792004", "445211001"):
        assert from_snomed((code,)).right_axis_like
