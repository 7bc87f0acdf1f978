"""One visit at a kiosk that is in a control group: by keys in a real terminal, and by clicks in a real browser."""

import os
import re
import select
import shlex
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lsemvae_edge.benchmarks import kiosk_browser
from lsemvae_edge.benchmarks.kills import ProofError
from lsemvae_edge.benchmarks.target.control_group import Group
from lsemvae_edge.decision import NO_ANSWER, PATTERN_NOT_SEEN, PATTERN_SEEN
from lsemvae_edge.errors import LsemvaeError

if TYPE_CHECKING:
    from playwright.sync_api import Page

STUDY_ID: Final = "ABCD1"
COLUMNS, ROWS = 80, 24
FRAME_MS: Final = 1000 / 12
"""The terminal draws so often: a sample may have been there so long before it was seen. It is added."""
SLACK_MS: Final = 40.0
"""The server looks for new samples so often."""
SETTLED_S: Final = 0.6
"""Keys that come sooner after a screen appeared are not taken."""
SEEN_S: Final = 2.0
"""A result comes by itself, and keys count later."""
PATIENCE_S: Final = 120.0
ENDINGS: Final = (PATTERN_SEEN, PATTERN_NOT_SEEN, NO_ANSWER)
"""Sentences with which a recording may end in a result."""
TRACES: Final = re.compile("[\u2801-\u28ff]")
"""The terminal draws traces with Braille dots."""

_HEARD = """() => {
  const listen = EventSource.prototype.addEventListener;
  EventSource.prototype.addEventListener = function (name, taken, ...more) {
    const noted = (event) => {
      globalThis.heardMs = performance.now();
      return taken(event);
    };
    return listen.call(this, name, name === "trace" ? noted : taken, ...more);
  };
}"""
_SHOWN = """() => document.querySelector("[data-testid=screen-result]")
  ? performance.now() - globalThis.heardMs : 0"""


class Shown:
    """Words by which a person, and this module, tells the terminal's screens apart."""

    READY = "Ready for the next person"
    TYPE_ID = "Type or scan the study id, then press Enter."
    CONSENT = "Does the person agree to be recorded?"
    AGE = "How old is the person?"
    PACEMAKER = "Does the person have a pacemaker?"
    HOLD = "How to hold the recorder"
    WORKING = "Please wait"


@dataclass(frozen=True)
class Visit:
    """How long a visit took: from the start of the process to the waiting screen, in all, and from the last sample."""

    start_s: float
    visit_s: float
    result_ms: float


def lacking(ui: str) -> str | None:
    """Return what a way of use lacks here, or None."""
    if find_spec("bumble") is None:
        return "the simulated recorder is not installed: pip install 'lsemvae-edge[device,simulator]'"
    if ui == "terminal":
        return None if find_spec("textual") else "the terminal is not installed: pip install 'lsemvae-edge[terminal]'"
    if find_spec("playwright") is None:
        return "playwright, which drives the browser, is not installed"
    return None if kiosk_browser.chromium() else "Chromium is not installed"


def failures() -> tuple[type[Exception], ...]:
    """Return the errors in which a visit ends that does not fit."""
    if find_spec("playwright") is None:
        return (LsemvaeError, ProofError, OSError)
    from playwright.sync_api import Error

    return (LsemvaeError, ProofError, OSError, Error)


def in_terminal(group: Group, kiosk: kiosk_browser.Kiosk) -> Visit:
    """Go through a visit by keys.

    Raises
    ------
    ProofError
        If a screen does not come, or the kiosk ends.
    """
    with _terminal(group, kiosk) as terminal:
        terminal.until(Shown.READY)
        start_s = terminal.seconds()
        terminal.press("\r")
        terminal.until(Shown.TYPE_ID)
        terminal.press(*STUDY_ID, "\r")
        terminal.until(Shown.CONSENT)
        terminal.press("\r")
        terminal.until(Shown.AGE)
        terminal.press("\x1b[B", "\x1b[B", "\r")
        terminal.until(Shown.PACEMAKER)
        terminal.press("\r")
        terminal.until(Shown.HOLD)
        terminal.press("\r")
        shown_s = terminal.until(*ENDINGS, after=Shown.WORKING)
        result_ms = 1e3 * (shown_s - terminal.traced_s) + FRAME_MS
        # Before the first choice stands the last.
        terminal.press("\x1b[D", "\r", settled_s=SEEN_S)
        terminal.until(Shown.READY)
        return Visit(start_s, terminal.seconds(), result_ms)


def in_browser(group: Group, kiosk: kiosk_browser.Kiosk) -> Visit:
    """Go through a visit by clicks.

    Raises
    ------
    ProofError, UsageError, playwright.sync_api.Error
        If a screen does not come, or the kiosk or the browser ends.
    """
    begun = time.monotonic()
    with _server(group, kiosk) as address, _page(group, kiosk.folder) as page:
        page.add_init_script(f"({_HEARD})()")
        page.goto(address)
        kiosk_browser.to_waiting(page)
        start_s = time.monotonic() - begun
        kiosk_browser.to_recording(page, STUDY_ID)
        result_ms = page.wait_for_function(_SHOWN, timeout=1e3 * PATIENCE_S).json_value()
        page.get_by_test_id("next").click()
        page.get_by_test_id("screen-waiting").wait_for()
        return Visit(start_s, time.monotonic() - begun, float(result_ms) + SLACK_MS)


class _Terminal:
    """The end of a terminal at which a person sits."""

    def __init__(self, file: int, process: "subprocess.Popen[bytes]", begun_s: float) -> None:
        self._file, self._process, self._begun_s = file, process, begun_s
        self._text = ""
        self.traced_s = begun_s

    def seconds(self) -> float:
        """Return the time since the start."""
        return time.monotonic() - self._begun_s

    def press(self, *keys: str, settled_s: float = SETTLED_S) -> None:
        """Press keys as a hand does: what comes at a barcode reader's pace is taken for one."""
        deadline = time.monotonic() + settled_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._read(left_s)
        self._text = ""
        for key in keys:
            os.write(self._file, key.encode())
            time.sleep(kiosk_browser.KEY_MS / 1e3)

    def until(self, *texts: str, after: str = "") -> float:
        """Wait until one of these texts stands on the screen; return when. Traces end where ``after`` stands."""
        deadline = time.monotonic() + PATIENCE_S
        while (left_s := deadline - time.monotonic()) > 0:
            told = self._read(left_s)
            now_s = time.monotonic()
            if TRACES.search(told) and not (after and after in self._text):
                self.traced_s = now_s
            if any(text in self._text for text in texts):
                return now_s
        raise ProofError(f"The terminal never showed {texts[0]!r}; its last words: {self._text[-300:]!r}")

    def _read(self, patience_s: float) -> str:
        ready, _, _ = select.select([self._file], [], [], patience_s)
        if not ready:
            return ""
        try:
            told = os.read(self._file, 1 << 16).decode(errors="replace")
        except OSError:
            told = ""
        if not told:
            raise ProofError(f"The terminal ended with {self._process.wait(10)}: {self._text[-300:]!r}")
        told = _plain(told)
        self._text = (self._text + told)[-20_000:]
        return told


@contextmanager
def _terminal(group: Group, kiosk: kiosk_browser.Kiosk) -> Iterator[_Terminal]:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**kiosk.environment, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    begun_s = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own command
        group.command([*kiosk_browser.PROGRAM, "screen", "--ui", "terminal"]),
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield _Terminal(ours, process, begun_s)
    finally:
        _end(process)
        os.close(ours)


@contextmanager
def _server(group: Group, kiosk: kiosk_browser.Kiosk) -> Iterator[str]:
    """Start the kiosk's server, and give its page's address."""
    command = [*kiosk_browser.PROGRAM, "screen", "--ui", "web", "--no-browser"]
    with (kiosk.folder / "kiosk.log").open("a") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            group.command(command), env=kiosk.environment, stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
        address = process.stdout.readline().decode().strip() if ready else ""
        if not address:
            raise ProofError("The kiosk's server did not start.")
        yield address
    finally:
        _end(process)


@contextmanager
def _page(group: Group, folder: Path) -> "Iterator[Page]":
    """Start Chromium within a group, its driver outside, and give its page."""
    from playwright.sync_api import sync_playwright

    path = kiosk_browser.chromium()
    assert path is not None
    within = folder / "chromium"
    within.write_text(f'#!/bin/sh\nexec {shlex.join(group.command([path]))} "$@"\n')
    within.chmod(0o700)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(within), args=list(kiosk_browser.ARGUMENTS), timeout=1e3 * PATIENCE_S
        )
        try:
            width, height = kiosk_browser.SIZES[0]
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            page.set_default_timeout(1e3 * PATIENCE_S)
            yield page
        finally:
            browser.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


_ESCAPES: Final = re.compile(
    r"\x1b(?:\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[()*+].|[@-Z\\-_])"
)


def _plain(text: str) -> str:
    """Return what a terminal's output shows, without what steers it."""
    return _ESCAPES.sub("", text)
