"""From any data set to shards: streamed, in parallel, resumable after a kill at any moment.

One process walks through the data set and hands groups of entries to workers; each group becomes one shard and one
note. Both are written under a temporary name, forced to disk and renamed, the note last: a shard counts once its note
is there. A later run with the same plan walks the same way and passes over finished shards. The walking process holds
a few groups and, on disk, the ids it has seen; nothing in memory grows with the number of recordings.
"""

import os
import platform
from collections.abc import Callable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from lsemvae_edge.errors import BadInputError, StoreError, UsageError
from lsemvae_edge.train import shard_folder
from lsemvae_edge.train.datasets.entry import DataSet, Entry
from lsemvae_edge.train.executors import Workers, open_workers
from lsemvae_edge.train.folder_lock import sole_writer
from lsemvae_edge.train.recipes import InputRecipe
from lsemvae_edge.train.shard_making import Done, Job, make_shard, peak_mb

REPORT_SCHEMA = "lsemvae-edge/prepare-report/1"
SHARD_SIZE = 256

Say = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """What came of a preparation.

    Parameters
    ----------
    data : str
        Name of the data set.
    recipe : str
    seen, kept : int
        Recordings that the data set gave, and those in the shards.
    rejected : dict of str to int
        How many were left out, by reason; each is named in ``rejected.csv``.
    problems : dict
        What the data set itself reported, see `Problems.to_dict`.
    shards : int
        Shard files.
    sha256 : str
        Over all shards.
    seconds, records_per_s : float
        Of this run.
    earlier : int
        Recordings whose shards an earlier run had finished.
    peak_mb : dict of str to float
        Peak resident memory of the walking process and of the largest worker.
    """

    data: str
    recipe: str
    seen: int
    kept: int
    rejected: dict[str, int]
    problems: dict[str, Any]
    shards: int
    sha256: str
    seconds: float
    records_per_s: float
    earlier: int
    peak_mb: dict[str, float]

    def lines(self) -> list[str]:
        """Return the report as text."""
        text = [
            f"{self.data}, recipe {self.recipe}: {self.kept:,} of {self.seen:,} recordings in {self.shards:,} shards"
        ]
        text += [f"  left out, {reason}: {count:,}" for reason, count in self.rejected.items()]
        for kind, found in self.problems.items():
            text.append(f"  data set, {kind}: {found['count']:,} ({'; '.join(found['examples'][:3])})")
        again = f", {self.earlier:,} done before" if self.earlier else ""
        peaks = ", ".join(f"{who} {peak:.0f} MB" for who, peak in self.peak_mb.items())
        text.append(f"  {self.seconds:.1f} s, {self.records_per_s:.0f} recordings/s{again}; peak memory: {peaks}")
        text.append(f"  sha256 {self.sha256}")
        return text


def prepare(
    dataset: DataSet,
    recipe: InputRecipe,
    out: Path,
    *,
    shard_size: int = SHARD_SIZE,
    workers: int | None = None,
    scheduler: str | None = None,
    say: Say | None = None,
) -> Report:
    """Turn a data set into shards.

    Parameters
    ----------
    dataset : DataSet
    recipe : InputRecipe
    out : Path
        New folder, or one in which the same preparation was begun. With a scheduler, a folder that all machines see.
    shard_size : int
        Entries that make up one shard.
    workers : int, optional
        Processes of this machine; as many as it lets this process use by default. 1 works in this process.
    scheduler : str, optional
        Address of a Dask scheduler, in place of processes of this machine.
    say : callable, optional
        Takes one line of progress at a time.

    Returns
    -------
    Report
        Also ``out/report.json``; every recording that was left out is named in ``out/rejected.csv``.

    Raises
    ------
    UsageError
        If ``out`` holds something else, or another process works there.
    BadInputError
        If the data set cannot be read, changed since the preparation began, or gives no usable recording.
    StoreError
        If nothing more can be written, or a worker died.
    """
    if shard_size < 1:
        raise UsageError(f"A shard holds at least one recording, not {shard_size}.")
    begun = monotonic()
    with ExitStack() as held:
        with shard_folder.writing(out):
            held.enter_context(sole_writer(out))
            shard_folder.hold_to_plan(out, shard_folder.plan(dataset, recipe, shard_size))
            (out / "report.json").unlink(missing_ok=True)
        walk = _Walk(dataset, recipe, out, shard_size, say or (lambda _: None))
        with open_workers(len(os.sched_getaffinity(0)) if workers is None else workers, scheduler) as crew:
            walk.run(crew)
        with shard_folder.writing(out):
            totals = shard_folder.sum_up(out, walk.n_shards)
        seconds = monotonic() - begun
        report = Report(
            data=dataset.name,
            recipe=recipe.name,
            seconds=round(seconds, 3),
            records_per_s=round((totals["seen"] - walk.earlier) / seconds, 1),
            problems=dataset.problems.to_dict(),
            earlier=walk.earlier,
            peak_mb={"main": peak_mb(), **walk.worker_peak_mb},
            **totals,
        )
        if not report.kept:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in report.rejected.items())
            raise BadInputError(
                f"None of the {report.seen} recordings of {dataset.name} could be used: {reasons or 'it is empty'}.",
                f"Look at {out / 'rejected.csv'}.",
            )
        with shard_folder.writing(out):
            shard_folder.write_json(out / "report.json", {"schema": REPORT_SCHEMA, **asdict(report)})
    return report


class _Walk:
    """One pass over the data set: which groups are finished, which are handed out."""

    def __init__(self, dataset: DataSet, recipe: InputRecipe, out: Path, shard_size: int, say: Say) -> None:
        self.dataset, self.recipe, self.out, self.shard_size = dataset, recipe, out, shard_size
        self.progress = _Progress(dataset, say)
        self.n_shards = 0
        self.earlier = 0
        self.worker_peak_mb: dict[str, float] = {}

    def run(self, crew: Workers) -> None:
        pending: set[Future[Done]] = set()
        try:
            with shard_folder.seen_ids(self.out) as is_new:
                for entries in _groups(self.dataset, self.shard_size):
                    repeated = tuple(not is_new(entry.record_id) for entry in entries)
                    identity = _identity(entries, repeated)
                    number, self.n_shards = self.n_shards, self.n_shards + 1
                    if shard_folder.finished(self.out, number, identity):
                        self.earlier += len(entries)
                        self.progress.passed(len(entries))
                        continue
                    while len(pending) >= crew.in_flight():
                        pending = self._collect(pending)
                    tasks = tuple(self.dataset.tasks)
                    job = Job(self.out.resolve(), number, self.recipe, tasks, entries, repeated, identity)
                    pending.add(crew.executor.submit(make_shard, job))
            while pending:
                pending = self._collect(pending)
        except BrokenExecutor as error:
            raise StoreError(
                "A worker died, perhaps for want of memory.", f"Use fewer --workers. {shard_folder.RESUME}"
            ) from error
        finally:
            for future in pending:
                future.cancel()
        if shard_folder.note(self.out, self.n_shards).exists():
            raise shard_folder.changed(self.out)

    def _collect(self, pending: set[Future[Done]]) -> set[Future[Done]]:
        done, left = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            result = future.result()
            self.progress.made(result.seen, result.kept)
            if (result.host, result.pid) != (platform.node(), os.getpid()):
                self.worker_peak_mb["worker"] = max(self.worker_peak_mb.get("worker", 0.0), result.peak_mb)
        return left


def _groups(dataset: DataSet, size: int) -> Iterator[tuple[Entry, ...]]:
    entries = iter(dataset)
    while True:
        try:
            group = tuple(islice(entries, size))
        except OSError as error:
            raise BadInputError(
                f"The data set {dataset.name} cannot be read: {error}.", "Check the folder and its permissions."
            ) from error
        if not group:
            return
        yield group


def _identity(entries: tuple[Entry, ...], repeated: tuple[bool, ...]) -> str:
    """Digest of all that a data set says of a group, so that a later run notices a changed one."""
    digest = sha256()
    for entry, again in zip(entries, repeated, strict=True):
        said = (entry.record_id, entry.source, entry.patient, entry.fold, entry.age_years, entry.sex, entry.pacemaker)
        digest.update(repr((said, sorted(entry.targets.items()), entry.auxiliary, sorted(entry.marks), again)).encode())
    return digest.hexdigest()


class _Progress:
    """Says at most every two seconds how far it is, at which rate, and how long it will take."""

    def __init__(self, dataset: DataSet, say: Say) -> None:
        self.total = len(dataset) if isinstance(dataset, Sized) else None
        self.say = say
        self.seen = self.earlier = self.kept = 0
        self.begun = self.said = monotonic()

    def passed(self, seen: int) -> None:
        self.seen += seen
        self.earlier += seen

    def made(self, seen: int, kept: int) -> None:
        self.seen += seen
        self.kept += kept
        now = monotonic()
        if now - self.said < 2 and self.seen != self.total:
            return
        self.said = now
        rate = (self.seen - self.earlier) / (now - self.begun)
        text = f"{self.seen:,}{f' of {self.total:,}' if self.total else ''} recordings, {rate:.0f}/s"
        if self.total:
            left = round((self.total - self.seen) / rate)
            text += f", {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        self.say(text)
