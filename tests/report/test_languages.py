"""Pages and terminal lines in every language, read back with PyMuPDF and held against HarfBuzz."""

import itertools
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime

import pymupdf
import pytest
import uharfbuzz

from lsemvae_edge import bundle as bundles
from lsemvae_edge import decision, report
from lsemvae_edge.device.simulator import record_demo
from lsemvae_edge.language import LANGUAGES, get
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.report import fonts, lettering, pdf
from lsemvae_edge.report.facts import VisitFacts
from lsemvae_edge.result import LeadResult, Wording
from lsemvae_edge.screening import screen

MM = 72 / 25.4
in_each_language = pytest.mark.parametrize("code", sorted(set(LANGUAGES) - {"en"}))
in_devanagari = pytest.mark.parametrize("code", ["hi", "ne"])
VISIT = VisitFacts("KTM0427X", 2, 3, "OP7", "Jiri health post", "a1b2c3d4e5f60718293a" * 3)
SHAPES = "नमस्ते क्षेत्र दर्द हृदय कर्म श्रम ज्ञान द्वार र्‍याल दोहोर्‍याउनुहोस् उत्तर छाप्नुहोस् ट्र ङ्ग रूपमा हूँ"


@pytest.fixture(scope="module")
def record():
    return record_demo(seed=0)


@pytest.fixture(scope="module")
def result(record):
    return screen(record, bundles.default())


@pytest.fixture(scope="module")
def pages(record, result):
    """The page of each language, drawn once."""
    drawn = {}

    def page(code):
        if code not in drawn:
            content = pdf.render(result, record, language=get(code), visit=VISIT)
            drawn[code] = pymupdf.open(stream=content)
        assert drawn[code].page_count == 1
        return drawn[code][0]

    return page


@pytest.fixture(scope="module")
def whole_font():
    """Noto Sans as its package has it: nothing was cut away that a text may need."""
    return uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob.from_file_path(str(fonts.path()))))


def shaped(font, text, language):
    buffer = uharfbuzz.Buffer()
    buffer.add_str(text)
    buffer.direction, buffer.script, buffer.language = "ltr", "Deva", language
    uharfbuzz.shape(font, buffer, {"kern": False, "mark": False, "mkmk": False})
    return buffer


def text_of(page):
    return " ".join(page.get_text().split())


def spans(page):
    for block in page.get_text("dict")["blocks"]:
        for line in block.get("lines", ()):
            yield from line["spans"]


# What is said


@pytest.mark.parametrize("code", sorted(LANGUAGES))
def test_a_page_says_whose_it_is_in_large_type(pages, code):
    page = pages(code)
    large = [span for span in spans(page) if span["text"].strip() == VISIT.study_id]
    assert [span["size"] for span in large] == [pytest.approx(24)]
    text = text_of(page)
    for fact in ("OP7", "Jiri health post", "a1b2c3d4e5f60718", "2", "3"):
        assert fact in text
    assert "REPRINT" not in text


@pytest.mark.parametrize("code", sorted(LANGUAGES))
def test_a_page_printed_again_says_so(record, result, code):
    again = pdf.render(result, record, language=get(code), visit=replace(VISIT, reprint=True))
    assert "REPRINT" in text_of(pymupdf.open(stream=again)[0])


@in_each_language
def test_beside_an_unreviewed_translation_stands_the_english(pages, result, code):
    text = text_of(pages(code))
    for english in (result.wording.headline, result.wording.advice, "the English text counts", "DEMONSTRATION"):
        assert english in text


@in_each_language
def test_a_reviewed_translation_stands_alone(record, result, code, monkeypatch):
    language = get(code)
    monkeypatch.setattr(language, "is_reviewed", True)
    page = pymupdf.open(stream=pdf.render(result, record, language=language))[0]
    assert result.wording.headline not in text_of(page)
    assert "English" not in text_of(page)
    assert report.terminal(result, language=language).startswith(language.sentence(result.wording.headline))


@pytest.mark.parametrize("code", ["es", "fr"])
def test_a_page_leaves_nothing_in_english_but_what_is_said_twice(pages, code):
    text = text_of(pages(code))
    for label in ("Heart rate", "Quality", "Length", "not available", "usable", "derived", "print at", "Research use"):
        assert get(code)(label) == label or label not in text.replace(get(code)(label), "")
    assert get(code)("Heart rate and quality") in text.replace("\xa0", " ")


@in_each_language
def test_terminal_lines_are_translated(result, code):
    language = get(code)
    lines = report.terminal(result, language=language).split("\n")
    assert len(lines) == 4
    headline, advice = result.wording.headline, result.wording.advice
    assert lines[0].startswith(f"{language.sentence(headline)} / {headline}   [")
    assert lines[1].startswith(f"{language.sentence(advice)} / {advice} ")
    assert language("{rate} beats/min", rate=72) in lines[2]
    assert "Heart rate" not in lines[2]


def test_english_with_nothing_added_is_the_page_as_ever(record, result):
    plain = pdf.render(result, record)
    assert pdf.render(result, record, language=get("en")) == plain
    assert pdf.render(result, record, language=get("en"), visit=VISIT) != plain


@in_devanagari
def test_the_same_page_gives_the_same_bytes(record, result, code):
    first = pdf.render(result, record, language=get(code), visit=VISIT)
    assert pdf.render(result, record, language=get(code), visit=VISIT) == first


# Geometry


@pytest.mark.parametrize("code", sorted(LANGUAGES))
def test_ruler_and_grid_are_exact_in_every_language(pages, code):
    lines = []
    for drawing in pages(code).get_drawings():
        for item in drawing["items"]:
            if item[0] == "l":
                lines.append((item[1].x / MM, item[1].y / MM, item[2].x / MM, item[2].y / MM))
    left, top, width, height = pdf.PAPER_MM
    below = [abs(x1 - x0) for x0, y0, x1, y1 in lines if y0 > top + height + 5]
    assert max(below) == pytest.approx(50, abs=0.01)
    upright = {round(x0, 2) for x0, y0, x1, y1 in lines if abs(x0 - x1) < 1e-3 and abs(y1 - y0 - height) < 0.01}
    flat = {round(y0, 2) for x0, y0, x1, y1 in lines if abs(y0 - y1) < 1e-3 and abs(x1 - x0 - width) < 0.01}
    # 25 mm/s and 10 mm/mV: one small square is 40 ms and 0.1 mV.
    assert sorted(upright) == [pytest.approx(left + at, abs=0.01) for at in range(int(width) + 1)]
    assert sorted(flat) == [pytest.approx(top + at, abs=0.01) for at in range(int(height) + 1)]


@in_each_language
def test_the_longest_texts_stay_in_their_places(record, result, code):
    reasons = (decision.RATE_UNKNOWN, decision.REFER_OR_REPEAT)
    stand_in = decision.STAND_IN.format(stand_in=result.model.stand_in)
    notes = (decision.SIMULATED, decision.SWAP_CONFIRMED, "side of overload: right.", stand_in, decision.RESEARCH_USE)
    flags = ("no_window", "leads_inconsistent", "wrong_scale", "not_an_ecg", "rate_implausible")
    lead = LeadResult(False, ("saturated", "muscle_noise", "wander_present"))
    hard = replace(
        result,
        wording=Wording("No answer", " ".join(reasons), notes),
        quality=replace(result.quality, usable=False, flags=flags, leads=dict.fromkeys(LIMB_LEADS, lead)),
    )
    visit = VisitFacts("ABCDEFGH1234567890XY", 3, 3, "SUPERVISOR-1", "A health post with a long name", "ab" * 32, True)
    page = pymupdf.open(stream=pdf.render(hard, record, language=get(code), visit=visit))[0]
    left, top, width, _ = (value * MM for value in pdf.PAPER_MM)
    side = pdf._SIDE_LEFT_MM * MM
    for word in page.get_text("words"):
        box = pymupdf.Rect(word[:4])
        assert page.rect.contains(box), word
        if box.x0 < side - 1 and box.y1 > 12 * MM and box.y1 < 190 * MM:
            assert box.x1 < left + width + 1, word
        if 12 * MM < box.y0 < top - 1 and box.x0 < side - 1:
            # Boxes hold the font's full height; letters end above it.
            assert box.y1 < top + 2, word
        if box.x0 > side:
            assert box.x1 < page.rect.width - pdf.MARGIN_MM * MM + 1, word
    rows = [pymupdf.Rect(span["bbox"]) for span in spans(page) if span["size"] < 9 and span["bbox"][0] > side]
    assert max(box.y1 for box in rows) < 193.5 * MM  # where the line on research use begins
    assert get(code)("(in full in the JSON file)") not in text_of(page).replace(" ", " ")


# Devanagari


@in_devanagari
def test_no_translation_lacks_a_glyph_or_breaks_a_letter(whole_font, code):
    circle = whole_font.get_nominal_glyph(0x25CC)
    for text in [*get(code).strings.values(), SHAPES]:
        assert text == unicodedata.normalize("NFC", text)
        glyphs = {info.codepoint for info in shaped(whole_font, text, code).glyph_infos}
        # Glyph 0 is the box; a dotted circle carries a sign that has no letter to stand on.
        assert not {0, circle} & glyphs, text


@in_devanagari
@pytest.mark.parametrize("weight", [fonts.REGULAR, fonts.BOLD])
def test_the_cut_font_joins_letters_as_the_whole_font_does(whole_font, code, weight):
    whole_font.set_variations({"wght": weight})
    cut = uharfbuzz.Font(uharfbuzz.Face(fonts.instance(weight, SHAPES)))
    for text in [*get(code).strings.values(), *SHAPES.split()]:
        if not fonts.needs_shaping(text):
            continue
        wanted, got = shaped(whole_font, text, code), shaped(cut, text, code)
        assert [info.cluster for info in got.glyph_infos] == [info.cluster for info in wanted.glyph_infos], text
        assert 0 not in {info.codepoint for info in got.glyph_infos}
        for a, b in zip(got.glyph_positions, wanted.glyph_positions, strict=True):
            assert a.x_advance == pytest.approx(b.x_advance, abs=2), text
            assert (a.x_offset, a.y_offset) == pytest.approx((b.x_offset, b.y_offset), abs=3), text


@pytest.fixture(scope="module")
def sheet():
    with lettering.sheet("title", SHAPES, get("hi"), datetime(2026, 1, 1, tzinfo=UTC)) as made:
        made.page.set_font("NotoSans", "", 10)
        yield made


@pytest.mark.parametrize("joined", ["क्ष", "ज्ञ", "त्र", "स्त", "र्द", "श्र", "द्व", "क्त"])
def test_letters_of_a_page_are_joined(sheet, joined):
    page = sheet.page
    apart = sum(page.get_string_width(char) for char in joined if unicodedata.category(char) == "Lo")
    assert page.get_string_width(joined) < apart
    # Latin letters first must not switch joining off.
    together = page.get_string_width(f"ECG {joined}") - page.get_string_width("ECG ")
    assert together == pytest.approx(page.get_string_width(joined), abs=0.02)


@in_devanagari
def test_lines_break_between_words_and_fit(sheet, code):
    text = " ".join(sorted(get(code).strings.values(), key=len)[-30:])
    for width_mm in (35.0, 62.0, 200.0):
        lines = sheet._broken(text, width_mm)
        assert all(sheet.page.get_string_width(line) <= width_mm + 1e-6 for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        words = set(text.split(" "))
        assert sum(word not in words for line in lines for word in line.split(" ") if word) <= 4  # file names


def test_a_long_word_is_cut_where_letters_do_not_join(sheet):
    word = "क्षत्रियर्द्धि" * 5
    pieces = sheet._broken(word, 20.0)
    assert len(pieces) > 2
    assert "".join(pieces) == word
    for before, after in itertools.pairwise(pieces):
        assert before[-1] != "\u094d"
        assert unicodedata.category(after[0]) == "Lo"


def test_names_in_devanagari_are_written(record, result):
    named = replace(VISIT, site="जिरी स्वास्थ्य चौकी")
    page = pymupdf.open(stream=pdf.render(result, record, language=get("en"), visit=named))[0]
    assert "<U+" not in text_of(page)
    assert any("NotoSans" in font[3] for font in page.get_fonts())


def test_preparing_a_language_makes_its_fonts(record, result, monkeypatch):
    fonts._instance.cache_clear()
    pdf.prepare(get("hi"))
    made = fonts._instance.cache_info().misses
    pdf.render(result, record, language=get("hi"), visit=VISIT)
    assert fonts._instance.cache_info().misses == made
