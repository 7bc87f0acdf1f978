"""The kiosk: what may be asked of it and by whom, and what there is to show. The page and the terminal draw its state.

What is asked goes to the flow, which knows what may be done where, and to `lsemvae_edge.kiosk.attempts`, which records.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

from lsemvae_edge import study_id
from lsemvae_edge.device.capture import Judged
from lsemvae_edge.device.progress import Traces
from lsemvae_edge.errors import LsemvaeError, UsageError
from lsemvae_edge.kiosk import acts, recovery, view
from lsemvae_edge.kiosk.attempts import Attempts
from lsemvae_edge.kiosk.flow import LOOK, NOT_NOW, Flow, Trouble
from lsemvae_edge.kiosk.paperwork import Paperwork
from lsemvae_edge.kiosk.records import Records, VisitOfToday
from lsemvae_edge.kiosk.settings import Settings
from lsemvae_edge.kiosk.source import Choice, Recording, Source
from lsemvae_edge.language import LANGUAGES, mark

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.outbox import Outbox
    from lsemvae_edge.store import Store

TICK_S = 0.5

NONE_ENROLLED = mark("No recorder is enrolled on this machine.")
CHOOSE_ANOTHER = mark("This recorder is not enrolled here.")
SUPERVISORS_ALONE = mark("Only a supervisor may do this.")
ASK_SUPERVISOR = mark("Ask a supervisor to sign in.")


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

    def is_supervisor(self, code: str) -> bool:
        """Return whether an operator is one, as things stand now."""


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
        self.server = secrets.token_hex(8)
        self.version = 0
        self.flow = Flow(settings, with_operators=operators is not None)
        self.language = settings.language
        self.choices: tuple[Choice, ...] = ()
        self.visits: tuple[VisitOfToday, ...] = ()
        self.is_looking = False
        self.address: str | None = None
        self.hint: Trouble | None = None
        self.records = Records(store, apart, bundle.spec.primary.classes[1])
        self.attempts = Attempts(bundle, source, self.flow, self.records, changed=self.changed, kept=self._send_on)
        self.paperwork = Paperwork(settings, self.changed)
        self._screen_since = 0
        self._was = self._place()
        self._changed = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._left = AsyncExitStack()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.attempts.open()
        await self._left.enter_async_context(self.source)
        await self._left.enter_async_context(self.paperwork)
        if self.outbox is not None:
            self.outbox.changed = partial(self._changed_elsewhere, loop)
            self._left.enter_context(self.outbox)
        self._left.callback(self.records.close)
        await asyncio.to_thread(recovery.recover, self.store)
        ticking = asyncio.create_task(self._tick())
        self._left.callback(ticking.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.attempts.abandon()
        if self._looking is not None and not self._looking.done():
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self._left.aclose()

    @property
    def live(self) -> Recording | None:
        """Recording of which samples come now."""
        return self.attempts.live

    @property
    def judged(self) -> Judged | None:
        """How it stands."""
        return self.attempts.judged

    @property
    def is_supervisor(self) -> bool:
        """Whether the operator who is signed in is a supervisor, as things stand now."""
        operator = self.flow.operator
        return self.operators is not None and operator is not None and self.operators.is_supervisor(operator)

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

    async def act(self, name: str, /, *, version: int | None = None, **values: Any) -> None:
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
        if name in SUPERVISORS and not self.is_supervisor:
            raise UsageError(SUPERVISORS_ALONE, ASK_SUPERVISOR)
        acts.check(act, values)
        self.flow.touched()
        if name == "touch":
            return
        self.hint = None
        try:
            await act(self, **values)
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
        checked = self._checked(text)
        self.flow.identify(checked, await asyncio.to_thread(self.records.earlier, checked))

    async def repeat(self) -> None:
        """Go on with the visit of before."""
        self.flow.repeat()
        self._look_around()

    async def another(self) -> None:
        """Ask for the id again."""
        self.flow.another()

    async def about(self, *, consent: bool, age_band: str, pacemaker: str) -> None:
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
        # There is no address before one was chosen: the flow refuses it then.
        address = self.address or ""
        simulated = any(choice.simulated for choice in self.choices if choice.address == address)
        await self.attempts.begin(address, simulated=simulated)

    async def stop(self) -> None:
        """End the recording and judge what there is."""
        self.attempts.stop()

    async def confirm_same(self, *, same: bool) -> None:
        """Say whether it is still the same person."""
        self.attempts.confirm(same=same)

    async def cancel(self) -> None:
        """Leave this person; what was recorded is kept as cancelled."""
        await self.attempts.abandon()
        self.flow.cancel()

    async def retry(self, *, electrodes_confirmed: bool = False) -> None:
        """Record the same person again."""
        self.flow.retry(electrodes_confirmed=electrodes_confirmed)

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
        await self.paperwork.print(self.flow, self.attempts.shown_in, self.language)

    # What a supervisor may do.

    async def corrections(self) -> None:
        """Show today's visits, to correct a wrong study id."""
        self.visits = await asyncio.to_thread(self.records.visits)
        self.flow.corrections()
        await self._note("corrections", {}, self.flow.operator or "")

    async def correct(self, *, visit: str, text: str) -> None:
        """Give a visit of today another study id; the first one stays in the record."""
        self.flow.correcting()
        checked, operator = self._checked(text), self.flow.operator or ""
        await asyncio.to_thread(self.records.correct, visit, checked, operator)
        self.visits = await asyncio.to_thread(self.records.visits)
        self._send_on()

    # The work.

    def _checked(self, text: str) -> str:
        """Return a study id that keeps the site's rules."""
        return study_id.checked(text, self.settings.study_id_pattern, self.settings.check_character)

    def _send_on(self) -> None:
        if self.outbox is not None:
            self.outbox.wake()

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


ANYWHERE = frozenset({"touch", "lock", "unlock", "set_language", "sign_in", "sign_out"})
WHILE_LOCKED = frozenset({"unlock", "sign_in", "set_language", "lock"})
SUPERVISORS = frozenset({"corrections", "correct"})
ACTS: dict[str, acts.Act] = {
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
        Station.corrections,
        Station.correct,
    )
}
"""What the page and the terminal may ask for, by name."""
