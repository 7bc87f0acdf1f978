"""The page's server: who is answered, and what is told."""

import asyncio
import base64
import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from lsemvae_edge.kiosk import defects
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads

PAUSE_S = 0.12


class Page:
    """A page as a browser would be one: cookie, origin, tab."""

    def __init__(self, server):
        self.server, self.port, self.tab = server, server.port, "tab-1"
        self.origin = f"http://127.0.0.1:{self.port}"
        self.cookie = ""

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"Cookie": self.cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request(method, path, body, {name: value for name, value in sent.items() if value})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def open(self):
        answer, content = self.ask("GET", f"/k/{self.server.token}/")
        self.cookie = answer.getheader("set-cookie").split(";")[0]
        return answer, content

    def act(self, act, /, tab=None, **values):
        body = json.dumps({"tab": tab or self.tab, "act": act, **values})
        answer, content = self.ask("POST", "/act", body, Content_Type="application/json", Origin=self.origin)
        return answer.status, json.loads(content)

    @contextmanager
    def events(self, tab=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", f"/events?tab={tab or self.tab}", headers={"Cookie": self.cookie})
        answer = connection.getresponse()
        yield self._told(answer)
        connection.sock and connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()

    @staticmethod
    def _told(answer):
        name = None
        for raw in answer:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, json.loads(line[6:])


@pytest.fixture
def opened(station_of):
    """Function that serves a station in a thread, and returns its page; everything ends with the test."""
    import uvicorn

    from lsemvae_edge.kiosk.app import Server

    ends = []

    def serve(source, **settings):
        ready, made = threading.Event(), {}

        async def main():
            listening = socket.create_server(("127.0.0.1", 0))
            async with station_of(source, **settings) as station:
                page = Server(station, listening.getsockname()[1])
                server = uvicorn.Server(
                    uvicorn.Config(page.app(), log_config=None, access_log=False, lifespan="off", ws="none")
                )
                made.update(page=Page(page), server=server)
                serving = asyncio.create_task(server.serve([listening]))
                while not server.started:
                    await asyncio.sleep(0.01)
                ready.set()
                await serving

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        assert ready.wait(20)
        ends.append((made["server"], thread))
        return made["page"]

    yield serve
    for server, thread in ends:
        server.should_exit = server.force_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def page(opened, player):
    made = opened(player())
    made.open()
    return made


def test_the_address_opens_the_page_and_a_reload_needs_its_cookie(opened, player):
    page = opened(player())
    assert page.ask("GET", "/")[0].status == 403
    answer, content = page.open()
    assert answer.status == 200
    assert b"<!doctype html>" in content.lower()
    assert "HttpOnly" in answer.getheader("set-cookie")
    assert "SameSite=strict" in answer.getheader("set-cookie")
    assert page.ask("GET", "/")[0].status == 200


@pytest.mark.parametrize("path", ["/", "/events?tab=x", "/k/wrong/"])
def test_without_token_or_cookie_nothing_is_told(opened, player, path):
    assert opened(player()).ask("GET", path)[0].status == 403


def test_every_answer_forbids_other_sources_framing_and_storing(page):
    for path in ("/", "/static/kiosk.js", "/strings/en.json", "/nothing"):
        answer, _ = page.ask("GET", path)
        policy = answer.getheader("content-security-policy")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("cache-control") == "no-store"
        assert answer.getheader("x-content-type-options") == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "[::1]:80", "localhost.evil.example"])
def test_a_request_that_names_another_host_is_refused(page, host):
    assert page.ask("GET", "/", Host=host)[0].status == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", ""])
def test_a_request_of_another_page_is_refused(page, origin):
    body = json.dumps({"tab": page.tab, "act": "start"})
    answer, _ = page.ask("POST", "/act", body, Content_Type="application/json", Origin=origin)
    assert answer.status == 403


def test_a_page_of_another_site_gets_nothing_but_the_address_with_the_token_may_be_followed(page):
    assert page.ask("GET", "/", Sec_Fetch_Site="cross-site")[0].status == 403
    assert page.ask("GET", "/events?tab=x", Sec_Fetch_Site="same-site")[0].status == 403
    assert page.ask("GET", f"/k/{page.server.token}/", Sec_Fetch_Site="cross-site")[0].status == 200


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/..%2fapp.py"])
def test_nothing_but_the_pages_own_files_is_served(page, path):
    assert page.ask("GET", path)[0].status in (403, 404, 405)


def test_the_typeface_is_served_because_the_system_may_have_none(page):
    answer, content = page.ask("GET", "/fonts/noto-sans.ttf")
    assert answer.status == 200
    assert content[:4] == b"\x00\x01\x00\x00"


def test_it_listens_on_this_machine_alone(page):
    from lsemvae_edge.kiosk import serve

    with serve._listening(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_the_state_comes_at_once_and_a_sign_of_life_after_it(page):
    with page.events() as told:
        name, state = next(told)
        begun_s = time.monotonic()
        life = next(value for name, value in told if name == "alive")
    assert name == "state"
    assert state["screen"] == "waiting"
    assert life["server"] == state["server"]
    assert time.monotonic() - begun_s < 2.0


def test_an_act_changes_what_the_page_is_told(page):
    with page.events() as told:
        next(told)
        assert page.act("start") == (200, {"ok": True})
        assert next(state for name, state in told if name == "state" and state["screen"] == "identify")


def test_what_cannot_be_done_is_a_sentence_and_a_next_step(page):
    with page.events() as told:
        next(told)
        status, said = page.act("begin")
        assert (status, set(said)) == (422, {"message", "next_step"})
        page.act("start")
        status, said = page.act("identify", text="not an id!")
        assert status == 422
        assert "not an id" not in json.dumps(said)


def test_a_defect_is_an_error_in_words_and_the_log_holds_nothing_of_a_person(page, monkeypatch, caplog):
    def broken(text):
        raise TypeError(f"{text} breaks it")

    monkeypatch.setattr(page.server.station.records, "earlier", broken)
    with page.events() as told:
        next(told)
        page.act("start")
        status, said = page.act("identify", text="ABCD1")
    assert status == 500
    assert said["message"] == defects.DEFECT
    assert "TypeError" in caplog.text
    assert "ABCD1" not in caplog.text


def test_a_value_that_no_act_takes_is_refused(page):
    with page.events() as told:
        next(told)
        for values in ({"self": 1}, {"name": "start"}, {"more": None}):
            assert page.act("start", **values)[0] == 422


def test_a_second_page_takes_over_and_the_first_can_do_nothing_more(page):
    with page.events("one") as first:
        next(first)
        with page.events("two") as second:
            next(second)
            assert next(name for name, _ in first if name == "superseded")
            assert page.act("start", tab="one")[0] == 409
            assert page.act("start", tab="two")[0] == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"act": 1}', "application/json"),
        (b"[" * 4000, "application/json"),
        (b'{"act": "start", "x": "' + b"y" * 5000 + b'"}', "application/json"),
        (b'{"tab": "tab-1", "act": "start"}', "text/plain"),
        (b'{"tab": "tab-1", "act": "start"}', "application/x-www-form-urlencoded"),
    ],
)
def test_what_is_no_request_is_refused(page, body, kind):
    with page.events() as told:
        next(told)
        answer, _ = page.ask("POST", "/act", body, Content_Type=kind, Origin=page.origin)
        assert answer.status == 400
        assert page.act("start")[0] == 200


def test_the_traces_are_the_recording_six_leads_each_sample_once(opened, player, played, live_heart):
    heart = live_heart(14.0)
    page = opened(player(played(heart, pause_s=PAUSE_S)))
    page.open()
    stretches, result = [], None
    with page.events() as told:
        for act, values in (
            ("start", {}),
            ("identify", {"text": "ABCD1"}),
            ("about", {"consent": True, "age_band": "40-64", "pacemaker": "unknown"}),
        ):
            assert page.act(act, **values)[0] == 200
        next(state for name, state in told if name == "state" and state["screen"] == "hold")
        assert page.act("begin")[0] == 200
        for name, value in told:
            if name == "trace":
                stretches.append(value)
            elif name == "state" and value["screen"] in ("result", "retry"):
                result = value
                break
    assert result["result"]["recording"] == stretches[0]["recording"]
    assert "probability" not in json.dumps(result)
    assert stretches[0]["leads"] == list(LIMB_LEADS)
    at = stretches[0]["first"]
    for one in stretches:
        assert one["first"] == at
        at += one["n"]
    steps = np.concatenate(
        [np.frombuffer(base64.b64decode(one["data"]), "<i2").reshape(6, one["n"]) for one in stretches], axis=1
    )
    begin = stretches[0]["first"]
    expected = derive_limb_leads(*heart.signal_mv[:, begin:at])
    assert np.abs(steps * stretches[0]["scale_mv"] - expected).max() <= stretches[0]["scale_mv"]


def test_a_gap_is_told_as_a_gap(station_of, player):
    from lsemvae_edge.device.progress import Traces
    from lsemvae_edge.kiosk.app import GAP, stretch

    signal_mv = np.array([[0.0, np.nan, 1.0], [0.5, 0.5, np.nan]], np.float32)
    traces = Traces(0, 10, 500.0, ("I", "II"), signal_mv, "calibrated")
    told = stretch("r", traces, station_of(player()))
    steps = np.frombuffer(base64.b64decode(told["data"]), "<i2").reshape(6, 3)
    assert (steps[0] == GAP).tolist() == [False, True, False]
    assert (steps[2] == GAP).tolist() == [False, True, True]


def test_far_beyond_the_scale_is_no_gap(station_of, player):
    from lsemvae_edge.device.progress import Traces
    from lsemvae_edge.kiosk.app import GAP, stretch

    signal_mv = np.array([[-1e6, 1e6], [0.0, 0.0]], np.float32)
    told = stretch("r", Traces(0, 0, 500.0, ("I", "II"), signal_mv, "calibrated"), station_of(player()))
    steps = np.frombuffer(base64.b64decode(told["data"]), "<i2").reshape(6, 2)
    assert GAP not in steps
