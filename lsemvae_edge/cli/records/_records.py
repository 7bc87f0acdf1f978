"""What the commands on records share: which store, which records, who asks, and how a line looks."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import add_json
from lsemvae_edge.errors import StoreError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Store

CLOCK_NOT_SET = "clock not set"
_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_OUTCOMES = {"present": "pattern seen", "not_present": "pattern not seen", "inconclusive": "no answer"}


def add_store(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--store`` and ``--json``."""
    parser.add_argument(
        "--store", choices=("clinic", "demo"), default="clinic", help="which records (default %(default)s)"
    )
    add_json(parser)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Give a command the ways to choose records."""
    parser.add_argument("seq", nargs="*", type=int, metavar="NUMBER", help="records, as `records list` numbers them")
    parser.add_argument("--study-id", metavar="ID", help="all of this person")
    parser.add_argument("--visit", metavar="ID", help="all attempts of this visit")


@contextmanager
def opened(options: argparse.Namespace) -> "Iterator[Store]":
    """Open the store that was named, and close it."""
    from lsemvae_edge.store import places

    with places.open_store(options.store) as store:
        yield store


def who() -> str:
    """Return who runs the command, as the store's log names them: nobody signs in here, the machine let them in."""
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    return f"cli:{name}/{behind}" if behind and behind != name else f"cli:{name}"


def refuse_strangers(folder: Path) -> None:
    """Keep root from writing what the kiosk's user could then not read.

    Raises
    ------
    UsageError
        If root runs this, and a folder, or the one above it, belongs to somebody else.
    """
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    if os.geteuid() == 0 and existing.stat().st_uid != 0:
        raise UsageError(
            f"{existing} belongs to another user than root, who runs this.",
            "Run the command as the user that the kiosk runs as: sudo -H -u USER lsemvae-edge …",
        )


def chosen(store: "Store", options: argparse.Namespace, *, wiped: bool = False) -> "list[Entry]":
    """Return the records that the options choose, oldest first.

    Parameters
    ----------
    store : Store
    options : Namespace
        See `add_choice`.
    wiped : bool
        Also those of which a tombstone is left, if they are named by number.

    Raises
    ------
    UsageError
        If nothing was chosen, in two ways, or there is no such record.
    """
    ways = [bool(options.seq), options.study_id is not None, options.visit is not None]
    if sum(ways) != 1:
        raise UsageError(
            "Choose records by their numbers, by --study-id or by --visit, in one of these ways.",
            "Run `lsemvae-edge records list`.",
        )
    study_id = None
    if options.study_id is not None:
        from lsemvae_edge.study_id import normalise

        study_id = normalise(options.study_id)
    found, damage = gathered(
        store.attempts(study_id=study_id, visit=options.visit, newest_first=False, wiped=wiped or bool(options.seq))
    )
    if options.seq:
        by_number = {entry.seq: entry for entry in found}
        absent = [str(number) for number in options.seq if number not in by_number]
        if absent and damage:
            raise damage
        if absent:
            raise UsageError(f"There is no record {', '.join(absent)}.", "Run `lsemvae-edge records list`.")
        found = [by_number[number] for number in sorted(set(options.seq))]
        gone = [str(entry.seq) for entry in found if entry.wiped]
        if gone and not wiped:
            raise StoreError(f"Record {', '.join(gone)} was wiped.", "Only its tombstone is left.")
    elif not found:
        raise UsageError("There is no record of that study id or visit.", "Run `lsemvae-edge records list`.")
    return found


def gathered(found: "Iterable[Entry]") -> "tuple[list[Entry], StoreError | None]":
    """Return all entries that can be read, and what was wrong with the others."""
    entries = []
    try:
        for entry in found:
            entries.append(entry)
    except StoreError as error:
        return entries, error
    return entries, None


def when(entry: "Entry") -> str:
    """Return an entry's time on this machine's clock, or that there was none."""
    if entry.at is None:
        return CLOCK_NOT_SET
    return f"{datetime.fromisoformat(entry.at).astimezone():%Y-%m-%d %H:%M}"


def ended(entry: "Entry") -> str:
    """Return in words what came of an attempt."""
    if entry.wiped:
        return "wiped"
    if entry.damaged:
        return "damaged"
    if entry.facts["ended"] == "screened":
        outcome = str(entry.facts["result"]["outcome"])
        return _OUTCOMES.get(outcome, outcome)
    return "refused by quality" if entry.facts["ended"] == "refused" else str(entry.facts["ended"])


def since(text: str) -> datetime:
    """Read a day or a time; without a zone it is this machine's.

    Raises
    ------
    UsageError
        If it is neither.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise UsageError(f"{text!r} is no day and no time.", "Write it as 2026-03-14 or 2026-03-14T10:30.") from error


def after(entries: "Iterable[Entry]", text: str | None) -> "list[Entry]":
    """Keep entries since a day; those of a clock that was not set stay, for nobody knows when they were made."""
    if text is None:
        return list(entries)
    first = since(text)
    return [entry for entry in entries if entry.at is None or datetime.fromisoformat(entry.at) >= first]


def plain(value: Any) -> str:
    """Return a value as text that cannot steer a terminal."""
    return _STEERING.sub("?", str(value))


def columns(head: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[int] = ()) -> str:
    """Lay out rows in columns as wide as they need to be.

    Parameters
    ----------
    head : sequence of str
    rows : iterable of sequences
    right : iterable of int
        Columns that are set to the right, such as numbers.
    """
    cells = [list(head), *([plain(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    to_right = set(right)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in to_right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def confirmed(question: str, word: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone.

    Raises
    ------
    UsageError
        If the answer is another than the word; where nobody can be asked, unless ``yes``.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here whether that is meant.", "Add --yes if it is.")
    print(f"{question} Type {word} to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != word:
        raise UsageError("Nothing was done.", f"Run the command again and type {word}, if it is meant.")
