"""The page of a report in a real browser: on a phone and at a desk nothing sticks out, and nothing is fetched."""

import pytest

from lsemvae_edge.benchmarks import kiosk_browser
from lsemvae_edge.benchmarks.target import report

pytest.importorskip("playwright", reason="needs the extra `dev`")
pytest.importorskip("matplotlib", reason="drawings need the extra `train`")
if kiosk_browser.chromium() is None:
    pytest.skip("needs Chromium", allow_module_level=True)

STICKS_OUT = """() => [...document.querySelectorAll('main > section > *, h1, nav li')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5).map(one => one.outerHTML.slice(0, 80))"""
SMALLEST_TEXT_PX = """() => Math.min(...[...document.querySelectorAll('figure svg')].map(svg =>
    8 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))"""
"""Of 8 units of a drawing, its smallest letters."""


@pytest.fixture(scope="module")
def address(synthetic, tmp_path_factory):
    return report.write(synthetic, tmp_path_factory.mktemp("page")).html.as_uri()


@pytest.fixture(scope="module")
def browser():
    with kiosk_browser.browser() as started:
        yield started


@pytest.fixture(params=[360, 1280])
def page(browser, address, request):
    context = browser.new_context(viewport={"width": request.param, "height": 740})
    opened = context.new_page()
    opened.asked, opened.complaints = [], []
    opened.on("request", lambda asked: opened.asked.append(asked.url))
    opened.on("console", lambda message: opened.complaints.append(message.text))
    opened.goto(address)
    yield opened
    context.close()


def test_nothing_is_wider_than_the_screen(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate(STICKS_OUT) == []


def test_nothing_but_the_page_is_asked_for_and_nothing_is_complained_of(page, address):
    assert page.asked == [address]
    assert page.complaints == []


def test_text_in_drawings_can_be_read(page):
    assert page.evaluate(SMALLEST_TEXT_PX) >= 8


def test_cards_keep_the_names_of_their_columns(page):
    shown = page.locator("table.cards td").first.evaluate("one => getComputedStyle(one, '::before').content")
    assert shown == ('"measured"' if page.viewport_size["width"] < 640 else "none")


def test_prints_without_contents_and_within_the_sheet(browser, address, tmp_path):
    context = browser.new_context(viewport={"width": 680, "height": 900})
    page = context.new_page()
    page.goto(address)
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
    assert page.pdf()[:5] == b"%PDF-"
    context.close()
