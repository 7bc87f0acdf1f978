"""The kiosk as a program: the page's server and its browser, or the terminal."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.kiosk import display, watchdog
from lsemvae_edge.kiosk.settings import Settings
from lsemvae_edge.report.words import ORIGIN_WARNINGS

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.kiosk.station import Station
    from lsemvae_edge.outbox import Outbox
    from lsemvae_edge.store import Store

Ui = Literal["web", "terminal"]


@dataclass(frozen=True)
class Plan:
    """How a kiosk is started.

    Parameters
    ----------
    bundle : Bundle
    settings : Settings
    ui : {"web", "terminal"}
    demo : bool
        Invented persons, and a store of their own.
    seed : int
        Of the first invented person.
    adapter : str or None
        Bluetooth adapter.
    fs_hz : float or None
        Rate to ask recorders for.
    port : int
        Of the page; 0 takes a free one.
    browser : bool
        Open the page in a browser.
    """

    bundle: "Bundle"
    settings: Settings
    ui: Ui = "web"
    demo: bool = False
    seed: int = 0
    adapter: str | None = None
    fs_hz: float | None = None
    port: int = 0
    browser: bool = True


def choose_ui(asked: str | None) -> Ui:
    """Return how the kiosk is shown: as asked, else on a display, else in this terminal.

    Raises
    ------
    UsageError
        If there is neither.
    """
    if asked in ("web", "terminal"):
        return asked  # type: ignore[return-value]  # mypy does not narrow `in`
    if display.has_display():
        return "web"
    if sys.stdin.isatty() and sys.stdout.isatty():
        return "terminal"
    raise UsageError(
        "There is neither a display nor a terminal for the kiosk.",
        "Choose: `--ui web --no-browser` to open the page yourself, `--ui terminal` in a terminal, or name recordings.",
    )


def run(plan: Plan) -> int:
    """Run the kiosk until it is ended.

    Returns
    -------
    int
        An exit code.

    Raises
    ------
    LsemvaeError
        If it cannot be started.
    """
    from lsemvae_edge.kiosk import instance
    from lsemvae_edge.kiosk.updates import audit
    from lsemvae_edge.store import places

    with places.open_store("demo" if plan.demo else "clinic") as store, instance.only(store.folder):
        if not plan.demo:
            # What cannot be noted now waits for the next start, and keeps nobody from being recorded.
            with suppress(StoreError):
                audit.settle(store)
        return asyncio.run(_run(plan, store))


async def _run(plan: Plan, store: "Store") -> int:
    from lsemvae_edge.kiosk import operators, source
    from lsemvae_edge.kiosk.station import Station
    from lsemvae_edge.store import places

    where = source.Demonstration(plan.seed) if plan.demo else source.Bluetooth(plan.adapter, plan.fs_hz)
    who = operators if not plan.demo and operators.codes() else None
    station = Station(
        plan.bundle,
        store,
        where,
        plan.settings,
        apart=partial(places.open_store, "demo"),
        outbox=None if plan.demo else _outbox(plan.settings, store),
        operators=who,
        band=ORIGIN_WARNINGS["demo"] if plan.demo else None,
    )
    async with station:
        if plan.ui == "terminal":
            from lsemvae_edge.kiosk import terminal

            return await terminal.run(station)
        return await _serve(plan, station)


def _outbox(settings: Settings, store: "Store") -> "Outbox | None":
    """Return what sends results on, if a server is set."""
    if settings.fhir is None:
        return None
    from lsemvae_edge import outbox

    return outbox.Outbox(store.again, outbox.destination_of(settings.fhir, settings.site))


async def _serve(plan: Plan, station: "Station") -> int:
    """Serve the page until a signal, or until the browser is closed."""
    import uvicorn

    from lsemvae_edge.kiosk.app import Server

    with _listening(plan.port) as listening:
        port = listening.getsockname()[1]
        page = Server(station, port)

        class HttpServer(uvicorn.Server):
            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                """Leave signals to the kiosk: uvicorn raises them again at its end, before a recording is kept."""
                yield

        server = HttpServer(
            uvicorn.Config(
                page.app(),
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=1,
                lifespan="off",
                ws="none",
            )
        )
        # Signals end the kiosk in order: recordings are stopped and kept.
        loop = asyncio.get_running_loop()

        def end() -> None:
            page.end()
            server.should_exit = True

        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, end)
        serving = asyncio.create_task(server.serve([listening]))
        async with AsyncExitStack() as stack:
            while not server.started:
                if serving.done():
                    await serving
                    break
                await asyncio.sleep(0.01)
            print(page.address, flush=True)
            watchdog.ready()
            stack.callback(watchdog.stopping)
            if plan.browser:
                process = stack.enter_context(display.launched(page.address))
                closed = asyncio.create_task(asyncio.to_thread(process.wait))
                closed.add_done_callback(lambda _: end())
            beating = asyncio.create_task(_beat())
            stack.callback(beating.cancel)
            with suppress(asyncio.CancelledError):
                await serving
    return 0


async def _beat() -> None:
    """Tell the watchdog that this loop turns."""
    period_s = watchdog.period_s()
    while period_s is not None:
        watchdog.alive()
        await asyncio.sleep(period_s)


def _listening(port: int) -> socket.socket:
    """Return a socket that only this machine reaches.

    Raises
    ------
    UsageError
        If the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(16)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"The page cannot be served on port {port}: {error.strerror}.", "Name another: --port PORT, or none."
        ) from error
    listening.setblocking(False)
    return listening
