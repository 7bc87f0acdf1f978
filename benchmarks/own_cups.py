"""A print service of our own, with a printer that works and one that is stopped; the machine's is not touched."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Self

from lsemvae_edge.benchmarks.kills import ProofError

WORKING, STOPPED = "working", "stopped"
"""Queues: what the first is given is taken; what the second is given stays in the spool."""
_SERVER_BIN = Path("/usr/lib/cups")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_WITHIN_S = 20.0
_BACKEND = """#!/bin/sh
[ $# -eq 0 ] && exit 0
cat ${6:+"$6"} | wc -c >> FOLDER/taken
"""


def is_possible() -> bool:
    """Return whether CUPS is installed, and this user may run it."""
    programs = all(shutil.which(name, path=_PATH) for name in ("cupsd", "lpadmin", "cupsdisable", "lp"))
    return programs and _SERVER_BIN.is_dir() and os.geteuid() == 0


class Cups:
    """The service in a folder of its own, set as the documents ask for, as a context manager.

    Attributes
    ----------
    folder : Path
        All its files: spool, logs, cache and state.
    environment : dict
        Variables by which programs find it.

    Raises
    ------
    ProofError
        If it does not start.
    """

    def __init__(self) -> None:
        # Paths of sockets are short; others of this machine must get through to them.
        self._place = TemporaryDirectory(prefix="cups-")
        self.folder = Path(self._place.name)
        self.folder.chmod(0o755)
        socket, configuration = self.folder / "sock", self.folder / "etc"
        self.environment = {"CUPS_SERVER": str(socket), "CUPS_SERVERROOT": str(configuration)}
        self._configure(configuration, socket)
        command = [
            *(_program("cupsd"), "-f", "-c", str(configuration / "cupsd.conf")),
            *("-s", str(configuration / "cups-files.conf")),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        until = monotonic() + _WITHIN_S
        while not socket.is_socket():
            if monotonic() > until or self._process.poll() is not None:
                self.stop()
                raise ProofError("The print service did not start.")
            sleep(0.05)
        for queue in (WORKING, STOPPED):
            self._run("lpadmin", "-p", queue, "-v", f"taken:/{queue}", "-E", "-o", "printer-error-policy=stop-printer")
        self._run("cupsdisable", STOPPED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._place.cleanup()

    @property
    def taken(self) -> list[int]:
        """Bytes of every page that the working printer was given."""
        path = self.folder / "taken"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def leave(self, content: bytes) -> None:
        """Give the stopped printer a page."""
        self._run("lp", "-d", STOPPED, "-o", "raw", "--", "-", given=content)

    def stop(self) -> None:
        """End it; its files stay."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _configure(self, configuration: Path, socket: Path) -> None:
        folder = self.folder
        for name in ("etc/ssl", "spool/tmp", "cache", "state", "log", "bin/backend"):
            (folder / name).mkdir(parents=True)
        for name in ("daemon", "filter", "cgi-bin", "monitor", "notifier", "driver"):
            if (_SERVER_BIN / name).exists():
                (folder / "bin" / name).symlink_to(_SERVER_BIN / name)
        backend = folder / "bin/backend/taken"
        backend.write_text(_BACKEND.replace("FOLDER", str(folder)))
        # One that only root can run is run as root, and may write here.
        backend.chmod(0o700)
        (configuration / "cups-files.conf").write_text(
            f"ServerRoot {configuration}\nRequestRoot {folder}/spool\nCacheDir {folder}/cache\n"
            f"StateDir {folder}/state\nServerBin {folder}/bin\nTempDir {folder}/spool/tmp\nSystemGroup root\n"
            f"ErrorLog {folder}/log/error_log\nAccessLog {folder}/log/access_log\nPageLog {folder}/log/page_log\n"
        )
        (configuration / "cupsd.conf").write_text(
            f"LogLevel warn\nListen {socket}\nBrowsing No\nWebInterface No\nDefaultAuthType None\n"
            "PreserveJobFiles No\n<Location />\nOrder allow,deny\nAllow all\n</Location>\n"
            "<Policy default>\n<Limit All>\nOrder deny,allow\n</Limit>\n</Policy>\n"
        )

    def _run(self, name: str, *words: str, given: bytes = b"") -> None:
        command = [_program(name), *words]
        done = subprocess.run(  # noqa: S603 - fixed arguments
            command, input=given, capture_output=True, check=False, env={**os.environ, **self.environment}
        )
        if done.returncode:
            raise ProofError(f"{name} failed: {done.stderr.decode(errors='replace')[-500:]}")


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise ProofError(f"{name} is not installed.")
    return found
