"""One group of recordings becomes one shard and its note; this runs in a worker."""

import errno
import os
import platform
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsemvae_edge.errors import BadInputError, LsemvaeError, StoreError
from lsemvae_edge.record import Record
from lsemvae_edge.train import shard_folder, shards
from lsemvae_edge.train.datasets.entry import Entry, Kind, Task, kind_of
from lsemvae_edge.train.recipes import InputRecipe, RejectedError

_MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
"""What says nothing about the recording that was being read."""


@dataclass(frozen=True)
class Job:
    """One shard's work, as it travels to a worker."""

    out: Path
    number: int
    recipe: InputRecipe
    tasks: tuple[Task, ...]
    entries: tuple[Entry, ...]
    repeated: tuple[bool, ...]
    identity: str


@dataclass(frozen=True)
class Done:
    """What a worker tells of one shard; the rest is in the note."""

    seen: int
    kept: int
    peak_mb: float
    pid: int
    host: str


def make_shard(job: Job) -> Done:
    """Read, condition and write one group of recordings; runs in a worker."""
    kept: list[Entry] = []
    rejected: list[dict[str, str]] = []
    size = len(job.entries)
    signals = np.zeros((size, len(job.recipe.leads), job.recipe.n_samples), dtype=np.float16)
    present = np.zeros((size, len(job.recipe.leads)), dtype=np.bool_)
    for entry, repeated in zip(job.entries, job.repeated, strict=True):
        try:
            if repeated:
                raise _RepeatedError("Another recording before it has the same id.")
            signal, present[len(kept)] = job.recipe.apply(_read(entry))
        except StoreError:
            raise
        except LsemvaeError as error:
            named = {"record_id": entry.record_id, "source": entry.source, "patient": entry.patient}
            rejected.append({**named, "reason": _reason(error), "message": error.message})
            continue
        except Exception as error:
            error.add_note(f"while preparing recording {entry.record_id} of {entry.source}")
            raise
        signals[len(kept)] = shards.to_storage(signal)
        kept.append(entry)
    note: dict[str, Any] = {"entries_sha256": job.identity, "seen": size, "kept": len(kept), "rejected": rejected}
    with shard_folder.writing(job.out):
        if kept:
            path = shard_folder.shard(job.out, job.number)
            unfinished = shard_folder.temporary(path)
            n = len(kept)
            written = shards.write(unfinished, kept, signals[:n], present[:n], job.recipe, job.tasks)
            shard_folder.rename(unfinished, path)
            note.update(asdict(written))
        shard_folder.write_json(shard_folder.note(job.out, job.number), note)
    return Done(size, len(kept), peak_mb(), os.getpid(), platform.node())


def peak_mb() -> float:
    """Peak resident memory of this process, in megabytes."""
    try:
        # Not getrusage: a spawned process starts with its parent's peak there.
        with Path("/proc/self/status").open() as stream:
            (line,) = (line for line in stream if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (2**20 if sys.platform == "darwin" else 1024), 1)


class _RepeatedError(BadInputError):
    """An id that came before."""


def _reason(error: LsemvaeError) -> str:
    if isinstance(error, RejectedError):
        return str(error.reason)
    return str(Kind.DUPLICATE if isinstance(error, _RepeatedError) else kind_of(error))


def _read(entry: Entry) -> Record:
    try:
        return entry.load()
    except OSError as error:
        if error.errno in _MACHINE_ERRORS:
            raise StoreError(
                f"This machine could not read {entry.record_id}: {error.strerror}.",
                f"Use fewer workers, or raise the machine's limits. {shard_folder.RESUME}",
            ) from error
        raise BadInputError(f"It cannot be read: {error}.") from error
