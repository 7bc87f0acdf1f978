"""What leaves the kiosk: printed pages, and results that go to a server when there is a network."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from lsemvae_edge.errors import LsemvaeError, UsageError
from lsemvae_edge.kiosk.flow import Flow
from lsemvae_edge.kiosk.settings import Settings
from lsemvae_edge.language import Language, mark
from lsemvae_edge.language import get as language_of

if TYPE_CHECKING:
    from lsemvae_edge.kiosk.printing import Job, Printer
    from lsemvae_edge.store import Store

POLL_S = 1.0
WAITED_S = 180.0
TITLE = "lsemvae-edge"
"""Of print jobs: whoever looks at the queue learns nothing about a person."""

PRINTING = mark("Printing.")
PRINTED = mark("Printed. Check the 50 mm line with a ruler.")
READY = mark("The printer is ready.")
NO_PRINTER = mark("No printer is set up.")


class Paperwork:
    """The printer's side of one kiosk.

    Parameters
    ----------
    settings : Settings
    changed : callable
        Called when there is something new to show.
    """

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self._settings, self._changed = settings, changed
        self._printer: Printer | None = None
        self._told = ("ready", READY)
        self._copies: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._fonts: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._settings.printer is not None:
            from lsemvae_edge.kiosk.printing import Printer

            self._printer = Printer(self._settings.printer)
            # Devanagari's fonts take seconds; nobody should wait for them beside the printer.
            self._fonts = asyncio.create_task(asyncio.to_thread(_prepare, self._settings.language))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._task, self._fonts):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, LsemvaeError):
                    await task

    def state(self, language: Language) -> dict[str, Any] | None:
        """Return how printing stands; None where there is no printer."""
        if self._printer is None:
            return None
        name, text = self._told
        return {"state": name, "text": language.sentence(text), "copies": sum(self._copies.values())}

    def forget(self) -> None:
        """Leave the last person's page."""
        if self._task is None or self._task.done():
            self._told = ("ready", READY)
        self._copies.clear()

    async def print(self, flow: Flow, store: "Store", code: str) -> None:
        """Print the result that is shown, as it is stored; a second copy is marked as such.

        Raises
        ------
        LsemvaeError
            If there is no printer, or it does not take the page.
        """
        assert flow.shown is not None
        if self._printer is None:
            raise UsageError(NO_PRINTER, mark("Write the result down, or set a printer up."))
        if self._task is not None and not self._task.done():
            raise UsageError(mark("The page is being printed."), mark("Wait until it is done."))
        seq, number = flow.shown.seq, self._copies.get(flow.shown.seq, 0)
        try:
            page = await asyncio.to_thread(self._page, store, seq, code, number > 0)
            job = await asyncio.to_thread(self._printer.submit, page, TITLE)
        except LsemvaeError as error:
            self._told = ("failed", error.message)
            raise
        self._copies[seq] = number + 1
        self._told = ("printing", PRINTING)
        kind = "reprint" if number else "print"
        await asyncio.to_thread(partial(store.note, kind, {"of": seq}, operator=flow.operator or ""))
        self._task = asyncio.create_task(self._watch(job))

    def _page(self, store: "Store", seq: int, code: str, reprint: bool) -> bytes:
        from lsemvae_edge.report.facts import VisitFacts
        from lsemvae_edge.report.pdf import render

        stored = store.read(seq)
        kept, visit = stored.attempt, stored.attempt.visit
        assert kept.result is not None
        assert kept.record is not None
        facts = VisitFacts(
            study_id=visit.study_id,
            attempt=kept.number,
            of=self._settings.attempts,
            operator=visit.operator,
            site=self._settings.site,
            head=str(store.head()),
            reprint=reprint,
        )
        return render(kept.result, kept.record, language=language_of(code), visit=facts)

    async def _watch(self, job: "Job") -> None:
        """Tell how the job goes; whatever became of it, nothing of it stays in the spool."""
        assert self._printer is not None
        try:
            for _ in range(int(WAITED_S / POLL_S)):
                state = await asyncio.to_thread(self._printer.poll, job)
                if state.is_over:
                    self._told = ("done", PRINTED) if state.is_done else ("failed", state.reason)
                    break
                if state.reason:
                    self._told = ("printing", state.reason)
                self._changed()
                await asyncio.sleep(POLL_S)
            else:
                self._told = ("failed", mark("The page did not come out in time; it was taken back."))
        except LsemvaeError as error:
            self._told = ("failed", error.message)
        finally:
            with suppress(LsemvaeError):
                await asyncio.to_thread(self._printer.purge, job)
            self._changed()


def _prepare(code: str) -> None:
    from lsemvae_edge.report import pdf

    pdf.prepare(language_of(code))
