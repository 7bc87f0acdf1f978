"""A folder of shards while it is written: its plan, names, and writing that survives a kill."""

import csv
import json
import os
import platform
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, fields, is_dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow
import scipy

from lsemvae_edge import __version__
from lsemvae_edge.errors import BadInputError, StoreError, UsageError
from lsemvae_edge.train import shards
from lsemvae_edge.train.datasets.entry import DataSet, Problems
from lsemvae_edge.train.recipes import InputRecipe

RESUME = "Run the same command again: finished shards are kept."


def plan(dataset: DataSet, recipe: InputRecipe, shard_size: int) -> dict[str, Any]:
    """Say all that decides the shards' bytes."""
    said: dict[str, Any] = {"name": dataset.name, "class": type(dataset).__name__}
    if is_dataclass(dataset):
        for field in fields(dataset):
            value = getattr(dataset, field.name)
            if field.init and not isinstance(value, Problems):
                said[field.name] = str(value.resolve()) if isinstance(value, Path) else value
    whole = {
        "data": said,
        "tasks": [asdict(task) for task in dataset.tasks],
        "recipe": recipe.to_dict(),
        "shard_size": shard_size,
        "versions": {
            "format": shards.FORMAT,
            "lsemvae-edge": __version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "pyarrow": pyarrow.__version__,
        },
    }
    return cast(dict[str, Any], json.loads(json.dumps(whole, default=str)))


def hold_to_plan(out: Path, wanted: Mapping[str, Any]) -> None:
    """Begin a folder with a plan, or go on in one that was begun with the same.

    Raises
    ------
    UsageError
        If the folder was begun with another plan, or holds something else.
    """
    path = out / "plan.json"
    if path.exists():
        try:
            earlier = json.loads(path.read_text())
        except ValueError as error:
            raise UsageError(f"{path} is damaged.", "Name a new folder, or delete this one.") from error
        differing = [key for key in wanted if earlier.get(key) != wanted[key]]
        if differing:
            was, now = (json.dumps(what.get(differing[0]), sort_keys=True) for what in (earlier, wanted))
            raise UsageError(
                f"{out} was begun with another plan: {', '.join(differing)} differ ({was} then, {now} now).",
                "Name a new folder, or delete this one.",
            )
    else:
        if any(one.name != "lock" and one.suffix != ".tmp" for one in out.iterdir()):
            raise UsageError(f"{out} holds something else.", "Name a new folder.")
        # Before anything else, so that what a kill leaves behind is known as ours.
        write_json(path, wanted)
    for folder in (out / "shards", out / "notes"):
        folder.mkdir(exist_ok=True)
    for left in chain(out.glob("*.tmp"), out.glob("*/*.tmp")):
        left.unlink(missing_ok=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn the system's errors of writing below ``out`` into one that says what to do."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        number = getattr(error, "errno", None)
        what = os.strerror(number) if number else str(error)
        raise StoreError(f"{out} cannot be written: {what}.", f"Make space or change permissions. {RESUME}") from error


@contextmanager
def seen_ids(out: Path) -> Iterator[Callable[[str], bool]]:
    """Give a function that says whether an id is new; ids are kept on disk, and forgotten at the end."""
    path = out / "ids.sqlite"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID")
        database.execute("BEGIN")

        def is_new(record_id: str) -> bool:
            with writing(out):
                return bool(database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (record_id,)).rowcount)

        yield is_new
    path.unlink(missing_ok=True)


def finished(out: Path, number: int, identity: str) -> bool:
    """Say whether a shard is done; refuse if the same number was made from other entries."""
    try:
        found = json.loads(note(out, number).read_text())
    except FileNotFoundError:
        return False
    if found["entries_sha256"] != identity:
        raise changed(out)
    if found["kept"] == 0:
        return True
    file = shard(out, number)
    return file.exists() and file.stat().st_size == found["bytes"]


def sum_up(out: Path, n_shards: int) -> dict[str, Any]:
    """Add up the notes one after the other, and list what was rejected in ``rejected.csv``."""
    totals: dict[str, Any] = {"seen": 0, "kept": 0, "rejected": {}, "shards": 0}
    digest = sha256()
    path = out / "rejected.csv"
    unfinished = temporary(path)
    with unfinished.open("w", newline="") as stream:
        table = csv.DictWriter(stream, ("record_id", "source", "patient", "reason", "message"))
        table.writeheader()
        for number in range(n_shards):
            try:
                found = json.loads(note(out, number).read_text())
            except FileNotFoundError as error:
                raise StoreError(
                    f"The note of shard {number} is not in {out}.", "Name a folder that all machines share."
                ) from error
            totals["seen"] += found["seen"]
            totals["kept"] += found["kept"]
            for row in found["rejected"]:
                table.writerow(row)
                totals["rejected"][row["reason"]] = totals["rejected"].get(row["reason"], 0) + 1
            if found["kept"]:
                totals["shards"] += 1
                digest.update(f"{number:06d} {found['sha256']}\n".encode())
        stream.flush()
        os.fsync(stream.fileno())
    rename(unfinished, path)
    return {**totals, "sha256": digest.hexdigest()}


def changed(out: Path) -> BadInputError:
    """Return the error for a data set that is not the one a folder was begun with."""
    return BadInputError(
        f"The data set is not the one that {out} was begun with: entries were added, removed or changed.",
        "Name a new folder, or restore the data set.",
    )


def shard(out: Path, number: int) -> Path:
    """Return the place of a shard."""
    return out / "shards" / f"{number:06d}.arrow"


def note(out: Path, number: int) -> Path:
    """Return the place of a shard's note."""
    return out / "notes" / f"{number:06d}.json"


def temporary(path: Path) -> Path:
    """Return a name to write under before `rename`.

    It is each process's own: a killed run's last worker may still be writing when the next run begins.
    """
    return path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}.tmp")


def rename(unfinished: Path, path: Path) -> None:
    """Rename, and force the folder to disk, so that the new name outlives a power failure."""
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file that is there whole or not at all."""
    unfinished = temporary(path)
    with unfinished.open("w") as stream:
        json.dump(value, stream, indent=1, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    rename(unfinished, path)
