"""One pass against a real server process: what is sent, what is kept, and what each kind of answer means."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event

import pytest

from lsemvae_edge.errors import UsageError
from lsemvae_edge.outbox import Destination, release, send
from lsemvae_edge.outbox import client as client_module
from lsemvae_edge.store import Head, Store, StoreKey


@pytest.fixture
def filled(store, making):
    """A store with three attempts of three persons."""
    for _ in range(3):
        store.append(making.attempt(making.noise()))
    return store


def to(server, **told) -> Destination:
    return Destination(server.url, **{"site": "Jiri", "timeout_s": 10.0, **told})


def test_everything_is_sent_once_acknowledged_and_then_nothing_waits(filled, serve):
    server = serve("--validate")
    report = send(filled, to(server))
    assert (report.sent, report.waiting, report.parked, report.reason) == (3, 0, (), "")
    assert server.counts() == {"Patient": 1, "Device": 2, "Observation": 6, "DiagnosticReport": 3}
    assert filled.pending(server.url) == []
    assert send(filled, to(server)).sent == 0
    assert server.n_requests == 3


def test_the_receipt_holds_the_stores_head_and_the_servers_versions(filled, serve):
    server = serve()
    send(filled, to(server))
    acknowledgements = [entry for entry in filled.entries(kinds=("acknowledgement",))]
    assert len(acknowledgements) == 3
    receipt = acknowledgements[0].facts["receipt"]
    assert receipt["status"] == 200
    assert set(receipt["head"]) == {"seq", "hash"}
    assert set(receipt["versions"].values()) <= {'W/"1"', 'W/"2"', 'W/"3"'}
    assert filled.verify().ok


def test_the_server_holds_a_head_that_tells_a_cut_tail(filled, serve, tmp_path):
    server = serve()
    send(filled, to(server))
    seq, hash = server.resources("DiagnosticReport")[-1]["identifier"][0]["value"].split(":")
    entry = next(entry for entry in filled.entries(kinds=("attempt",)) if entry.seq == int(seq))
    assert entry.hash == hash
    assert filled.verify(Head.parse(f"{seq}:{hash}")).ok


def test_cut_after_the_commit_it_is_sent_again_and_there_once(filled, serve):
    server = serve()
    server.will({"do": "cut_after"})
    first = send(filled, to(server))
    assert (first.sent, first.waiting, first.reason) == (0, 3, client_module.CUT)
    assert server.counts()["DiagnosticReport"] == 1, "the server has it, and nobody was told"
    assert send(filled, to(server)).sent == 3
    assert server.counts() == {"Patient": 1, "Device": 2, "Observation": 6, "DiagnosticReport": 3}


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(status, filled, serve):
    server = serve()
    server.will({"do": "status", "status": status, "headers": {"Retry-After": "7"}})
    report = send(filled, to(server))
    assert (report.sent, report.waiting, report.parked, report.retry_after_s) == (0, 3, (), 7.0)
    assert send(filled, to(server)).sent == 3


def test_a_date_in_retry_after_counts_from_the_servers_clock(filled, serve):
    server = serve()
    then = format_datetime(datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=90), usegmt=True)
    server.will({"do": "status", "status": 503, "headers": {"Retry-After": then}})
    assert 85 <= send(filled, to(server)).retry_after_s <= 91


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_the_server_will_never_take_is_parked_with_its_words_and_the_others_go_on(status, filled, serve):
    server = serve()
    server.will({"do": "status", "status": status, "words": "no such code"})
    report = send(filled, to(server))
    assert (report.sent, report.waiting) == (2, 0)
    (parked,) = report.parked
    assert f"({status}): no such code." in parked.reason
    assert server.n_requests == 3
    again = send(filled, to(server))
    assert (again.sent, again.parked, server.n_requests) == (0, report.parked, 3), "it is not sent again by itself"


def test_what_was_parked_is_sent_when_an_operator_releases_it(filled, serve, tmp_path):
    server = serve()
    server.will({"do": "status", "status": 422})
    assert len(send(filled, to(server)).parked) == 1
    with Store.open(filled.folder, StoreKey.read(tmp_path / "store.key")) as reopened:
        assert len(send(reopened, to(server)).parked) == 1, "a restart does not forget it"
        assert release(reopened, server.url, operator="OP7") == 1
        assert send(reopened, to(server)).sent == 1
        assert release(reopened, server.url) == 0


def test_what_is_said_later_takes_a_parked_record_out(filled, serve):
    server = serve()
    server.will({"do": "status", "status": 422})
    (parked,) = send(filled, to(server)).parked
    filled.amend(parked.seq, study_id="KTM0043Y", reason="typed wrongly", operator="OP7")
    assert send(filled, to(server)).sent == 1


def test_a_servers_words_do_not_bring_a_study_id_into_the_log(filled, serve, making):
    server = serve()
    server.will({"do": "status", "status": 422, "words": f"Patient {making.STUDY_ID} is unknown\x1b[31m" + "x" * 9999})
    send(filled, to(server))
    (note,) = filled.entries(kinds=("outbox",))
    assert making.STUDY_ID not in json.dumps(dict(note.facts))
    assert len(note.facts["reason"]) < 400
    assert note.facts["reason"].isprintable()


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_not_accepted_is_told_as_such_and_parks_nothing(status, filled, serve):
    server = serve()
    server.will({"do": "status", "status": status})
    report = send(filled, to(server))
    assert (report.sent, report.waiting, report.parked, report.closed) == (0, 3, (), True)
    assert "token" in report.reason
    assert server.n_requests == 1


def test_the_token_is_sent_and_needed(filled, serve, token_file):
    server = serve()
    server.wants("abc.DEF-123")
    assert send(filled, to(server)).closed
    assert send(filled, to(server, token_file=token_file)).sent == 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused(status, filled, serve, tmp_path):
    server, elsewhere = serve(), serve(folder=tmp_path / "elsewhere")
    server.will({"do": "status", "status": status, "headers": {"Location": elsewhere.url}})
    report = send(filled, to(server))
    assert (report.sent, report.closed, report.reason) == (0, True, client_module.REDIRECTED)
    assert elsewhere.n_requests == 0


@pytest.mark.parametrize("fault", ["html", "huge"])
def test_what_does_not_say_that_it_is_stored_is_no_receipt(fault, filled, serve):
    server = serve()
    server.will(*[{"do": fault, "bytes": 5_000_000}] * 2)
    report = send(filled, to(server))
    assert (report.sent, report.waiting, report.closed) == (0, 3, False)
    assert not [*filled.entries(kinds=("acknowledgement",))]


@pytest.mark.parametrize(
    ("response", "parked"),
    [({"status": "422 No"}, 1), ({"status": "409 No"}, 0), ({"status": "500 Oh"}, 0), ({"status": "304"}, 0), ({}, 0)],
)
def test_one_resource_that_was_not_stored_is_no_receipt(response, parked, filled, serve):
    server = serve()
    server.will({"do": "partly", "response": response})
    report = send(filled, to(server))
    assert report.sent == 2
    assert len(report.parked) == parked
    assert report.waiting == 1 - parked


def test_a_place_without_a_fhir_server_parks_nothing(filled, serve):
    server = serve()
    server.will({"do": "status", "status": 404, "fhir": False})
    report = send(filled, to(server))
    assert (report.closed, report.waiting, report.reason) == (True, 3, client_module.NO_BASE)


def test_no_server_at_all_is_tried_later(filled, serve):
    server = serve()
    server.kill()
    report = send(filled, to(server))
    assert (report.sent, report.waiting, report.reason) == (0, 3, client_module.NO_NETWORK)
    assert report.failed == (filled.pending(server.url)[0].seq,), "the others are not even tried"


def test_a_server_that_hangs_is_left_in_time(filled, serve):
    server = serve()
    server.will({"do": "hang", "s": 30})
    assert send(filled, to(server, timeout_s=0.5)).reason == client_module.NO_ANSWER


def test_a_server_that_drips_is_left_in_time(filled, serve):
    server = serve()
    server.will({"do": "slow", "s": 0.1})
    assert send(filled, to(server, timeout_s=1.0)).reason == client_module.NO_ANSWER


def test_an_answer_that_is_cut_is_no_receipt(filled, serve):
    server = serve()
    server.will({"do": "short"})
    assert send(filled, to(server)).reason == client_module.CUT
    assert send(filled, to(server)).sent == 3


def test_one_record_that_a_server_cannot_take_does_not_hold_up_the_others(filled, serve):
    server = serve()
    server.will({"do": "status", "status": 500})
    first = send(filled, to(server))
    assert (first.sent, first.waiting, len(first.failed)) == (2, 1, 1)


def test_what_failed_before_comes_last(filled, serve):
    server = serve()
    seqs = [entry.seq for entry in filled.pending(server.url)]
    seen = []

    def post(destination, transaction, request_id):
        seen.append(request_id)
        return client_module.Answer("later", "x", status=500)

    send(filled, to(server), post=post)
    first = seen.copy()
    report = send(filled, to(server), last=frozenset(seqs[:2]), post=post)
    assert report.failed == (seqs[2], seqs[0])
    assert seen[2] not in first[:2]


def test_an_amendment_sends_the_record_again_under_the_same_ids(filled, serve, making):
    server = serve()
    send(filled, to(server))
    seq = next(filled.entries(kinds=("attempt",))).seq
    filled.amend(seq, study_id=making.OTHER_ID, reason="typed wrongly", operator="OP7")
    assert send(filled, to(server)).sent == 1
    assert server.counts() == {"Patient": 2, "Device": 2, "Observation": 6, "DiagnosticReport": 3}
    of = {report["subject"]["reference"] for report in server.resources("DiagnosticReport")}
    assert len(of) == 2
    assert filled.pending(server.url) == []


def test_several_things_said_of_one_record_are_one_transaction(filled, serve):
    server = serve()
    seq = next(filled.entries(kinds=("attempt",))).seq
    filled.over_read(seq, {"pattern": "present", "rhythm": "sinus", "quality": "good"}, operator="X")
    filled.amend(seq, study_id="KTM0043Y", reason="typed wrongly", operator="OP7")
    assert send(filled, to(server)).sent == 3
    assert server.n_requests == 3
    assert filled.pending(server.url) == []


def test_a_wiped_record_is_not_sent(filled, serve):
    server = serve()
    filled.wipe(next(filled.entries(kinds=("attempt",))).seq, reason="asked to", operator="OP7")
    assert send(filled, to(server)).sent == 2


def test_a_store_of_demonstrations_sends_nothing(tmp_path, serve, making):
    server = serve()
    with Store.create(tmp_path / "demo", StoreKey.create(tmp_path / "demo.key"), kind="demo") as demo:
        demo.append(making.attempt(making.record(origin="demo")))
        with pytest.raises(UsageError, match="sent nowhere"):
            send(demo, to(server))
    assert server.n_requests == 0


@pytest.mark.parametrize("origin", ["demo", "simulated"])
def test_a_simulated_record_that_got_among_those_of_people_is_not_sent(origin, filled, serve, making, monkeypatch):
    from lsemvae_edge.store import store as module

    monkeypatch.setattr(module, "NOT_OF_PEOPLE", frozenset())
    filled.append(making.attempt(making.record(origin=origin)))
    assert len(filled.pending("x")) == 4, "the store's own rule is out of the way"
    server = serve()
    assert send(filled, to(server)).sent == 3
    assert server.counts()["DiagnosticReport"] == 3


def test_stop_ends_a_pass_before_the_next_record(filled, serve):
    server, stop = serve(), Event()

    def post(destination, transaction, request_id):
        stop.set()
        return client_module.post(destination, transaction, request_id)

    report = send(filled, to(server), stop=stop, post=post)
    assert (report.sent, report.waiting) == (1, 2)


def test_a_repeat_carries_the_same_request_id(filled, serve):
    server = serve()
    server.will({"do": "cut_after"})
    send(filled, to(server))
    send(filled, to(server))
    ids = [id for (id,) in server.rows("SELECT request_id FROM requests ORDER BY at")]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
