"""A whole session before a real browser, whose profile is kept, and what is planted beside it to show that it is seen.

The browser is started as the shipped unit starts it; then again as an ordinary one, which keeps a history and a cache:
what a page leaves there is left by the page itself. In that one another page plants what must be found.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from lsemvae_edge.benchmarks import kiosk_browser, own_cups
from lsemvae_edge.benchmarks.kills import ProofError, Say
from lsemvae_edge.errors import UsageError
from lsemvae_edge.record import Record
from lsemvae_edge.store import Store, StoreKey

if TYPE_CHECKING:
    from playwright.sync_api import Page

SHIPPED, ORDINARY, STANDING = "shipped", "ordinary", "ordinary, while the result stood"
"""Profiles by how the browser was started and when it was looked at; also the names of their folders."""
IDS = {SHIPPED: "LEAKSHIP71", ORDINARY: "LEAKOPEN82"}
PLANTED_IN_PROFILE = ("local storage", "IndexedDB", "cache", "cookie", "history")
NOT_ORDINARY = ("--incognito", "--disk-cache-size=1")
"""Arguments of the unit that an ordinary browser is not given."""
_NO_SCREEN = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=800,480"),
    "--remote-debugging-port=0",
)
_PORT = "DevToolsActivePort"
_PATIENCE_S = 60.0
_SETTLE_MS = 3000
"""A browser writes most of what a page left within a few seconds."""
_COOKIES_AFTER_S = 31.0
"""It keeps new cookies in memory for half a minute."""


@dataclass(frozen=True)
class Left:
    """What a session left, and what it was about.

    Parameters
    ----------
    ids : tuple of str
        Study ids that were typed.
    records : tuple of Record
        What was recorded.
    printed : int or None
        Reports that the printer was given; None without a print service.
    """

    ids: tuple[str, ...]
    records: tuple[Record, ...]
    printed: int | None


@dataclass(frozen=True)
class Control:
    """What is planted.

    Parameters
    ----------
    ids : mapping
        An id of its own for each of `PLANTED_IN_PROFILE`.
    stretch : list of float
        Of a recording; goes into IndexedDB and the cache.
    """

    ids: Mapping[str, str]
    stretch: list[float]


def attend(folder: Path, cups: own_cups.Cups | None, control: Control, say: Say) -> Left:
    """Go through the whole flow in both browsers, print, and end everything; nothing of it is removed.

    Parameters
    ----------
    folder : Path
        Everything lies below it but the print service.
    cups : Cups or None
    control : Control
        Planted by another page in the same browsers.
    say : callable

    Raises
    ------
    ProofError
        If a recording is not stored, or a report not printed.
    UsageError
        If there is no browser.
    """
    (folder / "temporary").mkdir(parents=True)
    settings = {"idle_lock_s": 3600.0, "printer": own_cups.WORKING if cups else None}
    with ExitStack() as stack:
        recorder = stack.enter_context(kiosk_browser.Recorder())
        kiosk = kiosk_browser.Kiosk(folder / "kiosk", recorder, settings)
        kiosk.environment |= {"TMPDIR": str(folder / "temporary"), **(cups.environment if cups else {})}
        stack.enter_context(kiosk)
        other = stack.enter_context(_served(control))
        for name, without in ((SHIPPED, ()), (ORDINARY, NOT_ORDINARY)):
            profile = folder / name
            with browser(profile, folder / "temporary", kiosk.address, without) as page:
                kiosk_browser.to_waiting(page)
                _plant(page, other, control)
                planted = monotonic()
                _screened(page, IDS[name], cups)
                if name == ORDINARY:
                    page.wait_for_timeout(_SETTLE_MS)
                    shutil.copytree(profile, folder / STANDING, symlinks=True, ignore=_not_files)
                page.get_by_test_id("next").click()
                page.get_by_test_id("screen-waiting").wait_for()
                page.wait_for_timeout(_SETTLE_MS)
                if name == ORDINARY:
                    page.wait_for_timeout(max(0.0, 1000 * (planted + _COOKIES_AFTER_S - monotonic())))
            say(f"a session in the browser, {name}")
    records = _stored(folder / "kiosk")
    if len(records) < len(IDS):
        raise ProofError(f"{len(records)} recordings were stored instead of {len(IDS)}.")
    if cups and len([size for size in cups.taken if size]) < len(IDS):
        raise ProofError(f"The printer was given {cups.taken} bytes instead of {len(IDS)} reports.")
    return Left(tuple(IDS.values()), records, len(cups.taken) if cups else None)


@contextmanager
def browser(profile: Path, temporary: Path, url: str, without: tuple[str, ...] = ()) -> "Iterator[Page]":
    """Show an address in Chromium as the unit does, but without a screen; its profile stays.

    Parameters
    ----------
    profile, temporary : Path
    url : str
    without : tuple of str
        Arguments that are left out.

    Raises
    ------
    UsageError
        If it is not installed.
    ProofError
        If it does not start.
    """
    from playwright.sync_api import sync_playwright

    found = kiosk_browser.chromium()
    if found is None:
        raise UsageError("Chromium is not installed.", "Install it: `apt install chromium`.")
    profile.mkdir(mode=0o700, exist_ok=True)
    (profile / _PORT).unlink(missing_ok=True)
    shipped = subprocess.run(  # noqa: S603 - fixed arguments
        [sys.executable, "-c", _SHIPPED, found, str(profile), url], capture_output=True, text=True, check=True
    )
    command = [one for one in json.loads(shipped.stdout) if one not in without]
    places = {"HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": profile, "TMPDIR": temporary}
    process = subprocess.Popen(  # noqa: S603 - the shipped arguments
        [*command, *_NO_SCREEN],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **{name: str(place) for name, place in places.items()}},
    )
    try:
        port = _port(profile, process)
        with sync_playwright() as playwright:
            connected = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
            page = connected.contexts[0].pages[0]
            page.set_default_timeout(1000 * _PATIENCE_S)
            yield page
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(profile: Path, process: "subprocess.Popen[bytes]") -> int:
    """Return where the browser takes orders, as it writes into its profile."""
    path, until = profile / _PORT, monotonic() + _PATIENCE_S
    while monotonic() < until and process.poll() is None:
        if path.exists() and "\n" in (text := path.read_text()):
            return int(text.split()[0])
        sleep(0.1)
    raise ProofError("Chromium did not start.")


def _screened(page: "Page", study_id: str, cups: own_cups.Cups | None) -> None:
    """Go from the waiting screen to a result, and print it."""
    test = page.get_by_test_id
    kiosk_browser.to_recording(page, study_id)
    test("screen-result").wait_for()
    if test("study-id").inner_text() != study_id:
        raise ProofError(f"The result is not that of {study_id}.")
    if cups is None:
        return
    before = len(cups.taken)
    test("print").click()
    until = monotonic() + _PATIENCE_S
    while len(cups.taken) == before and monotonic() < until:
        page.wait_for_timeout(200)


def _stored(folder: Path) -> tuple[Record, ...]:
    """Return what was recorded; what comes from a virtual recorder is in the store of demonstrations."""
    place = folder / "data" / "lsemvae-edge"
    with Store.open(place / "demo", StoreKey.read(place / "demo.key")) as store:
        attempts = [store.read(entry.seq).attempt for entry in store.attempts()]
    return tuple(attempt.record for attempt in attempts if attempt.record is not None)


def _plant(page: "Page", address: str, control: Control) -> None:
    """Have another page in the same browser leave something in every place where pages can."""
    # What the kiosk's page opens belongs to its window, private or not; a page that is asked for from outside does not.
    with page.context.expect_page() as opened:
        page.evaluate("address => { open(address, '_blank', 'noopener'); }", f"{address}/{control.ids['history']}")
    opened.value.wait_for_function("document.title === 'planted'")
    opened.value.close()


@contextmanager
def _served(control: Control) -> Iterator[str]:
    """Serve that page, as others would: to be kept, and compressed."""
    ids = {name: json.dumps(id) for name, id in control.ids.items()}
    script = _PLANT.replace("STRETCH", json.dumps(control.stretch))
    for name, word in zip(PLANTED_IN_PROFILE, ("LOCAL", "INDEXED", "CACHED", "COOKIE", "HISTORY"), strict=True):
        script = script.replace(word, ids[name])
    kept = {"id": control.ids["cache"], "signal": [f"{value:.3f}" for value in control.stretch]}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_kept = self.path == "/kept"
            body = gzip.compress(json.dumps(kept).encode() if is_kept else script.encode())
            self.send_response(200)
            self.send_header("Content-Type", "application/json" if is_kept else "text/html; charset=utf-8")
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Cache-Control", "max-age=86400" if is_kept else "no-store")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _not_files(folder: str, names: list[str]) -> list[str]:
    """Name sockets and links, which are not copied."""
    return [name for name in names if not (Path(folder) / name).is_dir() and not _is_plain(Path(folder) / name)]


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


_SHIPPED = """
import json, sys
from pathlib import Path
from lsemvae_edge.kiosk import display
browser, profile, url = sys.argv[1:]
door = Path(profile) / display.DOOR
door.write_text(display.door_to(url), "ascii")
print(json.dumps(display.arguments(browser, door, Path(profile))))
"""
"""Writes the door and tells the command, in a process of its own: measurements import nothing of the kiosk."""
_PLANT = """<!doctype html><meta charset="utf-8"><script type="module">
const long = "x".repeat(20000);
// So much that the journal is packed into a table.
for (let n = 0; n < 20; n += 1) localStorage.setItem(`control ${n}`, JSON.stringify({ id: LOCAL, n, long }));
document.cookie = "control=" + COOKIE + "; max-age=86400";
await (await fetch("/kept")).json();
const opened = indexedDB.open("control", 1);
opened.onupgradeneeded = () => opened.result.createObjectStore("control");
opened.onsuccess = () => {
  const change = opened.result.transaction("control", "readwrite", { durability: "strict" });
  change.objectStore("control").put({ id: INDEXED, long, signal: new Float32Array(STRETCH) }, "one");
  change.oncomplete = () => { document.title = "planted"; };
};
</script>"""
