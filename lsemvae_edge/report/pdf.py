"""One printed A4 page of a result: what was found, what it rests on, and the signal on ECG paper.

The probability is left out on purpose: it is in the JSON, and no one should decide by it at the bedside.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from fpdf import FPDF

from lsemvae_edge.leads import LIMB_LEADS
from lsemvae_edge.record import Record
from lsemvae_edge.report import fonts
from lsemvae_edge.report.paper import MM_PER_S, PULSE_MM, Strip, lay_out
from lsemvae_edge.report.words import (
    ORIGIN_WARNINGS,
    RESEARCH_LINE,
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
_FAMILY = "NotoSans"

_INK = (24, 28, 36)
_QUIET = (98, 106, 118)
_LINE = (206, 211, 218)
_RED = (190, 18, 40)
_AMBER = (196, 98, 0)
_SLATE = (70, 84, 104)
_FINE = (249, 222, 222)
_COARSE = (238, 170, 170)
_POOR = (150, 156, 166)


def render(result: ScreeningResult, record: Record) -> bytes:
    """Draw the page.

    The same result and recording give the same bytes.

    Parameters
    ----------
    result : ScreeningResult
    record : Record
        The recording that was screened.

    Returns
    -------
    bytes
        A PDF of one page.

    Raises
    ------
    FontError
        If the page's font is not installed or cannot write the wording.
    """
    with _page(_all_text(result), record) as page:
        warning = ORIGIN_WARNINGS.get(result.record.origin)
        if warning:
            _draw_band(page, warning)
        _draw_verdict(page, result)
        _draw_side(page, result)
        _draw_paper(page, result, record)
        _draw_foot(page)
        return bytes(page.output())


def _all_text(result: ScreeningResult) -> str:
    """Return every text on the page that is not this module's own, for the choice of glyphs."""
    wording, record, model = result.wording, result.record, result.model
    names = (record.id, record.device, record.started_at, model.id, model.stand_in, model.runtime)
    spelt = [fonts.spell_missing(name) for name in names if name]
    return one_line(" ".join((wording.headline, wording.advice, *wording.notes, *spelt)))


@contextmanager
def _page(text: str, record: Record) -> Iterator[FPDF]:
    page = FPDF(orientation="landscape", unit="mm", format="A4")
    page.set_auto_page_break(False)
    page.set_margin(0)
    page.c_margin = 0
    page.set_title("Six-lead ECG screening")
    page.set_creator("lsemvae-edge")
    # A fixed date where the recorder had none, so that printing twice gives the same file.
    page.set_creation_date(record.started_at or datetime(1970, 1, 1, tzinfo=UTC))
    with TemporaryDirectory(prefix="lsemvae-report-") as folder:
        for style, weight in (("", fonts.REGULAR), ("B", fonts.BOLD)):
            path = Path(folder) / f"NotoSans-{weight}.ttf"
            path.write_bytes(fonts.instance(weight, text))
            page.add_font(_FAMILY, style, path)
        page.add_page()
        yield page


def _draw_band(page: FPDF, warning: str) -> None:
    page.set_fill_color(*_RED)
    page.rect(0, 0, PAGE_MM[0], _BAND_MM, style="F")
    _write(page, warning, MARGIN_MM, 1.6, PAGE_MM[0] - 2 * MARGIN_MM, 12, bold=True, colour=(255, 255, 255), align="C")


def _draw_verdict(page: FPDF, result: ScreeningResult) -> None:
    """Write headline, advice and notes beside a coloured bar."""
    top_mm, bottom_mm = 13.0, PAPER_MM[1] - 4
    left_mm, width_mm = MARGIN_MM + 5, PAPER_MM[2] - 5
    wording = result.wording
    advice, notes = one_line(wording.advice), "\n".join(one_line(note) for note in wording.notes)
    _write(page, "Six-lead ECG screening", left_mm, top_mm, width_mm, 9, bold=True, colour=_SLATE)
    y_mm = top_mm + 3.6
    y_mm += _fit(page, one_line(wording.headline), left_mm, y_mm, width_mm, 13, (26, 20, 15, 11), bold=True) + 0.3
    share_mm = bottom_mm - y_mm if not notes else 0.6 * (bottom_mm - y_mm)
    y_mm += _fit(page, advice, left_mm, y_mm, width_mm, share_mm, (12, 11, 10, 9, 8, 7)) + 1.2
    y_mm += _fit(page, notes, left_mm, y_mm, width_mm, bottom_mm - y_mm, (9, 8.5, 8, 7.5, 7, 6.5, 6), colour=_QUIET)
    page.set_fill_color(*(_AMBER if result.outcome == "present" else _SLATE))
    page.rect(MARGIN_MM, top_mm + 0.5, 1.6, y_mm - top_mm, style="F")


def _draw_side(page: FPDF, result: ScreeningResult) -> None:
    """Write recording, quality and model in a narrow column."""
    record, model = result.record, result.model
    started = one_line(record.started_at or "").replace("T", " ").replace("+00:00", " UTC")
    if record.clock_set is False or not started:
        started = f"{started} (clock not set)" if started else "clock not set"
    rows = [
        ("Record", record.id or "without id"),
        ("Recorded", started),
        ("Device", record.device or "not stated"),
        ("Length", f"{record.duration_s:.1f} s at {record.fs_hz:g} samples/s"),
        ("Record sha256", record.sha256[:16]),
    ]
    y_mm = _section(page, "Recording", 13.0)
    y_mm = _rows(page, rows, y_mm)
    y_mm = _section(page, "Heart rate and quality", y_mm + 3)
    window = "none found" if result.quality.window_start_s is None else f"{_window(result)}"
    residual = result.quality.einthoven_residual
    rows = [
        ("Heart rate", heart_rate(result.heart_rate_bpm)),
        ("Quality", quality(result.quality)),
        ("Analysed", window),
        ("Einthoven check", "not available" if residual is None else f"residual {residual:.1%}"),
    ]
    y_mm = _rows(page, rows, y_mm)
    y_mm = _section(page, "Leads", y_mm + 3)
    for lead in LIMB_LEADS:
        state = result.quality.leads.get(lead)
        verdict = "not assessed" if state is None else "usable" if state.usable else "not usable"
        if state is not None and state.flags:
            verdict += f": {flags(state.flags)}"
        poor = state is None or not state.usable
        _write(page, lead, _SIDE_LEFT_MM, y_mm, 10, 8, bold=True)
        _write(page, lead_origin(lead, record), _SIDE_LEFT_MM + 10, y_mm, 20, 8, colour=_QUIET)
        height_mm = _fit(
            page, verdict, _SIDE_LEFT_MM + 27, y_mm, _SIDE_WIDTH_MM - 27, 8, (8, 7, 6), colour=_RED if poor else _INK
        )
        y_mm += max(height_mm, 4.0)
    y_mm = _section(page, "Model", y_mm + 3)
    rows = [
        ("Model", model.id),
        ("sha256", model.sha256[:16]),
        ("Stand-in label", stand_in(model.stand_in)),
        ("Runtime", model.runtime or "did not run"),
        ("Software", f"lsemvae-edge {result.software_version}"),
    ]
    _rows(page, rows, y_mm)


def _draw_paper(page: FPDF, result: ScreeningResult, record: Record) -> None:
    left_mm, top_mm, width_mm, height_mm = PAPER_MM
    calibrated = record.amplitude == "calibrated"
    start_s = result.quality.window_start_s
    width_s = min(result.quality.window_s, TRACE_MM / MM_PER_S)
    strip = lay_out(record, start_s or 0.0, width_s, height_mm)
    _draw_grid(page, with_amplitude=calibrated)
    if calibrated:
        _draw_pulse(page, top_mm + round(height_mm / 2 / 5) * 5)
    for lane in strip.lanes:
        lost = lead_origin(lane.lead, result.record) == "lost"
        lane_top_mm = top_mm + lane.top_mm
        # fpdf2 forgets that leaving a clip restores the old colours unless a local context surrounds it.
        with (
            page.local_context(draw_color=_POOR if lost else _INK, line_width=0.22),
            page.rect_clip(left_mm + LEAD_IN_MM, lane_top_mm, TRACE_MM, lane.height_mm),
        ):
            for line in lane.lines:
                page.polyline([(left_mm + LEAD_IN_MM + x, top_mm + y) for x, y in line])
        _draw_clip_marks(page, lane.clipped, lane_top_mm)
    for lane in strip.lanes:
        label_mm = top_mm + lane.top_mm + max(lane.height_mm / 2 - 5.0, 0.4)
        _tag(page, lane.lead, left_mm + 1, label_mm, 9, bold=True)
        origin = lead_origin(lane.lead, result.record) if lane.lines else "no signal"
        notes = [(origin, _QUIET)] if origin != "measured" else []
        notes += [("clipped", _RED)] if lane.clipped else []
        for row, (note, colour) in enumerate(notes):
            _tag(page, note, left_mm + 1, label_mm + 4.0 + 2.8 * row, 6.5, colour=colour)
    page.set_draw_color(*_COARSE)
    page.set_line_width(0.3)
    page.rect(left_mm, top_mm, width_mm, height_mm)
    _write(page, _caption(result, strip, calibrated=calibrated), left_mm, top_mm + height_mm + 1.2, width_mm, 7.5)


def _caption(result: ScreeningResult, strip: Strip, *, calibrated: bool) -> str:
    scale = "25 mm/s, 10 mm/mV" if calibrated else "25 mm/s, amplitude not calibrated: traces scaled to fit"
    shown = f"{strip.start_s:.1f} to {strip.stop_s:.1f} s of {result.record.duration_s:.1f} s"
    if result.quality.window_start_s is None:
        what = f"No stretch could be analysed; shown is {shown}"
    elif strip.stop_s - strip.start_s < result.quality.window_s - 0.1:
        what = f"Beginning of the analysed stretch, {shown}"
    else:
        what = f"The analysed stretch, {shown}"
    return f"{scale}.  {what}.  As recorded, median removed, no filter."


def _draw_grid(page: FPDF, *, with_amplitude: bool) -> None:
    """Lines 1 mm and 5 mm apart; across the amplitude only where millimetres mean millivolts."""
    left_mm, top_mm, width_mm, height_mm = PAPER_MM
    for step_mm, colour, line_mm in ((1, _FINE, 0.1), (5, _COARSE, 0.18)):
        page.set_draw_color(*colour)
        page.set_line_width(line_mm)
        for at_mm in range(0, int(width_mm) + 1, step_mm):
            if step_mm == 5 or at_mm % 5:
                page.line(left_mm + at_mm, top_mm, left_mm + at_mm, top_mm + height_mm)
        for at_mm in range(0, int(height_mm) + 1 if with_amplitude else 0, step_mm):
            if step_mm == 5 or at_mm % 5:
                page.line(left_mm, top_mm + at_mm, left_mm + width_mm, top_mm + at_mm)


def _draw_pulse(page: FPDF, middle_mm: float) -> None:
    width_mm, height_mm = PULSE_MM
    x_mm, foot_mm = PAPER_MM[0] + PULSE_LEFT_MM, middle_mm + height_mm / 2
    page.set_draw_color(*_INK)
    page.set_line_width(0.22)
    outline = [(x_mm - 1.0, foot_mm), (x_mm, foot_mm), (x_mm, foot_mm - height_mm)]
    outline += [(x_mm + width_mm, foot_mm - height_mm), (x_mm + width_mm, foot_mm), (x_mm + width_mm + 1.0, foot_mm)]
    page.polyline(outline)
    _tag(page, "1 mV", x_mm + 0.2, foot_mm + 0.8, 6, colour=_QUIET)
    _tag(page, "200 ms", x_mm - 0.7, foot_mm + 3.4, 6, colour=_QUIET)


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


def _draw_foot(page: FPDF) -> None:
    y_mm = 197.0
    page.set_draw_color(*_INK)
    page.set_line_width(0.25)
    page.line(MARGIN_MM, y_mm, MARGIN_MM + RULER_MM, y_mm)
    for at_mm in range(0, int(RULER_MM) + 1, 5):
        page.line(MARGIN_MM + at_mm, y_mm, MARGIN_MM + at_mm, y_mm - (2.4 if at_mm % 10 == 0 else 1.4))
    _write(page, "50 mm: print at 100 %", MARGIN_MM, y_mm + 0.8, RULER_MM, 7, colour=_QUIET)
    _write(page, RESEARCH_LINE, PAGE_MM[0] - MARGIN_MM - 140, y_mm - 3.5, 140, 13, bold=True, align="R")


def _section(page: FPDF, title: str, y_mm: float) -> float:
    _write(page, title, _SIDE_LEFT_MM, y_mm, _SIDE_WIDTH_MM, 9, bold=True, colour=_SLATE)
    page.set_draw_color(*_LINE)
    page.set_line_width(0.25)
    page.line(_SIDE_LEFT_MM, y_mm + 4.8, _SIDE_LEFT_MM + _SIDE_WIDTH_MM, y_mm + 4.8)
    return y_mm + 5.8


def _rows(page: FPDF, rows: list[tuple[str, str]], y_mm: float) -> float:
    for name, value in rows:
        _write(page, name, _SIDE_LEFT_MM, y_mm, 24, 8, colour=_QUIET)
        text = fonts.spell_missing(one_line(value))
        y_mm += max(_fit(page, text, _SIDE_LEFT_MM + 24, y_mm, _SIDE_WIDTH_MM - 24, 11.5, (8, 7, 6)), 4.0)
    return y_mm


def _window(result: ScreeningResult) -> str:
    start_s = result.quality.window_start_s or 0.0
    return f"{start_s:.1f} to {start_s + result.quality.window_s:.1f} s"


def _tag(
    page: FPDF,
    text: str,
    x_mm: float,
    y_mm: float,
    size_pt: float,
    *,
    bold: bool = False,
    colour: tuple[int, ...] = _INK,
) -> None:
    """Write on white, so that the grid does not run through the letters."""
    page.set_font(_FAMILY, "B" if bold else "", size_pt)
    page.set_fill_color(255, 255, 255)
    page.rect(x_mm - 0.4, y_mm, page.get_string_width(text) + 0.8, size_pt * 0.42, style="F")
    _write(page, text, x_mm, y_mm - 0.1, 60, size_pt, bold=bold, colour=colour)


def _write(
    page: FPDF,
    text: str,
    x_mm: float,
    y_mm: float,
    width_mm: float,
    size_pt: float,
    *,
    bold: bool = False,
    colour: tuple[int, ...] = _INK,
    align: str = "L",
) -> None:
    page.set_font(_FAMILY, "B" if bold else "", size_pt)
    page.set_text_color(*colour)
    page.set_xy(x_mm, y_mm)
    page.multi_cell(width_mm, _line_mm(size_pt), text, align=align, new_x="LEFT", new_y="NEXT")


def _fit(
    page: FPDF,
    text: str,
    x_mm: float,
    y_mm: float,
    width_mm: float,
    height_mm: float,
    sizes_pt: tuple[float, ...],
    *,
    bold: bool = False,
    colour: tuple[int, ...] = _INK,
) -> float:
    """Write in the largest size that fits and return the height used; what fits in none is cut, and says so."""
    if not text:
        return 0.0
    for size_pt in sizes_pt:
        used_mm = _measure(page, text, width_mm, size_pt, bold=bold)
        if used_mm <= height_mm:
            break
    else:
        words = text.split(" ")
        while used_mm > height_mm and len(words) > 1:
            words = words[: max(int(len(words) * 0.95), 1)]
            text = f"{' '.join(words)} … (in full in the JSON file)"
            used_mm = _measure(page, text, width_mm, size_pt, bold=bold)
    _write(page, text, x_mm, y_mm, width_mm, size_pt, bold=bold, colour=colour)
    return used_mm


def _measure(page: FPDF, text: str, width_mm: float, size_pt: float, *, bold: bool) -> float:
    page.set_font(_FAMILY, "B" if bold else "", size_pt)
    lines = page.multi_cell(width_mm, _line_mm(size_pt), text, align="L", dry_run=True, output="LINES")
    assert isinstance(lines, list)
    return len(lines) * _line_mm(size_pt)


def _line_mm(size_pt: float) -> float:
    return size_pt * 0.3528 * 1.32
