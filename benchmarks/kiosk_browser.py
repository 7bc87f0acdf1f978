"""The whole kiosk as its users have it: the program, a recorder over Bluetooth, and a real browser before it."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lsemvae_edge.errors import UsageError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STARTS_WITHIN_S = 60.0
SIZES = ((800, 480), (1280, 800))
"""Pixels of the official 7-inch touch display of a Raspberry Pi, and of a cheap tablet."""
KEY_MS = 120.0
"""Between two keys of somebody who types."""
READER_MS = 5.0
"""Between two keys of a barcode reader."""
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage")


def chromium() -> str | None:
    """Return the system's Chromium, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser(*arguments: str) -> "Iterator[Browser]":
    """Start Chromium without a window.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None:
        raise UsageError("Chromium is not installed.", "Install it: `apt install chromium`.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
        try:
            yield started
        finally:
            started.close()


class Recorder:
    """A virtual recorder in a process of its own, as a context manager; see `kiosk_recorder`.

    Parameters
    ----------
    recording : Path, optional
        What it plays, over and over; by default a simulated heart.
    """

    def __init__(self, recording: Path | None = None) -> None:
        command = [sys.executable, "-m", "lsemvae_edge.benchmarks.kiosk_recorder"]
        self.process = subprocess.Popen(  # noqa: S603 - fixed arguments
            [*command, *([str(recording)] if recording else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts: dict[str, str] = json.loads(_line(self.process))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill(self.process)

    def tell(self, *words: str) -> None:
        """Have it do something, and wait until it has."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        _line(self.process)


class Kiosk:
    """The program in a process of its own, as a context manager.

    Parameters
    ----------
    folder : Path
        Everything of it lies here.
    recorder : Recorder or None
        Enrolled before it starts; None runs a demonstration.
    settings : mapping, optional
        What differs from the defaults.
    operators : mapping of str to str
        Codes and their PINs.
    supervisors : collection of str
        Codes of those of them who are supervisors.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder | None = None,
        settings: Mapping[str, Any] | None = None,
        operators: Mapping[str, str] | None = None,
        supervisors: Collection[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LSEMVAE_EDGE_")},
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_RUNTIME_DIR": str(folder),
            "LSEMVAE_EDGE_KIOSK": str(folder / "kiosk.json"),
            "LSEMVAE_EDGE_OPERATORS": str(folder / "operators.json"),
        }
        self._arguments = ["--demo"] if recorder is None else []
        facts = {"settings": {"check_character": False, **(settings or {})}, "operators": dict(operators or {})}
        self._set_up({**facts, "supervisors": list(supervisors), "store": recorder is not None})
        if recorder is not None:
            self.environment["LSEMVAE_EDGE_ADAPTER"] = recorder.facts["adapter"]
            self.run("devices", "enrol", recorder.facts["address"])
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Start it, and wait for its address."""
        command = [*PROGRAM, "screen", "--ui", "web", "--no-browser", *self._arguments]
        with (self.folder / "kiosk.log").open("a") as log:
            self.process = subprocess.Popen(  # noqa: S603 - fixed arguments
                command, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.address = _line(self.process).strip()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        """End it in order, or by force."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            kill(self.process)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the program on this kiosk's folder."""
        return subprocess.run(  # noqa: S603 - fixed arguments
            [*PROGRAM, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def _set_up(self, facts: Mapping[str, Any]) -> None:
        """Make settings, operators and store, as `kiosk setup` would."""
        command = [sys.executable, "-c", _SETUP, json.dumps(facts)]
        subprocess.run(command, env=self.environment, check=True, timeout=120)  # noqa: S603 - fixed arguments


_SETUP = """
import dataclasses, json, sys
from lsemvae_edge.kiosk import operators, settings
from lsemvae_edge.store import places
facts = json.loads(sys.argv[1])
settings.update(lambda now: dataclasses.replace(now, **facts["settings"]))
for code, pin in facts["operators"].items():
    operators.add(code, pin, "supervisor" if code in facts["supervisors"] else "operator")
if facts["store"]:
    places.create_store().close()
"""
PROGRAM = (sys.executable, "-c", "import sys; from lsemvae_edge.cli import main; sys.exit(main())")


def kill(process: "subprocess.Popen[str]") -> None:
    """End a process that is ours, whatever it does."""
    with suppress(ProcessLookupError):
        process.kill()
    process.wait(10)


def to_waiting(page: "Page", operator: str = "", pin: str = "") -> None:
    """Sign in where that is asked for, and wait until this operator may begin."""
    test = page.get_by_test_id
    signed_in = test("operator").get_by_text(operator, exact=True) if operator else None
    # The waiting screen of whoever was there before is not the one to begin on.
    ready = page.locator("body", has=signed_in).get_by_test_id("screen-waiting")
    test("screen-sign_in").or_(ready).wait_for()
    if test("screen-sign_in").is_visible():
        test(f"operator-{operator}").click()
        type_pin(page, pin)
        ready.wait_for()


def sign_out(page: "Page") -> None:
    """Sign the operator out, and wait until the page asks who works here."""
    page.get_by_test_id("operator").click()
    page.get_by_test_id("sign-out").click()
    page.get_by_test_id("screen-sign_in").wait_for()


def lock(page: "Page") -> None:
    """Lock the page, and wait until it is."""
    page.get_by_test_id("operator").click()
    page.get_by_test_id("lock").click()
    page.get_by_test_id("screen-locked").wait_for()


def type_pin(page: "Page", pin: str) -> None:
    """Type a PIN as a hand does: what comes at a barcode reader's pace is not taken."""
    page.get_by_test_id("field").wait_for()
    type_at_pace(page, f"{pin}\n", KEY_MS)


def type_at_pace(page: "Page", text: str, pace_ms: float) -> None:
    """Type with so long between two keys, by the time that the page is told of each: a busy machine changes nothing.

    Parameters
    ----------
    page : Page
        Of Chromium.
    text : str
        A line break is the key Enter.
    pace_ms : float
    """
    keyboard = page.context.new_cdp_session(page)
    began_s = time.time()
    for index, character in enumerate(text):
        at_s = began_s + index * pace_ms / 1e3
        page.wait_for_timeout(max(1e3 * (at_s - time.time()), 0.0))
        key = {"key": character, "text": character}
        if character == "\n":
            key = {"key": "Enter", "code": "Enter", "text": "\r"}
        number = 13 if character == "\n" else ord(character.upper())
        facts = {**key, "windowsVirtualKeyCode": number, "timestamp": at_s}
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyDown", **facts})
        keyboard.send("Input.dispatchKeyEvent", {"type": "keyUp", **facts})
    keyboard.detach()


def to_about(page: "Page", study_id: str = "ABCD1") -> None:
    """Go from the waiting screen to the first question to the person, or to that whether it is the same one."""
    page.get_by_test_id("start").click()
    page.get_by_test_id("screen-identify").wait_for()
    type_at_pace(page, f"{study_id}\n", READER_MS)


def to_hold(page: "Page", study_id: str = "ABCD1") -> None:
    """Go from the waiting screen to the drawings."""
    test = page.get_by_test_id
    to_about(page, study_id)
    test("consent-true").click()
    test("age_band-40-64").click()
    test("pacemaker-no").click()
    test("screen-hold").wait_for()


def to_recording(page: "Page", study_id: str = "ABCD1") -> None:
    """Go from the waiting screen to live traces."""
    to_hold(page, study_id)
    page.get_by_test_id("begin").click()
    page.get_by_test_id("traces").wait_for()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], STARTS_WITHIN_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        kill(process)
        raise UsageError("A process of the measurement did not start.", "Look at kiosk.log in its folder.")
    return line
