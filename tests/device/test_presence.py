import pytest

from lsemvae_edge.device.presence import ANSWER_S, SAME_PERSON_S, Presence

NOTHING = frozenset()


def gone(off=frozenset({"LA"})):
    """A person who left at 5 s."""
    presence = Presence()
    presence.felt(5.0, NOTHING)
    presence.felt(6.0, off)
    return presence


def test_ten_seconds_are_what_the_safety_rules_say():
    assert SAME_PERSON_S == 10.0


@pytest.mark.parametrize("off", [{"RA"}, {"LA"}, {"LL"}, {"RA", "LA", "LL", "RL"}])
def test_the_question_comes_after_ten_seconds_and_once(off):
    presence = gone(frozenset(off))
    assert not presence.is_doubted(15.0)
    assert not presence.is_in_question
    assert presence.is_doubted(15.1)
    assert presence.is_in_question
    assert not presence.is_doubted(99.0)


def test_who_holds_on_is_never_doubted():
    presence = Presence()
    for second in range(60):
        presence.felt(float(second), frozenset({"RL"}))
        assert not presence.is_doubted(second + 9.0)


def test_before_anybody_was_there_nobody_is_doubted():
    presence = Presence()
    presence.felt(0.0, frozenset({"RA"}))
    assert not presence.is_doubted(1000.0)


def test_contact_that_comes_back_does_not_withdraw_the_question():
    presence = gone()
    presence.is_doubted(16.0)
    presence.felt(17.0, NOTHING)
    assert presence.is_in_question
    assert presence.decided(18.0) is None


@pytest.mark.parametrize("answer", [True, False])
def test_an_answer_decides_once(answer):
    presence = gone()
    presence.is_doubted(16.0)
    presence.confirm(answer)
    assert presence.decided(17.0) is answer
    assert presence.decided(17.0) is None
    assert not presence.is_in_question
    assert not presence.is_doubted(26.9)
    assert presence.is_doubted(27.1)


def test_an_answer_to_an_earlier_question_does_not_answer_the_next():
    presence = gone()
    presence.confirm(True)  # nobody asked
    presence.is_doubted(16.0)
    assert presence.decided(17.0) is None


def test_no_answer_is_another_person():
    presence = gone()
    presence.is_doubted(16.0)
    assert presence.decided(15.9 + ANSWER_S) is None
    assert presence.decided(16.0 + ANSWER_S) is False
