"""The parts of the terminal's one screen: made once, and drawn on only while all of them are there."""

from collections.abc import Iterator
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input, Static

CSS = """
Screen { background: black; color: white; layout: vertical; overflow: hidden; }
#band { background: #b00020; color: white; text-style: bold; height: 1; }
#head { height: 1; padding: 0 1; background: #303030; color: white; }
#heading { height: auto; padding: 0 1; color: white; background: #1c2b45; }
#heading.seen { background: #e69f00; color: black; }
#heading.not_seen { background: #0072b2; color: white; }
#heading.no_answer { background: white; color: black; }
#heading.trouble { background: #f0e442; color: black; }
#heading.live { background: #004d40; color: white; }
#heading.tall { padding: 1 1; }
#main { height: 1fr; padding: 0 1; overflow: hidden; }
#main.airy { padding: 1 3; }
#body, #contact, #menu, #label { height: auto; }
#body { margin-bottom: 1; }
#traces { height: 1fr; }
#label { text-style: bold; }
#entry { width: 40; background: #202020; color: white; border: tall white; }
#message { height: auto; padding: 0 1; background: #f0e442; color: black; }
#foot { height: 1; background: #303030; color: white; padding: 0 1; }
"""


class Parts:
    """Every widget that a scene fills.

    They are held, and never looked up: timers and tasks go on while textual takes a screen down, one widget after
    another and the inner ones first, and a look-up of one that has gone would end the terminal.
    """

    def __init__(self) -> None:
        self.band, self.head, self.heading = (Static(id=name) for name in ("band", "head", "heading"))
        self.main = Vertical(id="main")
        self.body, self.label = Static(id="body"), Static(id="label")
        self.entry = Input(id="entry", max_length=64)
        self.traces, self.contact, self.menu = (Static(id=name) for name in ("traces", "contact", "menu"))
        self.message, self.foot = Static(id="message"), Static(id="foot")

    def __iter__(self) -> Iterator[Widget]:
        return iter(vars(self).values())

    @property
    def are_there(self) -> bool:
        """Whether all of them are on the screen, and it is not being left."""
        return all(part.is_attached for part in self)

    def compose(self) -> ComposeResult:
        """Lay them out."""
        yield from (self.band, self.head, self.heading)
        with self.main:
            yield from (self.body, self.label, self.entry, self.traces, self.contact, self.menu)
        yield from (self.message, self.foot)


def put(part: Static, content: Any) -> None:
    """Fill a part, or hide it where there is nothing to say."""
    part.display = bool(content)
    part.update(content or "")
