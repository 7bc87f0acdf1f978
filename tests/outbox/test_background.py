"""The thread: it begins by itself, waits longer and longer, and takes what comes meanwhile."""

import threading

import pytest

from lsemvae_edge.errors import StoreError
from lsemvae_edge.outbox import Destination, Outbox, Report, Status
from lsemvae_edge.outbox import background as background_module
from lsemvae_edge.outbox.background import Backoff
from lsemvae_edge.store import Store, StoreKey

NOWHERE = Destination("http://127.0.0.1:1/fhir")


def waits(backoff, *reports):
    return [backoff.after(report) for report in reports]


def failed(**told):
    return Report(0, 1, reason="x", **told)


def test_waits_double_up_to_a_bound_and_begin_anew_after_a_success():
    backoff = Backoff(draw=lambda: 1.0)
    found = waits(backoff, *[failed()] * 12)
    assert found[:4] == [5.0, 10.0, 20.0, 40.0]
    assert found[-1] == 900.0
    assert waits(backoff, Report(1, 0), failed()) == [None, 5.0]


def test_waits_are_drawn_between_half_and_all():
    assert waits(Backoff(draw=lambda: 0.0), failed()) == [2.5]
    assert 2.5 <= Backoff().after(failed()) <= 5.0


def test_what_the_server_asks_is_waited_at_least_but_not_for_ever():
    backoff = Backoff(draw=lambda: 0.0)
    assert backoff.after(failed(retry_after_s=60.0)) >= 60.0
    assert backoff.after(failed(retry_after_s=1e9)) <= background_module.LONGEST_ASKED_S + 900.0


def test_after_what_somebody_must_act_upon_the_wait_is_long():
    assert Backoff(draw=lambda: 1.0).after(failed(closed=True)) == background_module.CLOSED_WAIT_S


def test_a_thousand_failures_do_not_overflow():
    backoff = Backoff()
    assert max(waits(backoff, *[failed()] * 1000)) <= 900.0


@pytest.fixture
def opened(tmp_path, store):
    return lambda: Store.open(store.folder, StoreKey.read(tmp_path / "store.key"))


def test_what_is_there_is_sent_and_what_comes_later_too(store, opened, serve, making):
    server, statuses = serve(), []
    sent = threading.Semaphore(0)

    def changed(status):
        statuses.append(status)
        for _ in range(status.sent - (statuses[-2].sent if len(statuses) > 1 else 0)):
            sent.release()

    store.append(making.attempt(making.noise()))
    with Outbox(opened, Destination(server.url), changed=changed) as outbox:
        assert sent.acquire(timeout=20)
        store.append(making.attempt(making.noise()))
        outbox.wake()
        assert sent.acquire(timeout=20)
    assert outbox.status == Status(sent=2)
    assert server.counts()["DiagnosticReport"] == 2


def test_a_fault_of_the_store_is_told_and_tried_again(opened):
    told, passes = [], []

    def send(store, destination, **_):
        passes.append(1)
        if len(passes) == 1:
            raise StoreError("The disk is full.", "Free space.")
        return Report(0, 0)

    outbox = Outbox(opened, NOWHERE, changed=told.append, draw=lambda: 1.0, send=send)
    assert outbox._pass() == 5.0
    assert told == [Status(reason="The disk is full.", next_step="Free space.")]
    assert outbox._pass() is None
    assert told[-1] == Status()


def test_what_failed_comes_last_in_the_next_pass(opened):

    def send(store, destination, *, stop, last: frozenset):
        seen.append(last)
        return Report(0, 2, reason="x", failed=(len(seen),)) if len(seen) < 3 else Report(2, 0)

    seen: list[frozenset] = []
    outbox = Outbox(opened, NOWHERE, send=send)
    for _ in range(4):
        outbox._pass()
    assert seen == [frozenset(), {1}, {1, 2}, frozenset()]


def test_closed_tells_what_to_do(opened):
    outbox = Outbox(opened, NOWHERE, send=lambda *_, **__: Report(0, 1, reason="x", closed=True))
    told = []
    outbox.changed = told.append
    outbox._pass()
    outbox._pass()
    assert outbox.status.next_step == background_module.TELL
    assert told == [outbox.status], "the same is not told twice"


def test_stop_ends_a_wait_at_once(opened):
    passed = threading.Event()

    def send(*_, **__):
        passed.set()
        return failed()

    outbox = Outbox(opened, NOWHERE, send=send)
    outbox.start()
    assert passed.wait(10)
    outbox.stop()
    assert not outbox._thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_this_software_is_told(opened):
    def send(*_, **__):
        raise ZeroDivisionError

    told = threading.Event()
    outbox = Outbox(opened, NOWHERE, changed=lambda _: told.set(), send=send)
    outbox.start()
    assert told.wait(10)
    outbox._thread.join(10)
    assert outbox.status.reason == background_module.STOPPED
