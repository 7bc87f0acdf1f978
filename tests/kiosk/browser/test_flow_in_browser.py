"""A health worker's way through the page, from signing in to a result that is kept."""

import json
import re

from lsemvae_edge.benchmarks import kiosk_browser
from lsemvae_edge.synthetic.electrodes import add_noise

ENDED = "[data-testid=screen-result], [data-testid=screen-retry], [data-testid=screen-failed]"


def kept(kiosk):
    done = kiosk.run("records", "list", "--store", "demo", "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_recording_becomes_a_result_on_the_page_and_in_the_store(page, kiosk):
    test = page.get_by_test_id
    kiosk_browser.to_recording(page, "happy1")
    assert test("instruction").inner_text()
    test("screen-result").wait_for(timeout=60_000)
    assert test("study-id").inner_text() == "HAPPY1"
    assert re.fullmatch(r"\d\d:\d\d", test("result-time").inner_text())
    assert "Attempt 1 of 10" in test("screen-result").inner_text()
    assert re.match(r"Pattern (not )?seen|No answer", test("headline").inner_text())
    assert re.search(r"Leaves the screen in \d+ s", test("clears").inner_text())
    assert test("band").is_visible()
    test("next").click()
    test("screen-waiting").wait_for()
    assert "HAPPY1" not in page.content()
    assert "HAPPY1" in str(kept(kiosk))


def test_the_result_leaves_by_itself_and_leaves_nothing(own_kiosk, page_of):
    page = page_of(own_kiosk(result_clears_s=2.0))
    kiosk_browser.to_waiting(page, "ASHA1", "2468")
    kiosk_browser.to_recording(page, "leaves1")
    page.get_by_test_id("screen-result").wait_for(timeout=60_000)
    page.get_by_test_id("screen-waiting").wait_for()
    assert "LEAVES1" not in page.content()
    assert page.get_by_test_id("headline").count() == 0


def test_an_electrode_without_contact_is_named_in_shape_and_word(page, recorder):
    kiosk_browser.to_recording(page, "loose1")
    recorder.tell("off", "LA")
    chip = page.locator(".contact[data-electrode=LA][data-state=off]")
    chip.wait_for()
    assert "No contact" in chip.inner_text()
    assert chip.locator(".icon-off").count() == 1
    page.locator(".lead[data-lead=I][data-state=off]").wait_for()
    assert page.locator(".lead[data-lead=II]").get_attribute("data-state") != "off"
    recorder.tell("contact")
    page.locator(".contact[data-electrode=LA][data-state=ok]").wait_for()
    page.get_by_test_id("cancel").click()
    page.get_by_test_id("screen-waiting").wait_for()


def test_after_ten_seconds_without_contact_the_page_asks_whether_it_is_the_same_person(page, recorder):
    kiosk_browser.to_recording(page, "letgo1")
    recorder.tell("off", "RA", "LA", "LL")
    page.locator(".contact[data-state=off]").nth(2).wait_for()
    page.wait_for_timeout(11_000)
    recorder.tell("contact")
    page.get_by_test_id("screen-same_person").wait_for()
    assert page.get_by_test_id("traces").count() == 0
    page.get_by_test_id("same-no").click()
    page.get_by_test_id("screen-same_person").wait_for(state="hidden")
    page.locator("[data-testid=cancel], [data-testid=next]").first.click()


def test_noise_gives_advice_and_after_the_last_attempt_to_refer(own_kiosk, page_of, recording_of):
    noisy = recording_of(lambda record: add_noise(record, "muscle", -10.0, 1))
    page = page_of(own_kiosk(noisy, recording_limit_s=12.0, attempts=2))
    test = page.get_by_test_id
    kiosk_browser.to_waiting(page, "ASHA1", "2468")
    kiosk_browser.to_recording(page, "noisy1")
    test("screen-retry").wait_for(timeout=60_000)
    assert test("screen-result").count() == 0
    test("retry").click()
    test("begin").click()
    test("screen-result").wait_for(timeout=60_000)
    assert test("headline").inner_text() == "No answer"
    assert test("advice").inner_text() == "There is still no answer: refer this person, or repeat later."
    assert test("retry").count() == 0


def test_a_recorder_that_goes_away_ends_in_words_and_no_result(own_kiosk, page_of):
    kiosk = own_kiosk()
    page = page_of(kiosk)
    test = page.get_by_test_id
    kiosk_browser.to_waiting(page, "ASHA1", "2468")
    kiosk_browser.to_recording(page, "gone1")
    page.wait_for_timeout(1500)
    kiosk.recorder.tell("silent")
    test("no-signal").wait_for()
    assert test("no-signal").inner_text()
    test("screen-failed").wait_for(timeout=90_000)
    assert test("next-step").inner_text()
    assert test("headline").count() == 0


def test_a_wrong_pin_lets_nobody_in_and_says_so(own_kiosk, page_of):
    page = page_of(own_kiosk())
    test = page.get_by_test_id
    test("operator-BIMALA").click()
    kiosk_browser.type_pin(page, "0000")
    test("refusal").wait_for()
    assert "do not belong together" in test("refusal").inner_text()
    for digit in "1357":
        page.locator(".key", has_text=digit).click()
    test("enter").click()
    test("screen-waiting").wait_for()


def test_a_locked_page_shows_nothing_and_a_recording_goes_on_behind_it(page):
    test = page.get_by_test_id
    kiosk_browser.to_recording(page, "lock1")
    kiosk_browser.lock(page)
    assert "LOCK1" not in page.content()
    assert test("traces").count() == 0
    kiosk_browser.type_pin(page, "2468")
    page.locator("[data-testid=screen-recording], " + ENDED).first.wait_for()


def test_an_id_that_was_used_today_is_asked_about(page):
    test = page.get_by_test_id
    kiosk_browser.to_recording(page, "twice1")
    page.locator(ENDED).first.wait_for(timeout=60_000)
    test("next").click()
    kiosk_browser.to_about(page, "twice1")
    test("screen-repeat_or_other").wait_for()
    test("another").click()
    test("screen-identify").wait_for()


def test_without_agreement_nothing_is_recorded(page):
    test = page.get_by_test_id
    kiosk_browser.to_about(page, "noway1")
    test("consent-false").click()
    assert "nothing is recorded" in page.locator("h1").inner_text()
    test("cancel").click()
    test("screen-waiting").wait_for()


def test_a_supervisor_corrects_a_wrong_id_of_today(page, kiosk):
    test = page.get_by_test_id
    kiosk_browser.to_recording(page, "wrong1")
    page.locator(ENDED).first.wait_for(timeout=60_000)
    test("next").click()
    test("screen-waiting").wait_for()
    test("operator").click()
    test("sign-out").wait_for()
    assert test("corrections").count() == 0, "ASHA1 is no supervisor"
    test("close").click()
    kiosk_browser.sign_out(page)
    kiosk_browser.to_waiting(page, "BIMALA", "1357")
    test("operator").click()
    test("corrections").click()
    test("visit-WRONG1").click()
    test("field").wait_for()
    kiosk_browser.type_at_pace(page, "ab\n", 20)
    test("correct-yes").click()
    test("refusal").wait_for()
    assert test("field").input_value() == "AB", "what is refused is typed again"
    test("field").fill("")
    kiosk_browser.type_at_pace(page, "right1\n", 20)
    assert test("exchange").inner_text().split() == ["WRONG1", "RIGHT1"]
    assert page.evaluate("document.activeElement.tagName") == "H1", "an Enter too many must not answer"
    test("correct-yes").click()
    assert "Instead of WRONG1" in test("visit-RIGHT1").inner_text()
    test("back").click()
    test("screen-waiting").wait_for()
    assert "RIGHT1" not in page.content()
    (record,) = [one for one in kept(kiosk) if one["study_id"] == "RIGHT1"]
    shown = kiosk.run("records", "show", "--store", "demo", str(record["seq"])).stdout
    assert "WRONG1" in shown
    kiosk_browser.sign_out(page)
    kiosk_browser.to_waiting(page, "ASHA1", "2468")
