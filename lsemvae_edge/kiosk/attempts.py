"""Makes the attempts of a visit: records, screens, saves, then shows. Whatever becomes of one, it is kept.

A result is shown only after it is on disk, and belongs to the visit, the attempt and the recording that it names.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from lsemvae_edge.device import capture as captures
from lsemvae_edge.device.capture import Judged
from lsemvae_edge.errors import LsemvaeError, UnusableRecordingError, UsageError
from lsemvae_edge.kiosk import defects, view
from lsemvae_edge.kiosk.flow import LOOK, NOT_NOW, UNDER_WAY, Flow, Trouble
from lsemvae_edge.kiosk.records import Records
from lsemvae_edge.kiosk.source import Recording, Source
from lsemvae_edge.record import Record
from lsemvae_edge.visit import Attempt

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.device.journal import JournalWriter
    from lsemvae_edge.runtime import Session
    from lsemvae_edge.store import Entry, Store

LETS_GO_S = 10.0
"""So long a recorder of before may take to be let go."""


class Attempts:
    """One attempt at a time.

    Parameters
    ----------
    bundle : Bundle
    source : Source
    flow : Flow
        Is told what came of an attempt.
    records : Records
        Where it is kept.
    changed : callable
        Called when there is something new to show.
    kept : callable
        Called when something is on disk that may be sent on.

    Attributes
    ----------
    live : Recording or None
        Of which samples come now.
    judged : Judged or None
        How it stands.
    shown_in : Store
        Holds the result that was shown last.
    """

    def __init__(
        self,
        bundle: "Bundle",
        source: Source,
        flow: Flow,
        records: Records,
        *,
        changed: Callable[[], None],
        kept: Callable[[], None],
    ) -> None:
        self._bundle, self._source, self._flow, self._records = bundle, source, flow, records
        self._changed, self._told_kept = changed, kept
        self.live: Recording | None = None
        self.judged: Judged | None = None
        self.shown_in: Store = records.store
        self._session: asyncio.Future[Session] | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Open the model while somebody types an id, so that the first result waits for nothing."""
        from lsemvae_edge.runtime import open_session

        self._session = asyncio.get_running_loop().run_in_executor(None, open_session, self._bundle)

    async def begin(self, address: str, *, simulated: bool) -> None:
        """Begin to record; the recorder of before is let go first."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=LETS_GO_S)
        self._flow.begin()
        self._task = asyncio.create_task(self._attempt(address, simulated=simulated))

    def stop(self) -> None:
        """End the recording and judge what there is."""
        self._recording().stop()

    def confirm(self, *, same: bool) -> None:
        """Say whether it is still the same person."""
        self._recording().confirm(same)

    async def abandon(self) -> None:
        """End what is under way; it is saved as cancelled."""
        if self._task is not None and not self._task.done():
            if self._flow.screen != "recording":
                await asyncio.wait({self._task}, timeout=LETS_GO_S)
                return
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _recording(self) -> Recording:
        if self.live is None:
            raise UsageError(NOT_NOW, LOOK)
        return self.live

    async def _attempt(self, address: str, *, simulated: bool) -> None:
        """Record, screen, save, show; whatever happens is saved as this attempt."""
        flow = self._flow
        assert flow.visit is not None
        saving = partial(Attempt, flow.visit, flow.attempt, electrodes_confirmed=flow.electrodes_confirmed)
        is_kept = False
        try:
            store = await asyncio.to_thread(partial(self._records.store_for, simulated=simulated))
            try:
                async with AsyncExitStack() as link:
                    journal = await self._journal(store)
                    self.live = await link.enter_async_context(self._source.record(address, journal))
                    limit_s = flow.settings.recording_limit_s
                    record = await captures.capture(self.live, self._bundle.spec, limit_s, self._told)
                    flow.working()
                    self._changed()
                    if journal is not None:
                        journal.leave()
                    # The result does not wait for the recorder to be let go.
                    is_kept = await self._screened(record, saving, store)
                    self._changed()
            except asyncio.CancelledError:
                if not is_kept:
                    await self._kept(saving("cancelled", self._newest(), None), store)
                raise
            except Exception as error:
                if not is_kept:
                    newest, trouble = self._newest(), defects.trouble(error)
                    await self._kept(saving("interrupted", newest, None, detail=trouble.message), store)
                    self._give_up(trouble, counts=newest is not None)
                raise
        except Exception as error:  # noqa: BLE001
            # Also after a defect nobody is left before a page that waits for ever.
            self._give_up(defects.trouble(error), counts=False)
            if not isinstance(error, LsemvaeError):
                defects.log(error)
        finally:
            self.live, self.judged = None, None
            self._changed()

    async def _journal(self, store: "Store") -> "JournalWriter | None":
        from lsemvae_edge.device.journal import JournalWriter

        if not self._source.journals:
            return None
        assert self._flow.visit is not None
        return JournalWriter(await asyncio.to_thread(store.journal, self._flow.visit, self._flow.attempt))

    async def _screened(self, record: Record, saving: "partial[Attempt]", store: "Store") -> bool:
        """Screen, save and show a recording; return True once it is saved."""
        from lsemvae_edge.screening import model_ran, screen

        assert self._session is not None
        assert self._flow.visit is not None
        visit = self._flow.visit
        session = await asyncio.shield(self._session)
        screening = partial(
            screen,
            record,
            self._bundle,
            session=session,
            age_years=visit.age_years,
            pacemaker=visit.pacemaker,
            electrodes_confirmed=self._flow.electrodes_confirmed,
        )
        result = await asyncio.to_thread(screening)
        ran = model_ran(result)
        entry = await self._kept(saving("screened" if ran else "refused", record, result), store)
        self.shown_in = store
        seen = result.outcome == self._bundle.spec.primary.classes[1]
        self._flow.saved(result, str(record.meta.get("id")), entry.seq, view.clock_time(), ran=ran, seen=seen)
        return True

    async def _kept(self, attempt: Attempt, store: "Store") -> "Entry":
        """Save an attempt for good, also while the task is being ended; its journal goes with that."""
        entry = await asyncio.shield(asyncio.to_thread(store.append, attempt))
        self._told_kept()
        return entry

    def _newest(self) -> Record | None:
        """Return all that is there of the present recording."""
        if self.live is None:
            return None
        with suppress(UnusableRecordingError):
            record = self.live.record()
            return record if record.n_samples else None
        return None

    def _told(self, judged: Judged) -> None:
        self.judged = judged
        self._changed()

    def _give_up(self, trouble: Trouble, *, counts: bool) -> None:
        """Say what went wrong, unless that was said already or there is a result."""
        if self._flow.screen in UNDER_WAY:
            self._flow.interrupted(trouble, counts=counts)
