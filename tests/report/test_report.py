"""The terminal's lines, the files, and the printed page, read back with PyMuPDF."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pymupdf
import pytest

from lsemvae_edge import report
from lsemvae_edge.errors import LsemvaeError, StoreError, UsageError
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.record import Record
from lsemvae_edge.report import fonts, paper, pdf
from lsemvae_edge.result import (
    LeadResult,
    ModelInfo,
    QualityResult,
    RecordInfo,
    ScreeningResult,
    TaskResult,
    Wording,
)
from lsemvae_edge.synthetic.electrodes import contact_loss
from lsemvae_edge.synthetic.heart import Heart, simulate

MM = 72 / 25.4
PROBABILITY = 0.2371
NOTES = (
    "The model was trained for adults.",
    "Trained on a stand-in label: right-heart pattern, not pulmonary hypertension.",
    "Research use, not a diagnosis.",
)
ADVICE = "This does not rule out disease. If the person is breathless, faints or has swollen legs, refer."


@pytest.fixture(scope="module")
def record():
    heart = simulate(Heart(), 15, 500, seed=1, leads=("I", "II"))
    started_at = datetime(2026, 11, 23, 9, 5, tzinfo=UTC)
    return replace(heart, origin="file", started_at=started_at, meta={"device": "HandECG 6L", "id": "visit-42"})


def result_for(record, **changes):
    info = RecordInfo(
        id=record.meta.get("id"),
        sha256=record.sha256(),
        origin=record.origin,
        started_at=record.started_at and record.started_at.isoformat(),
        clock_set=None,
        device=record.meta.get("device"),
        duration_s=record.duration_s,
        fs_hz=record.fs_hz,
        leads_measured=("I", "II"),
        leads_derived=("III", "aVR", "aVL", "aVF"),
        leads_masked=(),
        amplitude=record.amplitude,
    )
    result = ScreeningResult(
        outcome="not_present",
        tasks={"right_heart_pattern": TaskResult("not_present", PROBABILITY, None)},
        quality=QualityResult(
            usable=True,
            advice=None,
            window_start_s=1.4,
            window_s=7.424,
            flags=(),
            einthoven_residual=None,
            leads={lead: LeadResult(True, ()) for lead in LIMB_LEADS},
        ),
        heart_rate_bpm=71.4,
        record=info,
        model=ModelInfo("small-1", "abcdef0123456789" * 4, "right-heart pattern, not pulmonary hypertension", "litert"),
        wording=Wording("Pattern not seen", ADVICE, NOTES),
        timing_ms={"total": 12.0},
        software_version="0.1.0",
    )
    return replace(result, **changes)


def open_page(content):
    document = pymupdf.open(stream=content)
    assert document.page_count == 1
    return document[0]


def text_of(page):
    return " ".join(page.get_text().split())


def segments(page):
    """All straight lines as (x0, y0, x1, y1, width_pt, colour), millimetres from the page's top left."""
    found = []
    for drawing in page.get_drawings():
        for item in drawing["items"]:
            if item[0] == "l":
                a, b = item[1] / MM, item[2] / MM
                found.append((a.x, a.y, b.x, b.y, drawing["width"], drawing["color"]))
    return found


def close_colour(colour, rgb):
    return colour is not None and np.allclose(np.array(colour) * 255, rgb, atol=1)


@pytest.fixture(scope="module")
def page(record):
    """The plain page, drawn once."""
    return open_page(pdf.render(result_for(record), record))


@pytest.fixture(scope="module")
def drawn(page):
    return segments(page)


# Terminal


def test_terminal_has_four_lines_without_the_probability(record):
    text = report.terminal(result_for(record))
    lines = text.split("\n")
    assert len(lines) == 4
    assert lines[0] == "Pattern not seen"
    assert lines[1].startswith(ADVICE)
    assert "The model was trained for adults." in lines[1]
    assert "71 beats/min" in lines[2]
    assert "measured I, II" in lines[2]
    assert "small-1 (abcdef012345)" in lines[3]
    assert "right-heart pattern, not pulmonary hypertension" in lines[1]
    assert lines[1].endswith("Research use, not a diagnosis.")
    for shown in ("0.23", "0.24", "23.7", "24 %", "24%", "\x1b"):
        assert shown not in text


@pytest.mark.parametrize(("origin", "word"), [("demo", "DEMONSTRATION"), ("simulated", "SIMULATED")])
def test_terminal_warns_of_recordings_of_no_person(record, origin, word):
    result = result_for(replace(record, origin=origin))
    assert word in report.terminal(result).split("\n")[0]
    assert "\x1b[" in report.terminal(result, colour=True).split("\n")[0]


def test_terminal_shows_no_control_characters_of_a_file(record):
    result = result_for(record)
    result = replace(result, model=replace(result.model, id="a\x1b[2Jb\nc"))
    text = report.terminal(result)
    assert "\x1b" not in text
    assert text.count("\n") == 3


def test_importing_the_report_loads_no_page_library():
    code = "import sys, lsemvae_edge.report; print([m for m in ('fpdf', 'fontTools', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Files


def test_write_leaves_json_and_page_and_nothing_else(record, tmp_path):
    result = result_for(record)
    paths = report.write(result, record, tmp_path / "new" / "folder", "visit-42")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["visit-42.json", "visit-42.pdf"]
    assert json.loads(paths["json"].read_text("utf-8")) == json.loads(json.dumps(result.to_dict()))
    assert paths["pdf"].read_bytes().startswith(b"%PDF")
    assert paths["pdf"].stat().st_size < 300_000


def test_write_replaces_older_files(record, tmp_path):
    (tmp_path / "r.pdf").write_bytes(b"old")
    report.write(result_for(record), record, tmp_path, "r")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("stem", ["", "..", "../r", "a/b"])
def test_a_name_that_leaves_the_folder_is_refused(record, tmp_path, stem):
    with pytest.raises(UsageError):
        report.write(result_for(record), record, tmp_path / "in", stem)


def test_a_place_that_cannot_be_written_is_a_store_error(record, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        report.write(result_for(record), record, tmp_path / "file", "r")


# Page: words


def test_page_says_what_must_be_said(page):
    text = text_of(page)
    for phrase in (
        "Pattern not seen",
        ADVICE,
        "The model was trained for adults.",
        "Research use, not a diagnosis",
        "right-heart pattern, not pulmonary hypertension",
        "visit-42",
        "2026-11-23 09:05:00 UTC",
        "HandECG 6L",
        "15.0 s at 500 samples/s",
        "71 beats/min",
        "small-1",
        "abcdef0123456789",
        "lsemvae-edge 0.1.0",
        "25 mm/s, 10 mm/mV",
        "1.4 to 8.8 s of 15.0 s",
        "no filter",
        "print at 100 %",
        "derived",
        "1 mV",
        *LIMB_LEADS,
    ):
        assert phrase in text, phrase
    for hidden in ("0.23", "0.24", "23.7", "24 %"):
        assert hidden not in text


def test_page_without_a_clock_says_so(record):
    clockless = replace(record, started_at=None)
    assert "clock not set" in text_of(open_page(pdf.render(result_for(clockless), clockless)))


@pytest.mark.parametrize("origin", ["file", "live", "demo", "simulated"])
def test_red_band_crosses_the_page_for_recordings_of_no_person_only(record, origin):
    invented = replace(record, origin=origin)
    page = open_page(pdf.render(result_for(invented), invented))
    bands = [
        drawing["rect"]
        for drawing in page.get_drawings()
        if close_colour(drawing["fill"], pdf._RED) and drawing["rect"].width > 0.99 * page.rect.width
    ]
    assert len(bands) == (1 if origin in ("demo", "simulated") else 0)
    assert ("not a person's recording" in text_of(page)) == bool(bands)


def test_long_texts_stay_inside_their_places_and_apart(record):
    result = result_for(
        record,
        wording=Wording("No answer", ADVICE * 4, tuple(f"{n}. {ADVICE} {ADVICE}" for n in range(8))),
    )
    flags = ("mains_interference", "motion_artefact", "low_amplitude", "clipped")
    result = replace(
        result,
        quality=replace(
            result.quality, usable=False, flags=flags, leads={lead: LeadResult(False, flags) for lead in LIMB_LEADS}
        ),
        record=replace(result.record, id="x" * 200, device="A recorder with a long name " * 6),
        model=replace(result.model, stand_in="a label that needs many words to be said in full " * 3),
    )
    page = open_page(pdf.render(result, record))
    left, top, width, _ = (value * MM for value in pdf.PAPER_MM)
    side = pdf._SIDE_LEFT_MM * MM
    words = [pymupdf.Rect(word[:4]) for word in page.get_text("words")]
    assert all(page.rect.contains(word) for word in words)
    for word in words:
        if word.x0 < side - 1 and word.y1 < 190 * MM:
            assert word.x1 < left + width + 1
        if word.y0 < top - 1 and word.x0 < side - 1:
            assert word.y1 < top
    lines = sorted(
        (pymupdf.Rect(line["bbox"]) for block in page.get_text("dict")["blocks"] for line in block["lines"]),
        key=lambda box: box.y0,
    )
    for index, one in enumerate(lines):
        for other in lines[index + 1 :]:
            overlap = one & other
            # Boxes hold the font's full height, which neighbours' boxes may touch; letters may not.
            assert overlap.is_empty or overlap.width < 0.5 or overlap.height < 0.45 * min(one.height, other.height)
    assert "in full in the JSON file" in text_of(page)


def test_names_the_font_cannot_write_are_spelt_by_number(record):
    result = result_for(record)
    result = replace(result, record=replace(result.record, id="Żółć 日"))
    assert "Żółć <U+65E5>" in text_of(open_page(pdf.render(result, record)))


def test_wording_the_font_cannot_write_is_an_error_not_boxes(record):
    with pytest.raises(fonts.FontError, match="cannot write"):
        pdf.render(result_for(record, wording=Wording("心电图", ADVICE, ())), record)


def test_a_missing_font_is_an_error(record, monkeypatch, tmp_path):
    fonts._instance.cache_clear()
    fonts._writable.cache_clear()
    monkeypatch.setitem(sys.modules, "fontpkg_noto_sans", None)
    with pytest.raises(LsemvaeError, match="Noto Sans") as caught:
        report.write(result_for(record), record, tmp_path, "r")
    assert "fontpkg-noto-sans" in caught.value.next_step
    assert not list(tmp_path.iterdir())


def test_the_same_result_gives_the_same_bytes(record):
    result = result_for(record)
    first = pdf.render(result, record)
    fonts._instance.cache_clear()
    assert pdf.render(result, record) == first


# Page: geometry


def test_page_is_a4_landscape(page):
    assert (page.rect.width / MM, page.rect.height / MM) == (pytest.approx(297, abs=0.01), pytest.approx(210, abs=0.01))


def test_grid_lines_are_one_and_five_millimetres_apart(drawn):
    left, top, width, height = pdf.PAPER_MM
    for axis, start, length in ((0, left, width), (1, top, height)):
        across = {
            kind: sorted(s[axis] for s in drawn if abs(s[axis] - s[axis + 2]) < 1e-3 and close_colour(s[5], colour))
            for kind, colour in (("fine", pdf._FINE), ("coarse", pdf._COARSE))
        }
        np.testing.assert_allclose(across["coarse"], start + np.arange(0, length + 1, 5), atol=0.01)
        both = np.array(sorted(across["fine"] + across["coarse"]))
        np.testing.assert_allclose(both, start + np.arange(0, length + 1), atol=0.01)


def pulse_of(drawn):
    """Corner points of the calibration pulse, the only ink lines to the right of the traces."""
    right_of = pdf.PAPER_MM[0] + pdf.LEAD_IN_MM + pdf.TRACE_MM
    limit = pdf.PAPER_MM[0] + pdf.PAPER_MM[2]
    return [s for s in drawn if close_colour(s[5], pdf._INK) and s[0] > right_of and s[2] < limit]


def test_calibration_pulse_is_ten_by_five_millimetres(drawn):
    pulse = pulse_of(drawn)
    upright = [s for s in pulse if abs(s[0] - s[2]) < 1e-3]
    assert len(upright) == 2
    assert all(abs(s[3] - s[1]) == pytest.approx(10, abs=0.01) for s in upright)
    assert abs(upright[0][0] - upright[1][0]) == pytest.approx(5, abs=0.01)


def test_ruler_is_fifty_millimetres(drawn):
    longest = max(abs(s[2] - s[0]) for s in drawn if s[1] > pdf.PAPER_MM[1] + pdf.PAPER_MM[3] + 5)
    assert longest == pytest.approx(50, abs=0.01)


def test_trace_is_drawn_at_25_mm_per_second_and_10_mm_per_millivolt():
    """A 1 mV step at 3 s must stand 25 mm from the strip's start at 2 s and be 10 mm high."""
    signal = np.zeros((2, 1000), np.float32)
    signal[:, 300:400] = 1
    record = Record(signal, 100, ("I", "II"))
    result = result_for(record)
    result = replace(result, quality=replace(result.quality, window_start_s=2.0))
    drawn = segments(open_page(pdf.render(result, record)))
    left = pdf.PAPER_MM[0] + pdf.LEAD_IN_MM
    steps = [s for s in drawn if close_colour(s[5], pdf._INK) and abs(abs(s[3] - s[1]) - 10) < 0.01 and s[0] < 190]
    assert len(steps) >= 4  # up and down in leads I and II
    # The line from one sample to the next leans by 10 ms, 0.25 mm.
    assert min(s[2] for s in steps) - left == pytest.approx(25, abs=0.01)
    assert max(s[2] for s in steps) - left == pytest.approx(50, abs=0.01)


@pytest.mark.parametrize("amplitude", ["uncalibrated", "relative"])
def test_an_uncalibrated_page_claims_no_millivolts(record, amplitude):
    loose = replace(record, signal_mv=record.signal_mv[:, ::5] * 731, fs_hz=100, gaps=None, amplitude=amplitude)
    page = open_page(pdf.render(result_for(loose), loose))
    text = text_of(page)
    assert "amplitude not calibrated" in text
    assert "mV" not in text
    drawn = segments(page)
    assert not pulse_of(drawn)
    horizontal = [s for s in drawn if abs(s[1] - s[3]) < 1e-3 and close_colour(s[5], pdf._FINE)]
    assert not horizontal


# Paper


def test_strip_shows_the_window(record):
    strip = paper.lay_out(record, 1.4, 7.424, 125)
    assert (strip.start_s, strip.mm_per_unit) == (1.4, 10.0)
    x = [point[0] for line in strip.lanes[0].lines for point in line]
    assert (min(x), max(x)) == (0, pytest.approx(185.6, abs=0.05))
    assert [lane.lead for lane in strip.lanes] == list(LIMB_LEADS)
    assert sum(lane.height_mm for lane in strip.lanes) == pytest.approx(125)
    assert not any(lane.clipped for lane in strip.lanes)


def test_a_gap_breaks_every_lead_and_is_never_bridged(record):
    torn = contact_loss(record, 3.0, 3.5)
    strip = paper.lay_out(torn, 1.4, 7.424, 125)
    for lane in strip.lanes:
        assert len(lane.lines) == 2
        assert lane.lines[0][-1][0] < (3.0 - 1.4) * 25 <= (3.5 - 1.4) * 25 <= lane.lines[1][0][0] + 0.01


def test_what_leaves_its_lane_is_marked(record):
    signal = record.signal_mv.copy()
    signal[1, 2000:2020] += 30
    strip = paper.lay_out(replace(record, signal_mv=signal), 1.4, 7.424, 125)
    lanes = {lane.lead: lane for lane in strip.lanes}
    assert lanes["II"].clipped[0] == (pytest.approx((4.02 - 1.4) * 25, abs=0.1), lanes["II"].top_mm)
    assert not lanes["I"].clipped
    for lane in strip.lanes:  # and the rest line stays in sight
        y = np.median([point[1] for line in lane.lines for point in line])
        assert lane.top_mm < y < lane.top_mm + lane.height_mm


def test_uncalibrated_leads_share_one_scale_that_fits(record):
    loose = replace(record, signal_mv=record.signal_mv * 731, amplitude="uncalibrated")
    strip = paper.lay_out(loose, 1.4, 7.424, 125)
    assert not any(lane.clipped for lane in strip.lanes)
    ptp = [np.ptp([point[1] for line in lane.lines for point in line]) for lane in strip.lanes[:2]]
    window = loose.signal_mv[:, 700:4413]
    assert ptp[0] / ptp[1] == pytest.approx(np.ptp(window[0]) / np.ptp(window[1]), rel=1e-3)
    assert sum(lane.height_mm for lane in strip.lanes) == pytest.approx(125)


def test_fast_recordings_are_thinned_without_losing_peaks():
    fast = simulate(Heart(), 10, 4000, seed=2, leads=("I", "II"))
    lane = paper.lay_out(fast, 1.0, 7.424, 125).lanes[1]
    points = np.array(lane.lines[0])
    assert len(points) < 8000
    window = fast.signal_mv[1, 4000 : 4000 + round(7.424 * 4000) + 1]
    assert np.ptp(points[:, 1]) == pytest.approx(10 * np.ptp(window), rel=1e-5)
    assert (np.diff(points[:, 0]) > 0).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_recording_without_signal_still_gives_a_page(value):
    empty = Record(np.full((2, 5000), value, np.float32), 500, ("I", "II"))
    result = result_for(empty)
    result = replace(result, quality=replace(result.quality, window_start_s=None, usable=False))
    text = text_of(open_page(pdf.render(result, empty)))
    assert "No stretch could be analysed" in text
    assert ("no signal" in text) == np.isnan(value)


def test_one_limb_lead_alone_leaves_the_others_empty(record):
    single = Record(record.signal_mv[1:], 500, ("II",))
    lanes = {lane.lead: lane for lane in paper.lay_out(single, 0, 7.4, 125).lanes}
    assert lanes["II"].lines
    assert not any(lanes[lead].lines for lead in LIMB_LEADS if lead != "II")
