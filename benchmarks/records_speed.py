"""How long a store takes to list, open and export as it grows, and what a screening writes to the disk."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from lsemvae_edge import exchange
from lsemvae_edge.benchmarks import specimens
from lsemvae_edge.benchmarks.kills import Say
from lsemvae_edge.benchmarks.store_work import opened
from lsemvae_edge.result import ScreeningResult, result_from_dict
from lsemvae_edge.store import Store

PER_DAY, DAYS = 50, 365
JOURNAL_S, JOURNAL_BYTES_PER_S = 20, 3000
"""A recording as long as most need, from a recorder that sends three bytes a sample for two leads at 500 Hz."""
PAGE = 50
"""Records of one page of a list."""
_TIMES = 5
_SYNC = re.compile(r"\b(?:fsync|fdatasync|sync_file_range|msync)\(")


def measure(counts: Sequence[int], say: Say, *, screenings: int = 20) -> dict[str, Any]:
    """Fill a store step by step, time what is read at each step, and count what a screening writes.

    Parameters
    ----------
    counts : sequence of int
        Records, growing.
    say : callable
    screenings : int
        So many are counted.

    Returns
    -------
    dict
        ``times`` of each count in milliseconds, medians of 5; ``screening`` in bytes and syncs; ``year`` of them.
    """
    result = specimens.result()
    rows = []
    with TemporaryDirectory(prefix="records-speed-") as place:
        folder = Path(place)
        opened(folder).close()
        n_stored = 0
        for count in counts:
            with opened(folder) as store:
                begun = perf_counter()
                for number in range(n_stored, count):
                    _store(store, number, result)
                append_ms = 1e3 * (perf_counter() - begun) / max(count - n_stored, 1)
            n_stored = max(n_stored, count)
            rows.append({"records": count, "append_ms": round(append_ms, 1), **_times(folder)})
            say(", ".join(f"{name} {value}" for name, value in rows[-1].items()))
        size = (folder / "store" / "records.sqlite").stat().st_size
        screening = _written(folder, result, screenings)
    year = {
        "screenings": PER_DAY * DAYS,
        "store_gb": round(size / n_stored * PER_DAY * DAYS / 1e9, 2),
        "written_gb": round(screening["written_bytes"] * PER_DAY * DAYS / 1e9, 2),
        "syncs": None if screening["syncs"] is None else round(screening["syncs"] * PER_DAY * DAYS),
    }
    return {"times_ms": rows, "bytes_per_record": round(size / n_stored), "screening": screening, "year": year}


def _store(store: Store, number: int, result: ScreeningResult) -> None:
    store.append(specimens.attempt(specimens.visit(0, number), specimens.walk(0, number), result))


def _times(folder: Path) -> dict[str, float]:
    """Return milliseconds of what people wait for."""

    def first_page() -> None:
        with opened(folder) as store:
            list(store.attempts(limit=PAGE))

    with opened(folder) as store:
        entries = list(store.attempts(newest_first=False))
        oldest, newest = entries[0].seq, entries[-1].seq
        id = entries[len(entries) // 2].facts["visit"]["study_id"]
        subjects: dict[str, Callable[[], object]] = {
            "open_store_and_list_page": first_page,
            "list_page": lambda: list(store.attempts(limit=PAGE)),
            "list_all": lambda: list(store.attempts()),
            "find_person": lambda: list(store.attempts(study_id=id)),
            "read_newest": lambda: store.read(newest),
            "read_oldest": lambda: store.read(oldest),
            "export_fhir": lambda: exchange.export(store.read(oldest), "fhir"),
            "export_pdf": lambda: exchange.export(store.read(oldest), "pdf"),
            "verify": store.verify,
        }
        return {name: _median_ms(subject) for name, subject in subjects.items()}


def _median_ms(subject: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TIMES):
        begun = perf_counter()
        subject()
        taken.append(1e3 * (perf_counter() - begun))
    return round(median(taken), 1)


def _written(folder: Path, result: ScreeningResult, screenings: int) -> dict[str, Any]:
    """Count what screenings write, in a process of their own; what starting it takes is subtracted."""
    (folder / "result.json").write_text(json.dumps(result.to_dict()))
    strace = shutil.which("strace") or ""
    found = []
    for count in (0, screenings):
        trace = folder / "trace"
        traced = [strace, "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,msync", "-o", str(trace)]
        command = [*(traced if strace else []), sys.executable, "-m", __name__, str(folder), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
        found.append((json.loads(done.stdout), len(_SYNC.findall(trace.read_text())) if strace else 0))
    (before, syncs_before), (after, syncs_after) = found
    return {
        "screenings": screenings,
        "journal_s": JOURNAL_S,
        "passed_to_the_system_bytes": round((after["wchar"] - before["wchar"]) / screenings),
        "written_bytes": round((after["write_bytes"] - before["write_bytes"]) / screenings),
        "syncs": round((syncs_after - syncs_before) / screenings, 1) if strace else None,
    }


def work(folder: Path, count: int) -> None:
    """Do what so many screenings do to the disk, and print what the system counted."""
    result = result_from_dict(json.loads((folder / "result.json").read_text()))
    with opened(folder) as store:
        for number in range(count):
            visit = specimens.visit(1, number)
            journal = store.journal(visit, 1)
            for _ in range(JOURNAL_S):
                for _ in range(4):
                    journal.write(bytes(JOURNAL_BYTES_PER_S // 4))
                journal.sync()
            journal.close()
            entry = store.append(specimens.attempt(visit, specimens.walk(1, number), result))
            store.note("print", {"of": entry.seq}, operator="op1")
            store.acknowledge("fhir", entry.seq, {"status": 201})
    lines = Path("/proc/self/io").read_text().splitlines()
    print(json.dumps({name: int(value) for name, value in (line.split(": ") for line in lines)}))


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]))
