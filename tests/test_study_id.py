"""Study ids: one form, and a check character that finds what a hand does wrong."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lsemvae_edge import study_id
from lsemvae_edge.errors import BadInputError, ExitCode
from lsemvae_edge.study_id import ALPHABET

PATTERN = "[A-Z0-9]{4,20}"
stems = st.text(ALPHABET, min_size=1, max_size=12)


@st.composite
def given_out(draw):
    try:
        return study_id.make(draw(stems))
    except BadInputError:
        assume(False)


@pytest.mark.parametrize(
    # Published numbers: a GRid and two ISANs.
    ("text", "expected"),
    [("A12425GABC1234002", "M"), ("0000000189470000", "8"), ("00000000D07A0090", "Q")],
)
def test_published_numbers_have_this_check_character(text, expected):
    assert study_id.check_character(text) == expected


@given(given_out(), st.data())
def test_every_wrong_character_is_found(made, data):
    at = data.draw(st.integers(0, len(made) - 1))
    wrong = made[:at] + data.draw(st.sampled_from(ALPHABET.replace(made[at], ""))) + made[at + 1 :]
    with pytest.raises(BadInputError, match="check character"):
        study_id.checked(wrong, ".*", True)


@given(given_out())
def test_all_neighbours_of_an_id_that_was_given_out_are_found_when_they_change_places(made):
    for at in range(len(made) - 1):
        wrong = made[:at] + made[at + 1] + made[at] + made[at + 2 :]
        if wrong != made:
            with pytest.raises(BadInputError, match="check character"):
                study_id.checked(wrong, ".*", True)


def test_what_make_refuses_is_what_the_check_character_would_not_notice_and_little_of_it():
    refused = []
    for stem in (f"KG{number:04}" for number in range(10_000)):
        full = stem + study_id.check_character(stem)
        swaps = (full[:at] + full[at + 1] + full[at] + full[at + 2 :] for at in range(len(full) - 1))
        unnoticed = any(swap != full and study_id.check_character(swap[:-1]) == swap[-1] for swap in swaps)
        assert unnoticed == study_id.has_blind_pair(full)
        refused += [stem] * unnoticed
    assert 0 < len(refused) < 300
    with pytest.raises(BadInputError, match="change places") as caught:
        study_id.make(refused[0])
    assert caught.value.next_step == "Take the next number."


@pytest.mark.parametrize(
    "scanned",
    [
        "kg0001{}",
        "  KG0001{}\r\n",
        "]C1KG0001{}\r",
        "\x02]Q3kg0001{}\x03\x1d\t",
        "ＫＧ０００１{}",
        "KG०००१{}",
        "\ufeffKG0001{}\u200b",
    ],
    ids=["typed", "Enter", "AIM", "STX AIM GS", "full width", "Devanagari", "invisible"],
)
def test_what_readers_and_keyboards_add_is_taken_off(scanned):
    check = study_id.check_character("KG0001")
    assert study_id.checked(scanned.format(check), PATTERN, True) == f"KG0001{check}"


@given(st.text(max_size=80))
def test_normalising_twice_changes_nothing_more_unless_a_second_identifier_stands_there(text):
    once = study_id.normalise(text)
    if not once.startswith("]"):
        assert study_id.normalise(once) == once


@given(st.text(max_size=80), st.booleans())
def test_whatever_is_typed_is_an_id_or_a_plain_error_that_does_not_repeat_it(text, with_check):
    try:
        found = study_id.checked(text, PATTERN, with_check)
    except BadInputError as error:
        assert error.code == ExitCode.BAD_INPUT
        said = {study_id.EMPTY, study_id.TOO_LONG, study_id.FOREIGN, study_id.OTHER_FORM, study_id.WRONG_CHECK}
        assert error.message in said
        assert error.next_step in {study_id.TYPE_OR_SCAN, study_id.AGAIN, study_id.CARD}
    else:
        assert re.fullmatch(PATTERN, found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \r", study_id.EMPTY),
        ("A" * 65, study_id.TOO_LONG),
        ("KG 001", study_id.FOREIGN),
        ("KGé01", study_id.FOREIGN),
        ("KG0", study_id.OTHER_FORM),
        ("KG-0001", study_id.OTHER_FORM),
    ],
)
def test_the_rule_that_was_broken_is_named(text, message):
    with pytest.raises(BadInputError) as caught:
        study_id.checked(text, PATTERN, False)
    assert caught.value.message == message


def test_a_hyphen_is_for_the_eye():
    plain = study_id.make("KG0001")
    assert study_id.checked(f"KG-0001-{plain[-1]}", "[A-Z]{2}-[0-9]{4}-[A-Z0-9]", True) == f"KG-0001-{plain[-1]}"


def test_a_lone_check_character_is_no_id():
    with pytest.raises(BadInputError, match="check character"):
        study_id.checked("1", ".*", True)
