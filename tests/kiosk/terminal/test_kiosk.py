"""The kiosk in a terminal of 80 by 24, driven by keys: the whole flow, what must blank, and what a scan may do."""

import asyncio
import os
import sys

import pytest

pytest.importorskip("textual", reason="the terminal kiosk needs the extra `terminal`")

from textual.widget import Widget
from textual.widgets import Input, Static

from lsemvae_edge.errors import MissingExtraError, UsageError
from lsemvae_edge.kiosk import terminal
from lsemvae_edge.kiosk.terminal import app as kiosk_app
from lsemvae_edge.kiosk.terminal import bursts, words
from lsemvae_edge.kiosk.terminal.app import HEIGHT, WIDTH, Kiosk
from lsemvae_edge.kiosk.terminal.bursts import PAUSE_S

PARTS = ("band", "head", "heading", "body", "label", "traces", "contact", "menu", "message", "foot")
BAND = "DEMONSTRATION: simulated signal, not a person's recording"


class Driven:
    """A kiosk and the keys of an operator."""

    def __init__(self, station, app, pilot) -> None:
        self.station, self.app, self.pilot = station, app, pilot

    def text(self, *names: str) -> str:
        parts = (self.app.query_one(f"#{name}", Static) for name in names or PARTS)
        return "\n".join(str(part.visual) for part in parts if part.display)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
        await self.settle()

    async def type(self, text: str) -> None:
        await self.press(*text, "enter")

    async def pin(self, digits: str) -> None:
        """Type as a hand does: what comes at a barcode reader's pace is no PIN."""
        for key in (*digits, "enter"):
            await self.pilot.press(key)
            await self.pilot.pause(0.1)
        await self.settle()

    async def settle(self) -> None:
        """Until what was asked of the station is done, and the kiosk shows what the station says."""
        await self.pilot.pause(0.12)
        for _ in range(200):
            if not self._is_busy():
                break
            await self.pilot.pause(0.05)
        await self.pilot.pause()

    def _is_busy(self) -> bool:
        # A real station's state changes all the time.
        if not self.app.is_running or getattr(self.station, "dead", True):
            return False
        is_asking = any(worker.group != "listen" and not worker.is_finished for worker in self.app.workers)
        return is_asking or self.app._state is None or self.app._state["version"] != self.station.version

    async def until(self, text: str) -> None:
        await self.until_that(lambda: text in self.text(), text)

    async def until_that(self, holds, what: str) -> None:
        for _ in range(400):
            if holds():
                return
            await self.pilot.pause(0.05)
        raise AssertionError(f"{what!r} never came; there stands:\n{self.text()}")


@pytest.fixture
def drive(fake):
    """Function that runs an operator's way at a kiosk that begins on some screen."""

    def run(way, screen="waiting", *, size=(WIDTH, HEIGHT), console=False, settle_s=0.0, **options):
        station = fake(screen, **options)

        async def whole():
            app = Kiosk(station, console=console, settle_s=settle_s)
            async with app.run_test(size=size) as pilot:
                driven = Driven(station, app, pilot)
                await driven.settle()
                await way(driven)

        asyncio.run(whole())
        return station

    return run


@pytest.fixture
def long_pause_s(monkeypatch):
    """A pause after which typing begins anew that is longer than a busy machine needs for a code."""
    monkeypatch.setattr(bursts, "PAUSE_S", 3.0)
    return bursts.PAUSE_S


def test_the_whole_flow_by_keys_alone(drive):
    async def way(kiosk):
        await kiosk.press("down", "enter")
        assert "BIMAL" in kiosk.text("label")
        await kiosk.pin("8291")
        await kiosk.press("enter")
        await kiosk.type("ktm0042q")
        assert words.CONSENT in kiosk.text()
        await kiosk.press("enter")
        await kiosk.press("down", "down", "enter")
        await kiosk.press("enter")
        await kiosk.press("enter")
        assert words.HOLD in kiosk.text()
        await kiosk.press("enter")
        kiosk.station.samples = 500
        await kiosk.settle()
        await kiosk.press("right", "enter")
        assert "Pattern not seen" in kiosk.text()
        await kiosk.press("right", "enter")
        assert words.READY in kiosk.text()

    station = drive(way, "sign_in")
    assert station.acts == [
        ("sign_in", {"operator": "BIMAL", "pin": "8291"}),
        ("start", {}),
        ("identify", {"text": "ktm0042q"}),
        ("about", {"consent": True, "age_band": "40-64", "pacemaker": "no"}),
        ("choose", {"address": "C0:5E:C9:00:00:01"}),
        ("begin", {}),
        ("stop", {}),
        ("next", {}),
    ]


def test_a_real_station_records_saves_and_shows_a_result_in_the_terminal(station_of, player, played, live_heart):
    source = player(played(live_heart(), pause_s=0.02))

    async def whole():
        station = station_of(source)
        async with station:
            app = Kiosk(station, settle_s=0.0)
            async with app.run_test(size=(WIDTH, HEIGHT)) as pilot:
                kiosk = Driven(station, app, pilot)
                await kiosk.until(words.READY)
                await kiosk.press("enter")
                await kiosk.until(words.TYPE_ID)
                await kiosk.type("ABCD1")
                await kiosk.until(words.CONSENT)
                await kiosk.press("enter", "down", "down", "enter", "enter")
                await kiosk.until(words.HOLD)
                await kiosk.press("enter")
                await kiosk.until("ABCD1 · Attempt 1 of 3")
                for _ in range(200):
                    if station.flow.screen == "result":
                        break
                    await pilot.pause(0.05)
                await kiosk.settle()
                (entry,) = station.store.attempts()
                shown = station.state()["result"]
                assert shown["seq"] == entry.seq
                assert shown["headline"] in kiosk.text("heading")
                assert entry.facts["visit"]["study_id"] == "ABCD1"
                await kiosk.press(*["right"] * (len(app._scene.choices) - 1), "enter")
                await kiosk.until(words.READY)
                assert "ABCD1" not in kiosk.text()

    asyncio.run(whole())


def test_every_screen_fits_without_overflow_under_a_band(drive, screens, code):
    async def way(kiosk):
        kiosk.station.samples = 700
        for name in screens:
            kiosk.station.show(name, band=BAND)
            await kiosk.settle()
            assert kiosk.app._screen_was[0] == kiosk.station.state()["screen"]
            band = kiosk.app.query_one("#band", Static)
            assert band.display
            assert band.styles.background.hex == "#B00020"
            main = kiosk.app.query_one("#main")
            assert main.virtual_size.height <= main.size.height, name
            for part in kiosk.app.query("Static, Input"):
                if part.display:
                    assert part.region.bottom <= HEIGHT, (name, part)
                    assert part.region.right <= WIDTH, (name, part)
                    assert part.size.height > 0, (name, part)
            foot = kiosk.app.query_one("#foot", Static)
            assert foot.region.y == HEIGHT - 1
            for part in ("#menu", "#contact", "#body", "#entry"):
                shown = kiosk.app.query_one(part)
                assert not shown.display or shown.region.bottom <= foot.region.y, (name, part)
            if name == "recording":
                assert kiosk.app.query_one("#traces").size.height >= 12

    drive(way, language=code)


def test_without_a_demonstration_there_is_no_band(drive):
    async def way(kiosk):
        assert not kiosk.app.query_one("#band", Static).display

    drive(way)


def test_live_traces_move_and_turn_grey_with_words_when_nothing_comes(drive, monkeypatch):
    monkeypatch.setattr(kiosk_app, "STALE_S", 2.0)
    said = words.NO_SIGNAL.upper()

    async def way(kiosk):
        def traces():
            return kiosk.text("traces")

        await kiosk.until_that(lambda: said in traces(), "no signal")
        kiosk.station.samples = 600
        await kiosk.until_that(lambda: said not in traces(), "a signal")
        first = traces()
        assert any("\u2800" < letter <= "\u28ff" for letter in first)
        assert all(lead in first for lead in ("I", "II", "III", "aVR", "aVL", "aVF"))
        kiosk.station.samples = 750
        await kiosk.until_that(lambda: traces() != first and said not in traces(), "moving traces")
        await kiosk.until_that(lambda: said in traces(), "no signal")

    drive(way, "recording")


def test_a_lost_link_is_no_signal_also_while_old_samples_come(drive, state_of):
    recording = {**state_of("recording")["recording"], "signal": "reconnecting"}

    async def way(kiosk):
        kiosk.station.samples = 600
        await kiosk.pilot.pause(0.2)
        await kiosk.until_that(lambda: kiosk.app._sweep.leads, "sample")
        await kiosk.settle()
        assert words.NO_SIGNAL.upper() in kiosk.text("traces")

    drive(way, "recording", recording=recording)


def test_of_another_recording_no_trace_stays(drive, state_of):
    recording = state_of("recording")["recording"]

    async def way(kiosk):
        def is_drawn():
            return any("\u2800" < letter <= "\u28ff" for letter in kiosk.text("traces"))

        kiosk.station.samples = 600
        await kiosk.until_that(is_drawn, "traces")
        kiosk.station.samples = 0
        kiosk.station.show("recording", recording={**recording, "id": "recording-2"})
        await kiosk.until_that(lambda: not is_drawn(), "nothing of the other recording")
        assert words.NO_SIGNAL.upper() in kiosk.text("traces")

    drive(way, "recording")


def test_contact_is_told_by_electrode_in_words_and_shapes(drive):
    async def way(kiosk):
        kiosk.station.samples = 600
        await kiosk.settle()
        assert "■ Right hand: contact" in kiosk.text("contact")
        assert "□ Left leg: NO CONTACT" in kiosk.text("contact")

    drive(way, "recording")


@pytest.mark.parametrize("screen_", ["result", "recording"])
def test_a_station_that_says_nothing_blanks_what_is_clinical(drive, monkeypatch, screen_):
    monkeypatch.setattr(kiosk_app, "SILENT_S", 0.4)

    async def way(kiosk):
        kiosk.station.samples = 600
        await kiosk.settle()
        assert "KTM0042Q" in kiosk.text()
        kiosk.station.dead = True
        await kiosk.until(words.STOPPED)
        left = kiosk.text()
        assert "KTM0042Q" not in left
        assert "Pattern" not in left
        assert not any("\u2800" < letter <= "\u28ff" for letter in left)
        kiosk.station.dead = False
        await kiosk.until("KTM0042Q")

    drive(way, screen_)


def test_a_scan_on_the_waiting_screen_begins_with_that_person(drive, monkeypatch):
    monkeypatch.setattr(kiosk_app, "SCAN_S", 10.0)

    async def way(kiosk):
        await kiosk.type("KTM0042Q")
        await kiosk.settle()

    assert drive(way).acts == [("start", {}), ("identify", {"text": "KTM0042Q"})]


@pytest.mark.parametrize("screen_", ["result", "recording", "repeat_or_other", "same_person", "about"])
def test_a_scan_where_none_is_expected_does_nothing(drive, monkeypatch, screen_):
    monkeypatch.setattr(kiosk_app, "SCAN_S", 10.0)

    async def way(kiosk):
        await kiosk.type("KTM0042Q")
        assert words.SCAN_NOT_HERE in kiosk.text("message")

    assert drive(way, screen_).acts == []


def test_a_code_that_begins_before_the_entry_is_there_is_never_taken_in_part(drive, long_pause_s):
    async def way(kiosk):
        kiosk.station.free.clear()
        await kiosk.pilot.press("enter", *"EARLYCODE1" * 2)
        kiosk.station.free.set()
        await kiosk.pilot.press(*"EARLYCODE1" * 2)
        await kiosk.until(words.TYPE_ID)
        await kiosk.pilot.press(*"EARLYCODE1", "enter")
        await kiosk.settle()
        assert words.TOO_EARLY[0] in kiosk.text("message")
        assert kiosk.app.query_one("#entry", Input).value == ""
        await kiosk.pilot.pause(long_pause_s)
        await kiosk.type("KTM0042Q")
        await kiosk.until(words.CONSENT)

    assert drive(way).acts == [("start", {}), ("identify", {"text": "KTM0042Q"})]


def test_the_rest_of_a_code_that_began_on_the_screen_before_begins_with_nobody(drive, monkeypatch, long_pause_s):
    monkeypatch.setattr(kiosk_app, "SCAN_S", 10.0)

    async def way(kiosk):
        await kiosk.pilot.press(*"KTM0")
        kiosk.station.show("waiting")
        await kiosk.until(words.READY)
        await kiosk.pilot.press(*"042Q", "enter")
        await kiosk.settle()
        assert words.TOO_EARLY[0] in kiosk.text("message")

    assert drive(way, "result").acts == []


def test_a_code_scanned_where_a_pin_is_asked_for_is_no_try(drive, long_pause_s):
    async def way(kiosk):
        await kiosk.press("enter")
        await kiosk.type("00KTM042")
        assert words.NO_SCAN_FOR_PIN[0] in kiosk.text("message")
        assert kiosk.app.query_one("#entry", Input).value == ""
        assert kiosk.station.acts == []
        await kiosk.pilot.pause(long_pause_s)
        await kiosk.pin("8291")

    assert drive(way, "sign_in").acts == [("sign_in", {"operator": "ANJU", "pin": "8291"})]


def test_a_supervisor_corrects_a_wrong_id_of_today(drive):
    async def way(kiosk):
        await kiosk.press("f3", "down", "down", "down", "enter")
        assert words.WHICH_VISIT in kiosk.text("heading")
        await kiosk.press("enter")
        assert "KTM0042Q" in kiosk.text("heading")
        await kiosk.type("right1")
        assert "KTM0042Q ► RIGHT1" in kiosk.text("body")
        await kiosk.press("enter")
        assert kiosk.app._scene.name == "corrections-id"
        await kiosk.pilot.pause(PAUSE_S)
        await kiosk.type("right1")
        await kiosk.press("down", "enter")
        assert words.WHICH_VISIT in kiosk.text("heading")

    acts = drive(way, is_supervisor=True).acts
    assert acts == [("corrections", {}), ("correct", {"visit": "0" * 32, "text": "right1"})]


def test_whoever_is_no_supervisor_is_not_offered_corrections(drive):
    async def way(kiosk):
        await kiosk.press("f3")
        assert words.LOCK in kiosk.text("menu")
        assert words.CORRECT not in kiosk.text("menu")

    drive(way)


def test_one_press_is_not_taken_twice(drive):
    async def way(kiosk):
        await kiosk.press("enter")
        assert kiosk.station.acts == []

    drive(way, settle_s=60.0)


def test_a_refusal_is_shown_with_its_next_step(drive):
    async def way(kiosk):
        kiosk.station.refuses = UsageError("It does not fit.", "Type it again.")
        await kiosk.type("wrong")
        assert "It does not fit. Type it again." in kiosk.text("message")
        assert kiosk.app.query_one("#entry", Input).value == ""

    drive(way, "identify")


def test_a_pin_is_not_shown(drive):
    async def way(kiosk):
        await kiosk.press("enter")
        for digit in "8291":
            await kiosk.press(digit)
        entry = kiosk.app.query_one("#entry", Input)
        assert entry.password
        assert entry.value == "8291"
        assert "8291" not in kiosk.app.export_screenshot()
        await kiosk.press("escape")
        assert entry.value == ""

    drive(way, "sign_in")


def test_without_consent_nothing_is_recorded_and_it_is_said(drive):
    async def way(kiosk):
        await kiosk.press("down", "enter")
        await kiosk.settle()
        assert words.NOT_AGREED in kiosk.text("message")

    assert drive(way, "about").acts == [("cancel", {})]


def test_esc_takes_back_one_answer_then_the_screen(drive):
    async def way(kiosk):
        await kiosk.press("enter", "enter")
        assert words.PACEMAKER in kiosk.text()
        await kiosk.press("escape")
        assert words.AGE in kiosk.text()
        await kiosk.press("escape", "escape")

    assert drive(way, "about").acts == [("back", {})]


def test_operators_lock_and_switch_from_any_screen(drive):
    async def way(kiosk):
        kiosk.station.samples = 600
        await kiosk.press("f3", "down", "enter")
        await kiosk.press("down", "enter")
        await kiosk.pin("8291")
        assert kiosk.station.acts == [("sign_in", {"operator": "BIMAL", "pin": "8291"})]
        kiosk.station.show("recording")
        await kiosk.settle()
        await kiosk.press("f3", "enter")
        await kiosk.settle()
        assert kiosk.station.acts[-1] == ("lock", {})
        assert "KTM0042Q" not in kiosk.text()
        await kiosk.pin("4711")
        assert kiosk.station.acts[-1] == ("unlock", {"pin": "4711"})

    drive(way, "recording")


def test_the_language_is_chosen_from_any_screen(drive):
    async def way(kiosk):
        await kiosk.press("f2", "down", "enter")
        await kiosk.settle()
        assert kiosk.station.acts == [("set_language", {"code": "ne"})]
        assert kiosk.station.language == "ne"

    drive(way, "result")


def test_what_comes_closes_a_menu_that_lies_over_it(drive):
    async def way(kiosk):
        await kiosk.press("f2")
        assert words.LANGUAGE in kiosk.text("heading")
        kiosk.station.show("same_person")
        await kiosk.until(words.SAME_PERSON)

    drive(way, "recording")


def test_nobody_leaves_the_terminal_during_a_recording(drive):
    async def way(kiosk):
        await kiosk.press("ctrl+q")
        assert kiosk.app.is_running
        assert words.RECORDING_GOES_ON in kiosk.text("message")
        kiosk.station.show("waiting")
        await kiosk.settle()
        await kiosk.press("ctrl+q")
        assert kiosk.app.return_code == 0

    drive(way, "recording")


def test_the_kernels_console_is_written_in_letters_and_blocks_that_it_has(drive):
    async def way(kiosk):
        await kiosk.until("NO CONTACT")
        kiosk.station.samples = 600
        await kiosk.until_that(lambda: "█" in kiosk.text("traces"), "traces")
        assert kiosk.station.acts == [("set_language", {"code": "en"})]
        shown = kiosk.text()
        assert not any("\u2800" < letter <= "\u28ff" or "\u0900" <= letter <= "\u097f" for letter in shown)

    drive(way, "recording", console=True, language="ne")


def test_a_small_window_is_told_to_grow(drive):
    async def way(kiosk):
        assert words.TOO_SMALL in " ".join(kiosk.text("message").split())

    drive(way, size=(60, 20))


def test_a_defect_ends_the_terminal_without_a_word_about_a_person(drive, monkeypatch):
    printed = []

    async def way(kiosk):
        def fails(_):
            secret = "KTM0042Q"  # noqa: F841
            raise ValueError("KTM0042Q")

        monkeypatch.setattr(kiosk.app, "_take", fails)
        real = kiosk.app._close_messages_no_wait
        monkeypatch.setattr(
            kiosk.app, "_close_messages_no_wait", lambda: (printed.extend(kiosk.app._exit_renderables), real())
        )
        kiosk.station.show("result")
        await kiosk.pilot.pause(0.5)

    with pytest.raises(Exception, match="KTM0042Q"):
        drive(way, "result")
    assert "because of a defect" in str(printed[0])
    assert "KTM0042Q" not in "".join(map(str, printed))


@pytest.mark.parametrize("part", ["traces", "contact", "entry", "foot", "main"])
@pytest.mark.parametrize("screen_", ["recording", "identify"])
def test_frames_keys_and_states_that_come_while_the_screen_is_taken_down_end_nothing(drive, part, screen_):
    async def way(kiosk):
        kiosk.station.samples = 600
        await kiosk.app.query_one(f"#{part}").remove()
        kiosk.app._frame()
        await kiosk.pilot.press("A", "f2", "right", "enter", "escape")
        await kiosk.pilot.resize_terminal(WIDTH + 20, HEIGHT + 6)
        kiosk.station.show("result")
        await kiosk.settle()
        assert kiosk.app._screen_was[0] == "result"
        kiosk.station.show("locked")
        await kiosk.settle()
        kiosk.app._heard_s -= 60
        kiosk.app._frame()

    drive(way, screen_)


@pytest.mark.parametrize("screen_", ["result", "recording", "about"])
def test_a_terminal_is_taken_down_with_frames_and_states_between_any_two_parts(drive, monkeypatch, screen_):
    detach, gone = Widget._detach, []

    async def way(kiosk):
        kiosk.station.samples = 600
        await kiosk.settle()

        def detached(widget):
            detach(widget)
            gone.append(widget.id)
            kiosk.app._frame()
            kiosk.app._take(kiosk.station.state())

        monkeypatch.setattr(Widget, "_detach", detached)

    drive(way, screen_)
    assert {*PARTS, "entry", "main"} <= set(gone)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "textual", None)
    with pytest.raises(MissingExtraError, match="The terminal kiosk") as caught:
        terminal.require()
    assert caught.value.extra == "terminal"


def test_the_watchdog_is_told_only_while_the_station_answers(drive, monkeypatch, tmp_path):
    import socket

    monkeypatch.setattr(kiosk_app, "SILENT_S", 0.4)
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    told = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def heard():
            new = []
            while True:
                try:
                    new.append(systemd.recv(100).decode())
                except BlockingIOError:
                    return new

        async def way(kiosk):
            told.append([])
            await kiosk.until_that(lambda: "WATCHDOG=1" in (told[0].extend(heard()) or told[0]), "a sign of life")
            kiosk.station.dead = True
            await kiosk.until(words.STOPPED)
            heard()
            await kiosk.pilot.pause(0.4)
            told.append(heard())

        drive(way)
    assert told[0][0] == "READY=1"
    assert "WATCHDOG=1" in told[0]
    assert told[1] == []
