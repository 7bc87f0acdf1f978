"""A real Chromium before the real program, with a recorder over virtual Bluetooth."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from lsemvae_edge.benchmarks import kiosk_browser

PINS = {"ASHA1": "2468", "BIMALA": "1357"}
SUPERVISORS = ("BIMALA",)
WAIT_MS = 15_000


# For a file, and not for the session: while it is there, Playwright keeps a loop running in this thread, in which no
# other test could run one of its own.
@pytest.fixture(scope="module")
def chrome():
    if kiosk_browser.chromium() is None:
        pytest.skip("Chromium is not installed")
    with kiosk_browser.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def recorder(chrome):
    pytest.importorskip("bumble", reason="the virtual recorder needs the extra `simulator`")
    with kiosk_browser.Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def kiosk(recorder, tmp_path_factory):
    """A kiosk with an enrolled recorder and two operators, for all tests of a file."""
    settings = {"site": "Health post", "idle_lock_s": 3600.0, "attempts": 10}
    with kiosk_browser.Kiosk(tmp_path_factory.mktemp("kiosk"), recorder, settings, PINS, SUPERVISORS) as kiosk:
        yield kiosk


@pytest.fixture
def own_kiosk(chrome, tmp_path):
    """Function that starts a kiosk, with a recorder of its own unless it demonstrates."""
    left = ExitStack()

    def make(recording=None, demo=False, **settings):
        settings = {"idle_lock_s": 3600.0, **settings}
        recorder = None if demo else left.enter_context(kiosk_browser.Recorder(recording))
        kiosk = left.enter_context(kiosk_browser.Kiosk(tmp_path / "kiosk", recorder, settings, PINS, SUPERVISORS))
        kiosk.recorder = recorder
        return kiosk

    with left:
        yield make


class Watched:
    """A page, and what went wrong in it."""

    def __init__(self, page):
        self.page, self.wrong = page, []
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._heard)

    def _heard(self, message):
        if "Content Security Policy" in message.text or "Uncaught" in message.text:
            self.wrong.append(message.text)


@pytest.fixture
def page_of(chrome):
    """Function that opens a kiosk's page in a profile of its own; no page may throw or break its policy."""
    watched = []

    def open_page(kiosk, size=(800, 480)):
        context = chrome.new_context(viewport={"width": size[0], "height": size[1]})
        made = Watched(context.new_page())
        watched.append((context, made))
        made.page.goto(kiosk.address)
        return made.page

    yield open_page
    for context, made in watched:
        context.close()
        assert made.wrong == []


@pytest.fixture
def page(kiosk, page_of, recorder):
    """The page on its waiting screen, with the recorder as it should be."""
    recorder.tell("on")
    recorder.tell("contact")
    page = page_of(kiosk)
    test = page.get_by_test_id
    page.locator("[data-screen]").wait_for()
    operator = test("operator").text_content()
    for _ in range(4):
        screen = page.locator("[data-screen]").get_attribute("data-screen")
        if screen in ("waiting", "sign_in"):
            break
        if screen == "locked":
            kiosk_browser.type_pin(page, PINS[operator])
        else:
            test("next").or_(test("cancel")).or_(test("back")).first.click()
        page.locator(f"[data-screen={screen}]").wait_for(state="detached")
    if operator not in ("", "ASHA1"):
        kiosk_browser.sign_out(page)
    kiosk_browser.to_waiting(page, "ASHA1", PINS["ASHA1"])
    return page


@pytest.fixture
def recording_of(tmp_path, heart_record):
    """Function that writes a recording for the recorder to play."""
    from lsemvae_edge import formats

    def write(change=lambda record: record, **heart):
        record = replace(change(heart_record(duration_s=20.0, **heart)), origin="simulated")
        return formats.write(record, tmp_path / "played.lser")

    return write
