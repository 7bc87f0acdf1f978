"""Pulmonary hypertension from a catheter's numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydantic", reason="training data needs the extra `train`")

from pydantic import ValidationError

from lsemvae_edge.train.haemodynamics import (
    CAPILLARY,
    ELEVATED_WEDGE,
    PULMONARY_HYPERTENSION,
    Definition,
    Haemodynamics,
    Phenotype,
    from_columns,
    from_ptb_comments,
    parse_pressure,
    phenotype,
    targets,
)

WEDGE = Definition(rule="wedge")
numbers = st.one_of(st.none(), st.floats(0, 100))


@pytest.mark.parametrize(
    ("mpap", "pawp", "pvr", "kind"),
    [
        (20, 10, 5, Phenotype.NONE),
        (20.1, 15, 2.1, Phenotype.PRE),
        (21, 15, 2, Phenotype.UNCLASSIFIED),
        (40, 15.1, 2, Phenotype.ISOLATED_POST),
        (40, 16, 2.1, Phenotype.COMBINED),
        (40, 16, None, Phenotype.POST),
        (40, 15, None, Phenotype.UNKNOWN),
        (40, None, 3, Phenotype.UNKNOWN),
        (None, 10, 3, Phenotype.UNKNOWN),
    ],
)
def test_the_guideline_at_its_thresholds(mpap, pawp, pvr, kind):
    assert phenotype(Haemodynamics(mpap, pawp, pvr)) is kind


@pytest.mark.parametrize(("pawp", "kind"), [(15, Phenotype.PRE), (15.1, Phenotype.POST)])
def test_the_papers_rule_looks_at_the_wedge_alone(pawp, kind):
    for pvr in (None, 1.0, 9.0):
        assert phenotype(Haemodynamics(30, pawp, pvr), WEDGE) is kind


def test_targets_say_what_is_decided_and_no_more():
    assert targets(Haemodynamics(30, 20, 1)) == {PULMONARY_HYPERTENSION: 1, CAPILLARY: 1, ELEVATED_WEDGE: 1}
    assert targets(Haemodynamics(30, 10, 4)) == {PULMONARY_HYPERTENSION: 1, CAPILLARY: 0, ELEVATED_WEDGE: 0}
    assert targets(Haemodynamics(30, 10, 1)) == {PULMONARY_HYPERTENSION: 1, ELEVATED_WEDGE: 0}, "unclassified"
    assert targets(Haemodynamics(18, 20, 1)) == {PULMONARY_HYPERTENSION: 0, ELEVATED_WEDGE: 1}
    assert targets(Haemodynamics(None, 20, 1)) == {ELEVATED_WEDGE: 1}
    assert targets(Haemodynamics()) == {}


def test_thresholds_are_configuration_and_unknown_keys_are_refused():
    assert targets(Haemodynamics(24), Definition(mpap_above_mmhg=25)) == {PULMONARY_HYPERTENSION: 0}
    with pytest.raises(ValidationError, match="mpap"):
        Definition(mpap=25)


@given(numbers, numbers, numbers)
def test_a_phenotype_is_named_only_with_hypertension_and_a_known_number_never_unknows_it(mpap, pawp, pvr):
    found = Haemodynamics(mpap, pawp, pvr)
    for rule in (Definition(), WEDGE):
        made = targets(found, rule)
        assert set(made.values()) <= {0, 1}
        assert (PULMONARY_HYPERTENSION in made) == (mpap is not None)
        assert (ELEVATED_WEDGE in made) == (pawp is not None)
        if CAPILLARY in made:
            assert made[PULMONARY_HYPERTENSION] == 1
            assert made[CAPILLARY] == made[ELEVATED_WEDGE]
        assert (phenotype(found, rule) is Phenotype.UNKNOWN) <= (None in (mpap, pawp, pvr))


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"mpap": "35", "pawp": "12", "pvr": "4.5"}, Haemodynamics(35, 12, 4.5)),
        ({"mpap": "35,5", "pawp": "12", "pvr_dyn": "360"}, Haemodynamics(35.5, 12, 4.5)),
        ({"mpap": "35", "pawp": "15", "cardiac_output": "4"}, Haemodynamics(35, 15, 5)),
        ({"mpap": "35", "pawp": "15", "pvr_wu": "6", "cardiac_output": "4"}, Haemodynamics(35, 15, 6)),
        ({"mpap": "n/a", "pawp": "", "pvr": "NaN"}, Haemodynamics()),
    ],
)
def test_columns_are_read_in_their_units(row, found):
    assert from_columns(row) == (found, [])


def test_resistance_in_the_other_unit_is_seen_when_it_cannot_be_wood():
    row = {"mpap": "35", "pawp": "12", "pvr": "360"}
    found, complaints = from_columns(row)
    assert found == Haemodynamics(35, 12, None)
    assert complaints == ["PVR of 360 is outside 0 to 40"]
    assert from_columns(row, pvr_unit="dyn") == (Haemodynamics(35, 12, 4.5), [])


@given(st.text(max_size=12))
def test_whatever_a_column_holds_it_is_a_number_or_a_complaint(text):
    found, complaints = from_columns({"mpap": text})
    assert found.mpap_mmhg is None or 3 <= found.mpap_mmhg <= 120
    assert len(complaints) <= 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22 mmHg", 22.0),
        (" 22mmHg ", 22.0),
        ("22", 22.0),
        ("4,34 l/min", 4.34),
        ("35/14 mmHg", 21.0),
        ("n/a", None),
        ("", None),
        ("-", None),
    ],
)
def test_header_values(text, value):
    assert parse_pressure(text) == value


@pytest.mark.parametrize("text", ["about 20", "20-25 mmHg", "20 kPa", "1/2/3", "-5 mmHg"])
def test_what_is_no_pressure_is_refused(text):
    with pytest.raises(ValueError, match="is no pressure"):
        parse_pressure(text)


def test_centimetres_of_water_are_not_guessed():
    with pytest.raises(ValueError, match="cmH2O"):
        parse_pressure("20 cmH2O")
    assert parse_pressure("20 cmH2O", cmh2o="as_mmhg") == 20
    assert parse_pressure("20 cmH2O", cmh2o="convert") == pytest.approx(14.71, abs=0.01)


@given(st.floats(0, 200), st.sampled_from(["", " ", " mmHg", "mmHg", " MMHG"]), st.sampled_from(".,"))
def test_a_written_pressure_comes_back(value, unit, point):
    text = f"{value:.2f}".replace(".", point)
    read = parse_pressure(text + unit)
    assert read is not None
    assert math.isclose(read, float(f"{value:.2f}"))


def test_a_ptb_header():
    comments = {
        "pulmonary artery pressure (at rest) (syst/diast)": "60/24 mmHg",
        "pulmonary artery pressure (at rest) (mean)": "n/a",
        "pulmonary artery pressure (laod) (mean)": "70 mmHg",
        "pulmonary capillary wedge pressure (at rest)": "12 mmHg",
        "cardiac output (at rest)": "4,8 l/min",
    }
    assert from_ptb_comments(comments) == (Haemodynamics(36, 12, 5.0), [])
    comments["pulmonary artery pressure (at rest) (mean)"] = "40 mmHg"
    assert from_ptb_comments(comments)[0].mpap_mmhg == 40
    comments["pulmonary capillary wedge pressure (at rest)"] = "12 cmH2O"
    found, complaints = from_ptb_comments(comments)
    assert found == Haemodynamics(40, None, None)
    assert len(complaints) == 1
    assert from_ptb_comments({}) == (Haemodynamics(), [])
