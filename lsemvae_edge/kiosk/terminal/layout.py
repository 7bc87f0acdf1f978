"""Fits a scene into the rows and columns that there are; needs rich alone, so it is tested without a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unicodedata import category

from rich.cells import cell_len
from rich.text import Text

from lsemvae_edge.kiosk.terminal import words
from lsemvae_edge.kiosk.terminal.letters import large
from lsemvae_edge.kiosk.terminal.scenes import SHAPES, Choice, Line, Scene
from lsemvae_edge.kiosk.terminal.strip import DOTS, Cells, Sweep
from lsemvae_edge.language import Language

LEFT, RIGHT = ("I", "II", "III"), ("aVR", "aVL", "aVF")
GAP = 2
"""Columns between the two halves of the strips."""
MENU_ROWS = 9
STYLES = {"plain": "", "strong": "bold", "quiet": "grey70", "large": "bold", "art": "bold"}
CONTACT_SHAPES = {"ok": ("■", "bold"), "off": ("□", "bold black on yellow"), "unknown": ("?", "grey70")}

Say = Callable[..., str]


def cells_of(text: str) -> int:
    """Return the width of text in a terminal.

    A vowel sign of Devanagari that stands beside its letter takes a cell in terminals, and none in rich's tables: what
    textual believes to be short enough would be cut. Counted here it fits; the last column stays free for its padding.
    """
    if text.isascii():
        return len(text)
    return sum(1 if category(letter) == "Mc" else cell_len(letter) for letter in text)


def centred(text: str, width: int) -> str:
    """Return text in the middle of a line."""
    return " " * max((width - cells_of(text)) // 2, 0) + text


def wrapped(text: str, width: int) -> list[str]:
    """Break text at spaces into lines of at most ``width`` cells; a word that is longer is cut into pieces."""
    lines, line = [], ""
    for word in text.split():
        rest = word
        while cells_of(rest) > width:
            if line:
                lines.append(line)
                line = ""
            size = next(n for n in range(len(rest), 0, -1) if cells_of(rest[:n]) <= width or n == 1)
            lines.append(rest[:size])
            rest = rest[size:]
        longer = f"{line} {rest}" if line else rest
        if line and cells_of(longer) > width:
            lines.append(line)
            line = rest
        else:
            line = longer
    return [*lines, line] if line else lines


def body(lines: Sequence[Line], width: int, rows: int) -> tuple[Text, bool]:
    """Lay paragraphs out: a tall heading, air between them and large letters as far as there is room.

    Parameters
    ----------
    lines : sequence of Line
    width, rows : int
        That there are below a heading of its least height.

    Returns
    -------
    text : Text
    is_tall : bool
        The heading may take two rows more.
    """
    # Air, large paragraphs, rows for the heading.
    attempts = ((1, 9, 2), (1, 9, 0), (0, 9, 2), (0, 9, 0), (0, 1, 0), (0, 0, 0))
    made: list[tuple[str, str]] = []
    taller = 0
    for air, n_large, taller in attempts:
        made = _paragraphs(lines, width, air, n_large)
        if len(made) <= rows - taller:
            break
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append_text(Text("\n").join(Text(line, style=style) for line, style in made))
    return text, taller > 0


def heading(scene: Scene, width: int) -> Text:
    """Return the heading: its shape and its words."""
    shape = SHAPES[scene.tone]
    lines = wrapped(f"{shape} {scene.heading}".strip(), width)
    return Text("\n".join(centred(line, width) for line in lines), style="bold", no_wrap=True)


def menu(choices: Sequence[Choice], selected: int, width: int, *, across: bool) -> Text:
    """Return the choices, the selected one marked by a shape and reversed."""
    labels = [f" {'►' if at == selected else ' '} {choice.label} " for at, choice in enumerate(choices)]
    styles = ["bold reverse" if at == selected else "" for at in range(len(labels))]
    if across:
        text, used = Text(no_wrap=True), 0
        for label, style in zip(labels, styles, strict=True):
            if used and used + 1 + cells_of(label) > width:
                text.append("\n")
                used = 0
            text.append(" " if used else "")
            text.append(label, style)
            used += cells_of(label) + 1
        return text
    first = max(0, min(selected - MENU_ROWS // 2, len(labels) - MENU_ROWS))
    shown = list(zip(labels, styles, strict=True))[first : first + MENU_ROWS]
    broad = min(max(cells_of(label) for label in labels) + 1, width)
    lines = [Text(label + " " * (broad - cells_of(label)), style=style, no_wrap=True) for label, style in shown]
    if first:
        lines[0].append(" ↑")
    if first + MENU_ROWS < len(labels):
        lines[-1].append(" ↓")
    return Text("\n" if len(labels) > MENU_ROWS // 2 + 1 else "\n\n").join(lines)


def head(state: Mapping[str, Any], say: Language, width: int) -> Text:
    """Return the line that is always there: where, who is recorded, which attempt, when, who works."""
    visit = state["visit"]
    left = state["site"] or "lsemvae-edge"
    middle = ""
    if visit:
        middle = f"{visit['study_id']} · {say(words.ATTEMPT, n=visit['attempt'], of=visit['of'])}"
    right = " · ".join(text for text in (state["operator"], state["time"] or say(words.TIME_UNKNOWN)) if text)
    room = width - cells_of(right) - cells_of(middle) - 4
    if cells_of(left) > room:
        left = left[: max(room - 1, 0)] + "…" if room > 1 else ""
    space = max(width - cells_of(left) - cells_of(middle) - cells_of(right), 2)
    before = space // 2
    text = Text(no_wrap=True, overflow="crop")
    text.append(left + " " * before)
    text.append(middle, "bold")
    text.append(" " * (space - before) + right)
    return text


def foot(scene: Scene, say: Language, width: int) -> Text:
    """Return the keys; those that do not fit are left out from the right."""
    keys = [f"F2 {say(words.LANGUAGE)}"]
    if scene.name not in ("sign_in", "sign_in-pin", "stopped"):
        keys.append(f"F3 {say(words.OPERATOR)}")
    if scene.choices or scene.entry:
        keys.append(say(words.KEY_ENTER))
    if scene.escape:
        keys.append(say(words.KEY_BACK))
    if len(scene.choices) > 1:
        keys.append(f"{'←→' if scene.is_across else '↑↓'} {say(words.KEY_CHOOSE)}")
    while len(keys) > 1 and cells_of("   ".join(keys)) > width:
        keys.pop()
    return Text("   ".join(keys), no_wrap=True, overflow="crop")


def contacts(recording: Mapping[str, Any], say: Language, width: int, scale_mv: float) -> Text:
    """Return a line on the electrodes, two in languages of long words, and one on how far the recording is."""
    text, used = Text(no_wrap=True, overflow="crop"), 0
    for electrode, name in (("RA", words.RIGHT_HAND), ("LA", words.LEFT_HAND), ("LL", words.LEFT_LEG)):
        state = recording["contact"][electrode]
        shape, style = CONTACT_SHAPES[state]
        part = f"{shape} {say(name)}: {say(words.CONTACT[state])}"
        if used:
            is_full = used + 2 + cells_of(part) > width
            text.append("\n" if is_full else "  ")
            used = 0 if is_full else used + 2
        text.append(part, style)
        used += cells_of(part)
    needed, clean = max(recording["needed_s"], 0.1), recording["clean_s"]
    filled = min(int(20 * clean / needed), 20)
    text.append("\n" + "█" * filled + "░" * (20 - filled) + " ")
    text.append(say(words.CLEAN, clean=f"{min(clean, needed):.0f}", needed=f"{needed:.0f}"), "bold")
    if recording["battery"] is not None:
        text.append(" · " + say(words.BATTERY, percent=recording["battery"]))
    if recording["amplitude"] == "calibrated":
        text.append(f" · ±{scale_mv:g} mV")
    return text


def strips(
    sweep: Sweep, states: Mapping[str, str], size: tuple[int, int], cells: Cells, *, is_stale: bool, no_signal: str
) -> Text:
    """Return the traces of all leads, three above each other in two halves; grey and crossed by words when stale.

    Parameters
    ----------
    sweep : Sweep
    states : mapping of str to str
        Of each lead: ``ok``, ``off``, ``noisy`` or ``unknown``.
    size : tuple of int
        Columns and rows that there are.
    cells : str
        Which characters.
    is_stale : bool
        Nothing new came for a second.
    no_signal : str
        The words for it.
    """
    width, height = size
    columns = half_width(width)
    rows = max(height // 3, 1)
    text = Text(no_wrap=True, overflow="crop")
    names = sweep.leads or (*LEFT, *RIGHT)
    halves = [[name for name in half if name in names] for half in (LEFT, RIGHT)]
    others = [name for name in names if name not in (*LEFT, *RIGHT)]
    halves[0] += others
    for row in range(3):
        pair = [half[row] if row < len(half) else "" for half in halves]
        drawn = [_strip(sweep, name, rows, columns, cells) for name in pair]
        for line in range(rows):
            for at, name in enumerate(pair):
                _append(text, drawn[at][line], name if line == 0 else "", states.get(name, "unknown"), is_stale)
                text.append(" " * GAP if at == 0 else "\n")
    text.rstrip()
    return _crossed(text, no_signal, width, rows) if is_stale else text


def half_width(width: int) -> int:
    """Return the columns of one strip."""
    return max((width - GAP) // 2, 1)


def dots_across(width: int, cells: Cells) -> int:
    """Return how many columns of dots one strip has."""
    return half_width(width) * DOTS[cells][0]


def _paragraphs(lines: Sequence[Line], width: int, air: int, n_large: int) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    was_art = False
    for line in lines:
        if not line.text:
            continue
        if line.style == "large" and n_large > 0:
            n_large -= 1
            parts = large(line.text, width)
        elif line.style == "art":
            parts = [line.text] if cells_of(line.text) <= width else wrapped(line.text, width)
        else:
            parts = wrapped(line.text, width)
        # A drawing is several paragraphs that belong together.
        if made and air and not (line.style == "art" and was_art):
            made.append(("", ""))
        was_art = line.style == "art"
        made += [(part, STYLES[line.style]) for part in parts]
    return made


def _strip(sweep: Sweep, name: str, rows: int, columns: int, cells: Cells) -> list[str]:
    if name not in sweep.leads:
        return [" " * columns] * rows
    return [line.ljust(columns)[:columns] for line in sweep.draw(sweep.leads.index(name), rows, cells)]


def _append(text: Text, line: str, name: str, state: str, is_stale: bool) -> None:
    """Add one line of a strip; its name stands over its beginning, with a mark when it cannot be trusted."""
    style = "grey42" if is_stale or state in ("off", "unknown") else "bold bright_white"
    if name:
        label = {"off": f"□ {name} ", "noisy": f"~ {name} "}.get(state, f"{name} ")
        text.append(label, "bold black on yellow" if state == "off" and not is_stale else "bold")
        line = line[len(label) :]
    text.append(line, style)


def _crossed(text: Text, words_: str, width: int, rows: int) -> Text:
    """Write words across the middle of the strips."""
    lines = text.split("\n", allow_blank=True)
    at = min(rows + rows // 2, len(lines) - 1)
    label = f"  ! {words_.upper()}  "
    before = max((width - cells_of(label)) // 2, 0)
    line = Text(" " * before, no_wrap=True)
    line.append(label, "bold black on yellow")
    crossed = [*lines[:at], line, *lines[at + 1 :]]
    return Text("\n", no_wrap=True).join(crossed)
