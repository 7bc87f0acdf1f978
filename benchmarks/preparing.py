"""What preparing costs: records a second beside neurokit2's cleaning of the same records, and memory at two sizes."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.record import Record
from lsemvae_edge.train.datasets import Packed, Synthetic
from lsemvae_edge.train.datasets.entry import DataSet, Entry, Problems, Task
from lsemvae_edge.train.prepare import Report, prepare
from lsemvae_edge.train.recipes import RECIPES

PEER = "neurokit2.ecg_clean"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Rate:
    """One way to treat the same records, over several rounds in turn with the others.

    Parameters
    ----------
    what : str
    records, rounds : int
    records_per_s : float
        Median over rounds.
    ratio, ratio_low, ratio_high : float, optional
        Rate over the peer's in the same round: median, smallest, largest.
    """

    what: str
    records: int
    rounds: int
    records_per_s: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None


@dataclass(frozen=True)
class Memory:
    """Peak resident memory of one preparation."""

    records: int
    workers: int
    main_mb: float
    worker_mb: float
    seconds: float


def throughput(data: Path | None, n_records: int, rounds: int, say: Say) -> list[Rate]:
    """Time neurokit2's default cleaning, the reference recipe, and all of `prepare`, on one core.

    The recipe does more than the peer (gaps, checks, z-score); `prepare` also reads the records (with packed data),
    rounds, writes and forces to disk. All three are held to the same core, in turn in each round.

    Parameters
    ----------
    data : Path or None
        Folder of the packed subset, whose 12-lead part is read; simulated records, drawn beforehand, without it.
    n_records, rounds : int
        One more round comes first and is not counted.
    say : callable

    Raises
    ------
    BadInputError
        If neurokit2 is not installed.
    """
    try:
        import neurokit2
    except ImportError as error:
        raise BadInputError(
            "neurokit2, the peer of this measurement, is not installed.", "Install it: pip install 'lsemvae-edge[dev]'"
        ) from error
    chosen = _chosen(data, n_records)
    records = [entry.load() for entry in chosen]
    recipe = RECIPES["reference"]

    def peer() -> None:
        for record in records:
            for lead in record.signal_mv.astype(np.float64):
                neurokit2.ecg_clean(lead, sampling_rate=int(record.fs_hz), method="neurokit")

    def conditioning() -> None:
        for record in records:
            recipe.apply(record)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            prepare(chosen, recipe, Path(folder) / "shards", workers=1)

    functions: dict[str, Callable[[], None]] = {
        PEER: peer,
        "recipe `reference` alone": conditioning,
        "prepare, from data set to shards on disk": whole,
    }
    seconds: dict[str, list[float]] = {what: [] for what in functions}
    with _one_core():
        for number in range(rounds + 1):
            for what, function in functions.items():
                begun = perf_counter()
                function()
                if number:
                    seconds[what].append(perf_counter() - begun)
            say(f"round {number} of {rounds}")
    return [_rate(what, len(records), values, seconds[PEER]) for what, values in seconds.items()]


def memory(sizes: Sequence[int], workers: int, say: Say) -> list[Memory]:
    """Prepare simulated cohorts of several sizes, each in a fresh process.

    Parameters
    ----------
    sizes : sequence of int
        Recordings.
    workers : int
        Processes beside the one that walks through the data set.
    say : callable
    """
    found = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", __spec__.name, str(size), str(workers), str(Path(folder) / "shards")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - this module
        report = json.loads(done.stdout.splitlines()[-1])
        peaks = report["peak_mb"]
        found.append(Memory(report["kept"], workers, peaks["main"], peaks.get("worker", 0.0), report["seconds"]))
        say(f"{size:,} recordings: {peaks}")
    return found


def rate_table(rates: Sequence[Rate]) -> str:
    """Print rates as Markdown."""
    lines = ["| what | records/s | ratio to the first (median of pairs, least to most) |", "|---|---|---|"]
    for rate in rates:
        ratio = "-" if rate.ratio is None else f"{rate.ratio:.1f} ({rate.ratio_low:.1f} to {rate.ratio_high:.1f})"
        lines.append(f"| {rate.what} | {rate.records_per_s:.0f} | {ratio} |")
    return "\n".join(lines)


def memory_table(rows: Sequence[Memory]) -> str:
    """Print peaks as Markdown."""
    lines = ["| recordings | peak MB, main process | peak MB, largest worker | seconds |", "|---|---|---|---|"]
    lines += [f"| {row.records:,} | {row.main_mb:.0f} | {row.worker_mb:.0f} | {row.seconds:.0f} |" for row in rows]
    return "\n".join(lines)


def to_dict(rates: Sequence[Rate], rows: Sequence[Memory]) -> dict[str, object]:
    """Return figures as plain JSON values."""
    return {"throughput": [asdict(rate) for rate in rates], "memory": [asdict(row) for row in rows]}


@dataclass
class _Chosen:
    """The first entries of a data set, kept in memory."""

    entries: tuple[Entry, ...]
    tasks: tuple[Task, ...]
    name: str = "chosen"
    problems: Problems = field(default_factory=Problems, init=False)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _chosen(data: Path | None, n_records: int) -> _Chosen:
    dataset: DataSet
    if data is not None:
        dataset = Packed(data, parts=("ptbxl_12lead",))
        return _Chosen(tuple(islice(dataset, n_records)), dataset.tasks)
    dataset = Synthetic(n_patients=n_records)
    drawn = (replace(entry, load=partial(_again, entry.load())) for entry in dataset)
    return _Chosen(tuple(drawn), dataset.tasks)


def _again(record: Record) -> Record:
    """Make the recording anew, as a reader would."""
    return replace(record)


@contextmanager
def _one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _rate(what: str, n: int, seconds: Sequence[float], peer: Sequence[float]) -> Rate:
    ratios = [theirs / ours for theirs, ours in zip(peer, seconds, strict=True)]
    is_peer = what == PEER
    return Rate(
        what=what,
        records=n,
        rounds=len(seconds),
        records_per_s=round(n / statistics.median(seconds), 1),
        ratio=None if is_peer else round(statistics.median(ratios), 2),
        ratio_low=None if is_peer else round(min(ratios), 2),
        ratio_high=None if is_peer else round(max(ratios), 2),
    )


def _prepare_simulated(n_records: int, workers: int, out: Path) -> Report:
    return prepare(cast(DataSet, Synthetic(n_patients=n_records)), RECIPES["reference"], out, workers=workers)


if __name__ == "__main__":
    print(json.dumps(asdict(_prepare_simulated(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))))
