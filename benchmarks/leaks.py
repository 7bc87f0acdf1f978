"""Whether anything that a kiosk leaves on its disk tells whose heart it recorded, or how that heart beat.

Files are searched for study ids in every form in which software is likely to write them, and for stretches of the
recordings in whatever units; also within base64, within what was compressed, and within a browser's databases. The
search itself is tried first, on files in which each form was planted; `leaks_browser` has a session before a browser.
"""

import base64
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.benchmarks import containers, specimens, waveforms
from lsemvae_edge.benchmarks.kills import ProofError, Say
from lsemvae_edge.benchmarks.kiosk_drive import Kiosk, environment
from lsemvae_edge.benchmarks.kiosk_speed import study_ids
from lsemvae_edge.benchmarks.store_work import journal_of
from lsemvae_edge.record import Record
from lsemvae_edge.store import Store, StoreKey

SPOOL = Path("/var/spool/cups")
SWAPS = Path("/proc/swaps")
_BLOCKS = Path("/sys/class/block")
_LARGEST = 256 << 20
_LARGEST_DRAWN = 4 << 20
"""Larger files are searched for ids alone: reading one as numbers of every kind takes long."""
_INFLATED = 16 << 20
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{64,}={0,2}")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_HEXADECIMAL = re.compile(rb"[0-9a-fA-F]{64,}")
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Wanted:
    """What must not be found.

    Parameters
    ----------
    texts : mapping
        Forms of study ids by name.
    stretches : mapping
        Stretches of recordings by name.
    """

    texts: Mapping[str, bytes]
    stretches: Mapping[str, Array]

    def __or__(self, other: "Wanted") -> "Wanted":
        return Wanted({**self.texts, **other.texts}, {**self.stretches, **other.stretches})

    def named(self, content: bytes) -> list[str]:
        """Return which forms of ids are in some bytes."""
        return [name for name, text in self.texts.items() if text in content]

    def within(self, content: bytes) -> list[str]:
        """Return what is in some bytes, or in what is compressed or encoded there."""
        found = self.named(content) + self._drawn(content)
        for how, inner in _inside(content):
            found += [f"{name}, {how}" for name in self.named(inner) + self._drawn(inner)]
        return found

    def _drawn(self, content: bytes) -> list[str]:
        if len(content) > _LARGEST_DRAWN:
            return []
        return [
            f"{name}, {place}"
            for name, stretch in self.stretches.items()
            for place in waveforms.places(content, stretch)
        ]


def forms_of_id(id: str) -> dict[str, bytes]:
    """Return the forms of a study id by name."""
    plain = {
        "id, text": id.encode(),
        "id, small letters": id.lower().encode(),
        "id, UTF-16": id.encode("utf-16-le"),
        "id, hexadecimal": id.encode().hex().encode(),
        "id, hexadecimal capitals": id.encode().hex().upper().encode(),
        "id, spelled with spaces": " ".join(id).encode(),
    }
    return plain | _in_base64({"id, text": plain["id, text"]})


def stretch_of(record: Record) -> Array:
    """Return the stretch of a recording's first lead that is looked for: where it moves most, without gaps."""
    signal_mv = np.nan_to_num(record.signal_mv[0]).astype(np.float64)
    moves = np.abs(np.diff(signal_mv))
    moves[record.gaps[0][1:] | record.gaps[0][:-1]] = -np.inf
    begin = int(np.argmax(np.convolve(moves, np.ones(waveforms.N_SAMPLES - 1), "valid")))
    stretch: Array = signal_mv[begin : begin + waveforms.N_SAMPLES]
    return stretch


def search(paths: Iterable[Path], wanted: Wanted) -> tuple[dict[str, list[str]], int, int]:
    """Search files and everything below folders.

    Parameters
    ----------
    paths : iterable of Path
    wanted : Wanted

    Returns
    -------
    tuple
        What was found by file, the number of files, and their bytes.

    Raises
    ------
    ProofError
        If a file is too large to be searched.
    """
    found: dict[str, list[str]] = {}
    n_files = n_bytes = 0
    for path in _files(paths):
        try:
            if path.stat().st_size > _LARGEST:
                raise ProofError(f"{path} is too large to be searched.")
            content = path.read_bytes()
        except FileNotFoundError:
            # Somebody else's, in a folder that is shared.
            continue
        n_files, n_bytes = n_files + 1, n_bytes + len(content)
        names = [*wanted.within(content), *wanted.named(os.fsencode(path.name))]
        for how, inner in containers.inside(path, content):
            names += [f"{name}, {how}" for name in wanted.within(inner)]
        names += [
            f"an answer kept in {encoding}, which cannot be searched" for encoding in containers.unreadable(content)
        ]
        if names:
            found[str(path)] = list(dict.fromkeys(names))
    return found, n_files, n_bytes


def missed(wanted: Wanted) -> list[str]:
    """Plant each form in a file of its own, plain and compressed; return those that the search does not find."""
    rng = np.random.default_rng(0)
    before, after = rng.bytes(4001), rng.bytes(3000)
    planted = dict(wanted.texts)
    for name, stretch in wanted.stretches.items():
        planted |= {f"{name}, {form}": content for form, content in _written(stretch).items()}
    lost = []
    with TemporaryDirectory(prefix="leaks-control-") as place:
        path = Path(place) / "planted"
        for name, content in planted.items():
            alone = Wanted({name: content}, {}) if name in wanted.texts else _alone(wanted, name)
            for form, written in ((name, content), (f"{name}, compressed", zlib.compress(content))):
                path.write_bytes(before + written + after)
                if not search([path], alone)[0]:
                    lost.append(form)
    return lost


def look(paths: Iterable[Path], wanted: Wanted) -> dict[str, Any]:
    """Search paths, after the search itself was tried; see `measure` for what is returned."""
    # One id and one recording are enough: the forms of all are the same.
    texts, stretches = list(wanted.texts.items()), list(wanted.stretches.items())
    lost = missed(Wanted(dict(texts[: len(forms_of_id(""))]), dict(stretches[:1])))
    found, n_files, n_bytes = search(paths, wanted)
    return {
        "forms_of_ids": len(wanted.texts),
        "stretches": len(wanted.stretches),
        "control_missed": lost,
        "files": n_files,
        "bytes": n_bytes,
        "swap": swaps(),
        "findings": [f"{path}: {', '.join(forms[:5])}" for path, forms in found.items()],
    }


def measure(say: Say, also: Iterable[Path] = (), browser: bool = True) -> dict[str, Any]:
    """Let a kiosk work, stop it in the middle, and search all that it left; then so with a browser before it.

    Parameters
    ----------
    say : callable
    also : iterable of Path
        Searched as well; the printer's spool always is.
    browser : bool
        Also go through a session before a real browser.

    Returns
    -------
    dict
        ``findings``, which must be empty, ``control_missed``, which must be, too, and how much was searched;
        ``browser`` says what the session was and where what was planted in it was found.
    """
    from lsemvae_edge.benchmarks import leaks_browser

    spool = [SPOOL] if SPOOL.is_dir() and os.access(SPOOL, os.R_OK | os.X_OK) else []
    beside = [*also, *spool]
    with TemporaryDirectory(prefix="leaks-") as place:
        folder = Path(place)
        wanted = _clinic(folder) | _demonstration(folder, say)
        figures = look([folder, *beside], wanted)
        left = sorted(str(path.relative_to(folder)) for path in _files([folder]))
    figures |= {"left_by_the_kiosk": left, "also_searched": [str(path) for path in beside]}
    if not browser:
        return figures
    session = leaks_browser.measure(say, beside)
    return {
        **figures,
        "findings": [*figures["findings"], *session.pop("findings")],
        "control_missed": [*figures["control_missed"], *session.pop("control_missed")],
        "browser": session,
    }


def swaps() -> list[str]:
    """Return where this machine swaps memory to in clear: neither into memory nor to what is encrypted."""
    lines = SWAPS.read_text().splitlines()[1:] if SWAPS.exists() else []
    return [name for name in (line.split()[0] for line in lines) if not _is_safe(Path(name))]


def _is_safe(area: Path) -> bool:
    """Whether a swap area is compressed memory that is written back nowhere, or lies over dm-crypt."""
    device = _BLOCKS / area.resolve().name
    if area.name.startswith("zram"):
        behind = device / "backing_dev"
        return not behind.exists() or behind.read_text().strip() == "none"
    identity = device / "dm" / "uuid"
    return identity.exists() and identity.read_text().startswith("CRYPT-")


def _clinic(folder: Path) -> Wanted:
    """Work as a clinic's kiosk does, in a process that is killed while it records; return what must not be found."""
    command = [sys.executable, "-m", __name__, str(folder)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(folder))  # noqa: S603 - our own command
    assert worker.stdout is not None
    said = worker.stdout.readline().decode().strip()
    worker.kill()
    worker.wait()
    if said != "RECORDING":
        raise ProofError("The worker ended by itself; see above.")
    ids = [_id(number + more) for number in range(_N_STORED + 1) for more in (0, _MENDED)]
    texts = {f"{id}: {name}": it for id in ids for name, it in forms_of_id(id).items()}
    stretches = {f"attempt {number}": stretch_of(specimens.heart(0, number)) for number in range(_N_STORED + 1)}
    return Wanted(texts, stretches)


_N_STORED = 3
_MENDED = 900


def _id(number: int) -> str:
    return specimens.visit(0, number).study_id


def work(folder: Path) -> None:
    """Store, correct, wipe and export; then begin a recording, and wait to be killed."""
    from lsemvae_edge import bundle, exchange
    from lsemvae_edge.device.journal import JournalWriter
    from lsemvae_edge.screening import screen

    key = StoreKey.create(folder / "configuration" / "lsemvae-edge" / "store.key")
    store = Store.create(folder / "data" / "lsemvae-edge" / "clinic", key, kind="clinic")
    shipped = bundle.default()
    for number in range(_N_STORED):
        record = specimens.heart(0, number)
        entry = store.append(specimens.attempt(specimens.visit(0, number), record, screen(record, shipped)))
        for name in exchange.FORMATS:
            exchange.export(store.read(entry.seq), name)
        store.note("export", {"seqs": [entry.seq], "formats": list(exchange.FORMATS)}, operator="op1")
        store.amend(entry.seq, study_id=_id(number + _MENDED), reason="typed wrongly", operator="op1")
        list(store.attempts(study_id=_id(number + _MENDED)))
    record = specimens.heart(0, _N_STORED)
    journal = JournalWriter(store.journal(specimens.visit(0, _N_STORED), 1), sync_s=0.05)
    journal.header({"driver": "open-6l", "device": "specimen", "id": "0", "origin": "live", "clock_set": False})
    content = journal_of(record) + record.signal_mv.astype("<f4").tobytes()
    for number, at in enumerate(range(0, len(content), 1000)):
        journal.write(number, "2a37", content[at : at + 1000])
        sleep(0.01)
    print("RECORDING", flush=True)
    sleep(60)


def _demonstration(folder: Path, say: Say) -> Wanted:
    """Screen an invented person at the page's server and kill it; return what must not be found."""
    id = next(study_ids())
    with Kiosk(folder) as kiosk:
        kiosk.visit(id)
        kiosk.act("begin")
        kiosk.screen("result", "retry", "failed")
        say(f"the kiosk shows: {kiosk.state['screen']}")
        kiosk.kill()
    place = folder / "data" / "lsemvae-edge"
    with Store.open(place / "demo", StoreKey.read(place / "demo.key")) as store:
        stored = [store.read(entry.seq) for entry in store.attempts(study_id=id)]
    if not stored:
        raise ProofError("The demonstration stored nothing.")
    stretches = {}
    for one in stored:
        assert one.attempt.record is not None
        stretches[f"demonstration {one.entry.seq}"] = stretch_of(one.attempt.record)
    return Wanted({f"demonstration: {name}": it for name, it in forms_of_id(id).items()}, stretches)


def _written(stretch: Array) -> dict[str, bytes]:
    """Return a stretch as software is likely to write it, by name."""
    counts = np.rint(stretch * 200).astype(np.int64)
    beside = np.stack([stretch, stretch[::-1] * 0.7], axis=1)
    return {
        "float32": stretch.astype("<f4").tobytes(),
        "float64": stretch.astype("<f8").tobytes(),
        "int16": counts.astype("<i2").tobytes(),
        "int16 big-endian": counts.astype(">i2").tobytes(),
        "int24": counts.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
        "int16 of two leads in turn": np.rint(beside * 400).astype("<i2").tobytes(),
        "decimals": ", ".join(f"{value:.3f}" for value in stretch).encode(),
        "integers": " ".join(map(str, counts)).encode(),
        "table": "\n".join(f"{at / 500:.3f},{one:.3f},{two:.3f}" for at, (one, two) in enumerate(beside)).encode(),
        "base64": base64.b64encode(b"x" + counts.astype("<i2").tobytes() + b"after it"),
        "hexadecimal": stretch.astype("<f4").tobytes().hex().encode(),
    }


def _alone(wanted: Wanted, name: str) -> Wanted:
    """Return the one stretch that a planted form was made of."""
    own = next(one for one in wanted.stretches if name.startswith(one))
    return Wanted({}, {own: wanted.stretches[own]})


def _in_base64(plain: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what each form looks like inside base64, wherever in it it begins."""
    found = {}
    for name, content in plain.items():
        for shift in range(3):
            encoded = base64.b64encode(bytes(shift) + content)
            # The first and the last group also depend on the neighbours.
            found[f"{name}, base64 from {shift}"] = encoded[4 if shift else 0 : len(encoded) - 4]
    return found


def _inside(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what is compressed in some bytes, also within that, and what is written there in base64 or hexadecimal."""
    for match in _ZLIB.finditer(content):
        try:
            inner = zlib.decompressobj(47).decompress(content[match.start() :], _INFLATED)
        except zlib.error:
            continue
        if inner:
            yield "compressed", inner
            yield from ((f"compressed, {how}", deeper) for how, deeper in _inside(inner))
    for match in _BASE64.finditer(content):
        word = match[0].rstrip(b"=").translate(_URL_SAFE)
        yield "base64", base64.b64decode(word[: len(word) // 4 * 4])
    for match in _HEXADECIMAL.finditer(content):
        yield "hexadecimal", bytes.fromhex(match[0][: len(match[0]) // 2 * 2].decode())


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if one.is_file() and not one.is_symlink():
                yield one


if __name__ == "__main__":
    work(Path(sys.argv[1]))
