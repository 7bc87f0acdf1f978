"""From the station's state to what stands on a screen of 80 by 24 characters; pure, so that every screen can be tested.

No key that a barcode reader could send does anything but fill in an entry: choices are made with arrows and Enter, the
rest with function keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lsemvae_edge.kiosk.terminal import words
from lsemvae_edge.language import Language

Tone = Literal["plain", "ask", "live", "seen", "not_seen", "no_answer", "trouble"]
State = Mapping[str, Any]

SHAPES: dict[Tone, str] = {
    "plain": "", "ask": "", "live": "●", "seen": "▲", "not_seen": "■", "no_answer": "?", "trouble": "!",
}  # fmt: skip
"""Beside colour, for those who do not see it."""
OUTCOMES: dict[str, Tone] = {"present": "seen", "not_present": "not_seen", "inconclusive": "no_answer"}
TOLD_BEFORE_S = 20.0
"""So long before a result clears, the screen says so."""


@dataclass(frozen=True)
class Choice:
    """Something to choose: an act of the station, or one of the terminal's own, which begins with ``:``."""

    label: str
    act: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """Something to type: what is typed becomes the value ``name`` of the act."""

    label: str
    act: str
    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    is_secret: bool = False


@dataclass(frozen=True)
class Line:
    """A paragraph of the body."""

    text: str
    style: Literal["plain", "strong", "quiet", "large", "art"] = "plain"


@dataclass(frozen=True)
class Scene:
    """One screen.

    Parameters
    ----------
    name : str
        Changes whenever another thing is asked, so that an answer cannot go to the wrong question.
    heading : str
    tone : str
        Of the heading's band.
    lines : tuple of Line
    choices : tuple of Choice
    entry : Entry or None
    escape : Choice or None
        What the key Esc does.
    is_across : bool
        Choices stand side by side.
    is_recording : bool
        Traces and contacts are shown.
    """

    name: str
    heading: str
    tone: Tone = "plain"
    lines: tuple[Line, ...] = ()
    choices: tuple[Choice, ...] = ()
    entry: Entry | None = None
    escape: Choice | None = None
    is_across: bool = False
    is_recording: bool = False


def scene(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    """Return what to show.

    Parameters
    ----------
    state : mapping
        Of `lsemvae_edge.kiosk.view`.
    language : Language
        The state's.
    answers : mapping
        What was answered on this screen already, of questions that are asked one at a time.
    """
    return _SCENES[state["screen"]](state, language, answers)


def stopped(language: Language) -> Scene:
    """Return what is shown when the station says nothing any more: nothing clinical."""
    return Scene("stopped", language(words.STOPPED), "trouble", (Line(language(words.STOPPED_STEP), "strong"),))


def languages(state: State, language: Language, *, console: bool) -> Scene:
    """Return the choice of a language; the kernel's console cannot write all of them."""
    offered = {code: name for code, name in state["languages"].items() if not console or _latin(name)}
    lines = (Line(language(words.CONSOLE_LANGUAGES), "quiet"),) if len(offered) < len(state["languages"]) else ()
    choices = tuple(Choice(name, "set_language", {"code": code}) for code, name in offered.items())
    return Scene(":language", language(words.LANGUAGE), "ask", lines, choices, escape=_CLOSE)


def writable(state: State) -> str:
    """Return the state's language if the kernel's console can write it, else one that it can, if any is offered."""
    now: str = state["language"]
    codes: list[str] = [now, "en", *state["languages"]]
    return next((code for code in codes if _latin(state["languages"].get(code, "\uffff"))), now)


def operator(state: State, language: Language) -> Scene:
    """Return what an operator can do from any screen."""
    choices = [Choice(language(words.LOCK), "lock")]
    if state["needs_pin"]:
        choices.append(Choice(language(words.ANOTHER_OPERATOR), ":switch"))
        choices.append(Choice(language(words.SIGN_OUT), "sign_out"))
    if state["is_supervisor"] and state["screen"] == "waiting":
        choices.append(Choice(language(words.CORRECT), "corrections"))
    heading = f"{language(words.OPERATOR)} {state['operator'] or ''}".strip()
    return Scene(":operator", heading, "ask", (), tuple(choices), escape=_CLOSE)


def sign_in(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    """Return who works here, then the PIN."""
    escape = _CLOSE if state["screen"] != "sign_in" else None
    if not state["operators"]:
        lines = (Line(language(words.NO_OPERATOR), "strong"), Line(language(words.NO_OPERATOR_STEP)))
        return Scene("sign_in", language(words.WHO), "ask", lines, escape=escape)
    if "operator" not in answers:
        choices = tuple(Choice(code, ":answer", {"operator": code}) for code in state["operators"])
        return Scene("sign_in", language(words.WHO), "ask", (), choices, escape=escape)
    code = answers["operator"]
    label = language(words.PIN_OF, operator=code)
    entry = Entry(label, "sign_in", "pin", {"operator": code}, is_secret=True)
    return Scene("sign_in-pin", label, "ask", entry=entry, escape=Choice("", ":unanswer"))


def _waiting(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    lines = (Line(language(words.SCAN_OR_START), "strong"), Line(language(words.RESEARCH), "quiet"))
    return Scene("waiting", language(words.READY), "plain", lines, (Choice(language(words.START), "start"),))


def _identify(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    lines = [Line(language(words.TYPE_ID), "strong")]
    if state["id_rules"]["check_character"]:
        lines.append(Line(language(words.CHECK_CHARACTER), "quiet"))
    entry = Entry(language(words.STUDY_ID), "identify", "text")
    return Scene("identify", language(words.STUDY_ID), "ask", tuple(lines), entry=entry, escape=_BACK)


def _repeat_or_other(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    choices = (Choice(language(words.REPEAT), "repeat"), Choice(language(words.OTHER), "another"))
    lines = (Line(language(words.SAME_OR_OTHER), "strong"),)
    return Scene("repeat_or_other", language(words.USED_TODAY), "no_answer", lines, choices, escape=_BACK)


def _about(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    if "consent" not in answers:
        choices = (
            Choice(language(words.YES_AGREES), ":answer", {"consent": True}),
            Choice(language(words.NO_LEAVE), ":no_consent"),
        )
        return Scene("about-consent", language(words.CONSENT), "ask", (), choices, escape=_BACK)
    if "age_band" not in answers:
        bands = tuple(Choice(language(text), ":answer", {"age_band": band}) for band, text in words.AGE_BANDS.items())
        return Scene("about-age", language(words.AGE), "ask", (), bands, escape=_UNANSWER)
    answered = tuple(
        Choice(language(text), "about", {**answers, "pacemaker": code}) for code, text in words.PACEMAKERS.items()
    )
    return Scene("about-pacemaker", language(words.PACEMAKER), "ask", (), answered, escape=_UNANSWER)


def _recorder(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    lines, choices = [], []
    for found in state["recorders"]:
        facts = {True: words.IN_RANGE, False: words.OUT_OF_RANGE}.get(found["in_range"])
        said = [language(text) for text in (facts, words.SIMULATED if found["simulated"] else None) if text]
        label = " · ".join([found["name"], found["address"][-5:], *said])
        choices.append(Choice(label, "choose", {"address": found["address"]}))
    # The one that can be used stands first, where Enter chooses it.
    order = sorted(zip(state["recorders"], choices, strict=True), key=lambda pair: pair[0]["in_range"] is not True)
    choices = [choice for _, choice in order]
    if state.get("looking"):
        lines.append(Line(language(words.LOOKING), "strong"))
    elif not choices:
        lines += [Line(language(words.NO_RECORDER), "strong"), Line(language(words.NO_RECORDER_STEP))]
    choices += [Choice(language(words.LOOK_AGAIN), "find"), Choice(language(words.LEAVE), "cancel")]
    return Scene("recorder", language(words.RECORDER), "ask", tuple(lines), tuple(choices), escape=_BACK)


def _hold(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    right, left, leg = (language(text) for text in (words.RIGHT_HAND, words.LEFT_HAND, words.LEFT_LEG))
    lines = (
        *(Line(language(text), "strong") for text in words.HOLD_LINES),
        *(Line(text, "art") for text in _drawing(left, right, leg)),
        Line(language(words.AS_SEEN), "quiet"),
    )
    choices = (Choice(language(words.BEGIN), "begin"), Choice(language(words.LEAVE), "cancel"))
    return Scene("hold", language(words.HOLD), "ask", lines, choices, escape=_BACK, is_across=True)


def _recording(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    recording = state["recording"]
    instruction = recording["instruction"] if recording else language(words.RECORDING)
    is_live = bool(recording) and recording["signal"] == "live"
    # An Enter too many must not end a recording.
    choices = (
        Choice(language(words.GO_ON), ":close"),
        Choice(language(words.STOP), "stop"),
        Choice(language(words.LEAVE), "cancel"),
    )
    tone: Tone = "live" if is_live else "trouble"
    return Scene("recording", instruction, tone, (), choices, is_across=True, is_recording=True)


def _same_person(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    choices = (
        Choice(language(words.NO_SAME), "confirm_same", {"same": False}),
        Choice(language(words.YES_SAME), "confirm_same", {"same": True}),
    )
    lines = (Line(language(words.CONTACT_WAS_LOST), "strong"),)
    return Scene("same_person", language(words.SAME_PERSON), "no_answer", lines, choices)


def _working(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    lines = (Line(language(words.WORKING_STEP), "strong"),)
    return Scene("working", language(words.WORKING), "plain", lines)


def _result(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    result = state["result"]
    if result is None:
        return _working(state, language, answers)
    lines = [Line(result["advice"], "strong")]
    for english in (result["headline_en"], result["advice_en"]):
        if english:
            lines.append(Line(english, "plain"))
    at = result["time"] or language(words.TIME_UNKNOWN)
    attempt = f"{result['attempt']}/{result['of']}"
    lines.append(Line(result["study_id"], "large"))
    if result["time"]:
        lines.append(Line(f"{at}  {attempt}", "large"))
    else:
        lines += [Line(attempt, "large"), Line(at, "strong")]
    facts = [language(words.ATTEMPT, n=result["attempt"], of=result["of"])]
    if result["heart_rate"] is not None:
        facts.append(language(words.HEART_RATE, rate=result["heart_rate"]))
    printer = state["printer"]
    if printer:
        facts.append(printer["text"])
    clears_in_s = result["clears_in_s"]
    if clears_in_s is not None and clears_in_s <= TOLD_BEFORE_S:
        facts.append(language(words.CLEARS, seconds=f"{clears_in_s:.0f}"))
    lines.append(Line(" · ".join(facts)))
    lines.append(Line(" ".join(result["notes"]), "quiet"))
    return Scene(
        f"result-{result['seq']}",
        result["headline"],
        OUTCOMES[result["outcome"]],
        tuple(lines),
        _after(state, language),
        is_across=True,
    )


def _after(state: State, language: Language) -> tuple[Choice, ...]:
    """Return what can be done with a result; what keeps it on the screen stands first."""
    result, printer = state["result"], state["printer"]
    choices = []
    if result["can_retry"]:
        if result["swap_question"]:
            choices.append(Choice(language(words.RECORD_AGAIN), "retry", {"electrodes_confirmed": False}))
            choices.append(Choice(language(words.CHECKED_AGAIN), "retry", {"electrodes_confirmed": True}))
        else:
            choices.append(Choice(language(words.RECORD_AGAIN), "retry"))
    if printer and printer["state"] != "printing":
        text = words.PRINT_AGAIN if printer["copies"] else words.PRINT
        choices.insert(0, Choice(language(text), "print"))
    return (*choices, Choice(language(words.NEXT), "next"))


def _failed(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    told = state["message"]
    lines = (Line(told["message"], "strong"), Line(told["next_step"])) if told else ()
    choices = (Choice(language(words.RECORD_AGAIN), "retry"), Choice(language(words.NEXT), "next"))
    return Scene("failed", language(words.NOT_RECORDED), "trouble", lines, choices)


def _locked(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    code = state["operator"]
    if not state["needs_pin"]:
        return Scene("locked", language(words.LOCKED), "plain", (), (Choice(language(words.UNLOCK), "unlock"),))
    entry = Entry(language(words.PIN_OF, operator=code or ""), "unlock", "pin", is_secret=True)
    lines = (Line(language(words.LOCKED_STEP), "strong"),)
    return Scene("locked", language(words.LOCKED), "plain", lines, entry=entry)


def _corrections(state: State, language: Language, answers: Mapping[str, Any]) -> Scene:
    """Return the choice of a visit of today, then the entry of its right id, then whether that is meant."""
    chosen = next((one for one in state["visits"] if one["visit"] == answers.get("visit")), None)
    if chosen is None:
        nobody = () if state["visits"] else (Line(language(words.NOBODY), "strong"),)
        choices = tuple(Choice(_visit(one, language), ":answer", {"visit": one["visit"]}) for one in state["visits"])
        return Scene("corrections", language(words.WHICH_VISIT), "ask", nobody, choices, escape=_BACK)
    if "text" not in answers:
        heading = language(words.RIGHT_ID, id=chosen["study_id"])
        entry = Entry(language(words.STUDY_ID), ":answer", "text")
        how = (Line(language(words.TYPE_ID), "strong"),)
        return Scene("corrections-id", heading, "ask", how, entry=entry, escape=_UNANSWER)
    right = answers["text"].upper()
    is_used = any(one["study_id"] == right for one in state["visits"] if one is not chosen)
    lines = (
        Line(f"{chosen['study_id']} ► {right}", "strong"),
        Line(language(words.USED_TODAY) if is_used else "", "strong"),
        Line(language(words.FIRST_STAYS)),
    )
    # An Enter too many must not answer.
    choices = (
        Choice(language(words.NO_AGAIN), ":unanswer"),
        Choice(language(words.YES_CORRECT), "correct", {"visit": chosen["visit"], "text": answers["text"]}),
    )
    return Scene("corrections-sure", language(words.IS_MEANT), "ask", lines, choices, escape=_UNANSWER)


def _visit(visit: Mapping[str, Any], language: Language) -> str:
    first = visit["first_study_id"]
    said = language(words.INSTEAD_OF, id=first) if first else language(words.ATTEMPTS, n=visit["attempts"])
    return " · ".join([visit["study_id"], visit["time"] or language(words.TIME_UNKNOWN), said])


def _drawing(left: str, right: str, leg: str) -> tuple[str, ...]:
    """Return the recorder in the person's hands, as the person sees it; hands are named, so nobody guesses sides."""
    margin = 24
    return (
        " " * margin + "┌──────────────────────┐",
        f"{left} ──► ".rjust(margin) + "│ [L]              [R] │" + f" ◄── {right}",
        " " * margin + "└─────────[LL]─────────┘",
        " " * (margin + 11) + "▲",
        " " * (margin + 11 - len(leg) // 2) + leg,
    )


def _latin(name: str) -> bool:
    return all(ord(letter) < 0x250 for letter in name)


_CLOSE = Choice("", ":close")
_BACK = Choice("", "back")
_UNANSWER = Choice("", ":unanswer")
_SCENES = {
    "sign_in": sign_in,
    "waiting": _waiting,
    "identify": _identify,
    "repeat_or_other": _repeat_or_other,
    "about": _about,
    "recorder": _recorder,
    "hold": _hold,
    "recording": _recording,
    "same_person": _same_person,
    "working": _working,
    "result": _result,
    "retry": _result,
    "failed": _failed,
    "locked": _locked,
    "corrections": _corrections,
}
