"""The kiosk's work: it drives the flow, records, screens, saves and prints. The page and the terminal show its state.

A result is shown only after it is on disk, and belongs to the visit, the attempt and the recording that it names.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

from lsemvae_edge import study_id
from lsemvae_edge.device import capture as captures
from lsemvae_edge.device.capture import Judged
from lsemvae_edge.device.progress import Traces
from lsemvae_edge.errors import LsemvaeError, UnusableRecordingError, UsageError
from lsemvae_edge.kiosk import recovery, view
from lsemvae_edge.kiosk.flow import LOOK, NOT_NOW, UNDER_WAY, Earlier, Flow, Trouble
from lsemvae_edge.kiosk.paperwork import Paperwork
from lsemvae_edge.kiosk.settings import Settings
from lsemvae_edge.kiosk.source import Choice, Recording, Source
from lsemvae_edge.language import LANGUAGES, mark
from lsemvae_edge.record import Record
from lsemvae_edge.visit import Attempt, Visit

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.device.journal import JournalWriter
    from lsemvae_edge.outbox import Outbox
    from lsemvae_edge.runtime import Session
    from lsemvae_edge.store import Entry, Store

TICK_S = 0.5
LETS_GO_S = 10.0

NONE_ENROLLED = mark("No recorder is enrolled on this machine.")
CHOOSE_ANOTHER = mark("This recorder is not enrolled here.")


class Coded(Protocol):
    """An operator."""

    @property
    def code(self) -> str:
        """Return the code under which what they do is kept."""


class SignIn(Protocol):
    """Who may sign in; the module `lsemvae_edge.kiosk.operators` is one."""

    def codes(self) -> Sequence[str]:
        """Return the codes of all operators."""

    def verify(self, code: str, pin: str) -> "Coded":
        """Return the operator; raise `LsemvaeError` unless the PIN is theirs."""


class Station:
    """One kiosk, as an async context manager.

    Parameters
    ----------
    bundle : Bundle
    store : Store
        Where everything goes.
    apart : callable
        Opens the store for what is no person's, when a recorder turns out to be simulated.
    source : Source
    settings : Settings
    outbox : Outbox or None
        Sends what is stored on; None keeps it here.
    operators : SignIn or None
        Who may sign in; None lets everybody in.
    band : str or None
        Warning that stands on every screen.
    """

    def __init__(
        self,
        bundle: "Bundle",
        store: "Store",
        source: Source,
        settings: Settings,
        *,
        apart: "Callable[[], Store]",
        outbox: "Outbox | None" = None,
        operators: "SignIn | None" = None,
        band: str | None = None,
    ) -> None:
        self.bundle, self.store, self.source, self.settings = bundle, store, source, settings
        self.outbox, self.operators, self.band = outbox, operators, band
        self._apart, self._store_apart = apart, store if store.kind == "demo" else None
        self._shown_in = store
        self.server = secrets.token_hex(8)
        self.version = 0
        self.flow = Flow(settings, with_operators=operators is not None)
        self.language = settings.language
        self.choices: tuple[Choice, ...] = ()
        self.is_looking = False
        self.address: str | None = None
        self.live: Recording | None = None
        self.judged: Judged | None = None
        self.hint: Trouble | None = None
        self.paperwork = Paperwork(settings, self.changed)
        self._screen_since = 0
        self._was = self._place()
        self._changed = asyncio.Event()
        self._session: asyncio.Future[Session] | None = None
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._left = AsyncExitStack()

    async def __aenter__(self) -> Self:
        from lsemvae_edge.runtime import open_session

        loop = asyncio.get_running_loop()
        # Opened while somebody types an id, so that the first result waits for nothing.
        self._session = loop.run_in_executor(None, open_session, self.bundle)
        await self._left.enter_async_context(self.source)
        await self._left.enter_async_context(self.paperwork)
        if self.outbox is not None:
            self.outbox.changed = partial(self._changed_elsewhere, loop)
            self._left.enter_context(self.outbox)
        await asyncio.to_thread(recovery.recover, self.store)
        ticking = asyncio.create_task(self._tick())
        self._left.callback(ticking.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._abandoned()
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self._left.aclose()

    def changed(self) -> None:
        """Let everybody who looks know that something is new."""
        self.version += 1
        if (place := self._place()) != self._was:
            self._was, self._screen_since = place, self.version
        self._changed.set()
        self._changed = asyncio.Event()

    def _changed_elsewhere(self, loop: asyncio.AbstractEventLoop, _: object) -> None:
        """Let everybody know what another thread found out."""
        loop.call_soon_threadsafe(self.changed)

    async def wait(self, version: int, timeout_s: float) -> bool:
        """Wait until the version is another; return whether it is."""
        if self.version != version:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        return self.version != version

    def state(self, language: str | None = None) -> dict[str, Any]:
        """Return what there is to show, as plain JSON values; see `lsemvae_edge.kiosk.view`."""
        return view.state(self, language or self.language)

    async def states(self, every_s: float = 1.0) -> AsyncIterator[dict[str, Any]]:
        """Return the state now, and again when it changes."""
        version = -1
        while True:
            if await self.wait(version, every_s):
                version = self.version
                yield self.state()

    def traces(self, after: int) -> Traces | None:
        """Return what came from sample ``after`` of the live recording on; None when nothing is being recorded."""
        if self.live is None or self.flow.screen != "recording":
            return None
        return self.live.traces(after)

    async def act(self, name: str, *, version: int | None = None, **values: Any) -> None:
        """Do what somebody asked for.

        Parameters
        ----------
        name : str
            One of `ACTS`.
        version : int, optional
            Of the state that was looked at; if the screen has changed since, nothing is done.
        **values
            For the act.

        Raises
        ------
        LsemvaeError
            If it cannot be done; what stands on the screen says what to do instead.
        """
        act = ACTS.get(name)
        if act is None:
            raise UsageError(NOT_NOW, LOOK)
        if version is not None and version < self._screen_since and name not in ANYWHERE:
            raise UsageError(mark("The page has changed in the meantime."), LOOK)
        if self.flow.is_locked and name not in WHILE_LOCKED:
            raise UsageError(mark("The page is locked."), mark("Unlock it with your PIN."))
        self.flow.touched()
        if name == "touch":
            return
        self.hint = None
        try:
            await act(self, **values)
        except TypeError as error:
            raise UsageError(NOT_NOW, LOOK) from error
        except LsemvaeError as error:
            self.hint = Trouble(error.message, error.next_step)
            raise
        finally:
            self.changed()

    # Who is there.

    async def sign_in(self, *, operator: str, pin: str = "") -> None:
        """Let an operator in, from any screen."""
        if self.operators is None:
            raise UsageError(NOT_NOW, LOOK)
        code = (await asyncio.to_thread(self.operators.verify, operator, pin)).code
        self.flow.sign_in(code)
        await self._note("sign_in", {}, code)

    async def sign_out(self) -> None:
        """Let the operator out."""
        operator = self.flow.operator
        self.flow.sign_out()
        if operator is not None:
            await self._note("sign_out", {}, operator)

    async def lock(self) -> None:
        """Hide everything; a recording goes on."""
        self.flow.lock()

    async def unlock(self, *, pin: str = "") -> None:
        """Show it again to the operator who was there."""
        if self.operators is not None and self.flow.operator is not None:
            await asyncio.to_thread(self.operators.verify, self.flow.operator, pin)
        self.flow.unlock()

    async def touch(self) -> None:
        """Take notice that somebody is typing or looking, so that the page does not lock."""

    async def set_language(self, *, code: str) -> None:
        """Show everything in another language."""
        if code not in self.settings.languages or code not in LANGUAGES:
            raise UsageError(NOT_NOW, LOOK)
        self.language = code

    # One person.

    async def start(self) -> None:
        """Begin with a person."""
        self.flow.start()

    async def identify(self, *, text: str) -> None:
        """Take a study id that was typed or scanned."""
        settings = self.settings
        checked = study_id.checked(text, settings.study_id_pattern, settings.check_character)
        self.flow.identify(checked, await asyncio.to_thread(self._earlier, checked))

    async def repeat(self) -> None:
        """Go on with the visit of before."""
        self.flow.repeat()
        self._look_around()

    async def another(self) -> None:
        """Ask for the id again."""
        self.flow.another()

    async def about(self, *, consent: bool, age_band: Any, pacemaker: str) -> None:
        """Take consent, age band and pacemaker."""
        known = {"yes": True, "no": False, "unknown": None}
        if pacemaker not in known:
            raise UsageError(mark("It is not said whether the person has a pacemaker."), mark("Choose an answer."))
        self.flow.about(consent=consent, age_band=age_band, pacemaker=known[pacemaker])
        self._look_around()

    async def find(self) -> None:
        """Look for the recorders again."""
        self._look_around()

    async def choose(self, *, address: str) -> None:
        """Choose a recorder."""
        if address not in {choice.address for choice in self.choices}:
            raise UsageError(CHOOSE_ANOTHER, mark("Choose one of the list."))
        self.flow.chosen()
        self.address = address

    async def begin(self) -> None:
        """Begin to record; the recorder of before is let go first."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=LETS_GO_S)
        self.flow.begin()
        self._task = asyncio.create_task(self._attempt())

    async def stop(self) -> None:
        """End the recording and judge what there is."""
        if self.live is None:
            raise UsageError(NOT_NOW, LOOK)
        self.live.stop()

    async def confirm_same(self, *, same: bool) -> None:
        """Say whether it is still the same person."""
        if self.live is None:
            raise UsageError(NOT_NOW, LOOK)
        self.live.confirm(bool(same))

    async def cancel(self) -> None:
        """Leave this person; what was recorded is kept as cancelled."""
        await self._abandoned()
        self.flow.cancel()

    async def retry(self, *, electrodes_confirmed: bool = False) -> None:
        """Record the same person again."""
        self.flow.retry(electrodes_confirmed=bool(electrodes_confirmed))

    async def next(self) -> None:
        """Leave this person for the next."""
        self.flow.next()
        self.paperwork.forget()

    async def back(self) -> None:
        """Go one step back."""
        self.flow.back()

    async def print(self) -> None:
        """Print the result that is shown."""
        if self.flow.shown is None:
            raise UsageError(NOT_NOW, LOOK)
        self.flow.touched()
        await self.paperwork.print(self.flow, self._shown_in, self.language)

    # The work.

    async def _attempt(self) -> None:
        """Record, screen, save, show; whatever happens is saved as this attempt."""
        flow, address = self.flow, self.address
        assert flow.visit is not None
        assert address is not None
        saving = partial(Attempt, flow.visit, flow.attempt, electrodes_confirmed=flow.electrodes_confirmed)
        is_kept = False
        try:
            store = await asyncio.to_thread(self._store_of, address)
            try:
                async with AsyncExitStack() as link:
                    journal = await self._journal(store)
                    self.live = await link.enter_async_context(self.source.record(address, journal))
                    limit_s = self.settings.recording_limit_s
                    record = await captures.capture(self.live, self.bundle.spec, limit_s, self._told)
                    flow.working()
                    self.changed()
                    if journal is not None:
                        journal.leave()
                    # The result does not wait for the recorder to be let go.
                    is_kept = await self._screened(record, saving, store)
                    self.changed()
            except asyncio.CancelledError:
                if not is_kept:
                    await self._kept(saving("cancelled", self._newest(), None), store)
                raise
            except LsemvaeError as error:
                if not is_kept:
                    newest = self._newest()
                    await self._kept(saving("interrupted", newest, None, detail=error.message), store)
                    self._give_up(error, counts=newest is not None)
        except LsemvaeError as error:
            self._give_up(error, counts=False)
        finally:
            self.live, self.judged = None, None
            self.changed()

    def _store_of(self, address: str) -> "Store":
        """Return where recordings of a recorder go: what is no person's is kept apart."""
        if not any(choice.simulated for choice in self.choices if choice.address == address):
            return self.store
        if self._store_apart is None:
            self._store_apart = self._apart()
            self._left.callback(self._store_apart.close)
            recovery.recover(self._store_apart)
        return self._store_apart

    async def _journal(self, store: "Store") -> "JournalWriter | None":
        from lsemvae_edge.device.journal import JournalWriter

        if not self.source.journals:
            return None
        assert self.flow.visit is not None
        return JournalWriter(await asyncio.to_thread(store.journal, self.flow.visit, self.flow.attempt))

    async def _screened(self, record: Record, saving: "partial[Attempt]", store: "Store") -> bool:
        """Screen, save and show a recording; return True once it is saved."""
        from lsemvae_edge.screening import model_ran, screen

        assert self._session is not None
        assert self.flow.visit is not None
        visit = self.flow.visit
        session = await asyncio.shield(self._session)
        screening = partial(
            screen,
            record,
            self.bundle,
            session=session,
            age_years=visit.age_years,
            pacemaker=visit.pacemaker,
            electrodes_confirmed=self.flow.electrodes_confirmed,
        )
        result = await asyncio.to_thread(screening)
        ran = model_ran(result)
        entry = await self._kept(saving("screened" if ran else "refused", record, result), store)
        self._shown_in = store
        seen = result.outcome == self.bundle.spec.primary.classes[1]
        self.flow.saved(result, str(record.meta.get("id")), entry.seq, view.clock_time(), ran=ran, seen=seen)
        return True

    async def _kept(self, attempt: Attempt, store: "Store") -> "Entry":
        """Save an attempt for good, also while the task is being ended; its journal goes with that."""
        entry = await asyncio.shield(asyncio.to_thread(store.append, attempt))
        if self.outbox is not None:
            self.outbox.wake()
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
        self.changed()

    def _give_up(self, error: LsemvaeError, *, counts: bool) -> None:
        if self.flow.screen in UNDER_WAY:
            self.flow.interrupted(Trouble(error.message, error.next_step), counts=counts)

    async def _abandoned(self) -> None:
        """End what is under way; it is saved as cancelled."""
        if self._task is not None and not self._task.done():
            if self.flow.screen != "recording":
                await asyncio.wait({self._task}, timeout=LETS_GO_S)
                return
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _look_around(self) -> None:
        if self._looking is None or self._looking.done():
            self.is_looking = True
            self._looking = asyncio.create_task(self._looked())

    async def _looked(self) -> None:
        try:
            self.choices = tuple(await self.source.look(near=False))
            self.changed()
            self.choices = tuple(await self.source.look(near=True))
            if not self.choices:
                self.hint = Trouble(NONE_ENROLLED, mark("Ask a supervisor to enrol a recorder."))
        except LsemvaeError as error:
            self.hint = Trouble(error.message, error.next_step)
        finally:
            self.is_looking = False
            self.changed()
        near = [choice.address for choice in self.choices if choice.in_range]
        if len(near) == 1 and len(self.choices) == 1 and self.flow.screen == "recorder":
            await self.act("choose", address=near[0])

    def _earlier(self, checked: str) -> Earlier | None:
        """Return today's newest visit under an id; where the clock is not set, that of this start of the machine."""
        newest, attempts, seen = None, 0, False
        for store in {self.store, self._store_apart or self.store}:
            for entry in store.attempts(study_id=checked, newest_first=True):
                if not _is_today(entry):
                    break
                visit = Visit(**entry.facts["visit"])
                newest = newest or visit
                if visit.id == newest.id:
                    attempts = max(attempts, entry.facts["number"])
                    result = entry.facts["result"]
                    seen |= result is not None and result["outcome"] == self.bundle.spec.primary.classes[1]
        return None if newest is None else Earlier(newest, attempts, seen)

    async def _note(self, kind: str, facts: Mapping[str, Any], operator: str) -> None:
        await asyncio.to_thread(partial(self.store.note, kind, facts, operator=operator))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self.flow.tick():
                if self.flow.shown is None:
                    self.paperwork.forget()
                self.changed()

    def _place(self) -> tuple[Any, ...]:
        flow = self.flow
        return flow.screen, flow.is_locked, flow.operator, flow.attempt, None if flow.visit is None else flow.visit.id


def _is_today(entry: "Entry") -> bool:
    """Whether an entry is of today; where the clock is not set, of this start of the machine."""
    from lsemvae_edge.store import clock

    now = clock.now()
    if entry.at is None or not clock.is_set(now):
        return entry.boot == clock.boot()
    return datetime.fromisoformat(entry.at).astimezone().date() == now.astimezone().date()


ANYWHERE = frozenset({"touch", "lock", "unlock", "set_language", "sign_in", "sign_out"})
WHILE_LOCKED = frozenset({"unlock", "sign_in", "set_language", "lock"})
ACTS = {
    act.__name__: act
    for act in (
        Station.sign_in,
        Station.sign_out,
        Station.lock,
        Station.unlock,
        Station.touch,
        Station.set_language,
        Station.start,
        Station.identify,
        Station.repeat,
        Station.another,
        Station.about,
        Station.find,
        Station.choose,
        Station.begin,
        Station.stop,
        Station.confirm_same,
        Station.cancel,
        Station.retry,
        Station.next,
        Station.back,
        Station.print,
    )
}
"""What the page and the terminal may ask for, by name."""
