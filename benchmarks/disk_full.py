"""Disk full at each write point of a kiosk: nothing earlier is lost, the message is clear, it works again with space.

A small file system is filled until so many bytes are free, one write point is tried, and everything is looked at; then
space is given back and the same is tried again. The bytes that are left grow until the write point needs no more.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.benchmarks.guest import program
from lsemvae_edge.benchmarks.kills import ProofError, Say
from lsemvae_edge.errors import LsemvaeError, UsageError
from lsemvae_edge.result import ScreeningResult
from lsemvae_edge.store import Entry, Store, StoreKey

TMPFS, EXT4 = "tmpfs", "ext4"
"""File systems: in memory, or on a loop mount, which has a journal and writes late, and needs root."""
MIB = 12
STEP = 8192
ENOUGH = 3
"""So many successes one after another end a point."""
MOST = 64
"""Most steps of a point."""
_BLOCK = 4096
_FREED = 2 << 20
"""Space that is given back."""
_N_EARLIER = 3
_WORDS = ("full", "space")


@dataclass
class Kiosk:
    """A kiosk's files on the small file system, opened before it fills up.

    Parameters
    ----------
    place : Path
    store : Store
    result : ScreeningResult
    """

    place: Path
    store: Store
    result: ScreeningResult

    def attempt(self) -> Entry:
        """Store an attempt."""
        visit = specimens.visit(0, _N_EARLIER)
        return self.store.append(specimens.attempt(visit, specimens.walk(0, _N_EARLIER), self.result))

    def journal(self) -> None:
        """Begin a journal, and write into it what is received in a minute."""
        from lsemvae_edge.device.journal import JournalWriter

        writer = JournalWriter(self.store.journal(specimens.visit(0, _N_EARLIER + 1), 1))
        try:
            writer.header({"driver": "open-6l", "device": "specimen", "id": "0", "origin": "live", "clock_set": False})
            for second in range(60):
                writer.write(second, "2a37", bytes(1000))
        finally:
            writer.end()

    def reopened(self) -> None:
        """Open the store that was closed before the disk filled up, so that its log file has to be made anew."""
        self.store = Store.open(self.place / "clinic", self.key)

    @property
    def key(self) -> StoreKey:
        """The store's key."""
        return StoreKey.read(self.place / "store.key")

    def command(self, *words: str) -> None:
        """Run a command of the kiosk; its typed error is raised here.

        Raises
        ------
        LsemvaeError
            What the command told.
        ProofError
            If it ended otherwise.
        """
        program = [str(Path(sys.executable).with_name("lsemvae-edge")), *words, "--json"]
        environment = {
            **os.environ,
            "LSEMVAE_EDGE_STORE": str(self.place),
            "LSEMVAE_EDGE_STORE_KEY": str(self.place / "store.key"),
            "XDG_CONFIG_HOME": str(self.place / "configuration"),
        }
        done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
        if done.returncode == 0:
            return
        try:
            told = json.loads(done.stdout.splitlines()[-1])
            raise LsemvaeError(told["message"], told["next_step"])
        except (IndexError, ValueError, KeyError) as error:
            raise ProofError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-500:]}") from error


RESTART, EXPORT = "restart", "export"
_COARSE = {EXPORT: 4}
"""Steps of points that take long, in multiples."""
POINTS: dict[str, Callable[[Kiosk], object]] = {
    "journal": Kiosk.journal,
    "attempt": Kiosk.attempt,
    "audit": lambda kiosk: kiosk.store.note("sign_in", {"language": "en"}, operator="op1"),
    "amendment": lambda kiosk: kiosk.store.amend(2, study_id="PROOF000009", reason="typed wrongly", operator="op1"),
    "over-read": lambda kiosk: kiosk.store.over_read(2, {"text": "x" * 2000}, operator="dr1"),
    "acknowledgement": lambda kiosk: kiosk.store.acknowledge("fhir", 2, {"id": "x"}),
    "wipe": lambda kiosk: kiosk.store.wipe(3, reason="asked for", operator="op1"),
    RESTART: Kiosk.reopened,
    "key": lambda kiosk: StoreKey.create(kiosk.place / "other.key"),
    "new store": lambda kiosk: Store.create(kiosk.place / "new", kiosk.key, kind="clinic"),
    EXPORT: lambda kiosk: kiosk.command(
        "records", "export", "4", "--format", "pdf,json", "--replace", "--out", str(kiosk.place / "out")
    ),
    "settings": lambda kiosk: kiosk.command("kiosk", "settings", "attempts=4"),
}  # fmt: skip
"""Write points by name, and what each does."""


def measure(
    say: Say, points: tuple[str, ...] = tuple(POINTS), step: int = STEP, file_system: str = TMPFS
) -> dict[str, Any]:
    """Try each write point on a disk that is ever less full.

    Parameters
    ----------
    say : callable
    points : tuple of str
        Of `POINTS`.
    step : int
        Bytes.
    file_system : str
        `TMPFS` or `EXT4`.

    Returns
    -------
    dict
        ``points``: tries, refusals and messages of each; ``findings``, which must be empty.

    Raises
    ------
    UsageError
        If nothing can be mounted here.
    """
    with TemporaryDirectory(prefix="disk-full-") as place:
        asked = {"place": place, "points": points, "step": step, "file_system": file_system}
        asked["result"] = specimens.result().to_dict()
        alone = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
        command = [program("unshare"), *alone, sys.executable, "-m", __name__]
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == _NO_MOUNT:
        step_out = "Run it as root." if file_system == EXT4 else "Run it as root, or allow user namespaces."
        raise UsageError(f"A small {file_system} cannot be mounted here: {done.stderr.strip()[-300:]}.", step_out)
    if done.returncode:
        raise ProofError(f"The proof failed by itself: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    for name, point in figures["points"].items():
        say(f"{name}: {point['refused']} of {point['tries']} tries refused; enough with {point['enough_bytes']} bytes")
    return figures


_NO_MOUNT = 75


def main() -> None:
    """Do the work in a mount namespace of its own; what to do comes as JSON, and so does what came of it."""
    from lsemvae_edge.result import result_from_dict

    asked = json.load(sys.stdin)
    mount, pristine = Path(asked["place"]) / "mount", Path(asked["place"]) / "pristine"
    mount.mkdir()
    if (refused := _mounted(asked["file_system"], mount)) is not None:
        print(refused, file=sys.stderr)
        raise SystemExit(_NO_MOUNT)
    result = result_from_dict(asked["result"])
    _prepare(pristine, result)
    findings: list[str] = []
    points = {name: _point(name, mount, pristine, result, asked["step"], findings) for name in asked["points"]}
    figures = {"file_system": asked["file_system"], "size_bytes": MIB << 20, "points": points, "findings": findings}
    json.dump(figures, sys.stdout)


def _mounted(file_system: str, mount: Path) -> str | None:
    """Mount a small file system; return what was said if that was refused. It goes with the namespace."""
    if file_system == TMPFS:
        commands = [[program("mount"), "-t", "tmpfs", "-o", f"size={MIB}m", "tmpfs", str(mount)]]
    else:
        disk = mount.with_name("disk")
        with disk.open("wb") as stream:
            stream.truncate(MIB << 20)
        # Nothing is kept back for root, who runs this; a journal of 4 MiB is made all the same.
        commands = [
            [program("mkfs.ext4"), "-q", "-F", "-m", "0", "-b", "4096", "-J", "size=4", str(disk)],
            [program("mount"), "-t", "ext4", "-o", "loop", str(disk), str(mount)],
        ]
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own commands
        if done.returncode:
            return done.stderr
    return None


def _prepare(folder: Path, result: ScreeningResult) -> None:
    """Make a kiosk's files with some records."""
    folder.mkdir()
    with Store.create(folder / "clinic", StoreKey.create(folder / "store.key"), kind="clinic") as store:
        for number in range(_N_EARLIER):
            visit = specimens.visit(0, number)
            store.append(specimens.attempt(visit, specimens.walk(0, number), result if number else None))


def _point(
    name: str, mount: Path, pristine: Path, result: ScreeningResult, step: int, findings: list[str]
) -> dict[str, Any]:
    """Try one point with ever more space."""
    messages: set[str] = set()
    tries = refused = easy = 0
    enough = None
    while easy < ENOUGH and tries < MOST:
        here, filler = mount / "kiosk", mount / "filler"
        shutil.rmtree(here, ignore_errors=True)
        filler.unlink(missing_ok=True)
        shutil.copytree(pristine, here)
        kiosk = Kiosk(here, Store.open(here / "clinic", StoreKey.read(here / "store.key")), result)
        earlier = _earlier(kiosk.store)
        if name == RESTART:
            kiosk.store.close()
        left = tries * step * _COARSE.get(name, 1)
        _fill(filler, mount, left)
        tries += 1
        where = f"{name}, {left} bytes left"
        if (message := _tried(name, kiosk, where, findings)) is None:
            easy, enough = easy + 1, left if enough is None else enough
        else:
            messages.add(re.sub(r"/\S+/|[0-9a-f]{32}", "", message))
            refused, easy, enough = refused + 1, 0, None
            if name != RESTART:
                _compare(kiosk.store, earlier, f"{where}, still full", findings)
            findings.extend(f"{where}: {text}" for text in _half_files(here / "out"))
            os.truncate(filler, max(0, filler.stat().st_size - _FREED))
            if (message := _tried(name, kiosk, f"{where}, then freed", findings)) is not None:
                findings.append(f"{where}: it does not work again after space was freed: {message}")
        _compare(kiosk.store, earlier, where, findings)
        kiosk.store.close()
        filler.unlink()
        with Store.open(here / "clinic", StoreKey.read(here / "store.key")) as again:
            _compare(again, earlier, f"{where}, opened again", findings)
    return {"tries": tries, "refused": refused, "enough_bytes": enough, "messages": sorted(messages)}


def _tried(name: str, kiosk: Kiosk, where: str, findings: list[str]) -> str | None:
    """Try a point; return what it said if it was refused."""
    try:
        POINTS[name](kiosk)
    except ProofError as error:
        findings.append(f"{where}: {error.message}")
        return error.message
    except LsemvaeError as error:
        told = f"{error.message} {error.next_step}"
        if not any(word in told.lower() for word in _WORDS):
            findings.append(f"{where}: the message does not say that the disk is full: {told}")
        return told
    except Exception as error:  # noqa: BLE001 - whatever is not typed is what is looked for
        findings.append(f"{where}: {type(error).__name__} instead of a typed error: {error}")
        return str(error)
    return None


def _earlier(store: Store) -> dict[int, tuple[str, str | None]]:
    """Return hash and digest of the signal of every entry."""
    found: dict[int, tuple[str, str | None]] = {}
    for entry in store.entries():
        record = None
        if entry.kind == "attempt" and not entry.wiped:
            record = store.read(entry.seq).attempt.record
        found[entry.seq] = entry.hash, record.sha256() if record else None
    return found


def _compare(store: Store, earlier: dict[int, tuple[str, str | None]], where: str, findings: list[str]) -> None:
    try:
        now, verdict = _earlier(store), store.verify()
    except LsemvaeError as error:
        findings.append(f"{where}: earlier records cannot be read: {error.message}")
        return
    wiped = {entry.seq for entry in store.entries() if entry.wiped}
    for seq, (digest, signal) in earlier.items():
        if now.get(seq, (None, None))[0] != digest or (seq not in wiped and now[seq][1] != signal):
            findings.append(f"{where}: entry {seq} is gone or another")
    findings.extend(f"{where}: {text}" for text in verdict.findings)


def _half_files(folder: Path) -> list[str]:
    """Return what is wrong with exported files."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            found.append(f"half of {path.name} lies under its final name")
    for path in sorted(folder.glob("*.pdf")):
        if not path.read_bytes().rstrip().endswith(b"%%EOF"):
            found.append(f"half of {path.name} lies under its final name")
    return found


def _fill(path: Path, mount: Path, left: int) -> None:
    """Leave so many bytes free, or up to a block fewer where the filler's own map takes one."""
    folder = os.open(mount, os.O_RDONLY)
    try:
        # What was removed before becomes free when a journal is written.
        os.fsync(folder)
    finally:
        os.close(folder)
    with path.open("wb") as file:
        piece = _free(mount)
        while piece >= _BLOCK and (wanted := _free(mount) - left) >= _BLOCK:
            piece = min(piece, wanted) // _BLOCK * _BLOCK
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece //= 2


def _free(mount: Path) -> int:
    free = os.statvfs(mount)
    return free.f_bavail * free.f_frsize


if __name__ == "__main__":
    main()
