"""Proof by power cuts: what a kiosk showed as saved is there, whole, after its power went at any moment.

A guest stores attempts on ext4 and tells over its serial port what it has stored. It is killed with SIGKILL, so its
memory and what it had not yet written are lost, and its disk loses what was not flushed (`volatile_disk`). At the next
start it says what is there, before it goes on. Boots are spared: the guest goes on from its memory as it was before it
first saw a disk, with new randomness and a new boot id.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from lsemvae_edge.benchmarks import guest, power_cut_guest, specimens
from lsemvae_edge.benchmarks.kills import ProofError, Say
from lsemvae_edge.benchmarks.power_cut_guest import Plan
from lsemvae_edge.benchmarks.store_work import Judge
from lsemvae_edge.benchmarks.volatile_disk import SECTOR, Counts, Disk, Fate, Server
from lsemvae_edge.errors import UsageError

KILLS_PER_DISK = 20
DISK_MIB = 48
LONGEST_S = 3.0
"""Latest cut after the store was opened, where it comes by the clock."""
MOST_REQUESTS = {"opening": 60, "storing": 300}
"""Latest cut in writes and flushes of the disk: since the guest went on, or since the store was opened."""
_KINDS = ("opening", "storing", "storing", "storing", "clock")
_FATES: tuple[Fate, ...] = ("lost", "mixed", "mixed", "kept")
_PATIENCE_S = 300.0
_MODULES = ("virtio_pci", "ext4", "crc32c_generic")
_LATE = ("virtio_blk",)
_INIT = f"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
export PYTHONHOME=/nowhere PYTHONPATH=/{guest.PYTHON} PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
exec /bin/python3 -S -m lsemvae_edge.benchmarks.power_cut_guest
"""


@dataclass(frozen=True)
class Cut:
    """One power cut: when, and what was lost."""

    kind: str
    at: float
    fate: Fate
    lost_sectors: int
    saved: int
    cycle_s: float


def measure(
    kills: int, seed: int, say: Say, *, sync: bool = True, checkpoint: Callable[[Mapping[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Cut the power so often.

    Parameters
    ----------
    kills : int
    seed : int
        Of the moments, and of what the disk loses; when a guest gets how far is the machine's.
    say : callable
    sync : bool
        False: a store that does not wait for the disk, which must be found out.
    checkpoint : callable, optional
        Given the figures after every disk.

    Returns
    -------
    dict
        ``kills``, ``saved`` (entries shown as saved), ``findings`` (must be empty), ``cuts`` and more.

    Raises
    ------
    UsageError
        If a program or a kernel is missing.
    """
    with tempfile.TemporaryDirectory(prefix="power-cuts-") as place:
        folder = Path(place)
        image, initrd = _prepared(folder)
        cuts: list[Cut] = []
        judged: list[Judge] = []
        server = Server(Disk(bytearray(DISK_MIB << 20)), folder / "disk")
        machine = guest.Machine(folder, image, initrd, folder / "disk")
        figures: dict[str, Any] = {}
        try:
            server.expect()
            boot_s = machine.boot()
            machine.ended()
            say(f"The guest was ready after {boot_s:.1f} s.")
            while len(cuts) < kills:
                rng = random.Random(f"{seed}/{len(judged)}")  # noqa: S311 - no secret
                server.wait()
                server.disk = _formatted(folder)
                run = _Run(machine, server, rng, seed * 1000 + len(judged), sync)
                for _ in range(min(KILLS_PER_DISK, kills - len(cuts))):
                    cuts.append(run.cut())
                    if run.is_dead:
                        say(run.judge.findings[-1])
                        say(_examined(folder, server.disk))
                        break
                else:
                    run.look()
                    if run.is_dead:
                        say(_examined(folder, server.disk))
                judged.append(run.judge)
                figures = _figures(cuts, judged, seed, boot_s, sync)
                say(f"{len(cuts)} cuts, {figures['saved']} entries saved, {len(figures['findings'])} findings")
                if checkpoint:
                    checkpoint(figures)
        finally:
            machine.kill()
            server.close()
    return figures


class _Run:
    """One disk, from its first start to the last look at it; dead when its store cannot be opened."""

    def __init__(self, machine: guest.Machine, server: Server, rng: random.Random, seed: int, sync: bool) -> None:
        self._machine, self._server, self._rng, self._seed, self._sync = machine, server, rng, seed, sync
        self.judge = Judge()
        self.is_dead = False
        self._starts = 0

    def cut(self) -> Cut:
        """Start the guest, cut its power at a moment that chance chose."""
        kind, fate = self._rng.choice(_KINDS), self._rng.choice(_FATES)
        at = self._rng.uniform(0, LONGEST_S) if kind == "clock" else self._rng.randint(1, MOST_REQUESTS[kind])
        begun = monotonic()
        since: list[int] = [0] if kind == "opening" else []
        # Requests are counted in the disk's thread; `since` gets its number when the guest says that it is open.
        self._go(lambda counts: self._machine.kill() if since and counts.changing - since[0] >= at else None)
        before = self.judge.saved
        if self._until_open():
            if kind == "storing":
                since.append(self._server.counts.changing)
            deadline = monotonic() + (at if kind == "clock" else _PATIENCE_S)
            self._store(deadline)
        self._machine.kill()
        self._machine.ended()
        self._store(monotonic() + 1.0)
        self._server.wait()
        lost = self._server.disk.cut(self._rng, fate)
        return Cut(kind, at, fate, lost, self.judge.saved - before, round(monotonic() - begun, 2))

    def look(self) -> None:
        """Start the guest once more, only to hear what is there."""
        self._go(lambda _: None)
        if not self._until_open() and not self.is_dead:
            self.judge.findings.append("The guest said nothing after the last cut.")
        self._machine.kill()
        self._machine.ended()

    def _go(self, before: Callable[[Counts], None]) -> None:
        self._starts += 1
        self._server.expect(before)
        self._machine.resume()
        entropy = self._rng.randbytes(32).hex()
        boot = "-".join(self._rng.randbytes(size).hex() for size in (4, 2, 2, 2, 6))
        shown = max(self.judge.shown, default=0)
        plan = Plan(self._seed, 1000 * self._starts, entropy, boot, self._sync, shown)
        self._machine.tell(json.dumps(asdict(plan)))

    def _until_open(self) -> bool:
        """Hear the guest out and judge; False if its power went before it had said everything."""
        lines: list[str] = []
        deadline = monotonic() + _PATIENCE_S
        while (line := self._machine.line(deadline)) is not None:
            if line == "OPEN":
                self.judge.compare(lines)
                return True
            lines.append(line)
            if line.startswith("FAILED"):
                shown = f"{len(self.judge.shown)} entries had been shown as saved, and the store cannot be opened"
                self.judge.findings.append(f"{shown}: {line.partition(' ')[2]}")
                self.is_dead = True
                return False
        if monotonic() >= deadline:
            raise ProofError("The guest said nothing for long.")
        return False

    def _store(self, deadline: float) -> None:
        while (line := self._machine.line(deadline)) is not None:
            self.judge.hear(line)


def _figures(cuts: list[Cut], disks: list[Judge], seed: int, boot_s: float, sync: bool) -> dict[str, Any]:
    findings = [f"disk {number}: {text}" for number, disk in enumerate(disks) for text in disk.findings]
    cycles = sorted(cut.cycle_s for cut in cuts)
    return {
        "seed": seed,
        "sync": sync,
        "kills": len(cuts),
        "disks": len(disks),
        "saved": sum(disk.saved for disk in disks),
        "stored_not_yet_shown": sum(disk.unshown for disk in disks),
        "journals_read_back": sum(disk.journals for disk in disks),
        "findings": findings,
        "moments": dict(Counter(cut.kind for cut in cuts)),
        "fates": dict(Counter(cut.fate for cut in cuts)),
        "lost_sectors": sum(cut.lost_sectors for cut in cuts),
        "boot_s": round(boot_s, 1),
        "median_cycle_s": cycles[len(cycles) // 2],
        "cuts": [asdict(cut) for cut in cuts],
    }


def _prepared(folder: Path) -> tuple[Path, Path]:
    """Return kernel and initial file system."""
    for name in guest.PROGRAMS:
        guest.program(name)
    image, modules = guest.kernel()
    result = folder / "result.json"
    result.write_text(json.dumps(specimens.result().to_dict()))
    command = [sys.executable, "-m", power_cut_guest.__name__, str(result)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})  # noqa: S603
    if listed.returncode:
        raise ProofError(f"The guest's work fails on this machine: {listed.stderr[-2000:]}")
    files = {**json.loads(listed.stdout), str(result): power_cut_guest.RESULT.name}
    early = guest.module_files(modules, _MODULES)
    late = [path for path in guest.module_files(modules, _LATE) if path not in early]
    guest.pack(folder / "initrd", files, early, late, _INIT)
    return image, folder / "initrd"


def _examined(folder: Path, disk: Disk) -> str:
    """Return what is wrong with a file system that the guest could not use."""
    path = folder / "dead"
    path.write_bytes(disk.data)
    done = subprocess.run([guest.program("e2fsck"), "-fn", str(path)], check=False, capture_output=True, text=True)  # noqa: S603
    return f"e2fsck: {done.stderr[:500]} {done.stdout[:1000]}"


def _formatted(folder: Path) -> Disk:
    """Return a new disk with an empty ext4 on it, as Debian makes it on any disk of more than half a gigabyte."""
    path = folder / "new"
    path.unlink(missing_ok=True)
    with path.open("wb") as stream:
        stream.truncate(DISK_MIB << 20)
    command = [guest.program("mkfs.ext4"), "-q", "-F", "-b", str(SECTOR), str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own command
    if done.returncode:
        raise UsageError(f"mkfs.ext4 failed: {done.stderr}")
    return Disk(bytearray(path.read_bytes()))
