"""Which keys count: a code arrives whole where it began, or nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.kiosk.terminal.bursts import HAND_S, PAUSE_S, READER_S, Bursts


def typed(text, places, pace_s=0.01, *, begin_s=10.0, bursts=None, secret=()):
    """Return what each place took of a text, ``\n`` for an Enter that counts; ``places[i]`` is there at key ``i``."""
    bursts = bursts or Bursts()
    taken = {}
    for number, (key, place) in enumerate(zip(text, places, strict=True)):
        at_s = begin_s + number * pace_s
        if key == "\n":
            counts = bursts.enter(place, at_s)
        else:
            verdict = bursts.character(key, place, at_s, is_secret=place in secret)
            counts = verdict == "take"
            if verdict in ("early", "reader"):
                taken.pop(place, None)
        if counts:
            taken[place] = taken.get(place, "") + key
    return taken


def test_a_reader_is_taken_whole_where_a_place_waits_for_it():
    assert typed("KTM0042Q\n", ["identify"] * 9) == {"identify": "KTM0042Q\n"}


@pytest.mark.parametrize("pace_s", [0.001, 0.02, READER_S, 0.2, 0.4])
@pytest.mark.parametrize("n_before", range(1, 9))
def test_what_begins_before_the_place_is_there_is_dropped_whole(pace_s, n_before):
    places = [None] * n_before + ["identify"] * (9 - n_before)
    assert typed("KTM0042Q\n", places, pace_s) == {}


@given(st.integers(1, 8), st.floats(0.001, READER_S * 0.99), st.sampled_from([None, "pin", "waiting"]))
def test_what_a_place_lost_in_the_middle_goes_nowhere_else_and_is_not_sent(n_before, pace_s, after):
    places = ["identify"] * n_before + [after] * (9 - n_before)
    taken = typed("KTM0042Q\n", places, pace_s, secret={"pin"})
    assert after not in taken
    assert not any(text.endswith("\n") for text in taken.values())


def test_after_a_pause_it_is_typed_anew():
    bursts = Bursts()
    assert typed("KTM0", [None, None, "identify", "identify"], bursts=bursts) == {}
    later_s = 10.03 + PAUSE_S
    assert typed("KTM0042Q\n", ["identify"] * 9, begin_s=later_s, bursts=bursts) == {"identify": "KTM0042Q\n"}


def test_a_second_code_right_behind_an_enter_is_no_part_of_anything():
    places = ["identify"] * 18
    assert typed("KTM0042Q\nKTM0077X\n", places) == {"identify": "KTM0042Q\n"}


@pytest.mark.parametrize("scanned", ["77310042", "KTM0042Q", "0000"])
def test_a_reader_leaves_nothing_where_a_pin_is_asked_for(scanned):
    assert typed(f"{scanned}\n", ["pin"] * (len(scanned) + 1), HAND_S / 2, secret={"pin"}) == {}


@pytest.mark.parametrize("pace_s", [HAND_S * 1.5, READER_S, 0.15, 1.0])
def test_a_hand_types_a_pin(pace_s):
    assert typed("8291\n", ["pin"] * 5, pace_s, secret={"pin"}) == {"pin": "8291\n"}


def test_a_backspace_counts_unless_it_belongs_to_what_is_dropped():
    bursts = Bursts()
    assert bursts.erase(1.0)
    bursts.character("A", None, 2.0)
    assert not bursts.erase(2.1)
    assert bursts.erase(2.0 + PAUSE_S)
