"""The way of one visit: what may be done where, how often, and what clears by itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.decision import SWAP_CHECK
from lsemvae_edge.errors import LsemvaeError, UsageError
from lsemvae_edge.kiosk.flow import UNDER_WAY, Earlier, Flow, Trouble
from lsemvae_edge.kiosk.settings import Settings
from lsemvae_edge.result import (
    ModelInfo,
    QualityResult,
    RecordInfo,
    ScreeningResult,
    TaskResult,
    Wording,
)
from lsemvae_edge.visit import Visit


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


def result(outcome="inconclusive", reason=None):
    return ScreeningResult(
        outcome,
        {"right_heart_pattern": TaskResult(outcome, 0.5, reason)},
        QualityResult(True, None, 0.0, 8.0, (), None, {}),
        70.0,
        RecordInfo("r", "0" * 64, "live", None, None, None, 10.0, 500.0, ("I", "II"), (), (), "calibrated"),
        ModelInfo("m", "0" * 64, None, "litert"),
        Wording("h", "a", ()),
        {},
        "0",
    )


def at_hold(flow, study_id="ABCD", earlier=None):
    flow.start()
    flow.identify(study_id, earlier)
    flow.about(consent=True, age_band="40-64", pacemaker=False)
    flow.chosen()
    return flow


def recorded(flow, outcome="inconclusive", *, ran=True, reason=None):
    flow.begin()
    flow.working()
    flow.saved(result(outcome, reason), "recording", 1, "14:05", ran=ran, seen=outcome == "present")
    return flow


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def flow(clock):
    return Flow(Settings(), with_operators=False, clock=clock)


def test_a_visit_goes_from_waiting_to_a_result_and_back(flow):
    recorded(at_hold(flow), "present")
    assert flow.screen == "result"
    assert flow.shown.attempt == 1
    flow.next()
    assert (flow.screen, flow.visit, flow.shown) == ("waiting", None, None)


def test_without_agreement_nothing_is_recorded(flow):
    flow.start()
    flow.identify("ABCD", None)
    with pytest.raises(UsageError, match="agreement"):
        flow.about(consent=False, age_band="40-64", pacemaker=False)
    assert flow.visit is None
    assert flow.screen == "about"


@pytest.mark.parametrize("age_band", ["", "not asked", None, "130"])
def test_the_age_is_asked(flow, age_band):
    flow.start()
    flow.identify("ABCD", None)
    with pytest.raises(LsemvaeError, match="age"):
        flow.about(consent=True, age_band=age_band, pacemaker=False)


def test_retries_are_bounded(flow):
    at_hold(flow)
    for attempt in (1, 2, 3):
        recorded(flow, "inconclusive", ran=attempt != 2)
        assert flow.screen == ("retry" if attempt == 2 else "result")
        if attempt < 3:
            flow.retry()
    assert not flow.can_retry
    with pytest.raises(UsageError, match="used up"):
        flow.retry()


def test_refused_for_the_last_time_is_a_result_and_no_further_question(flow):
    at_hold(flow)
    for _ in range(3):
        recorded(flow, ran=False)
        if flow.can_retry:
            flow.retry()
    assert flow.screen == "result"


@pytest.mark.parametrize("outcome", ["present", "not_present"])
def test_an_answer_is_not_asked_for_again(flow, outcome):
    recorded(at_hold(flow), outcome)
    assert not flow.can_retry
    with pytest.raises(UsageError):
        flow.retry()


def test_a_result_clears_after_its_time(flow, clock):
    recorded(at_hold(flow), "present")
    clock.now_s += 59
    assert not flow.tick() or flow.shown is not None
    assert flow.shown is not None
    clock.now_s += 1
    assert flow.tick()
    assert (flow.screen, flow.shown, flow.visit) == ("waiting", None, None)


def test_an_id_used_today_is_asked_about_and_the_visit_goes_on(flow):
    visit = Visit("f" * 32, "ABCD", "", "40-64", False, True)
    flow.start()
    flow.identify("ABCD", Earlier(visit, 2, True))
    assert flow.screen == "repeat_or_other"
    flow.repeat()
    assert flow.visit == visit
    flow.chosen()
    recorded(flow, "not_present")
    assert flow.shown.attempt == 3
    assert flow.shown.seen_before


def test_a_repeat_after_all_attempts_is_a_new_visit(flow):
    visit = Visit("f" * 32, "ABCD", "", "40-64", False, True)
    flow.start()
    flow.identify("ABCD", Earlier(visit, 3, False))
    flow.repeat()
    flow.about(consent=True, age_band="40-64", pacemaker=None)
    assert flow.visit.id != visit.id
    assert flow.visit.study_id == "ABCD"


def test_another_person_needs_another_id(flow):
    flow.start()
    flow.identify("ABCD", Earlier(Visit("f" * 32, "ABCD", "", "40-64", False, True), 1, False))
    flow.another()
    assert flow.screen == "identify"
    assert flow.visit is None


def test_checked_electrodes_count_only_where_a_swap_was_suspected_and_once(flow):
    recorded(at_hold(flow), reason=SWAP_CHECK)
    assert flow.asks_about_electrodes
    flow.retry(electrodes_confirmed=True)
    assert flow.electrodes_confirmed
    recorded(flow)
    assert not flow.electrodes_confirmed
    flow.retry(electrodes_confirmed=True)
    assert not flow.electrodes_confirmed


def test_an_interruption_can_be_tried_again(flow):
    at_hold(flow)
    flow.begin()
    flow.interrupted(Trouble("The link is lost.", "Bring it closer."))
    assert flow.screen == "failed"
    flow.retry()
    assert (flow.screen, flow.attempt, flow.trouble) == ("hold", 1, None)


def test_what_never_began_costs_no_attempt(flow):
    at_hold(flow)
    flow.begin()
    flow.interrupted(Trouble("It was not found.", "Switch it on."), counts=False)
    flow.retry()
    assert flow.attempt == 0
    assert flow.visit is not None


def test_the_page_locks_when_idle_and_the_recording_goes_on(clock):
    flow = Flow(Settings(), with_operators=True, clock=clock)
    flow.sign_in("AB")
    at_hold(flow).begin()
    clock.now_s += 120
    assert flow.tick()
    assert flow.is_locked
    assert flow.screen == "recording"
    flow.working()
    flow.saved(result("present"), "recording", 1, None, ran=True, seen=True)
    flow.unlock()
    assert flow.shown is not None


def test_another_operator_ends_a_visit_that_is_not_being_recorded(clock):
    flow = Flow(Settings(), with_operators=True, clock=clock)
    flow.sign_in("AB")
    recorded(at_hold(flow), "present")
    flow.lock()
    flow.sign_in("CD")
    assert (flow.screen, flow.operator, flow.shown, flow.is_locked) == ("waiting", "CD", None, False)


def test_another_operator_takes_a_recording_over(clock):
    flow = Flow(Settings(), with_operators=True, clock=clock)
    flow.sign_in("AB")
    at_hold(flow).begin()
    flow.sign_in("CD")
    assert flow.screen == "recording"
    with pytest.raises(UsageError):
        flow.sign_out()


STEPS = {
    "sign_in": lambda flow: flow.sign_in("AB"),
    "other": lambda flow: flow.sign_in("CD"),
    "sign_out": lambda flow: flow.sign_out(),
    "lock": lambda flow: flow.lock(),
    "unlock": lambda flow: flow.unlock(),
    "start": lambda flow: flow.start(),
    "identify": lambda flow: flow.identify("ABCD", None),
    "known": lambda flow: flow.identify("ABCD", Earlier(Visit("f" * 32, "ABCD", "", "40-64", False, True), 1, False)),
    "repeat": lambda flow: flow.repeat(),
    "another": lambda flow: flow.another(),
    "about": lambda flow: flow.about(consent=True, age_band="18-39", pacemaker=None),
    "chosen": lambda flow: flow.chosen(),
    "begin": lambda flow: flow.begin(),
    "working": lambda flow: flow.working(),
    "saved": lambda flow: flow.saved(result("present"), "r", 1, None, ran=True, seen=True),
    "unsure": lambda flow: flow.saved(result(), "r", 1, None, ran=True, seen=False),
    "interrupted": lambda flow: flow.interrupted(Trouble("a", "b")),
    "retry": lambda flow: flow.retry(),
    "next": lambda flow: flow.next(),
    "cancel": lambda flow: flow.cancel(),
    "back": lambda flow: flow.back(),
}


@given(st.lists(st.sampled_from([*STEPS, "wait"]), max_size=60), st.booleans())
def test_whatever_is_pressed_in_whatever_order_the_screen_holds_what_it_says(names, with_operators):
    clock = Clock()
    flow = Flow(replace(Settings(), attempts=2), with_operators=with_operators, clock=clock)
    for name in names:
        before = flow.screen
        if name == "wait":
            clock.now_s += 70
            flow.tick()
            assert flow.screen in UNDER_WAY or flow.shown is None or before not in ("result", "retry")
        else:
            try:
                STEPS[name](flow)
            except LsemvaeError:
                assert flow.screen == before
        assert (flow.shown is not None) == (flow.screen in ("result", "retry"))
        assert flow.attempt <= 2
        if flow.screen in ("waiting", "sign_in", "identify"):
            assert flow.visit is None or flow.screen == "identify"
        if flow.screen in ("recorder", "hold", "recording", "working", "result", "retry"):
            assert flow.visit is not None
            assert flow.visit.consent
        if flow.screen in ("waiting", "sign_in"):
            assert (flow.visit, flow.shown, flow.earlier, flow.attempt) == (None, None, None, 0)


def test_corrections_begin_and_end_on_the_waiting_screen_and_lock_when_idle():
    clock = Clock()
    flow = Flow(replace(Settings(), idle_lock_s=60.0), with_operators=True, clock=clock)
    for begin in (lambda: None, lambda: flow.sign_in("HEAD"), flow.start):
        begin()
        if flow.screen != "waiting":
            with pytest.raises(UsageError):
                flow.corrections()
    flow.back()
    with pytest.raises(UsageError):
        flow.correcting()
    flow.corrections()
    flow.correcting()
    with pytest.raises(UsageError):
        flow.start()
    clock.now_s += 61.0
    assert flow.tick()
    assert flow.is_locked
    flow.unlock()
    assert flow.screen == "corrections"
    flow.sign_in("OTHER")
    assert flow.screen == "waiting"
    flow.corrections()
    flow.back()
    assert flow.screen == "waiting"
