"""A keyboard alone is enough; a reader presses nothing by mistake; no other page or host gets in."""

import http.client
import json
from urllib.parse import urlsplit

import pytest

from lsemvae_edge.benchmarks import kiosk_browser


def test_the_whole_way_to_the_recording_goes_by_keyboard_alone(page):
    test, keys = page.get_by_test_id, page.keyboard
    focused = "document.activeElement.dataset.testid"
    assert page.evaluate(focused) == "start"
    keys.press("Enter")
    test("screen-identify").wait_for()
    # As a hand does it: what comes at a reader's pace presses nothing on the screen after it.
    kiosk_browser.type_at_pace(page, "keys1\n", kiosk_browser.KEY_MS)
    for wanted in ("consent-true", "age_band-65-and-over", "pacemaker-unknown"):
        test(wanted).wait_for()
        for _ in range(12):
            if page.evaluate(focused) == wanted:
                break
            keys.press("Tab")
        assert page.evaluate(focused) == wanted
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
        keys.press("Enter")
    test("screen-hold").wait_for()
    assert page.evaluate(focused) == "begin"
    keys.press("Enter")
    test("traces").wait_for()
    keys.press("Escape")
    test("screen-waiting").wait_for()


def test_escape_goes_back(page):
    page.get_by_test_id("start").click()
    page.get_by_test_id("screen-identify").wait_for()
    page.keyboard.press("Escape")
    page.get_by_test_id("screen-waiting").wait_for()


def test_a_reader_types_wherever_the_focus_is_and_ends_with_enter(page):
    page.get_by_test_id("start").click()
    page.get_by_test_id("screen-identify").wait_for()
    page.evaluate("document.activeElement.blur()")
    kiosk_browser.type_at_pace(page, "reader1\n", kiosk_browser.READER_MS)
    page.get_by_test_id("consent-true").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1", "an Enter too many must not answer for the person"
    page.keyboard.press("Escape")


def test_a_reader_used_at_the_wrong_moment_presses_nothing(page):
    kiosk_browser.to_hold(page, "wrong1")
    assert page.evaluate("document.activeElement.dataset.testid") == "begin"
    kiosk_browser.type_at_pace(page, "OTHER1\n", kiosk_browser.READER_MS)
    page.wait_for_timeout(500)
    assert page.get_by_test_id("screen-hold").is_visible()
    page.get_by_test_id("cancel").click()


SLOW = """(ms) => {
  const real = window.fetch;
  window.fetch = async (...asked) => {
    if (asked[0] === "/act") await new Promise((go) => setTimeout(go, ms));
    return real(...asked);
  };
}"""
"""A board that is busy: whatever is asked of the program waits a while."""
PAUSE_MS = 800
"""Longer than the pause after which typing begins anew."""


@pytest.mark.parametrize(("pace_ms", "code"), [(20, "EARLYCODE1" * 5), (120, "EARLYCODE1" * 2)])
def test_a_code_that_begins_before_it_is_asked_for_is_never_taken_in_part(page, pace_ms, code):
    test = page.get_by_test_id
    page.evaluate(SLOW, len(code) * pace_ms / 2)
    test("start").click()
    kiosk_browser.type_at_pace(page, f"{code}\n", pace_ms)
    test("refusal").wait_for()
    assert "not ready" in test("refusal").inner_text()
    page.wait_for_timeout(PAUSE_MS)
    assert test("screen-identify").is_visible()
    assert test("field").input_value() == ""
    kiosk_browser.type_at_pace(page, "early1\n", 20)
    test("consent-true").wait_for()
    assert test("bar-id").inner_text() == "EARLY1"


def test_a_code_that_begins_while_the_answer_to_the_one_before_is_awaited_is_dropped_whole(page):
    test = page.get_by_test_id
    test("start").click()
    test("screen-identify").wait_for()
    page.evaluate(SLOW, 400)
    kiosk_browser.type_at_pace(page, "ABC\n" + "SECONDCODE" * 4 + "\n", 20)
    test("refusal").wait_for()
    page.wait_for_timeout(PAUSE_MS)
    assert test("screen-identify").is_visible()
    assert test("field").input_value() == "ABC"
    kiosk_browser.type_at_pace(page, "again1\n", 20)
    test("consent-true").wait_for()
    assert test("bar-id").inner_text() == "AGAIN1"


def test_a_screen_that_comes_in_the_middle_of_a_code_gets_nothing_of_it(page):
    test = page.get_by_test_id
    test("start").click()
    test("screen-identify").wait_for()
    kiosk_browser.type_at_pace(page, "HALFA", 20)
    test("back").click()
    test("screen-waiting").wait_for()
    kiosk_browser.type_at_pace(page, "CODE1\n", 20)
    page.wait_for_timeout(PAUSE_MS)
    assert test("screen-waiting").is_visible()
    test("start").click()
    test("screen-identify").wait_for()
    assert test("field").input_value() == ""


def wrong_pins(kiosk):
    return [path for path in kiosk.folder.rglob("sign-in-pauses.json") if '"wrong"' in path.read_text()]


@pytest.mark.parametrize("code", ["77310042", "KTM0042Q"])
def test_a_code_scanned_where_a_pin_is_asked_for_is_no_try(page, kiosk, code):
    test = page.get_by_test_id
    kiosk_browser.lock(page)
    for pace_ms in (5, 30):
        kiosk_browser.type_at_pace(page, f"{code}\n", pace_ms)
        test("refusal").wait_for()
        assert "cannot be scanned" in test("refusal").inner_text()
        page.wait_for_timeout(PAUSE_MS)
        assert test("field").input_value() == ""
    assert not wrong_pins(kiosk)
    kiosk_browser.type_pin(page, "2468")
    test("screen-waiting").wait_for()


def test_a_code_that_begins_before_the_pin_is_asked_for_leaves_nothing_there(page, kiosk):
    test = page.get_by_test_id
    kiosk_browser.sign_out(page)
    kiosk_browser.type_at_pace(page, "7731", 20)
    test("operator-ASHA1").click()
    kiosk_browser.type_at_pace(page, "0042\n", 20)
    page.wait_for_timeout(PAUSE_MS)
    assert test("field").input_value() == ""
    assert not wrong_pins(kiosk)
    kiosk_browser.type_pin(page, "2468")
    test("screen-waiting").wait_for()


def test_a_measured_screen_gives_true_millimetres_and_says_so(page):
    test = page.get_by_test_id
    test("measure").click()
    for _ in range(12):
        page.keyboard.press("PageUp")
    length = float(test("measure-bar").get_attribute("aria-valuenow"))
    test("measure-done").click()
    kiosk_browser.to_recording(page, "ruler1")
    assert test("scale").get_attribute("data-scale") == "measured"
    assert test("scale").inner_text() == "25 mm/s, 10 mm/mV"
    kept = page.evaluate("JSON.parse(localStorage.getItem('lsemvae-edge/px-per-mm/1')).px_per_mm")
    assert kept == pytest.approx(length / 100, rel=0.01)
    test("cancel").click()


def test_an_unmeasured_screen_makes_no_claim(page):
    kiosk_browser.to_recording(page, "claim1")
    assert page.get_by_test_id("scale").get_attribute("data-scale") == "assumed"
    assert "mm/mV" not in page.content()
    page.get_by_test_id("cancel").click()


def ask(kiosk, path, method="GET", body=None, **headers):
    where = urlsplit(kiosk.address)
    link = http.client.HTTPConnection("127.0.0.1", where.port, timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    link.request(method, path, body, {"Host": f"127.0.0.1:{where.port}", **sent})
    answer = link.getresponse()
    try:
        return answer.status, dict(answer.getheaders())
    finally:
        link.close()


def test_another_host_name_is_refused(kiosk):
    path = urlsplit(kiosk.address).path
    assert ask(kiosk, path)[0] == 200
    assert ask(kiosk, path, Host="kiosk.example:80")[0] == 403
    assert ask(kiosk, path, Host="192.168.1.7:8000")[0] == 403


def test_another_origin_or_none_may_not_act(kiosk, page):
    cookies = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    body = json.dumps({"act": "start", "tab": "x"})
    facts = {"Cookie": cookies, "Content_Type": "application/json"}
    assert ask(kiosk, "/act", "POST", body, Origin="http://evil.example", **facts)[0] == 403
    assert ask(kiosk, "/act", "POST", body, **facts)[0] == 403
    page.get_by_test_id("screen-waiting").wait_for()


def test_without_the_address_of_this_start_nothing_is_told(kiosk):
    for path in ("/", "/events?tab=x", "/k/guessed/"):
        assert ask(kiosk, path)[0] == 403, path


def test_a_page_of_another_origin_cannot_read_or_frame_the_kiosk(kiosk, chrome):
    page = chrome.new_page()
    page.goto("about:blank")
    blocked = page.evaluate(
        """async (address) => {
          try { await fetch(address, {credentials: "include"}); return false } catch { return true }
        }""",
        kiosk.address,
    )
    assert blocked
    page.close()
    headers = ask(kiosk, urlsplit(kiosk.address).path)[1]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_who_reads_the_page_with_ears_hears_what_changes(page):
    kiosk_browser.to_recording(page, "ears1")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_test_id("instruction").get_attribute("aria-live") == "polite"
    assert page.get_by_test_id("progress").get_attribute("role") == "progressbar"
    assert page.get_by_role("img", name="Live traces of six leads").count() == 1
    assert page.get_by_test_id("message").get_attribute("role") == "alert"
    page.get_by_test_id("cancel").click()
