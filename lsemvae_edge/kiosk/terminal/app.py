"""The terminal itself: draws scenes, hands choices to the station, and blanks when the station says nothing."""

import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.kiosk import view, watchdog
from lsemvae_edge.kiosk.terminal import layout, parts, scenes, words
from lsemvae_edge.kiosk.terminal.bursts import Bursts
from lsemvae_edge.kiosk.terminal.parts import Parts, put
from lsemvae_edge.kiosk.terminal.scenes import Choice, Scene, State
from lsemvae_edge.kiosk.terminal.strip import Cells, Sweep
from lsemvae_edge.language import Language
from lsemvae_edge.language import get as language_of

if TYPE_CHECKING:
    from lsemvae_edge.kiosk.station import Station

WIDTH, HEIGHT = 80, 24
"""The smallest terminal in which everything fits."""
FRAMES_HZ = 12
SILENT_S = 2.0
"""The station said nothing for so long: what is clinical is blanked."""
STALE_S = 1.0
"""No sample came for so long: the traces are grey."""
SCAN_S = 0.5
"""Enter so soon after a letter was sent by a barcode reader."""
MIN_SCAN = 4
UNDER_WAY = ("recording", "same_person", "working")


class Kiosk(App[None]):
    """The kiosk in a terminal.

    Parameters
    ----------
    station : Station
        Entered already.
    console : bool
        It is the kernel's own console: half blocks instead of Braille, Latin letters alone.
    settle_s : float
        Keys count only so long after a screen appeared, so that one press is not taken twice.
    """

    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    CSS = parts.CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "overlay('language')", priority=True),
        Binding("f3", "overlay('operator')", priority=True),
        Binding("ctrl+q", "leave", priority=True),
        Binding("ctrl+c", "leave", priority=True),
    ]

    def __init__(self, station: "Station", *, console: bool = False, settle_s: float = 0.4) -> None:
        super().__init__()
        self._station, self._console, self._settle_s = station, console, settle_s
        self._parts = Parts()
        self._cells: Cells = "blocks" if console else "braille"
        self._state: State | None = None
        self._language: Language = language_of("en")
        self._scene: Scene | None = None
        self._scene_since_s = 0.0
        self._screen_was: tuple[Any, ...] = ()
        self._overlay: str | None = None
        self._answers: dict[str, Any] = {}
        self._selected = 0
        self._hint: tuple[str, str] | None = None
        self._is_busy = False
        self._typed = ""
        self._typed_s = 0.0
        self._bursts = Bursts()
        self._heard_s = time.monotonic()
        self._sample_s = 0.0
        self._recording: str | None = None
        self._sweep = Sweep(1)

    def compose(self) -> ComposeResult:
        """Lay out the parts that every scene fills."""
        return self._parts.compose()

    def on_mount(self) -> None:
        """Begin to listen and to draw."""
        self._parts.entry.cursor_blink = False
        self.run_worker(self._listen(), exclusive=True, group="listen")
        watchdog.ready()
        if period_s := watchdog.period_s():
            self.set_interval(period_s, self._beat)
        self.set_interval(1 / FRAMES_HZ, self._frame)

    def on_resize(self) -> None:
        """Fit everything anew."""
        self._show()

    async def on_event(self, event: events.Event) -> None:
        """Drop keys that belong to no place that is there, before anything takes them."""
        if isinstance(event, events.Key) and not event.is_forwarded and not self._takes(event):
            return
        await super().on_event(event)

    def _takes(self, event: events.Key) -> bool:
        """Return whether a key counts here; say so of the first one that does not."""
        scene, entry = self._scene, self._parts.entry
        has_place = scene is not None and (scene.entry is None or entry.has_focus)
        place = scene.name if scene is not None and has_place else None
        if event.key == "enter":
            return self._bursts.enter(place, event.time)
        if event.key == "backspace":
            return self._bursts.erase(event.time)
        if not event.is_printable or not event.character:
            return True
        is_secret = scene is not None and scene.entry is not None and scene.entry.is_secret
        verdict = self._bursts.character(event.character, place, event.time, is_secret=is_secret)
        if verdict in ("early", "reader") and scene is not None and (scene.entry or scene.name == "waiting"):
            message, step = words.TOO_EARLY if verdict == "early" else words.NO_SCAN_FOR_PIN
            self._hint = (self._language(message), self._language(step))
            self._clear_entry()
            self._show()
        return verdict == "take"

    def _clear_entry(self) -> None:
        """Empty the entry, also of keys that are still on their way to it."""
        entry = self._parts.entry
        entry.clear()
        entry.call_later(entry.clear)

    async def on_key(self, event: events.Key) -> None:
        """Take arrows, Enter and Esc; letters outside an entry can only come from a barcode reader."""
        scene = self._scene
        if scene is None:
            return
        if event.key == "escape" and scene.escape:
            event.stop()
            self._choose(scene.escape)
        elif scene.entry is not None:
            return
        elif event.key in ("up", "left", "shift+tab", "down", "right", "tab"):
            event.stop()
            step = -1 if event.key in ("up", "left", "shift+tab") else 1
            self._selected = (self._selected + step) % max(len(scene.choices), 1)
            self._show()
        elif event.key == "enter":
            event.stop()
            self._entered(scene)
        elif event.is_printable and event.character:
            now_s = time.monotonic()
            self._typed = event.character if now_s - self._typed_s > SCAN_S else self._typed + event.character
            self._typed_s = now_s

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand what was typed to the station."""
        scene = self._scene
        if scene is None or scene.entry is None or not event.value.strip():
            return
        entry = scene.entry
        event.input.clear()
        self._choose(Choice(entry.label, entry.act, {**entry.values, entry.name: event.value.strip()}))

    def action_overlay(self, name: str) -> None:
        """Open the choice of a language or of the operator over any screen, or close it."""
        if self._state is None or self._scene is None or self._scene.name == "stopped":
            return
        if name == "operator" and (self._state["screen"] in ("sign_in", "locked")):
            name = "switch"
            if self._state["screen"] == "sign_in" or not self._state["needs_pin"]:
                return
        self._overlay = None if self._overlay == name else name
        self._answers = {}
        self._show()

    def action_leave(self) -> None:
        """Leave the terminal, unless somebody is being recorded."""
        if self._state is not None and self._state["screen"] in UNDER_WAY:
            self._hint = (self._language(words.RECORDING_GOES_ON), "")
            self._show()
            return
        self.exit()

    async def _listen(self) -> None:
        """Ask the station again and again; each answer is also its sign of life."""
        import asyncio

        version = -1
        while True:
            try:
                await self._station.wait(version, SILENT_S / 4)
                state = self._station.state()
            except Exception:  # noqa: BLE001
                # Whatever broke, nothing clinical may stay; the frame that finds the silence blanks it.
                await asyncio.sleep(SILENT_S / 4)
                continue
            version = state["version"]
            self._heard_s = time.monotonic()
            self._take(state)

    def _beat(self) -> None:
        """Tell the machine's watchdog that this loop turns and the station answers."""
        if time.monotonic() - self._heard_s <= SILENT_S:
            watchdog.alive()

    def _take(self, state: State) -> None:
        visit = state["visit"]
        place = (state["screen"], state["operator"], visit and (visit["study_id"], visit["attempt"]))
        if place != self._screen_was:
            self._screen_was = place
            self._overlay, self._answers, self._hint = None, {}, None
        self._state, self._language = state, language_of(state["language"])
        self._show()
        if self._console and not self._is_busy and (code := scenes.writable(state)) != state["language"]:
            self.run_worker(self._act("set_language", code=code))

    def _frame(self) -> None:
        """Draw what came of the signal, and blank what is old."""
        if not self._parts.are_there:
            return
        now_s = time.monotonic()
        if now_s - self._heard_s > SILENT_S:
            if self._scene is None or self._scene.name != "stopped":
                self._state = None
                self._show()
            return
        recording = self._state["recording"] if self._state else None
        if self._state is None or recording is None or self._scene is None or not self._scene.is_recording:
            return
        columns = layout.dots_across(self._parts.traces.size.width, self._cells)
        if recording["id"] != self._recording or columns != self._sweep.columns:
            self._sweep, self._recording, self._sample_s = Sweep(columns), recording["id"], 0.0
        try:
            found = self._station.traces(self._sweep.next)
        except Exception:  # noqa: BLE001
            # Whatever broke: without new samples the traces turn grey.
            found = None
        if found is not None and found.signal_mv.size:
            leads, signal_mv = view.six_leads(found)
            if self._sweep.add(self._recording, found, leads, signal_mv):
                self._sample_s = now_s
        self._draw(recording, now_s)

    def _draw(self, recording: Mapping[str, Any], now_s: float) -> None:
        traces = self._parts.traces
        size = (traces.size.width, traces.size.height)
        is_stale = recording["signal"] != "live" or now_s - self._sample_s > STALE_S
        no_signal = self._language(words.NO_SIGNAL)
        traces.update(
            layout.strips(
                self._sweep, recording["lead_state"], size, self._cells, is_stale=is_stale, no_signal=no_signal
            )
        )
        self._parts.contact.update(layout.contacts(recording, self._language, size[0], self._sweep.scale_mv()))

    def _fatal_error(self) -> None:
        """End after a defect; textual's own account would print local variables, among them whose result it was."""
        frames = traceback.extract_tb(sys.exc_info()[2])
        places = [f"  {Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        kind = type(self._exception).__name__
        self._exit_renderables.append(Text("\n".join([f"The terminal ended because of a defect: {kind}", *places])))
        self._close_messages_no_wait()

    def _current(self) -> Scene:
        state, language = self._state, self._language
        if state is None:
            return scenes.stopped(language)
        if self._overlay == "language":
            return scenes.languages(state, language, console=self._console)
        if self._overlay == "operator":
            return scenes.operator(state, language)
        if self._overlay == "switch":
            return scenes.sign_in(state, language, self._answers)
        return scenes.scene(state, language, self._answers)

    def _show(self) -> None:
        """Fill all parts from the scene that holds now."""
        if not self._parts.are_there or (self._state is None and time.monotonic() - self._heard_s <= SILENT_S):
            return
        state, language, scene = self._state, self._language, self._current()
        if self._scene is None or scene.name != self._scene.name:
            self._selected, self._scene_since_s = 0, time.monotonic()
            self._clear_entry()
            self._typed = ""
        self._scene = scene
        self._selected = min(self._selected, max(len(scene.choices) - 1, 0))
        width = max(self.size.width - 2, 1)
        put(self._parts.band, layout.centred(state["band"], self.size.width) if state and state["band"] else None)
        put(self._parts.head, layout.head(state, language, width) if state else None)
        message = self._message(scene)
        told = layout.wrapped(message, width)
        put(self._parts.message, "\n".join(told) if message else None)
        put(self._parts.foot, layout.foot(scene, language, width))
        heading = layout.heading(scene, width)
        is_airy = not scene.is_recording and not scene.name.startswith("result")
        inside = width - 4 if is_airy else width
        choices = layout.menu(scene.choices, self._selected, inside, across=scene.is_across) if scene.choices else None
        used = 2 + len(told) + len(heading.plain.split("\n")) + bool(state and state["band"])
        used += 1 + len(choices.plain.split("\n")) if choices else 0
        used += 4 if scene.entry else 0
        used += 2 if is_airy else 0
        text, is_tall = layout.body(scene.lines, inside, self.size.height - used)
        part = self._parts.heading
        part.set_classes(f"{scene.tone} tall" if is_tall and not scene.is_recording else scene.tone)
        part.update(heading)
        self._parts.main.set_class(is_airy, "airy")
        put(self._parts.body, text if scene.lines else None)
        put(self._parts.menu, choices)
        self._show_parts(scene)

    def _show_parts(self, scene: Scene) -> None:
        """Show the entry or the traces, where the scene has them."""
        put(self._parts.label, scene.entry.label if scene.entry else None)
        entry = self._parts.entry
        entry.display = scene.entry is not None
        if scene.entry is not None:
            entry.password = scene.entry.is_secret
            if not entry.has_focus:
                entry.focus()
        elif entry.has_focus:
            self.set_focus(None)
        for part in (self._parts.traces, self._parts.contact):
            part.display = scene.is_recording
        if scene.is_recording and self._state is not None and self._state["recording"] is not None:
            self._draw(self._state["recording"], time.monotonic())

    def _message(self, scene: Scene) -> str:
        if self.size.width < WIDTH or self.size.height < HEIGHT:
            return self._language(words.TOO_SMALL)
        told = self._state["message"] if self._state else None
        if told and scene.name != "failed":
            return f"! {told['message']} {told['next_step']}"
        return f"! {' '.join(self._hint).strip()}" if self._hint else ""

    def _entered(self, scene: Scene) -> None:
        now_s = time.monotonic()
        typed, self._typed = self._typed, ""
        if typed and now_s - self._typed_s <= SCAN_S:
            if scene.name == "waiting" and len(typed) >= MIN_SCAN:
                self.run_worker(self._scanned(typed))
                return
            self._hint = (self._language(words.SCAN_NOT_HERE), "")
            self._show()
        elif scene.choices and now_s - self._scene_since_s >= self._settles_in_s(scene):
            self._choose(scene.choices[self._selected])

    def _settles_in_s(self, scene: Scene) -> float:
        """Return how long keys do not count: longer for a result, which comes by itself and must be seen."""
        return 4 * self._settle_s if scene.name.startswith("result") else self._settle_s

    def _choose(self, choice: Choice) -> None:
        self._hint = None
        if choice.act == ":close":
            self._overlay, self._answers = None, {}
        elif choice.act == ":switch":
            self._overlay, self._answers = "switch", {}
        elif choice.act == ":answer":
            self._answers = {**self._answers, **choice.values}
        elif choice.act == ":unanswer":
            self._answers = dict(list(self._answers.items())[:-1])
        elif choice.act == ":no_consent":
            self.run_worker(self._without_consent())
        elif not self._is_busy:
            self.run_worker(self._act(choice.act, **choice.values))
            return
        self._show()

    async def _act(self, name: str, **values: Any) -> bool:
        """Have the station do something; what it objects to is shown."""
        self._is_busy = True
        try:
            version = self._state["version"] if self._state else None
            await self._station.act(name, version=version, **values)
        except LsemvaeError as error:
            self._hint = (self._language.sentence(error.message), self._language.sentence(error.next_step))
            return False
        else:
            self._overlay, self._answers, self._hint = None, {}, None
            return True
        finally:
            self._is_busy = False
            self._take(self._station.state())

    async def _scanned(self, text: str) -> None:
        """Begin with a person whose id was scanned on the waiting screen."""
        if not self._is_busy and await self._act("start"):
            await self._act("identify", text=text)

    async def _without_consent(self) -> None:
        """Leave a person who does not agree, and say that nothing was recorded."""
        if not self._is_busy and await self._act("cancel"):
            self._hint = (self._language(words.NOT_AGREED), "")
            self._show()
