"""A kiosk's server driven as its page drives it, without a browser: in a process of its own, with files of its own."""

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self
from urllib.parse import urlsplit

from lsemvae_edge.benchmarks.kills import ProofError

TAB = "driver"
_PATIENCE_S = 90.0


@dataclass(frozen=True)
class Event:
    """One of the server's events, and when it came, on the monotonic clock."""

    at_s: float
    name: str
    data: dict[str, Any]


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which every file that a kiosk writes lies below a folder."""
    places = {
        "HOME": "home",
        "XDG_DATA_HOME": "data",
        "XDG_CONFIG_HOME": "configuration",
        "XDG_CACHE_HOME": "cache",
        "XDG_RUNTIME_DIR": "runtime",
        "TMPDIR": "temporary",
        "LSEMVAE_EDGE_STORE": "data/lsemvae-edge",
        "LSEMVAE_EDGE_STORE_KEY": "configuration/lsemvae-edge/store.key",
        "LSEMVAE_EDGE_KIOSK": "configuration/lsemvae-edge/kiosk.json",
    }
    for name in places.values():
        if "/" not in name:
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return {**os.environ, **{variable: str(folder / name) for variable, name in places.items()}}


class Kiosk:
    """The command ``screen --demo --ui web --no-browser``, as a context manager.

    Parameters
    ----------
    folder : Path
        Below which all its files lie.
    seed : int
        Of the first invented person.

    Attributes
    ----------
    first_page_s, first_state_s : float
        From the start of the process to the first whole page and to the first state.
    pid : int

    Raises
    ------
    ProofError
        Here and in every method, if it does not do what it should in time.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        command = [
            *(str(Path(sys.executable).with_name("lsemvae-edge")), "screen", "--demo", "--ui", "web", "--no-browser"),
            *("--seed", str(seed)),
        ]
        self._log = (folder / "log").open("ab")
        begun = monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.PIPE, stderr=self._log, env=environment(folder)
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        address = urlsplit(self._process.stdout.readline().decode().strip())
        if address.port is None:
            raise ProofError(f"The kiosk did not start: {(folder / 'log').read_text()[-2000:]}")
        self._port, self._headers = address.port, {"Origin": f"http://127.0.0.1:{address.port}"}
        answer = self._ask("GET", address.path)
        self.first_page_s = monotonic() - begun
        self._headers["Cookie"] = (answer.getheader("set-cookie") or "").partition(";")[0]
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.last_trace_s = 0.0
        self.state: dict[str, Any] = {}
        threading.Thread(target=self._listen, daemon=True).start()
        self.until(lambda state: bool(state))
        self.first_state_s = monotonic() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15.0)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()

    def kill(self) -> None:
        """End it as the kernel does."""
        self._process.kill()
        self._process.wait()

    def act(self, name: str, **values: Any) -> None:
        """Do what somebody does at the page."""
        body = json.dumps({"tab": TAB, "act": name, "version": self.state.get("version"), **values})
        answer = self._ask("POST", "/act", body)
        if answer.status != http.HTTPStatus.OK:
            raise ProofError(f"The kiosk refused {name}: {self._said}")

    def until(self, wanted: Callable[[dict[str, Any]], bool], patience_s: float = _PATIENCE_S) -> Event:
        """Wait for a state; return the event that brought it."""
        deadline = monotonic() + patience_s
        while (left_s := deadline - monotonic()) > 0:
            with suppress(queue.Empty):
                event = self._events.get(timeout=left_s)
                if event is None:
                    break
                if event.name == "trace":
                    self.last_trace_s = event.at_s
                if event.name == "state":
                    self.state = event.data
                    if wanted(self.state):
                        return event
        raise ProofError(
            f"The kiosk did not get there; it shows {self.state.get('screen')}, {self.state.get('message')}."
        )

    def screen(self, *names: str) -> Event:
        """Wait until one of these screens is shown."""
        return self.until(lambda state: state["screen"] in names)

    def visit(self, study_id: str) -> None:
        """Go from the waiting screen to the moment before the recording."""
        self.act("start")
        self.screen("identify")
        self.act("identify", text=study_id)
        self.screen("about")
        self.act("about", consent=True, age_band="40-64", pacemaker="no")
        self.until(lambda state: state["screen"] == "hold" or bool(state["recorders"]))
        if self.state["screen"] == "recorder":
            self.act("choose", address=self.state["recorders"][0]["address"])
            self.screen("hold")

    def leave(self) -> None:
        """Go back to the waiting screen."""
        self.act("next")
        self.screen("waiting")

    def _ask(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S)
        try:
            connection.request(method, path, body, {**self._headers, "Content-Type": "application/json"})
            answer = connection.getresponse()
            self._said = answer.read().decode()
            return answer
        finally:
            connection.close()

    def _listen(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE_S)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/events?tab={TAB}", headers=self._headers)
            answer = connection.getresponse()
            name = ""
            while line := answer.readline():
                at_s = monotonic()
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    self._events.put(Event(at_s, name, json.loads(value)))
        self._events.put(None)
