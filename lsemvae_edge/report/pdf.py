"""One printed A4 page of a result: what was found, what it rests on, and the signal on ECG paper.

The probability is left out on purpose: it is in the JSON, and no one should decide by it at the bedside.
"""

from datetime import UTC, datetime

from fpdf import FPDF

from lsemvae_edge.language import Language, get, mark
from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.record import Record
from lsemvae_edge.report import fonts
from lsemvae_edge.report.facts import VisitFacts
from lsemvae_edge.report.lettering import INK as _INK
from lsemvae_edge.report.lettering import Sheet, line_mm, sheet
from lsemvae_edge.report.paper import MM_PER_S, PULSE_MM, Strip, lay_out
from lsemvae_edge.report.words import (
    ORIGIN_WARNINGS,
    REPRINT,
    RESEARCH_LINE,
    TITLE,
    TRANSLATION_LINE,
    flags,
    heart_rate,
    lead_origin,
    one_line,
    quality,
    stand_in,
)
from lsemvae_edge.result import ScreeningResult

PAGE_MM = (297.0, 210.0)
MARGIN_MM = 12.0
PAPER_MM = (12.0, 58.0, 205.0, 125.0)
"""Left, top, width and height of the ECG paper."""

LEAD_IN_MM = 10.0
TRACE_MM = 186.0
PULSE_LEFT_MM = 198.0
"""On the paper from its left: names of the leads, then the traces, then the calibration pulse."""

RULER_MM = 50.0

_BAND_MM = 9.0
_SIDE_LEFT_MM = 223.0
_SIDE_WIDTH_MM = PAGE_MM[0] - MARGIN_MM - _SIDE_LEFT_MM
_QUIET = (98, 106, 118)
_LINE = (206, 211, 218)
_RED = (190, 18, 40)
_AMBER = (196, 98, 0)
_SLATE = (70, 84, 104)
_FINE = (249, 222, 222)
_COARSE = (238, 170, 170)
_POOR = (150, 156, 166)


def render(
    result: ScreeningResult, record: Record, *, language: Language | None = None, visit: VisitFacts | None = None
) -> bytes:
    """Draw the page.

    The same result and recording give the same bytes.

    Parameters
    ----------
    result : ScreeningResult
    record : Record
        The recording that was screened.
    language : Language, optional
        English by default. Beside a translation that no speaker has reviewed stands the English.
    visit : VisitFacts, optional
        What a kiosk knows of the visit.

    Returns
    -------
    bytes
        A PDF of one page.

    Raises
    ------
    FontError
        If the page's font is not installed or cannot write the wording.
    """
    language = language or get("en")
    # A fixed date where the recorder had none, so that printing twice gives the same file.
    created_at = record.started_at or datetime(1970, 1, 1, tzinfo=UTC)
    with sheet(language(TITLE), _all_text(result, language, visit), language, created_at) as page:
        warning = ORIGIN_WARNINGS.get(result.record.origin)
        if warning:
            _draw_band(page, warning)
        _draw_verdict(page, result)
        _draw_side(page, result, visit)
        _draw_paper(page, result, record)
        _draw_foot(page)
        return bytes(page.page.output())


def prepare(language: Language) -> None:
    """Make a language's fonts ready, so that its first page does not wait for them; takes seconds for Devanagari."""
    for weight in (fonts.REGULAR, fonts.BOLD):
        fonts.instance(weight, " ".join(language.strings.values()))


def _all_text(result: ScreeningResult, language: Language, visit: VisitFacts | None) -> str:
    """Return every text that may be on the page, for the choice of glyphs."""
    wording, record, model = result.wording, result.record, result.model
    names = [record.id, record.device, record.started_at, model.id, model.stand_in, model.runtime]
    names += [visit.study_id, visit.operator, visit.site, visit.head] if visit else []
    spelt = [fonts.spell_missing(name) for name in names if name]
    return one_line(" ".join((wording.headline, wording.advice, *wording.notes, *spelt, *language.strings.values())))


def _draw_band(page: Sheet, warning: str) -> None:
    page.page.set_fill_color(*_RED)
    page.page.rect(0, 0, PAGE_MM[0], _BAND_MM, style="F")
    text = _both(page.language, warning, "  |  ")
    width_mm = PAGE_MM[0] - 2 * MARGIN_MM
    size_pt = page.fit_line(text, width_mm, (12, 11, 10, 9, 8), bold=True)
    page.write(text, MARGIN_MM, 1.6, width_mm, size_pt, bold=True, colour=(255, 255, 255), align="C")


def _draw_verdict(page: Sheet, result: ScreeningResult) -> None:
    """Write headline, advice and notes beside a coloured bar; the English below what no speaker has reviewed."""
    language, wording = page.language, result.wording
    top_mm, bottom_mm = 13.0, PAPER_MM[1] - 4
    left_mm, width_mm = MARGIN_MM + 5, PAPER_MM[2] - 5
    headline, advice = one_line(wording.headline), one_line(wording.advice)
    # Two languages need the lines that one has for its notes.
    between = "\n" if language.is_reviewed else "  "
    notes = between.join(language.sentence(one_line(note)) for note in wording.notes)
    page.write(language(TITLE), left_mm, top_mm, width_mm, 9, bold=True, colour=_SLATE)
    y_mm = top_mm + 3.6
    if language.is_reviewed:
        y_mm += page.fit(language.sentence(headline), left_mm, y_mm, width_mm, 13, (26, 20, 15, 11), bold=True) + 0.3
        share_mm = bottom_mm - y_mm if not notes else 0.6 * (bottom_mm - y_mm)
        y_mm += page.fit(language.sentence(advice), left_mm, y_mm, width_mm, share_mm, (12, 11, 10, 9, 8, 7)) + 1.2
        sizes_pt: tuple[float, ...] = (9, 8.5, 8, 7.5, 7, 6.5, 6)
    else:
        y_mm += page.fit(language.sentence(headline), left_mm, y_mm, width_mm, 10, (20, 17, 14, 11), bold=True)
        y_mm += page.fit(headline, left_mm, y_mm, width_mm, 5, (11, 9, 7), bold=True, colour=_SLATE) + 0.3
        share_mm = 0.42 * (bottom_mm - y_mm)
        y_mm += page.fit(language.sentence(advice), left_mm, y_mm, width_mm, share_mm, (11, 10, 9, 8, 7)) + 0.2
        y_mm += page.fit(advice, left_mm, y_mm, width_mm, 0.6 * share_mm, (9, 8, 7, 6), colour=_SLATE) + 0.4
        sizes_pt = (8, 7.5, 7, 6.5, 6, 5.5)
    y_mm += page.fit(notes, left_mm, y_mm, width_mm, bottom_mm - y_mm, sizes_pt, colour=_QUIET)
    page.page.set_fill_color(*(_AMBER if result.outcome == "present" else _SLATE))
    page.page.rect(MARGIN_MM, top_mm + 0.5, 1.6, y_mm - top_mm, style="F")


def _draw_side(page: Sheet, result: ScreeningResult, visit: VisitFacts | None) -> None:
    """Write visit, recording, quality and model in a narrow column."""
    language, record, model = page.language, result.record, result.model
    # With a visit above them, the parts move closer together.
    y_mm, gap_mm, lead_mm = (13.0, 3, 8.0) if visit is None else (_draw_visit(page, visit, 13.0), 2, 5.6)
    started = one_line(record.started_at or "").replace("T", " ").replace("+00:00", " UTC")
    if record.clock_set is False or not started:
        started = language("{time} (clock not set)", time=started) if started else language("clock not set")
    length = language("{seconds} s at {rate} samples/s", seconds=f"{record.duration_s:.1f}", rate=f"{record.fs_hz:g}")
    rows = [
        (language("Record"), record.id or language("without id")),
        (language("Recorded"), started),
        (language("Device"), record.device or language("not stated")),
        (language("Length"), length),
        (language("Record sha256"), record.sha256[:16]),
    ]
    y_mm = _section(page, language("Recording"), y_mm)
    y_mm = _rows(page, rows, y_mm)
    y_mm = _section(page, language("Heart rate and quality"), y_mm + gap_mm)
    window = language("none found") if result.quality.window_start_s is None else _window(result, language)
    residual = result.quality.einthoven_residual
    rows = [
        (language("Heart rate"), heart_rate(result.heart_rate_bpm, language)),
        (language("Quality"), quality(result.quality, language)),
        (language("Analysed"), window),
        (
            language("Einthoven check"),
            language("not available")
            if residual is None
            else language("residual {percent}", percent=f"{residual:.1%}"),
        ),
    ]
    y_mm = _rows(page, rows, y_mm)
    y_mm = _section(page, language("Leads"), y_mm + gap_mm)
    for lead in LIMB_LEADS:
        state = result.quality.leads.get(lead)
        poor = state is None or not state.usable
        if state is None:
            verdict = language("not assessed")
        else:
            verdict = language("not usable") if poor else language("usable")
            verdict += f": {flags(state.flags, language)}" if state.flags else ""
        origin = language(lead_origin(lead, record))
        page.write(lead, _SIDE_LEFT_MM, y_mm, 10, 8, bold=True)
        size_pt = page.fit_line(origin, 17, (8, 7, 6, 5))
        page.write(origin, _SIDE_LEFT_MM + 10, y_mm, 20, size_pt, colour=_QUIET)
        sizes_pt = (8, 7, 6) if language.is_reviewed else (8, 7, 6, 5.5, 5, 4.5)
        colour = _RED if poor else _INK
        height_mm = page.fit(verdict, _SIDE_LEFT_MM + 27, y_mm, _SIDE_WIDTH_MM - 27, lead_mm, sizes_pt, colour=colour)
        y_mm += max(height_mm, 4.0)
    y_mm = _section(page, language("Model"), y_mm + gap_mm)
    rows = [
        (language("Model"), model.id),
        ("sha256", model.sha256[:16]),
        (language("Stand-in label"), stand_in(model.stand_in, language)),
        (language("Runtime"), model.runtime or language("did not run")),
        (language("Software"), f"lsemvae-edge {result.software_version}"),
    ]
    _rows(page, rows, y_mm)


def _draw_visit(page: Sheet, visit: VisitFacts, y_mm: float) -> float:
    """Write whose page it is, so large that two pages are not mistaken for each other."""
    language = page.language
    if visit.reprint:
        mark_mm = 6.5
        page.page.set_draw_color(*_RED)
        page.page.set_line_width(0.5)
        page.page.rect(_SIDE_LEFT_MM, y_mm, _SIDE_WIDTH_MM, mark_mm)
        text = _both(language, REPRINT, " | ")
        size_pt = page.fit_line(text, _SIDE_WIDTH_MM - 4, (13, 11, 9, 7), bold=True)
        inset_mm = (mark_mm - line_mm(size_pt)) / 2
        page.write(text, _SIDE_LEFT_MM, y_mm + inset_mm, _SIDE_WIDTH_MM, size_pt, bold=True, colour=_RED, align="C")
        y_mm += mark_mm + 1.5
    study_id = fonts.spell_missing(one_line(visit.study_id))
    if study_id:
        y_mm += page.fit(study_id, _SIDE_LEFT_MM, y_mm, _SIDE_WIDTH_MM, 12, (24, 20, 17, 14, 11, 9), bold=True)
    if visit.of is None:
        attempt = language("Attempt {n}", n=visit.attempt)
    else:
        attempt = language("Attempt {n} of {of}", n=visit.attempt, of=visit.of)
    y_mm += page.fit(attempt, _SIDE_LEFT_MM, y_mm, _SIDE_WIDTH_MM, 7, (13, 11, 9), bold=True) + 1
    rows = [
        (language("Operator"), visit.operator),
        (language("Site"), visit.site),
        (language("Chain of records"), visit.head[:16] if visit.head else ""),
    ]
    return _rows(page, [row for row in rows if row[1]], y_mm) + 2


def _draw_paper(page: Sheet, result: ScreeningResult, record: Record) -> None:
    left_mm, top_mm, width_mm, height_mm = PAPER_MM
    calibrated = record.amplitude == "calibrated"
    start_s = result.quality.window_start_s
    width_s = min(result.quality.window_s, TRACE_MM / MM_PER_S)
    strip = lay_out(record, start_s or 0.0, width_s, height_mm)
    _draw_grid(page.page, with_amplitude=calibrated)
    if calibrated:
        _draw_pulse(page, top_mm + round(height_mm / 2 / 5) * 5)
    for lane in strip.lanes:
        lost = lead_origin(lane.lead, result.record) == "lost"
        lane_top_mm = top_mm + lane.top_mm
        # fpdf2 forgets that leaving a clip restores the old colours unless a local context surrounds it.
        with (
            page.page.local_context(draw_color=_POOR if lost else _INK, line_width=0.22),
            page.page.rect_clip(left_mm + LEAD_IN_MM, lane_top_mm, TRACE_MM, lane.height_mm),
        ):
            for line in lane.lines:
                page.page.polyline([(left_mm + LEAD_IN_MM + x, top_mm + y) for x, y in line])
        _draw_clip_marks(page.page, lane.clipped, lane_top_mm)
    for lane in strip.lanes:
        label_mm = top_mm + lane.top_mm + max(lane.height_mm / 2 - 5.0, 0.4)
        page.tag(lane.lead, left_mm + 1, label_mm, 9, bold=True)
        origin = lead_origin(lane.lead, result.record) if lane.lines else mark("no signal")
        notes = [(origin, _QUIET)] if origin != "measured" else []
        notes += [(mark("clipped"), _RED)] if lane.clipped else []
        for row, (note, colour) in enumerate(notes):
            text = page.language(note)
            size_pt = page.fit_line(text, LEAD_IN_MM - 0.4, (6.5, 6, 5.5, 5, 4.5))
            page.tag(text, left_mm + 1, label_mm + 4.0 + 2.8 * row, size_pt, colour=colour)
    page.page.set_draw_color(*_COARSE)
    page.page.set_line_width(0.3)
    page.page.rect(left_mm, top_mm, width_mm, height_mm)
    caption = _caption(result, strip, page.language, calibrated=calibrated)
    page.fit(caption, left_mm, top_mm + height_mm + 1.2, width_mm, 8, (7.5, 7, 6.5, 6))


def _caption(result: ScreeningResult, strip: Strip, language: Language, *, calibrated: bool) -> str:
    scale = "25 mm/s, 10 mm/mV" if calibrated else language("25 mm/s, amplitude not calibrated: traces scaled to fit")
    shown = language(
        "{start} to {end} s of {length} s",
        start=f"{strip.start_s:.1f}",
        end=f"{strip.stop_s:.1f}",
        length=f"{result.record.duration_s:.1f}",
    )
    if result.quality.window_start_s is None:
        what = language("No stretch could be analysed; shown is {shown}.", shown=shown)
    elif strip.stop_s - strip.start_s < result.quality.window_s - 0.1:
        what = language("Beginning of the analysed stretch, {shown}.", shown=shown)
    else:
        what = language("The analysed stretch, {shown}.", shown=shown)
    return f"{scale}.  {what}  {language('As recorded, median removed, no filter.')}"


def _draw_grid(page: FPDF, *, with_amplitude: bool) -> None:
    """Lines 1 mm and 5 mm apart; across the amplitude only where millimetres mean millivolts."""
    left_mm, top_mm, width_mm, height_mm = PAPER_MM
    for step_mm, colour, thick_mm in ((1, _FINE, 0.1), (5, _COARSE, 0.18)):
        page.set_draw_color(*colour)
        page.set_line_width(thick_mm)
        for at_mm in range(0, int(width_mm) + 1, step_mm):
            if step_mm == 5 or at_mm % 5:
                page.line(left_mm + at_mm, top_mm, left_mm + at_mm, top_mm + height_mm)
        for at_mm in range(0, int(height_mm) + 1 if with_amplitude else 0, step_mm):
            if step_mm == 5 or at_mm % 5:
                page.line(left_mm, top_mm + at_mm, left_mm + width_mm, top_mm + at_mm)


def _draw_pulse(sheet: Sheet, middle_mm: float) -> None:
    width_mm, height_mm = PULSE_MM
    page, x_mm, foot_mm = sheet.page, PAPER_MM[0] + PULSE_LEFT_MM, middle_mm + height_mm / 2
    page.set_draw_color(*_INK)
    page.set_line_width(0.22)
    outline = [(x_mm - 1.0, foot_mm), (x_mm, foot_mm), (x_mm, foot_mm - height_mm)]
    outline += [(x_mm + width_mm, foot_mm - height_mm), (x_mm + width_mm, foot_mm), (x_mm + width_mm + 1.0, foot_mm)]
    page.polyline(outline)
    sheet.tag("1 mV", x_mm + 0.2, foot_mm + 0.8, 6, colour=_QUIET)
    sheet.tag("200 ms", x_mm - 0.7, foot_mm + 3.4, 6, colour=_QUIET)


def _draw_clip_marks(page: FPDF, marks: tuple[tuple[float, float], ...], lane_top_mm: float) -> None:
    """Small red triangles that point to where the trace went on."""
    page.set_fill_color(*_RED)
    last_mm = -9.0
    for x, y in sorted(marks):
        if x - last_mm < 3:
            continue
        last_mm = x
        tip_mm, centre_mm = PAPER_MM[1] + y, PAPER_MM[0] + LEAD_IN_MM + x
        base_mm = tip_mm + 1.1 if tip_mm - lane_top_mm < 0.01 else tip_mm - 1.1
        page.polygon([(centre_mm, tip_mm), (centre_mm - 0.7, base_mm), (centre_mm + 0.7, base_mm)], style="F")


def _draw_foot(sheet: Sheet) -> None:
    page, language, y_mm = sheet.page, sheet.language, 197.0
    page.set_draw_color(*_INK)
    page.set_line_width(0.25)
    page.line(MARGIN_MM, y_mm, MARGIN_MM + RULER_MM, y_mm)
    for at_mm in range(0, int(RULER_MM) + 1, 5):
        page.line(MARGIN_MM + at_mm, y_mm, MARGIN_MM + at_mm, y_mm - (2.4 if at_mm % 10 == 0 else 1.4))
    sheet.write(language("50 mm: print at 100 %"), MARGIN_MM, y_mm + 0.8, RULER_MM, 7, colour=_QUIET)
    sheet.write(language(RESEARCH_LINE), PAGE_MM[0] - MARGIN_MM - 140, y_mm - 3.5, 140, 13, bold=True, align="R")
    if not language.is_reviewed:
        left_mm, width_mm = MARGIN_MM + RULER_MM + 6, 90.0
        used_mm = sheet.fit(language(TRANSLATION_LINE), left_mm, y_mm - 3.5, width_mm, 5, (7, 6.5, 6), colour=_QUIET)
        sheet.fit(TRANSLATION_LINE, left_mm, y_mm - 3.5 + used_mm, width_mm, 5, (7, 6.5, 6), colour=_QUIET)


def _section(sheet: Sheet, title: str, y_mm: float) -> float:
    page = sheet.page
    sheet.write(title, _SIDE_LEFT_MM, y_mm, _SIDE_WIDTH_MM, 9, bold=True, colour=_SLATE)
    page.set_draw_color(*_LINE)
    page.set_line_width(0.25)
    page.line(_SIDE_LEFT_MM, y_mm + 4.8, _SIDE_LEFT_MM + _SIDE_WIDTH_MM, y_mm + 4.8)
    return y_mm + 5.8


def _rows(page: Sheet, rows: list[tuple[str, str]], y_mm: float) -> float:
    for name, value in rows:
        size_pt = page.fit_line(name, 23, (8, 7, 6, 5))
        page.write(name, _SIDE_LEFT_MM, y_mm, 24, size_pt, colour=_QUIET)
        text = fonts.spell_missing(one_line(value))
        y_mm += max(page.fit(text, _SIDE_LEFT_MM + 24, y_mm, _SIDE_WIDTH_MM - 24, 11.5, (8, 7, 6)), 4.0)
    return y_mm


def _window(result: ScreeningResult, language: Language) -> str:
    start_s = result.quality.window_start_s or 0.0
    return language("{start} to {end} s", start=f"{start_s:.1f}", end=f"{start_s + result.quality.window_s:.1f}")


def _both(language: Language, text: str, between: str) -> str:
    """Translate a text; the English follows where no speaker has reviewed the translation."""
    return language(text) if language.is_reviewed else f"{language(text)}{between}{text}"
