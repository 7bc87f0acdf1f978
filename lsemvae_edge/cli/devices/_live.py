"""A live recording on the command line: who owns the adapter, and what is shown meanwhile."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lsemvae_edge.cli._common import say
from lsemvae_edge.errors import LsemvaeError

if TYPE_CHECKING:
    from lsemvae_edge.device.capture import Judged
    from lsemvae_edge.device.live import LiveRecording
    from lsemvae_edge.device.radio import Radio
    from lsemvae_edge.record import Record
    from lsemvae_edge.spec import ModelSpec

T = TypeVar("T")


def run(work: "Coroutine[Any, Any, T]") -> T:
    """Run to the end; an interrupt cancels it first, so that the recorder is stopped and the link closed."""
    return asyncio.run(work)


@asynccontextmanager
async def radio(options: argparse.Namespace) -> "AsyncIterator[Radio]":
    """Own the adapter while the command runs."""
    from lsemvae_edge.device import enrolment
    from lsemvae_edge.device.backend import open_backend
    from lsemvae_edge.device.radio import Radio

    async with Radio(await open_backend(options.adapter, bonds=enrolment.bonds_path())) as owner:
        yield owner


@asynccontextmanager
async def recording(
    owner: "Radio", options: argparse.Namespace, journal: Path, duration_s: float | None = None
) -> "AsyncIterator[LiveRecording]":
    """Record from an enrolled recorder, its bytes into a journal; after an error the journal is named."""
    from lsemvae_edge.device import enrolment
    from lsemvae_edge.device.journal import JournalWriter, holds_data
    from lsemvae_edge.device.live import LiveRecording

    recorder = await owner.choose(options.device, enrolment.read().recorders)
    try:
        async with LiveRecording(
            owner, recorder, journal=JournalWriter(journal), fs_hz=options.fs, duration_s=duration_s
        ) as live:
            yield live
    except LsemvaeError:
        if holds_data(journal):
            say(f"What was received lies in {journal}; `lsemvae-edge devices replay` reads it.")
        else:
            journal.unlink(missing_ok=True)
        raise


async def capture(options: argparse.Namespace, spec: "ModelSpec") -> "Record":
    """Record from an enrolled recorder until quality finds a good window.

    The journal is removed when the recording is whole; after an error it stays, and is named.
    """
    from lsemvae_edge.device import capture as captures

    journal = journal_path()
    async with radio(options) as owner, recording(owner, options, journal) as live:
        display = Display(live)
        record = await captures.capture(live, spec, options.limit, display)
        display.close()
    journal.unlink(missing_ok=True)
    return record


def journal_path() -> Path:
    """Return where the bytes of a recording go that nobody asked to keep."""
    state = os.environ.get("XDG_STATE_HOME")
    folder = (Path(state) if state else Path.home() / ".local" / "state") / "lsemvae-edge"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.lsej"


class Display:
    """Tells a person how a recording goes: one line that changes on a terminal, else a line for every change.

    Parameters
    ----------
    live : LiveRecording
        Told whether it is still the same person, when it asks.
    """

    def __init__(self, live: "LiveRecording") -> None:
        self._recording = live
        self._on_terminal = sys.stderr.isatty()
        self._last = ""
        self._asking: asyncio.Task[None] | None = None

    def __call__(self, judged: "Judged") -> None:
        if judged.progress.state == "same_person" and self._asking is None:
            self._asking = asyncio.ensure_future(_ask_same_person(self._recording))
        elif judged.progress.state != "same_person":
            self._asking = None
        line = _line(judged)
        if self._on_terminal:
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        elif (told := _change(judged)) != self._last:
            self._last = told
            say(line)

    def close(self) -> None:
        """Leave the line."""
        if self._on_terminal:
            print(file=sys.stderr, flush=True)


def _line(judged: "Judged") -> str:
    progress = judged.progress
    contact = " ".join(
        f"{electrode} {'OFF' if electrode in progress.off else 'ok'}" for electrode in ("RA", "LA", "LL")
    )
    parts = [f"{progress.seconds:4.0f} s", f"clean {judged.clean_s:.0f} s", contact, f"lost {100 * judged.lost:.1f} %"]
    if progress.battery is not None:
        parts.append(f"battery {progress.battery} %")
    return " · ".join([*parts, judged.advice or progress.message])


def _change(judged: "Judged") -> str:
    progress = judged.progress
    return f"{progress.state} {sorted(progress.off or ())} {progress.message} {judged.advice} {progress.seconds // 5}"


async def _ask_same_person(live: "LiveRecording") -> None:
    """Ask whether the recording goes on with the same person; where nobody can be asked, it does not."""
    if not sys.stdin.isatty():
        live.confirm(False)
        return
    print(file=sys.stderr)
    answer = await asyncio.to_thread(input, "Contact was lost for long. Is it still the same person? [y/N] ")
    live.confirm(answer.strip().lower() in ("y", "yes"))
