"""The browser that shows the kiosk's page: whether there is a display, which browser, and what it must not do."""

import html
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lsemvae_edge.errors import UsageError
from lsemvae_edge.language import mark

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
"""Names of the one browser that is tested, as distributions call it."""
VARIABLE = "LSEMVAE_EDGE_BROWSER"
"""Environment variable that names another."""
NO_BROWSER = mark("No Chromium was found to show the page in.")
NO_BROWSER_STEP = mark("Install the package chromium, or run `lsemvae-edge screen --ui terminal`.")
ENDS_WITHIN_S = 5.0
DOOR = "open.html"
POLL_S = 0.5
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})

_SWITCHES = (
    "--kiosk",
    "--incognito",
    "--no-first-run",
    "--no-default-browser-check",
    "--noerrdialogs",
    "--disable-infobars",
    # Nothing is asked of any other host: no updates, no field trials, no spelling or translation services.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--metrics-recording-only",
    "--no-pings",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    # A page that was left must be loaded anew, never shown from memory; nothing of it goes to a disk.
    "--disk-cache-size=1",
    "--disable-features=BackForwardCache,Translate,MediaRouter,OptimizationHints,AutofillServerCommunication",
    "--disable-session-crashed-bubble",
    "--disable-extensions",
    "--disable-plugins",
    "--disable-save-password-bubble",
    "--password-store=basic",
    # Two fingers must not leave the page or change the size of a millimetre.
    "--disable-pinch",
    "--overscroll-history-navigation=0",
    "--autoplay-policy=no-user-gesture-required",
    "--force-device-scale-factor=1",
)


def has_display() -> bool:
    """Return whether there is a screen that a browser can use."""
    if os.environ.get("DISPLAY"):
        return True
    wayland = os.environ.get("WAYLAND_DISPLAY")
    if not wayland:
        return False
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return (Path(folder) / wayland).is_socket()


def find_browser() -> str | None:
    """Return the path of Chromium, or of what the environment names; None if there is none."""
    named = os.environ.get(VARIABLE)
    names: Sequence[str] = (named,) if named else BROWSERS
    return next((found for name in names if (found := shutil.which(name))), None)


def arguments(browser: str, door: Path, profile: Path) -> list[str]:
    """Return the command that shows what a file of ours leads to, and nothing else, on the whole screen."""
    switches = [*_SWITCHES, f"--user-data-dir={profile}", f"--disk-cache-dir={profile / 'cache'}"]
    if os.environ.get("WAYLAND_DISPLAY") and not os.environ.get("DISPLAY"):
        switches.append("--ozone-platform=wayland")
    return [browser, *switches, f"--app={door.as_uri()}"]


def door_to(url: str) -> str:
    """Return a page that leads to an address at once."""
    return f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(url)}">'


@contextmanager
def launched(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Show the page in a browser; at the end the browser and its profile are gone.

    Parameters
    ----------
    url : str
        Address with its token. It goes to the browser in a file of the profile, because other users of this machine see
        the arguments of every process.

    Raises
    ------
    UsageError
        If there is no browser, or it does not start.
    """
    browser = find_browser()
    if browser is None:
        raise UsageError(NO_BROWSER, NO_BROWSER_STEP)
    with tempfile.TemporaryDirectory(
        prefix="lsemvae-edge-", dir=memory_folder(), ignore_cleanup_errors=True
    ) as profile:
        door = Path(profile) / DOOR
        door.touch(mode=0o600)
        door.write_text(door_to(url), "ascii")
        try:
            process = subprocess.Popen(  # noqa: S603
                arguments(browser, door, Path(profile)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": profile},
            )
        except OSError as error:
            raise UsageError(f"The browser {browser} does not start: {error.strerror}.", NO_BROWSER_STEP) from error
        try:
            yield process
        finally:
            _end(process)


def follow(address_file: Path, poll_s: float = POLL_S) -> None:
    """Show the page whose address stands in a file, until the browser is closed; when the address changes, anew.

    Parameters
    ----------
    address_file : Path
        Written by the server, one line; waited for while it is not there or not whole.
    poll_s : float
        Time between two looks.

    Raises
    ------
    UsageError
        If there is no browser, or it does not start.
    """
    while True:
        url = address(address_file)
        if url is None:
            time.sleep(poll_s)
            continue
        with launched(url) as process:
            while process.poll() is None and address(address_file) in (url, None):
                time.sleep(poll_s)
            if process.poll() is not None:
                return


def address(file: Path) -> str | None:
    """Return the address that a server wrote; None if there is none yet, or it is not this machine's."""
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    line, end, _ = text.partition("\n")
    return line if end and re.fullmatch(r"http://127\.0\.0\.1:\d{1,5}/[A-Za-z0-9/_-]*", line) else None


def memory_folder() -> Path | None:
    """Return a folder whose files never reach a disk, swap apart; None if there is none that can be written."""
    candidates = (os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("RUNTIME_DIRECTORY"), "/dev/shm", "/run")  # noqa: S108
    for candidate in candidates:
        if candidate and os.access(candidate, os.W_OK | os.X_OK) and in_memory(Path(candidate)):
            return Path(candidate)
    return None


def in_memory(path: Path) -> bool:
    """Return whether files at ``path`` are kept in memory alone."""
    return file_system(path) in MEMORY_FILE_SYSTEMS


def file_system(path: Path) -> str | None:
    """Return the kind of the file system that ``path`` lies on, or would lie on; None if this is not known."""
    try:
        place = path.resolve()
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    best, kind = -1, None
    for line in mounts:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mounted = Path(fields[1].encode().decode("unicode_escape"))
        # Of two mounts at one place the later one counts.
        if place.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), fields[2]
    return kind


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the browser with all its helpers, which share its process group."""
    import signal

    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
