"""Nothing old passes for new: not after a kill, a freeze, a reload, a second page or the back button."""

import base64
import json
import os
import signal
import time

import numpy as np
import pytest

from lsemvae_edge.benchmarks import kiosk_browser

SILENT_MS = 2_000
SLACK_MS = 3_000
"""For a busy machine; what is held is that the page says so by itself."""


LEADS = ["I", "II", "III", "aVR", "aVL", "aVF"]
RESULT = {
    "outcome": "present",
    "headline": "Pattern seen",
    "advice": "Refer.",
    "headline_en": None,
    "advice_en": None,
    "notes": [],
    "study_id": "WRONG1",
    "time": "14:05",
    "attempt": 1,
    "of": 3,
    "clears_in_s": 60.0,
    "seq": 1,
    "can_retry": False,
    "swap_question": False,
}
FRESH = ".traces:not(.stale)"
INKED = """() => {
  const sheet = document.querySelector("canvas.sheet");
  const pixels = sheet.getContext("2d").getImageData(0, 0, sheet.width, sheet.height).data;
  let inked = 0;
  for (let i = 3; i < pixels.length; i += 4) inked += pixels[i] > 0;
  return inked;
}"""
ACROSS = """([from, to]) => {
  const sheet = document.querySelector("canvas.sheet");
  const px = 25 * 96 / 25.4;
  const [left, right] = [Math.ceil(from * px), Math.floor(to * px)];
  const {data} = sheet.getContext("2d").getImageData(left, 2, right - left, Math.floor(sheet.height / 3) - 4);
  let dark = 0, grey = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] < 128) continue;
    if (data[i] < 90) dark += 1;
    else grey += 1;
  }
  return [dark, grey];
}"""


def trace(first, n, recording="a"):
    """Return an event with a stretch of a sine wave."""
    wave = 200 * np.sin(np.arange(first, first + n) / 20)
    data = np.tile(np.rint(wave).astype("<i2"), (6, 1)).tobytes()
    facts = {
        "recording": recording,
        "part": 0,
        "first": first,
        "fs_hz": 500.0,
        "leads": LEADS,
        "scale_mv": 0.0025,
        "n": n,
        "data": base64.b64encode(data).decode(),
        "lead_state": dict.fromkeys(LEADS, "ok"),
    }
    return f"event: trace\ndata: {json.dumps(facts)}\n\n"


@pytest.fixture
def playing(own_kiosk, page_of):
    """A page in the middle of a recording, and a function that tells it events in place of the program."""
    kiosk = own_kiosk(demo=True)
    page = page_of(kiosk)
    kiosk_browser.to_waiting(page)
    told = []
    first = page.evaluate("""async () => {
      const piece = await (await fetch("/events?tab=other")).body.getReader().read();
      return new TextDecoder().decode(piece.value);
    }""")
    state = json.loads(first.split("data: ")[1].splitlines()[0])
    recording = {
        "id": "a",
        "fs_hz": 500.0,
        "leads": LEADS,
        "seconds": 5.0,
        "clean_s": 1.0,
        "needed_s": 9.5,
        "signal": "live",
        "contact": {"RA": "ok", "LA": "ok", "LL": "ok"},
        "lead_state": dict.fromkeys(LEADS, "ok"),
        "instruction": "Keep still.",
        "battery": 80,
        "lost": 0.0,
        "amplitude": "calibrated",
        "simulated": True,
    }
    state.update(screen="recording", recording=recording, server="played")

    def answer(route):
        body = f"event: state\ndata: {json.dumps(state)}\n\n" + "".join(told)
        told.clear()
        state["version"] += 1
        route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/events?*", answer)

    def tell(events="", until=None, **changes):
        """Have it told when the page asks again, half a second after an answer has ended; wait for what it does."""
        state.update(changes)
        told.append(events)
        if until is None:
            while told:
                page.wait_for_timeout(100)
        else:
            # What a trace does is over in a second, so nothing else is waited for before.
            page.locator(until).wait_for()

    page.reload()
    page.get_by_test_id("screen-recording").wait_for()
    yield page, tell
    page.unroute("**/events?*")


def eventually(page, holds):
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never was so")


def seconds_until(locator, state="visible"):
    began = time.monotonic()
    locator.wait_for(state=state)
    return time.monotonic() - began


def test_a_killed_server_takes_everything_clinical_off_the_page(own_kiosk, page_of):
    kiosk = own_kiosk()
    page = page_of(kiosk)
    kiosk_browser.to_waiting(page, "ASHA1", "2468")
    kiosk_browser.to_recording(page, "killed1")
    kiosk.signal(signal.SIGKILL)
    assert seconds_until(page.get_by_test_id("curtain")) < (SILENT_MS + SLACK_MS) / 1000
    assert "KILLED1" not in page.content()
    assert page.locator("canvas").count() == 0
    assert page.get_by_test_id("band").is_visible()
    page.wait_for_timeout(1500)
    assert page.get_by_test_id("curtain").is_visible()


def test_a_server_that_hangs_blanks_the_page_until_a_fresh_state_comes(own_kiosk, page_of):
    kiosk = own_kiosk(result_clears_s=3.0)
    page = page_of(kiosk)
    test = page.get_by_test_id
    kiosk_browser.to_waiting(page, "ASHA1", "2468")
    kiosk_browser.to_recording(page, "hangs1")
    test("screen-result").wait_for(timeout=60_000)
    kiosk.signal(signal.SIGSTOP)
    try:
        test("curtain").wait_for()
        assert "HANGS1" not in page.content()
        page.wait_for_timeout(3_000)
    finally:
        kiosk.signal(signal.SIGCONT)
    test("screen-waiting").wait_for()
    assert test("headline").count() == 0
    assert "HANGS1" not in page.content()


def test_a_frozen_recorder_turns_the_traces_grey_with_no_signal(own_kiosk, page_of):
    kiosk = own_kiosk()
    page = page_of(kiosk)
    test = page.get_by_test_id
    kiosk_browser.to_waiting(page, "ASHA1", "2468")
    kiosk_browser.to_recording(page, "frozen1")
    page.locator(".traces:not(.stale)").wait_for()
    os.kill(kiosk.recorder.process.pid, signal.SIGSTOP)
    try:
        assert seconds_until(test("no-signal")) < 1.0 + SLACK_MS / 1000
        assert page.locator(".traces.stale").count() == 1
    finally:
        os.kill(kiosk.recorder.process.pid, signal.SIGCONT)


def test_the_page_sees_by_itself_that_no_trace_comes_whatever_the_server_says(playing):
    page, tell = playing
    tell(trace(0, 500), until=FRESH)
    for _ in range(3):
        tell()
        page.wait_for_timeout(600)
    page.get_by_test_id("no-signal").wait_for()
    assert page.get_by_test_id("screen-recording").is_visible()


def test_traces_of_another_recording_are_not_drawn(playing):
    page, tell = playing
    tell(trace(0, 500, recording="another"))
    page.wait_for_timeout(600)
    page.get_by_test_id("no-signal").wait_for()
    assert page.evaluate(INKED) == 0
    tell(trace(0, 500), until=FRESH)
    eventually(page, lambda: page.evaluate(INKED) > 100)


def test_a_gap_is_hatched_and_no_line_crosses_it(playing):
    page, tell = playing
    tell(trace(0, 300) + trace(600, 300), until=FRESH)
    # Lead I stands in the first row of the left half; the gap lies between 0.6 and 1.2 s.
    eventually(page, lambda: page.evaluate(ACROSS, [0.1, 0.55])[0] > 20)
    eventually(page, lambda: page.evaluate(ACROSS, [1.25, 1.7])[0] > 20)
    dark, hatched = page.evaluate(ACROSS, [0.62, 1.18])
    assert dark == 0
    assert hatched > 100


def test_a_result_that_is_not_of_the_recording_at_hand_is_never_an_element(playing):
    page, tell = playing
    tell(screen="result", result={**RESULT, "recording": "another"})
    page.get_by_test_id("screen-gone").wait_for()
    assert "WRONG1" not in page.content()
    tell(screen="result", result={**RESULT, "recording": "a"})
    page.get_by_test_id("screen-result").wait_for()
    tell(screen="waiting", result={**RESULT, "recording": "a"}, recording=None)
    page.get_by_test_id("screen-waiting").wait_for()
    assert "WRONG1" not in page.content()


def test_a_reload_shows_what_the_server_says_now(page):
    test = page.get_by_test_id
    kiosk_browser.to_hold(page, "reload1")
    page.reload()
    test("screen-hold").wait_for()
    assert test("bar-id").inner_text() == "RELOAD1"
    assert "/k/" not in page.url
    test("cancel").click()
    test("screen-waiting").wait_for()
    page.reload()
    test("screen-waiting").wait_for()
    assert "RELOAD1" not in page.content()


def test_of_two_pages_only_the_newer_one_shows_anything(kiosk, page, page_of):
    kiosk_browser.to_hold(page, "double1")
    other = page_of(kiosk)
    other.get_by_test_id("screen-hold").wait_for()
    page.get_by_test_id("take-over").wait_for()
    assert "DOUBLE1" not in page.content()
    page.get_by_test_id("take-over").click()
    page.get_by_test_id("screen-hold").wait_for()
    other.get_by_test_id("take-over").wait_for()
    assert "DOUBLE1" not in other.content()
    page.get_by_test_id("cancel").click()


def test_the_back_button_shows_no_earlier_screen(page):
    test = page.get_by_test_id
    kiosk_browser.to_hold(page, "goback1")
    test("cancel").click()
    test("screen-waiting").wait_for()
    page.evaluate("history.back()")
    page.wait_for_timeout(500)
    page.locator("[data-screen=waiting]").wait_for()
    assert "GOBACK1" not in page.content()
    assert page.url.endswith("/")
