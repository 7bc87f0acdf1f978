"""Over-reads and outcomes: what is entered is checked, and comes back as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import BadInputError, ExitCode
from lsemvae_edge.followup import Catheter, Echo, OverRead, findings, from_facts, in_unit, over_read, to_facts

GOOD = (
    OverRead("CARD-1", "present", "sinus", "good", "Right axis; R in V1 not seen here."),
    Echo(14, "day", 3.1, 45.0, True),
    Echo(-3, "month", None, None, False),
    Catheter(40, "year", 35.0, 12.0, 4.5),
    Catheter(0, "day", None, 9.0, None),
)


@pytest.mark.parametrize("finding", GOOD, ids=lambda finding: type(finding).__name__)
def test_a_finding_comes_back_from_json_as_it_was(finding):
    assert from_facts(json.loads(json.dumps(to_facts(finding)))) == finding


@pytest.mark.parametrize("finding", GOOD[:4:3], ids=lambda finding: type(finding).__name__)
@pytest.mark.parametrize(
    "change",
    [{"schema": "lsemvae-edge/biopsy/1"}, {"more": 1}, {"schema": None}],
    ids=["unknown schema", "unknown key", "no schema"],
)
def test_what_is_not_of_its_schema_is_refused(finding, change):
    with pytest.raises(BadInputError):
        from_facts(to_facts(finding) | change)


def test_values_are_checked_again_when_they_are_read():
    with pytest.raises(BadInputError, match="mPAP of 300"):
        from_facts(to_facts(GOOD[3]) | {"mpap_mmhg": 300})
    with pytest.raises(BadInputError):
        from_facts(to_facts(GOOD[0]) | {"pattern": "perhaps"})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("mpap_mmhg", {"mpap_mmhg": None}),
        ("pawp_mmhg", {"pawp_mmhg": None}),
        ("pvr_wu", {"pvr_wu": None}),
        ("tr_velocity_m_s", {"tr_velocity_m_s": None}),
        ("rvsp_mmhg", {"rvsp_mmhg": None}),
    ],
)
@pytest.mark.parametrize(("side", "far"), [(0, -0.1), (1, 0.1)], ids=["low", "high"])
def test_bounds_are_taken_and_what_lies_beyond_is_refused(field, values, side, far):
    kind = Echo if field in ("tr_velocity_m_s", "rvsp_mmhg") else Catheter
    blank = dict.fromkeys(
        ("tr_velocity_m_s", "rvsp_mmhg", "rv_dilated") if kind is Echo else ("mpap_mmhg", "pawp_mmhg", "pvr_wu")
    )
    bound = findings.RANGES[field][side]
    kind(days=0, precision="day", **(blank | {field: bound}))
    with pytest.raises(BadInputError, match="is outside"):
        kind(days=0, precision="day", **(blank | {field: bound + far}))


def test_the_bounds_are_those_by_which_training_reads_a_cohort():
    haemodynamics = pytest.importorskip(
        "lsemvae_edge.train.haemodynamics", reason="training's rules need the extra `train`"
    )
    for field, name in (("mpap_mmhg", "mPAP"), ("pawp_mmhg", "PAWP"), ("pvr_wu", "PVR")):
        for bound, beyond in zip(findings.RANGES[field], (-0.1, 0.1), strict=True):
            assert haemodynamics.plausible(name, bound) == bound
            with pytest.raises(ValueError, match="outside"):
                haemodynamics.plausible(name, bound + beyond)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Catheter(0, "day", None, None, None), "No value"),
        (lambda: Echo(0, "day", None, None, None), "No value"),
        (lambda: Catheter(0, "day", 20.0, 26.0, None), "above the mPAP"),
        (lambda: Echo(0, "day", 3.0, 90.0, None), "does not fit"),
        (lambda: Echo(0, "day", 4.0, 45.0, None), "does not fit"),
        (lambda: Catheter(3661, "day", 30.0, None, None), "days from the recording"),
        (lambda: OverRead("Dr Rai", "present", "sinus", "good"), "code"),
        (lambda: OverRead("R1", "absent", "unreadable", "unreadable"), "neither present nor absent"),
        (lambda: OverRead("R1", "absent", "sinus", "good", "x" * 501), "at most 500"),
        (lambda: OverRead("R1", "absent", "sinus", "good", "line\nline"), "control characters"),
    ],
)
def test_what_contradicts_itself_is_refused(make, message):
    with pytest.raises(BadInputError, match=message) as caught:
        make()
    assert caught.value.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    "note", ["call 980-123-4567", "nurse@clinic.example", "born 1961 04 03", "see KG 0001-7", "as kg00017 last week"]
)
def test_a_note_that_may_identify_somebody_is_refused_without_repeating_it(note):
    with pytest.raises(BadInputError, match="identify a person") as caught:
        over_read("r1", "unsure", "other", "limited", note, "KG00017")
    assert note not in caught.value.message + (caught.value.next_step or "")


def test_a_plain_note_and_a_code_in_small_letters_are_taken():
    reading = over_read(" r1 ", "unsure", "atrial fibrillation", "limited", " Rate 110; axis +100. ", "KG00017")
    assert (reading.reader, reading.note) == ("R1", "Rate 110; axis +100.")


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("35 mmHg", "mpap_mmhg", 35.0),
        ("35mmhg", "mpap_mmhg", 35.0),
        ("4,67 kPa", "mpap_mmhg", 35.028),
        ("4.5 WU", "pvr_wu", 4.5),
        ("360 dyn", "pvr_wu", 4.5),
        ("360 dyn·s/cm5", "pvr_wu", 4.5),
        ("310 cm/s", "tr_velocity_m_s", 3.1),
        (" 3.1 m/s ", "tr_velocity_m_s", 3.1),
    ],
)
def test_values_come_with_their_unit(text, field, value):
    assert in_unit(text, field) == value


@pytest.mark.parametrize(
    ("text", "field", "told"),
    [
        ("35", "mpap_mmhg", "no unit"),
        ("35 cmH2O", "mpap_mmhg", "another quantity"),
        ("35 mmHg", "pvr_wu", "another quantity"),
        ("-3 mmHg", "mpap_mmhg", "a number and its unit"),
        ("high", "rvsp_mmhg", "a number and its unit"),
        ("35/12 mmHg", "mpap_mmhg", "another quantity"),
        ("1e3 mmHg", "mpap_mmhg", "another quantity"),
    ],
)
def test_a_value_without_its_unit_is_not_guessed(text, field, told):
    with pytest.raises(BadInputError, match=told):
        in_unit(text, field)


@given(st.text(max_size=30), st.sampled_from(sorted(findings.RANGES)))
def test_whatever_is_typed_is_a_number_or_a_plain_error(text, field):
    try:
        assert in_unit(text, field) >= 0
    except BadInputError as error:
        assert error.next_step
