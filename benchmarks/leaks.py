"""Whether anything that a kiosk leaves on its disk tells whose heart it recorded, or how that heart beat.

Files are searched for a study id and for a stretch of a recording, in every form in which software is likely to have
written them, also within base64 and within what was compressed. The search itself is tried first on files in which each
form was planted.
"""

import base64
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import numpy as np

from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.benchmarks.kills import ProofError, Say
from lsemvae_edge.benchmarks.kiosk_drive import Kiosk, environment
from lsemvae_edge.benchmarks.kiosk_speed import study_ids
from lsemvae_edge.benchmarks.store_work import journal_of
from lsemvae_edge.record import Record
from lsemvae_edge.store import Store, StoreKey

SPOOL = Path("/var/spool/cups")
SWAPS = Path("/proc/swaps")
N_SAMPLES = 16
"""Neighbouring samples that are looked for; fewer would be found by chance."""
STEPS_PER_MV = (200.0, 400.0, 1000.0, 1.0e6)
"""Of integers: 5 µV and 2.5 µV a step, microvolts, nanovolts."""
_LARGEST = 256 << 20
_INFLATED = 16 << 20
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
Needles = Mapping[str, bytes]


def needles_of_id(id: str) -> dict[str, bytes]:
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


def needles_of_record(record: Record) -> dict[str, bytes]:
    """Return the forms of a stretch of each lead of a recording by name."""
    found: dict[str, bytes] = {}
    begin = _distinctive(record)
    stretch = record.signal_mv[:, begin : begin + N_SAMPLES].astype(np.float64)
    for name, row in [*zip(record.leads, stretch, strict=True), ("all leads in turn", stretch.T.ravel())]:
        forms = {"float32": row.astype("<f4").tobytes(), "float64": row.astype("<f8").tobytes()}
        forms["float32 big-endian"] = row.astype(">f4").tobytes()
        for steps in STEPS_PER_MV:
            whole = np.rint(row * steps).astype(np.int64)
            if np.abs(whole).max() < 1 << 15:
                forms[f"int16 of {steps:g}/mV"] = whole.astype("<i2").tobytes()
                forms[f"int16 big-endian of {steps:g}/mV"] = whole.astype(">i2").tobytes()
            if np.abs(whole).max() < 1 << 23:
                forms[f"int24 of {steps:g}/mV"] = whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
            if np.abs(whole).max() < 1 << 31:
                forms[f"int32 of {steps:g}/mV"] = whole.astype("<i4").tobytes()
            for between in (",", ", ", " ", "\n"):
                forms[f"integers of {steps:g}/mV by {between!r}"] = between.join(map(str, whole)).encode()
        for digits in (3, 4, 6):
            for between in (",", ", ", " ", "\n"):
                forms[f"{digits} digits by {between!r}"] = between.join(f"{value:.{digits}f}" for value in row).encode()
        binary = {form: content for form, content in forms.items() if "by" not in form}
        forms |= {f"{form}, hexadecimal": content.hex().encode() for form, content in binary.items()}
        forms |= _in_base64(binary)
        found |= {f"{name}, {form}": content for form, content in forms.items()}
    return found


def search(paths: Iterable[Path], needles: Needles) -> tuple[dict[str, list[str]], int, int]:
    """Search files and everything below folders.

    Parameters
    ----------
    paths : iterable of Path
    needles : mapping
        Name to bytes.

    Returns
    -------
    tuple
        Names of what was found by file, the number of files, and their bytes.

    Raises
    ------
    ProofError
        If a file is too large to be searched.
    """
    found: dict[str, list[str]] = {}
    n_files = n_bytes = 0
    for path in _files(paths):
        size = path.stat().st_size
        if size > _LARGEST:
            raise ProofError(f"{path} is too large to be searched.")
        content = path.read_bytes()
        n_files, n_bytes = n_files + 1, n_bytes + len(content)
        names = {name for name, needle in needles.items() if needle in content or needle in os.fsencode(path.name)}
        for inflated in _inflated(content):
            names |= {f"{name}, compressed" for name, needle in needles.items() if needle in inflated}
        if names:
            found[str(path)] = sorted(names)
    return found, n_files, n_bytes


def missed(needles: Needles) -> list[str]:
    """Plant each form in a file of its own, plain and compressed; return the forms that the search does not find."""
    rng = np.random.default_rng(0)
    lost = []
    with TemporaryDirectory(prefix="leaks-control-") as place:
        for number, (name, needle) in enumerate(needles.items()):
            around = [rng.bytes(5000 + number % 7), rng.bytes(3000)]
            for form, planted in ((name, needle), (f"{name}, compressed", zlib.compress(needle * 3))):
                path = Path(place) / "planted"
                path.write_bytes(around[0] + planted + around[1])
                if form not in search([path], needles)[0].get(str(path), []):
                    lost.append(form)
    return lost


def look(paths: Iterable[Path], needles: Needles) -> dict[str, Any]:
    """Search paths, after the search itself was tried; see `measure` for what is returned."""
    lost = missed(needles)
    found, n_files, n_bytes = search(paths, needles)
    return {
        "forms": len(needles),
        "control_missed": lost,
        "files": n_files,
        "bytes": n_bytes,
        "swap": swaps(),
        "findings": [f"{path}: {', '.join(forms[:5])}" for path, forms in found.items()],
    }


def measure(say: Say, also: Iterable[Path] = ()) -> dict[str, Any]:
    """Let a kiosk work, stop it in the middle, and search all that it left.

    Parameters
    ----------
    say : callable
    also : iterable of Path
        Searched as well; the printer's spool always is.

    Returns
    -------
    dict
        ``findings``, which must be empty, ``control_missed``, which must be, too, and how much was searched.
    """
    with TemporaryDirectory(prefix="leaks-") as place:
        folder = Path(place)
        needles = _clinic(folder) | _demonstration(folder, say)
        say(f"{len(needles)} forms are looked for")
        paths = [folder, *also, *([SPOOL] if SPOOL.is_dir() and os.access(SPOOL, os.R_OK | os.X_OK) else [])]
        figures = look(paths, needles)
        left = sorted(str(path.relative_to(folder)) for path in _files([folder]))
    return {**figures, "left_by_the_kiosk": left, "also_searched": [str(path) for path in paths[1:]]}


def swaps() -> list[str]:
    """Return where this machine swaps memory to, other than to compressed memory."""
    lines = SWAPS.read_text().splitlines()[1:] if SWAPS.exists() else []
    return [line.split()[0] for line in lines if "/zram" not in line]


def _clinic(folder: Path) -> dict[str, bytes]:
    """Work as a clinic's kiosk does, in a process that is killed while it records; return what must not be found."""
    command = [sys.executable, "-m", __name__, str(folder)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(folder))  # noqa: S603 - our own command
    assert worker.stdout is not None
    said = worker.stdout.readline().decode().strip()
    worker.kill()
    worker.wait()
    if said != "RECORDING":
        raise ProofError("The worker ended by itself; see above.")
    needles: dict[str, bytes] = {}
    for number in range(_N_STORED + 1):
        for id in (_id(number), _id(number + _MENDED)):
            needles |= {f"{id}: {name}": it for name, it in needles_of_id(id).items()}
        needles |= {f"{number}: {name}": it for name, it in needles_of_record(specimens.heart(0, number)).items()}
    return needles


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


def _demonstration(folder: Path, say: Say) -> dict[str, bytes]:
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
    needles = {f"demo: {name}": needle for name, needle in needles_of_id(id).items()}
    for one in stored:
        assert one.attempt.record is not None
        needles |= {f"demo: {name}": it for name, it in needles_of_record(one.attempt.record).items()}
    if not stored:
        raise ProofError("The demonstration stored nothing.")
    return needles


def _distinctive(record: Record) -> int:
    """Return where the signal changes most within a stretch without gaps."""
    clean = np.nan_to_num(record.signal_mv).astype(np.float64)
    moves = np.abs(np.diff(clean, axis=1)).sum(axis=0)
    moves[record.gaps.any(axis=0)[1:]] = -np.inf
    sums = np.convolve(moves, np.ones(N_SAMPLES - 1), "valid")
    return int(np.argmax(sums))


def _in_base64(plain: Needles) -> dict[str, bytes]:
    """Return what each form looks like inside base64, wherever in it it begins."""
    found = {}
    for name, content in plain.items():
        for shift in range(3):
            encoded = base64.b64encode(bytes(shift) + content)
            # The first and the last group also depend on the neighbours.
            found[f"{name}, base64 from {shift}"] = encoded[4 if shift else 0 : len(encoded) - 4]
    return found


def _inflated(content: bytes) -> Iterator[bytes]:
    """Yield what is inside every compressed stream of some content, also within those."""
    for match in _ZLIB.finditer(content):
        try:
            inflated = zlib.decompressobj(47).decompress(content[match.start() :], _INFLATED)
        except zlib.error:
            continue
        if len(inflated) > N_SAMPLES:
            yield inflated
            yield from _inflated(inflated)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if one.is_file() and not one.is_symlink():
                yield one


if __name__ == "__main__":
    work(Path(sys.argv[1]))
