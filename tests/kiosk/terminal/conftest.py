"""A station without recorder, model, store and printer: it shows whatever state a test gives it."""

import asyncio
from typing import Any

import numpy as np
import pytest

from lsemvae_edge.decision import NO_REASSURANCE, PATTERN_NOT_SEEN, REFER, RESEARCH_USE
from lsemvae_edge.device.progress import Traces
from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.language import LANGUAGES
from lsemvae_edge.language import get as language_of
from lsemvae_edge.leads import LIMB_LEADS

FS_HZ = 250.0
BAND = "DEMONSTRATION: simulated signal, not a person's recording"
BASE: dict[str, Any] = {
    "schema": "lsemvae-edge/kiosk-state/1",
    "version": 1,
    "server": "0" * 16,
    "screen": "waiting",
    "language": "en",
    "languages": LANGUAGES,
    "band": None,
    "site": "Health post Namche",
    "time": "14:05",
    "operator": "ANJU",
    "operators": ["ANJU", "BIMAL"],
    "needs_pin": True,
    "is_supervisor": False,
    "visit": None,
    "id_rules": {"check_character": True},
    "recorders": [],
    "visits": [],
    "looking": False,
    "recording": None,
    "result": None,
    "printer": None,
    "message": None,
}
VISIT = {"study_id": "KTM0042Q", "attempt": 1, "of": 3}
RECORDER = {"address": "C0:5E:C9:00:00:01", "name": "Open 6L", "in_range": True, "simulated": False}
RECORDING = {
    "id": "recording-1",
    "fs_hz": FS_HZ,
    "leads": list(LIMB_LEADS),
    "seconds": 8.0,
    "clean_s": 6.0,
    "needed_s": 9.5,
    "signal": "live",
    "contact": {"RA": "ok", "LA": "ok", "LL": "off"},
    "lead_state": {"I": "ok", "II": "off", "III": "off", "aVR": "off", "aVL": "off", "aVF": "off"},
    "instruction": "Left leg electrode: press the device on bare skin of the left knee.",
    "battery": 76,
    "lost": 0.01,
    "amplitude": "calibrated",
    "simulated": False,
}
RESULT = {
    "recording": "recording-1",
    "outcome": "not_present",
    "headline": f"{PATTERN_NOT_SEEN}: right-heart pattern",
    "advice": NO_REASSURANCE,
    "headline_en": None,
    "advice_en": None,
    "notes": [
        "heart side: right.",
        "Trained on a stand-in label: right-heart pattern, not pulmonary hypertension.",
        RESEARCH_USE,
    ],
    "study_id": "KTM0042Q",
    "time": "14:05",
    "attempt": 1,
    "of": 3,
    "heart_rate": 71,
    "clears_in_s": 55.0,
    "seq": 12,
    "is_last": False,
    "can_retry": False,
    "swap_question": False,
    "simulated": False,
}
PRINTER = {"state": "ready", "text": "The printer is ready.", "copies": 0}
VISITS = [
    {
        "visit": f"{number:032x}",
        "study_id": f"KTM{number:017d}" if number else "KTM0042Q",
        "first_study_id": f"KTN{number:017d}" if number == 1 else None,
        "time": "14:05" if number != 2 else None,
        "attempts": 3,
    }
    for number in range(12)
]
SCREENS: dict[str, dict[str, Any]] = {
    "sign_in": {"screen": "sign_in", "operator": None},
    "waiting": {"screen": "waiting"},
    "identify": {"screen": "identify"},
    "repeat_or_other": {"screen": "repeat_or_other"},
    "about": {"screen": "about"},
    "recorder": {"screen": "recorder", "visit": VISIT, "recorders": [{**RECORDER, "in_range": False}, RECORDER]},
    "no_recorder": {"screen": "recorder", "visit": VISIT},
    "hold": {"screen": "hold", "visit": VISIT, "recorders": [RECORDER]},
    "recording": {"screen": "recording", "visit": VISIT, "recording": RECORDING},
    "same_person": {"screen": "same_person", "visit": VISIT, "recording": RECORDING},
    "working": {"screen": "working", "visit": VISIT},
    "result": {"screen": "result", "visit": VISIT, "result": RESULT, "printer": PRINTER},
    "seen": {
        "screen": "result",
        "visit": VISIT,
        "result": {**RESULT, "outcome": "present", "headline": "Pattern seen: right-heart pattern", "advice": REFER},
        "printer": PRINTER,
    },
    "swap": {
        "screen": "result",
        "visit": VISIT,
        "result": {
            **RESULT,
            "outcome": "inconclusive",
            "headline": "No answer",
            "advice": "Swap check: left hand on L, right hand on R; record again.",
            "notes": RESULT["notes"][1:],
            "can_retry": True,
            "swap_question": True,
        },
        "printer": PRINTER,
    },
    "retry": {
        "screen": "retry",
        "visit": VISIT,
        "result": {
            **RESULT,
            "outcome": "inconclusive",
            "headline": "No answer",
            "advice": "Right hand electrode: hold it firmly with the fingers of the right hand, moisten dry skin, and "
            "keep still.",
            "notes": RESULT["notes"][1:],
            "heart_rate": None,
            "can_retry": True,
        },
    },
    "failed": {
        "screen": "failed",
        "visit": VISIT,
        "message": {
            "message": "Open 6L has been silent for 60 s.",
            "next_step": "Bring it closer, check its battery, and record again.",
        },
    },
    "locked": {"screen": "locked"},
    "corrections": {"screen": "corrections", "visits": VISITS, "is_supervisor": True},
    "nobody": {"screen": "corrections", "is_supervisor": True},
}
"""What each screen adds to `BASE`."""
AFTER = {
    "start": "identify",
    "identify": "about",
    "about": "recorder",
    "choose": "hold",
    "begin": "recording",
    "stop": "result",
    "retry": "hold",
    "next": "waiting",
    "cancel": "waiting",
    "lock": "locked",
    "unlock": "waiting",
    "sign_in": "waiting",
    "sign_out": "sign_in",
    "repeat": "recorder",
    "another": "identify",
    "corrections": "corrections",
    "correct": "corrections",
}


class FakeStation:
    """Goes to the screen that usually comes after an act, and remembers what it was asked."""

    def __init__(self, screen: str = "waiting", *, language: str = "en", **changes: Any) -> None:
        self.screen, self.changes, self.language = screen, changes, language
        self.version = 1
        self.acts: list[tuple[str, dict[str, Any]]] = []
        self.refuses: LsemvaeError | None = None
        self.dead = False
        self.samples = 0
        self.free = asyncio.Event()
        self.free.set()
        self._changed = asyncio.Event()

    def show(self, screen: str, **changes: Any) -> None:
        self.screen, self.changes = screen, changes
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, version: int, timeout_s: float) -> bool:
        if self.version == version and not self.dead:
            try:
                async with asyncio.timeout(min(timeout_s, 0.05)):
                    await self._changed.wait()
            except TimeoutError:
                return False
        return True

    def state(self, language: str | None = None) -> dict[str, Any]:
        if self.dead:
            raise RuntimeError("the station has fallen over")
        say = language_of(language or self.language)
        state = {**BASE, **SCREENS[self.screen], "version": self.version, "language": say.code, **self.changes}
        state["band"] = state["band"] and say.sentence(state["band"])
        if state["message"]:
            state["message"] = {key: say.sentence(text) for key, text in state["message"].items()}
        if state["recording"]:
            recording = state["recording"]
            state["recording"] = {**recording, "instruction": say.sentence(recording["instruction"])}
        if state["printer"]:
            state["printer"] = {**state["printer"], "text": say.sentence(state["printer"]["text"])}
        if state["result"]:
            found = dict(state["result"])
            if not say.is_reviewed:
                found["headline_en"], found["advice_en"] = found["headline"], found["advice"]
            found["headline"], found["advice"] = say.sentence(found["headline"]), say.sentence(found["advice"])
            found["notes"] = [say.sentence(note) for note in found["notes"]]
            state["result"] = found
        return state

    def traces(self, after: int) -> Traces | None:
        if self.state()["screen"] != "recording" or not self.samples:
            return None
        first = max(after, self.samples - int(4 * FS_HZ), 0)
        at_s = np.arange(first, self.samples) / FS_HZ
        beat = at_s % 0.85
        lead_i = 0.8 * np.exp(-(((beat - 0.3) / 0.012) ** 2)) + 0.15 * np.exp(-(((beat - 0.52) / 0.04) ** 2))
        lead_ii = 1.2 * np.exp(-(((beat - 0.3) / 0.012) ** 2)) + 0.25 * np.exp(-(((beat - 0.52) / 0.04) ** 2))
        return Traces(0, first, FS_HZ, ("I", "II"), np.stack([lead_i, lead_ii]).astype(np.float32), "calibrated")

    async def act(self, name: str, *, version: int | None = None, **values: Any) -> None:
        self.acts.append((name, values))
        await self.free.wait()
        if self.refuses is not None:
            raise self.refuses
        if name == "set_language":
            self.language = values["code"]
            self.show(self.screen, **self.changes)
        elif name in AFTER:
            self.show(AFTER[name])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "screen" in metafunc.fixturenames:
        metafunc.parametrize("screen", list(SCREENS))
    if "code" in metafunc.fixturenames:
        metafunc.parametrize("code", list(LANGUAGES))


@pytest.fixture
def fake() -> type[FakeStation]:
    """Class of stations that show what they are told."""
    return FakeStation


@pytest.fixture
def screens() -> list[str]:
    """Names of all screens."""
    return list(SCREENS)


@pytest.fixture
def state_of():
    """Function that returns the state of a screen in a language."""

    def state(screen: str, code: str = "en", **changes: Any) -> dict[str, Any]:
        return FakeStation(screen, language=code, **changes).state()

    return state
