"""The page's server: on this machine alone, for one page at a time.

Server-sent events carry state and traces to the page, plain requests carry what somebody does; both are answered only
to the page that was opened through the address with the token, from this very origin.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.kiosk import defects, view
from lsemvae_edge.kiosk.view import lead_states, six_leads
from lsemvae_edge.language import LANGUAGES
from lsemvae_edge.language import get as language_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from lsemvae_edge.device.progress import Traces
    from lsemvae_edge.kiosk.station import Station

STATIC = Path(__file__).parent / "static"
COOKIE = "lsemvae-edge"
MAX_BODY_BYTES = 4096
FRAME_S = 0.04
ALIVE_S = 0.5
SCALE_MV = 0.0025
"""Millivolts of one step of the samples on the way to the page; a gap is `GAP`."""
GAP = -32768
FIRST_S = 3.0
"""So much of the past a page is given that was opened in the middle of a recording."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Server:
    """Serves one station's page.

    Parameters
    ----------
    station : Station
    port : int
        That it listens on; any other host or port in a request is refused.

    Attributes
    ----------
    token : str
        Part of the address that opens the page.
    """

    def __init__(self, station: "Station", port: int) -> None:
        self.station, self.port = station, port
        self.token = secrets.token_urlsafe(24)
        self._key = secrets.token_urlsafe(24)
        self._tab = ""
        self._is_ended = False
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    @property
    def address(self) -> str:
        """What a browser on this machine opens."""
        return f"http://127.0.0.1:{self.port}/k/{self.token}/"

    def app(self) -> "ASGIApp":
        """Return the application."""
        return _Guard(
            Starlette(
                routes=[
                    Route("/k/{token}/", self._enter),
                    Route("/", self._page),
                    Route("/events", self._events),
                    Route("/act", self._act, methods=["POST"]),
                    Route("/strings/{code}.json", self._strings),
                    Route("/fonts/noto-sans.ttf", _font),
                    Mount("/static", StaticFiles(directory=STATIC)),
                ]
            ),
            self._hosts,
        )

    def end(self) -> None:
        """Let go of the page, so that nothing waits for it."""
        self._is_ended = True
        self.station.changed()

    async def _enter(self, request: Request) -> Response:
        """Open the page for whoever knows the token; the cookie lets it be reloaded."""
        if not secrets.compare_digest(request.path_params["token"], self.token):
            return PlainTextResponse("This address is not valid.\n", HTTPStatus.FORBIDDEN)
        response = FileResponse(STATIC / "index.html", media_type="text/html")
        response.set_cookie(COOKIE, self._key, httponly=True, samesite="strict", path="/")
        return response

    async def _page(self, request: Request) -> Response:
        if not self._is_known(request):
            return _refused()
        return FileResponse(STATIC / "index.html", media_type="text/html")

    async def _strings(self, request: Request) -> Response:
        code = request.path_params["code"]
        if code not in LANGUAGES:
            return JSONResponse({}, HTTPStatus.NOT_FOUND)
        return JSONResponse(language_of(code).strings)

    async def _events(self, request: Request) -> Response:
        if not self._is_known(request):
            return _refused()
        tab = request.query_params.get("tab", "")
        if not 0 < len(tab) <= 64:
            return PlainTextResponse("A tab needs a name.\n", HTTPStatus.BAD_REQUEST)
        self._tab = tab
        self.station.changed()
        return StreamingResponse(self._told(tab), media_type="text/event-stream")

    async def _act(self, request: Request) -> Response:
        if not self._is_known(request):
            return _refused()
        language = language_of(self.station.language)
        body = await _body(request)
        if body is None or not isinstance(body.get("act"), str):
            return JSONResponse({"message": "This is no request.", "next_step": ""}, HTTPStatus.BAD_REQUEST)
        if body.pop("tab", None) != self._tab:
            return JSONResponse({"message": "This page is open elsewhere.", "next_step": ""}, HTTPStatus.CONFLICT)
        version = body.pop("version", None)
        try:
            await self.station.act(body.pop("act"), version=version if isinstance(version, int) else None, **body)
        except Exception as error:  # noqa: BLE001
            if is_defect := not isinstance(error, LsemvaeError):
                defects.log(error)
            said = view.words(defects.trouble(error), language)
            status = HTTPStatus.INTERNAL_SERVER_ERROR if is_defect else HTTPStatus.UNPROCESSABLE_ENTITY
            return JSONResponse(said, status)
        return JSONResponse({"ok": True})

    def _is_known(self, request: Request) -> bool:
        return secrets.compare_digest(request.cookies.get(COOKIE, ""), self._key)

    async def _told(self, tab: str) -> AsyncIterator[str]:
        """Tell a page everything, until another one takes over."""
        station, loop = self.station, asyncio.get_running_loop()
        version, alive_s = -1, 0.0
        follower = _Follower(station)
        while tab == self._tab and not self._is_ended:
            if station.version != version:
                version = station.version
                yield _event("state", station.state())
                alive_s = loop.time()
            if (stretch := follower.next()) is not None:
                yield _event("trace", stretch)
            if loop.time() - alive_s >= ALIVE_S:
                alive_s = loop.time()
                yield _event("alive", {"server": station.server, "version": station.version})
            if station.live is None:
                await station.wait(version, ALIVE_S)
            else:
                await asyncio.sleep(FRAME_S)
        if not self._is_ended:
            yield _event("superseded", {})


class _Follower:
    """Follows the live recording: each sample is told once."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._where: tuple[str, int] | None = None
        self._next = 0

    def next(self) -> dict[str, Any] | None:
        """Return what is new, or None."""
        live = self._station.live
        traces = self._station.traces(self._next)
        if live is None or traces is None:
            return None
        if (where := (live.id, traces.part)) != self._where:
            newest = self._station.traces(1 << 60)
            end = 0 if newest is None else newest.first
            self._where = where
            self._next = max(end - round(FIRST_S * traces.fs_hz), 0)
            traces = self._station.traces(self._next)
        if traces is None or traces.signal_mv.shape[1] == 0:
            return None
        self._next = traces.first + traces.signal_mv.shape[1]
        return stretch(live.id, traces, self._station)


def stretch(recording: str, traces: "Traces", station: "Station") -> dict[str, Any]:
    """Return a stretch of the limb leads as the page reads it."""
    leads, signal_mv = six_leads(traces)
    steps = np.full(signal_mv.shape, GAP, "<i2")
    known = np.isfinite(signal_mv)
    steps[known] = np.clip(np.rint(signal_mv[known] / SCALE_MV), GAP + 1, -GAP - 1)
    return {
        "recording": recording,
        "part": traces.part,
        "first": traces.first,
        "fs_hz": traces.fs_hz,
        "leads": leads,
        "scale_mv": SCALE_MV,
        "n": signal_mv.shape[1],
        "data": base64.b64encode(steps.tobytes()).decode("ascii"),
        "lead_state": lead_states(station.judged, leads),
    }


class _Guard:
    """Refuses requests that name another host, or come from a page of another origin; adds headers to every answer.

    Written against ASGI itself: a middleware that buffers would hold the events back.
    """

    def __init__(self, app: "ASGIApp", hosts: set[str]) -> None:
        self._app, self._hosts = app, hosts
        self._origins = {f"http://{host}" for host in hosts}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        answer: Callable[..., Awaitable[None]] = self._app
        if headers.get("host") not in self._hosts:
            answer = PlainTextResponse("This page is for this machine alone.\n", HTTPStatus.FORBIDDEN)
        elif not self._is_from_here(scope, headers):
            answer = PlainTextResponse("Another page may not ask this.\n", HTTPStatus.FORBIDDEN)

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].decode("latin-1").lower() not in HEADERS]
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*kept, *added]}
            await send(message)

        await answer(scope, receive, sending)

    def _is_from_here(self, scope: "Scope", headers: Mapping[str, str]) -> bool:
        """Whether this page asks; only the address with the token may be followed from anywhere."""
        origin = headers.get("origin")
        is_ours = scope["method"] != "POST" if origin is None else origin in self._origins
        site = headers.get("sec-fetch-site", "none")
        return is_ours and (site in ("same-origin", "none") or scope["path"].startswith("/k/"))


async def _font(_: Request) -> Response:
    """Return the pages' typeface, which has Devanagari: the system may have none."""
    from lsemvae_edge.report import fonts

    return FileResponse(fonts.path(), media_type="font/ttf")


async def _body(request: Request) -> dict[str, Any] | None:
    """Return a small JSON object, or None."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        return None
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and all(isinstance(key, str) for key in value) else None


def _refused() -> Response:
    return PlainTextResponse("Open the address that the kiosk printed.\n", HTTPStatus.FORBIDDEN)


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"
