"""What there is to show, in words: one JSON object that the page and the terminal draw.

It holds a result only while one is shown, and nothing about a person on the waiting, sign-in and locked screens.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lsemvae_edge.decision import NO_ANSWER, PATTERN_SEEN
from lsemvae_edge.device.capture import Judged
from lsemvae_edge.device.progress import NO_CONTACT, Traces
from lsemvae_edge.kiosk.flow import LAST_ATTEMPT, UNDER_WAY, Flow, Shown, Trouble
from lsemvae_edge.language import LANGUAGES, Language, mark
from lsemvae_edge.language import get as language_of
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads, solve_i_ii
from lsemvae_edge.report.words import ORIGIN_WARNINGS
from lsemvae_edge.result import INCONCLUSIVE
from lsemvae_edge.store import clock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lsemvae_edge.kiosk.station import Station

SCHEMA = "lsemvae-edge/kiosk-state/1"
ELECTRODES = ("RA", "LA", "LL")
NEEDS = {"I": {"RA", "LA"}, "II": {"RA", "LL"}, "III": {"LA", "LL"}}
"""Electrodes of a lead; the augmented leads need all three."""

PLACES = {"RA": mark("Right hand"), "LA": mark("Left hand"), "LL": mark("Left leg")}
CONNECTING = mark("Connecting to the recorder.")
HOLD_STILL = mark("Keep still. Breathe calmly.")
ALMOST = mark("Good. Keep still for {seconds} more seconds.")
SEEN_BEFORE = mark("The pattern was seen in an earlier attempt of this visit. Refer this person to a clinician.")


def state(station: "Station", code: str) -> dict[str, Any]:
    """Return the state under `SCHEMA`, in a language."""
    flow, language = station.flow, language_of(code)
    screen, band = _screen(station), _band(station)
    is_private = flow.is_locked or screen in ("sign_in", "waiting")
    trouble = None if flow.is_locked else flow.trouble or station.hint
    if flow.is_locked:
        trouble = station.hint
    visit = None
    if flow.study_id is not None and not is_private and screen != "identify":
        attempt = flow.attempt + (screen in ("recorder", "hold"))
        visit = {"study_id": flow.study_id, "attempt": max(attempt, 1), "of": flow.settings.attempts}
    return {
        "schema": SCHEMA,
        "version": station.version,
        "server": station.server,
        "screen": screen,
        "language": language.code,
        "languages": {one: LANGUAGES[one] for one in station.settings.languages},
        "band": None if band is None else language.sentence(band),
        "site": station.settings.site,
        "time": clock_time(),
        "operator": flow.operator,
        "operators": list(station.operators.codes()) if station.operators is not None else [],
        "needs_pin": station.operators is not None,
        "is_supervisor": station.is_supervisor,
        "visit": visit,
        "id_rules": {"check_character": station.settings.check_character},
        "recorders": [asdict(choice) for choice in station.choices] if screen in ("recorder", "hold") else [],
        "visits": [asdict(one) for one in station.visits] if screen == "corrections" else [],
        "looking": station.is_looking,
        "is_recording": flow.screen in UNDER_WAY,
        "recording": None if is_private else _recording(station, language, is_simulated=band is not None),
        "result": None if is_private else _result(station, language),
        "printer": None if is_private else station.paperwork.state(language),
        "outbox": _outbox(station, language),
        "message": None if trouble is None else words(trouble, language),
    }


def clock_time() -> str | None:
    """Return the time of day, or None while the clock is not set."""
    now = clock.now()
    return now.astimezone().strftime("%H:%M") if clock.is_set(now) else None


def six_leads(traces: Traces) -> "tuple[tuple[str, ...], NDArray[np.float32]]":
    """Return the limb leads of a stretch: all six where algebra gives them, else those that were measured."""
    available = {name: row for name, row in zip(traces.leads, traces.signal_mv, strict=True) if name in LIMB_LEADS}
    pair = solve_i_ii(available)
    if pair is None:
        return traces.leads, traces.signal_mv
    six = derive_limb_leads(pair[0], pair[1])
    # A gap in one measured lead is none in the other.
    for name, row in available.items():
        six[LIMB_LEADS.index(name)] = row
    return LIMB_LEADS, six


def lead_states(judged: Judged | None, leads: tuple[str, ...]) -> dict[str, str]:
    """Return ``ok``, ``off``, ``noisy`` or ``unknown`` for each lead."""
    if judged is None or not judged.progress.seconds:
        return dict.fromkeys(leads, "unknown")
    off = judged.progress.off
    states = {}
    for lead in leads:
        if off & NEEDS.get(lead, set(ELECTRODES) if lead in LIMB_LEADS else set()):
            states[lead] = "off"
        else:
            states[lead] = "noisy" if lead in judged.poor else "ok"
    return states


def words(trouble: Trouble, language: Language) -> dict[str, str]:
    """Return what went wrong and what to do, in a language."""
    return {"message": language.sentence(trouble.message), "next_step": language.sentence(trouble.next_step)}


def _screen(station: "Station") -> str:
    flow = station.flow
    if flow.is_locked:
        return "locked"
    if flow.screen == "recording" and station.judged is not None and station.judged.progress.state == "same_person":
        return "same_person"
    return flow.screen


def _recording(station: "Station", language: Language, *, is_simulated: bool) -> dict[str, Any] | None:
    flow, live, judged = station.flow, station.live, station.judged
    if flow.screen != "recording":
        return None
    progress = None if judged is None else judged.progress
    signal = {"recording": "live", "same_person": "live", "ended": "no_signal"}.get(
        progress.state if progress else "connecting", progress.state if progress else "connecting"
    )
    traces = station.traces(1 << 60)
    leads = LIMB_LEADS if traces is None else six_leads(traces)[0]
    off = progress.off if progress else frozenset()
    known = progress is not None and progress.seconds > 0
    return {
        "id": None if live is None else live.id,
        "fs_hz": None if traces is None else traces.fs_hz,
        "leads": list(leads),
        "seconds": round(progress.seconds, 1) if progress else 0.0,
        "clean_s": round(judged.clean_s, 1) if judged else 0.0,
        "needed_s": station.bundle.spec.preprocess.required_s,
        "signal": signal,
        "contact": {name: ("off" if name in off else "ok") if known else "unknown" for name in ELECTRODES},
        "lead_state": lead_states(judged, leads),
        "instruction": _instruction(station, language),
        "battery": progress.battery if progress else None,
        "lost": round(judged.lost, 4) if judged else 0.0,
        "amplitude": None if traces is None else traces.amplitude,
        "simulated": is_simulated,
    }


def _instruction(station: "Station", language: Language) -> str:
    """Return the one thing to do now."""
    judged = station.judged
    if judged is None:
        return language(CONNECTING)
    progress = judged.progress
    if progress.state != "recording":
        return language.sentence(progress.message)
    if progress.off:
        places = [language(PLACES[name]) if name in PLACES else name for name in sorted(progress.off)]
        return language(NO_CONTACT, electrodes=", ".join(places))
    if judged.advice:
        return language.sentence(judged.advice)
    left_s = station.bundle.spec.preprocess.required_s - judged.clean_s
    if 0 < left_s < 6:
        return language(ALMOST, seconds=max(round(left_s), 1))
    return language(HOLD_STILL)


def _band(station: "Station") -> str | None:
    """Return the warning that this is no person's, in English; None if it may be one."""
    flow = station.flow
    if station.band is not None or flow.is_locked:
        return station.band
    if flow.shown is not None:
        return ORIGIN_WARNINGS.get(flow.shown.result.record.origin)
    if flow.screen in ("hold", "recording", "working", "failed") and any(
        choice.simulated for choice in station.choices if choice.address == station.address
    ):
        return ORIGIN_WARNINGS["simulated"]
    return None


def _result(station: "Station", language: Language) -> dict[str, Any] | None:
    flow, shown = station.flow, station.flow.shown
    if shown is None or flow.screen not in ("result", "retry"):
        return None
    wording = shown.result.wording
    headline, advice = _visit_words(station, shown, flow)
    notes = [language.sentence(note) for note in wording.notes]
    clears = flow.clears_in_s()
    assert flow.visit is not None
    return {
        "recording": shown.recording,
        "outcome": _outcome(station, shown),
        "headline": language.sentence(headline),
        "advice": language.sentence(advice),
        "headline_en": None if language.is_reviewed else headline,
        "advice_en": None if language.is_reviewed else advice,
        "notes": notes,
        "study_id": flow.visit.study_id,
        "time": shown.at,
        "attempt": shown.attempt,
        "of": flow.settings.attempts,
        "heart_rate": None if shown.result.heart_rate_bpm is None else round(shown.result.heart_rate_bpm),
        "clears_in_s": None if clears is None else round(clears, 1),
        "seq": shown.seq,
        "is_last": not flow.has_attempts_left,
        "can_retry": flow.can_retry,
        "swap_question": flow.asks_about_electrodes and flow.can_retry,
        "simulated": shown.result.record.origin in ORIGIN_WARNINGS,
    }


def _outbox(station: "Station", language: Language) -> dict[str, Any] | None:
    """Return what waits to be sent; numbers and sentences without a person."""
    if station.outbox is None:
        return None
    status = station.outbox.status
    return {
        "waiting": status.waiting,
        "parked": status.parked,
        "message": language.sentence(status.reason),
        "next_step": language.sentence(status.next_step),
    }


def _visit_words(station: "Station", shown: Shown, flow: Flow) -> tuple[str, str]:
    """Return headline and advice for the visit: seen if any attempt saw it, and the end of the attempts."""
    wording = shown.result.wording
    positive = station.bundle.spec.primary.classes[1]
    if shown.seen_before and shown.result.outcome != positive:
        return f"{PATTERN_SEEN}: {station.bundle.spec.primary.title}", SEEN_BEFORE
    if shown.result.outcome == INCONCLUSIVE and not flow.has_attempts_left:
        return NO_ANSWER, LAST_ATTEMPT
    return wording.headline, wording.advice


def _outcome(station: "Station", shown: Shown) -> str:
    """Return ``present``, ``not_present`` or ``inconclusive``: of the primary task, by the sense of its classes."""
    negative, positive = station.bundle.spec.primary.classes
    if shown.result.outcome == positive or shown.seen_before:
        return "present"
    return "not_present" if shown.result.outcome == negative else "inconclusive"
