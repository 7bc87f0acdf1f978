"""Every screen in every language: all of it translated, all of it readable, nothing cut off.

With ``LSEMVAE_EDGE_SHOTS`` naming a folder, pictures of every screen are left there.
"""

import json
import os
import re
from pathlib import Path

import pytest

from lsemvae_edge import decision
from lsemvae_edge.benchmarks.kiosk_browser import SIZES
from lsemvae_edge.kiosk import flow, operators, paperwork
from lsemvae_edge.language import LANGUAGES, Language

SHOTS = os.environ.get("LSEMVAE_EDGE_SHOTS")
STAND_IN = "Trained on a stand-in label: right-heart pattern, not pulmonary hypertension."
LEADS = ["I", "II", "III", "aVR", "aVL", "aVF"]
OURS = re.compile(
    r"(JIRI0042|LONGESTID\d+|ASHA1|BIMALA|DR-3|Health post Jiri|Open-6L 0042|C0:5E:C9:00:00:01|mm/mV|mm/s|1 mV|PIN)"
)
"""What is no word of any language: ids, codes, names, units."""


def told(name, code, **more):
    """Return a state as the server tells it."""
    say = Language(code).sentence
    visit = {"study_id": "JIRI0042", "attempt": 1, "of": 3}
    state = {
        "schema": "lsemvae-edge/kiosk-state/1",
        "version": 1,
        "server": "test",
        "screen": name,
        "language": code,
        "languages": LANGUAGES,
        "band": say("DEMONSTRATION: simulated signal, not a person's recording"),
        "site": "Health post Jiri",
        "time": None,
        "operator": "ASHA1",
        "operators": ["ASHA1", "BIMALA", "DR-3"],
        "needs_pin": True,
        "is_supervisor": False,
        "visit": None if name in ("sign_in", "waiting", "identify", "locked", "corrections") else visit,
        "id_rules": {"check_character": True},
        "recorders": [],
        "visits": [],
        "looking": False,
        "recording": None,
        "result": None,
        "printer": None,
        "message": None,
    }
    for key, value in more.items():
        state[key] = value(say) if callable(value) else value
    return state


def recording(say, **more):
    return {
        "id": "a",
        "fs_hz": 500.0,
        "leads": LEADS,
        "seconds": 7.0,
        "clean_s": 4.2,
        "needed_s": 9.5,
        "signal": "no_signal",
        "contact": {"RA": "ok", "LA": "off", "LL": "unknown"},
        "lead_state": dict(zip(LEADS, ["off", "ok", "noisy", "unknown", "off", "ok"], strict=True)),
        "instruction": say("No contact: LA. Moisten the skin and hold the electrodes."),
        "battery": 9,
        "lost": 0.0,
        "amplitude": "calibrated",
        "simulated": True,
        **more,
    }


def result(headline, advice, outcome, **more):
    def make(say):
        return {
            "recording": "a",
            "outcome": outcome,
            "headline": say(headline),
            "advice": say(advice),
            "headline_en": None if say("Pattern seen") == "Pattern seen" else headline,
            "advice_en": None if say("Pattern seen") == "Pattern seen" else advice,
            "notes": [
                say("Simulated recording: this is no person's result."),
                say(STAND_IN),
                say(decision.RESEARCH_USE),
            ],
            "study_id": "JIRI0042",
            "time": "14:05",
            "attempt": 2,
            "of": 3,
            "heart_rate": 70,
            "clears_in_s": 55.0,
            "seq": 1,
            "is_last": False,
            "can_retry": False,
            "swap_question": False,
            "simulated": True,
            **more,
        }

    return make


def words(message, next_step):
    return lambda say: {"message": say(message), "next_step": say(next_step)}


def printer(text):
    return lambda say: {"state": "done", "text": say(text), "copies": 1}


RECORDER = {"address": "C0:5E:C9:00:00:01", "name": "Open-6L 0042", "in_range": True, "simulated": True}
SEEN = result(f"{decision.PATTERN_SEEN}: right-heart pattern", decision.REFER, "present")
NOT_SEEN = result(f"{decision.PATTERN_NOT_SEEN}: right-heart pattern", decision.NO_REASSURANCE, "not_present")
SWAPPED = result(decision.NO_ANSWER, decision.SWAP_CHECK, "inconclusive", can_retry=True, swap_question=True, attempt=1)
UNFAMILIAR = result(
    decision.NO_ANSWER, f"{decision.UNFAMILIAR} {decision.REFER_OR_REPEAT}", "inconclusive", can_retry=True
)
NOISY = result(
    decision.NO_ANSWER,
    "The muscles are tense: rest both arms, hold the device loosely and record again.",
    "inconclusive",
)
WRONG_PIN = words(operators.NOT_KNOWN, operators.TRY_AGAIN)
WRONG_ID = words(
    "The study id's check character does not fit, so a character of it is wrong.",
    "Type it again from the card, or scan it again.",
)
LOST = words("Open-6L 0042 has been silent for 60 s.", "Bring it closer, check its battery, and record again.")


VISITS = [
    {
        "visit": f"{number:032x}",
        "study_id": f"LONGESTID{number:011d}" if number else "JIRI0042",
        "first_study_id": f"LONGESTID{number:011d}" if number == 1 else None,
        "time": "14:05" if number != 2 else None,
        "attempts": 3,
    }
    for number in range(8)
]


def correcting(*names):
    """Choose a visit and type the id of another one; then press."""

    def go(page):
        page.get_by_test_id("visit-JIRI0042").click()
        page.keyboard.type("longestid00000000003\n")
        press(*names)(page)

    return go


def press(*names):
    def go(page):
        for name in names:
            page.get_by_test_id(name).click()

    return go


SCREENS = {
    "sign-in": ("sign_in", {}, None),
    "pin": ("sign_in", {}, press("operator-ASHA1")),
    "pin-wrong": ("sign_in", {"message": WRONG_PIN}, press("operator-ASHA1")),
    "waiting": ("waiting", {}, None),
    "languages": ("waiting", {}, press("languages")),
    "operator": ("waiting", {}, press("operator")),
    "operator-supervisor": ("waiting", {"is_supervisor": True}, press("operator")),
    "corrections": ("corrections", {"visits": VISITS}, None),
    "corrections-older": ("corrections", {"visits": VISITS}, press("visits-next")),
    "corrections-none": ("corrections", {}, None),
    "corrections-type": ("corrections", {"visits": VISITS}, press("visit-LONGESTID00000000003")),
    "corrections-ask": ("corrections", {"visits": VISITS}, correcting()),
    "corrections-wrong": ("corrections", {"visits": VISITS, "message": WRONG_ID}, correcting("correct-no")),
    "measure-ruler": ("waiting", {}, press("measure")),
    "measure-card": ("waiting", {}, press("measure", "measure-other")),
    "identify": ("identify", {}, lambda page: page.keyboard.type("jiri0042")),
    "identify-wrong": ("identify", {"message": WRONG_ID}, lambda page: page.keyboard.type("jiri0042")),
    "repeat-or-other": ("repeat_or_other", {}, None),
    "consent": ("about", {}, None),
    "consent-refused": ("about", {}, press("consent-false")),
    "age": ("about", {}, press("consent-true")),
    "pacemaker": ("about", {}, press("consent-true", "age_band-40-64")),
    "recorder": ("recorder", {"recorders": [RECORDER, {**RECORDER, "in_range": False}]}, None),
    "recorder-none": ("recorder", {}, None),
    "recorder-looking": ("recorder", {"looking": True, "recorders": [{**RECORDER, "in_range": None}]}, None),
    "hold-moisten": ("hold", {}, press("step-moisten")),
    "hold-hold": ("hold", {}, press("step-hold")),
    "hold-sides": ("hold", {}, press("step-sides")),
    "hold-still": ("hold", {}, press("step-still")),
    "recording": ("recording", {"recording": recording}, None),
    "recording-reconnecting": ("recording", {"recording": lambda say: recording(say, signal="reconnecting")}, None),
    "same-person": ("same_person", {}, None),
    "working": ("working", {}, None),
    "result-seen": ("result", {"result": SEEN, "printer": printer(paperwork.PRINTED)}, None),
    "result-not-seen": ("result", {"result": NOT_SEEN}, None),
    "result-swapped": ("result", {"result": SWAPPED, "printer": printer(paperwork.PRINTING)}, None),
    "result-unfamiliar": ("result", {"result": UNFAMILIAR}, None),
    "retry": ("retry", {"result": NOISY}, None),
    "failed": ("failed", {"message": LOST}, None),
    "failed-last": ("failed", {"message": words("The attempts of this visit are used up.", flow.LAST_ATTEMPT)}, None),
    "locked": ("locked", {}, None),
}
LOOK = """() => {
  const found = {texts: [], wrong: []};
  const name = (e) => `${e.tagName.toLowerCase()}.${e.className} "${e.textContent.slice(0, 60)}"`;
  const dialog = document.querySelector("dialog[open]");
  const room = {right: innerWidth + 1, bottom: innerHeight + 1};
  const boxes = [];
  for (const e of (dialog || document.body).querySelectorAll("*")) {
    if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true}) || e.closest("svg, noscript")) continue;
    const box = e.getBoundingClientRect();
    if (!box.width) continue;
    if (e.matches("button, input, [role=slider]") && (box.width < 48 || box.height < 48))
      found.wrong.push(`small target ${box.width.toFixed(0)}x${box.height.toFixed(0)}: ${name(e)}`);
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const value = e.placeholder && !e.value ? e.placeholder : "";
    const label = e.getAttribute("aria-label") || e.getAttribute("alt") || "";
    for (const text of [own ? e.textContent.trim() : "", value, label])
      if (text) found.texts.push({text, lang: e.closest("[lang]").lang, own: own && text === e.textContent.trim()});
    if (!own) continue;
    if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth) found.wrong.push(`wider than its place: ${name(e)}`);
    const range = document.createRange();
    range.selectNodeContents(e);
    for (const rect of range.getClientRects()) {
      if (rect.left < -1 || rect.top < -1 || rect.right > room.right || rect.bottom > room.bottom)
        found.wrong.push(`outside the screen: ${name(e)}`);
      const target = e.closest("button");
      if (target) {
        const {left, right, top, bottom} = target.getBoundingClientRect();
        const over = [left - rect.left, rect.right - right, top - rect.top, rect.bottom - bottom];
        if (Math.max(over[0], over[1]) > 1 || Math.max(over[2], over[3]) > 3)
          found.wrong.push(`outside its button: ${name(e)}`);
      }
      if (!e.closest(".traces")) boxes.push([e, rect]);
    }
  }
  for (let i = 0; i < boxes.length; i += 1)
    for (let j = i + 1; j < boxes.length; j += 1) {
      const [[a, p], [b, q]] = [boxes[i], boxes[j]];
      if (a === b || a.contains(b) || b.contains(a)) continue;
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 3 && high > 8) found.wrong.push(`over each other: ${name(a)} and ${name(b)}`);
    }
  if (document.documentElement.scrollHeight > innerHeight || document.documentElement.scrollWidth > innerWidth)
    found.wrong.push("the page scrolls");
  return found;
}"""


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory, chrome):
    from lsemvae_edge.benchmarks.kiosk_browser import Kiosk

    with Kiosk(tmp_path_factory.mktemp("demonstration")) as kiosk:
        yield kiosk


@pytest.fixture
def showing(demonstration, chrome):
    """Function that opens the page in a state; the program serves all but the events."""
    context = chrome.new_context(viewport={"width": SIZES[0][0], "height": SIZES[0][1]})
    page = context.new_page()
    page.set_default_timeout(10_000)
    now = {}

    def events(route):
        body = f"event: state\ndata: {json.dumps(now)}\n\n"
        route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/events?*", events)
    page.route("**/act", lambda route: route.fulfill(json={"ok": True}))
    page.goto(demonstration.address)

    def show(name, code):
        screen, more, steps = SCREENS[name]
        now.clear()
        now.update(told(screen, code, **more))
        page.goto(demonstration.address)
        page.get_by_test_id(f"screen-{screen}").wait_for()
        if steps:
            steps(page)
        return page

    yield show
    context.close()


def looked_at(show, code):
    """Yield of every screen its name, and what is seen at either size."""
    for name in SCREENS:
        page = show(name, code)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(120)
            yield name, (width, height), page.evaluate(LOOK)
            if SHOTS:
                page.screenshot(path=Path(SHOTS) / f"{name}-{code}-{width}.png")
        page.set_viewport_size({"width": SIZES[0][0], "height": SIZES[0][1]})


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_screen_is_translated_and_has_room(showing, code):
    strings = Language(code).strings
    own_names = set(LANGUAGES.values())
    wrong = []
    for name, size, found in looked_at(showing, code):
        wrong += [f"{name} {size}: {what}" for what in found["wrong"]]
        for text in found["texts"]:
            if code == "en" or text["lang"] != code or text["text"] in own_names | set(LEADS):
                continue
            rest = OURS.sub("", text["text"])
            is_same = text["text"] in strings and strings[text["text"]] == text["text"]
            if re.search(r"[A-Za-z]{3}", rest) and not is_same and (code in ("ne", "hi") or is_english(rest)):
                wrong.append(f"{name}: not translated: {text['text']}")
    assert not wrong, "\n".join(sorted(set(wrong)))


def is_english(text):
    """Whether a text has words that are English and neither Spanish nor French."""
    return bool(re.search(r"\b(the|is|of|and|to|with|this|again|person|your|screen|hold|look)\b", text, re.IGNORECASE))


def test_the_words_over_a_page_that_is_too_old_are_translated_and_english_too(showing):
    page = showing("waiting", "ne")
    page.route("**/events?*", lambda route: route.abort())
    page.get_by_test_id("curtain").wait_for()
    english = "The kiosk's program does not answer."
    assert page.locator(".curtain-what").inner_text() == Language("ne").strings[english]
    assert english in page.locator(".curtain-english").inner_text()
