"""Prepared recordings on disk: Arrow IPC files of float16 signals with what is known of each recording beside them.

A folder of shards holds ``plan.json`` (what was asked for), ``shards/NNNNNN.arrow``, ``notes/NNNNNN.json`` (written
after the shard: what was kept, what was rejected and why) and, once all is done, ``report.json`` and ``rejected.csv``.
 `lsemvae_edge.train.prepare` writes them; here they are read.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train import recipes
from lsemvae_edge.train.datasets.entry import Entry, Task
from lsemvae_edge.train.recipes import InputRecipe

FORMAT = 1
MAX_OPEN = 128
"""Shards that are mapped at once: each holds a file descriptor, of which a process has about a thousand."""

_METADATA = b"lsemvae-edge"
_TARGET = "target."
_HALF_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Written:
    """One finished shard file."""

    bytes: int
    sha256: str


class Shards:
    """Prepared recordings, memory-mapped; positions count over all folders in order.

    Parameters
    ----------
    recipe : InputRecipe
        What made the signals.
    tasks : tuple of Task
    record_id, patient, source, sex : array (n,) of str
        ``sex`` is empty where unknown.
    fold : array (n,), int64
    age_years : array (n,), float64
        NaN where unknown.
    pacemaker : array (n,) of bool
    targets : dict of str to array (n,), int64
        By task name; -1 where unknown.
    present : array (n, 12) of bool
        Leads that were measured or follow from measured ones.
    auxiliary : array (n, k), float32
        Further statements, NaN where unknown; k may be 0.
    digest : str
        SHA-256 over all shards.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        if not folders:
            raise BadInputError("No folder of shards was given.", "Name at least one that `train prepare` made.")
        self._files: list[Path] = []
        self._open: OrderedDict[int, NDArray[np.float16]] = OrderedDict()
        tables: list[pa.Table] = []
        digests: list[str] = []
        for folder in folders:
            report = _report(folder)
            digests.append(str(report["sha256"]))
            files = sorted((folder / "shards").glob("*.arrow"))
            if len(files) != report["shards"]:
                raise BadInputError(
                    f"{folder} has {len(files)} shards; its report says {report['shards']}.",
                    "Run `train prepare` again with the same options; finished shards are kept.",
                )
            self._files += files
            tables += [_read(file) for file in files]
        described = [json.loads(table.schema.metadata[_METADATA]) for table in tables]
        for one, file in zip(described, self._files, strict=True):
            if one["format"] != FORMAT or one["recipe"] != described[0]["recipe"]:
                raise BadInputError(f"{file} was made by another recipe.", "Prepare all folders with the same recipe.")
        self.recipe: InputRecipe = recipes.from_dict(described[0]["recipe"])
        self.tasks = _merged(described)
        self.digest = digests[0] if len(digests) == 1 else sha256("\n".join(digests).encode()).hexdigest()
        self._starts = np.cumsum([0, *(table.num_rows for table in tables)])
        self._fill(tables)
        self._refuse_repeated()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def signals(self, index: NDArray[np.integer[Any]] | Sequence[int]) -> NDArray[np.float32]:
        """Read signals.

        Parameters
        ----------
        index : array (k,) of int
            Positions, in any order, also repeated.

        Returns
        -------
        array (k, 12, n_samples), float32

        Raises
        ------
        IndexError
            If a position is out of range.
        """
        wanted = np.asarray(index, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"Positions go from 0 to {len(self) - 1}.")
        out = np.empty((wanted.size, len(self.recipe.leads), self.recipe.n_samples), dtype=np.float32)
        shard = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shard):
            here = np.flatnonzero(shard == number)
            out[here] = self._mapped(int(number))[wanted[here] - self._starts[number]]
        return out

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: another process opens its own."""
        return {**vars(self), "_open": OrderedDict()}

    def _mapped(self, number: int) -> NDArray[np.float16]:
        if number not in self._open:
            signal = _read(self._files[number]).column("signal").chunk(0)
            shape = (len(signal), len(self.recipe.leads), self.recipe.n_samples)
            self._open[number] = signal.flatten().to_numpy(zero_copy_only=True).reshape(shape)
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]

    def _fill(self, tables: list[pa.Table]) -> None:
        def column(name: str) -> NDArray[Any]:
            return np.concatenate([table.column(name).to_numpy() for table in tables])

        self.record_id, self.patient, self.source, self.sex = (
            column(name).astype(np.str_) for name in ("record_id", "patient", "source", "sex")
        )
        self.fold = column("fold").astype(np.int64)
        self.age_years = column("age_years").astype(np.float64)
        self.pacemaker = column("pacemaker").astype(np.bool_)
        self._marks = [frozenset(marks) for table in tables for marks in table.column("marks").to_pylist()]
        self.targets = {
            task.name: np.concatenate(
                [
                    table.column(_TARGET + task.name).to_numpy().astype(np.int64)
                    if _TARGET + task.name in table.column_names
                    else np.full(table.num_rows, -1, dtype=np.int64)
                    for table in tables
                ]
            )
            for task in self.tasks
        }
        present = [
            table.column("present").combine_chunks().flatten().to_numpy(zero_copy_only=False) for table in tables
        ]
        self.present: NDArray[np.bool_] = np.concatenate(present).reshape(-1, len(self.recipe.leads))
        said = [row for table in tables for row in table.column("auxiliary").to_pylist()]
        self.auxiliary = np.full((len(said), max(map(len, said), default=0)), np.nan, dtype=np.float32)
        for row, values in enumerate(said):
            self.auxiliary[row, : len(values)] = values

    def marked(self, mark: str) -> NDArray[np.bool_]:
        """Say of each recording whether its data set put this mark on it; see `Entry.marks`."""
        return np.array([mark in marks for marks in self._marks], dtype=np.bool_)

    def _refuse_repeated(self) -> None:
        seen: set[str] = set()
        for record_id in self.record_id:
            if record_id in seen:
                raise BadInputError(
                    f"Recording {record_id} is in these shards twice.",
                    "Give folders of different recordings: a repeated one would be taught and judged with.",
                )
            seen.add(record_id)


def open_shards(folder: Path | Sequence[Path]) -> Shards:
    """Open one folder of shards, or several as one.

    Parameters
    ----------
    folder : Path or sequence of Path
        Made by `lsemvae_edge.train.prepare.prepare`, to the end and with one recipe.

    Returns
    -------
    Shards

    Raises
    ------
    BadInputError
        If a folder is unfinished, damaged, of another recipe or repeats a recording.
    """
    return Shards([folder] if isinstance(folder, Path) else [Path(one) for one in folder])


def write(
    path: Path,
    entries: Sequence[Entry],
    signals: NDArray[np.float16],
    present: NDArray[np.bool_],
    recipe: InputRecipe,
    tasks: Sequence[Task],
) -> Written:
    """Write one shard and force it to disk; the same input gives the same bytes.

    Parameters
    ----------
    path : Path
    entries : sequence of Entry
        One for each row.
    signals : array (n, 12, n_samples), float16
        See `to_storage`.
    present : array (n, 12) of bool
    recipe : InputRecipe
    tasks : sequence of Task

    Returns
    -------
    Written
    """
    columns: dict[str, pa.Array] = {
        "record_id": pa.array([entry.record_id for entry in entries], pa.string()),
        "patient": pa.array([entry.patient for entry in entries], pa.string()),
        "source": pa.array([entry.source for entry in entries], pa.string()),
        "fold": pa.array([entry.fold for entry in entries], pa.int64()),
        "age_years": pa.array([_or_nan(entry.age_years) for entry in entries], pa.float64()),
        "sex": pa.array([entry.sex or "" for entry in entries], pa.string()),
        "pacemaker": pa.array([entry.pacemaker for entry in entries], pa.bool_()),
        "marks": pa.array([sorted(entry.marks) for entry in entries], pa.list_(pa.string())),
    }
    for task in tasks:
        columns[_TARGET + task.name] = pa.array([entry.targets.get(task.name, -1) for entry in entries], pa.int8())
    columns["present"] = pa.FixedSizeListArray.from_arrays(pa.array(present.reshape(-1)), len(recipe.leads))
    columns["auxiliary"] = pa.array([list(entry.auxiliary) for entry in entries], pa.list_(pa.float32()))
    values = pa.array(signals.reshape(-1), pa.float16())
    columns["signal"] = pa.FixedSizeListArray.from_arrays(values, len(recipe.leads) * recipe.n_samples)
    described = {"format": FORMAT, "recipe": recipe.to_dict(), "tasks": [asdict(task) for task in tasks]}
    metadata = {_METADATA: json.dumps(described, sort_keys=True).encode()}
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)).replace_schema_metadata(metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with path.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
        return Written(os.fstat(stream.fileno()).st_size, digest)


def to_storage(signal: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to half precision; what lies beyond its range becomes its largest value."""
    return np.clip(signal, -_HALF_MAX, _HALF_MAX).astype(np.float16)


def _read(file: Path) -> pa.Table:
    """Map one shard; nothing is copied until it is used."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInputError(
            f"{file} is no readable shard: {error}",
            "Delete it with its note (notes/, same number) and run `train prepare` again with the same options.",
        ) from error


def _report(folder: Path) -> dict[str, Any]:
    try:
        report = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError) as error:
        begun = (folder / "plan.json").is_file()
        raise BadInputError(
            f"{folder} is {'not fully prepared' if begun else 'no folder of shards'}.",
            "Run `train prepare` again with the same options; finished shards are kept."
            if begun
            else "Make one with `lsemvae-edge train prepare`.",
        ) from error
    if not isinstance(report, dict) or not {"sha256", "shards"} <= report.keys():
        raise BadInputError(f"{folder / 'report.json'} is damaged.", "Run `train prepare` again with the same options.")
    return report


def _merged(described: list[dict[str, Any]]) -> tuple[Task, ...]:
    """Return the tasks of all shards, each once."""
    tasks: dict[str, Task] = {}
    for one in described:
        for fields in one["tasks"]:
            task = Task(fields["name"], tuple(fields["classes"]), fields["stand_in"])
            if tasks.setdefault(task.name, task) != task:
                raise BadInputError(
                    f"Two folders mean different things by the task {task.name!r}.", "Train on one of them at a time."
                )
    return tuple(tasks.values())


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)
