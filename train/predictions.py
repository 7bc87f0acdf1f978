"""What a model said of recordings it had not learned from, kept as files that tables and figures are made of."""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.metrics import Metric

SCHEMA = "lsemvae-edge/predictions/1"
NO_FOLD = -1
_COLUMNS = ("record_id", "patient", "fold_of_cv", "truth", "score", "age_years", "sex")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of one model with one set of leads for one task, on recordings of known label.

    Parameters
    ----------
    model, task : str
        Names as they stand in tables.
    leads : str
        ``"12L"``, ``"6L"``, one lead, or several joined by ``+``.
    split : str
        Which recordings these are: ``"A: folds 9-10"``, ``"cv5"``, ``"validation"``.
    seed : int
        Of the training.
    record_id, patient : array (n,) of str
        A record occurs once.
    fold_of_cv : array (n,) of int
        Cross-validation fold that held the record out; ``NO_FOLD`` without cross-validation.
    truth : array (n,) of int
        0 or 1.
    score : array (n,)
        Probability of class 1.
    age_years : array (n,)
        NaN where unknown.
    sex : array (n,) of str
        ``"female"``, ``"male"``, or empty where unknown.

    Raises
    ------
    BadInputError
        If the columns contradict each other, a record repeats, a label is not 0 or 1 or a score is no probability.
    """

    model: str
    task: str
    leads: str
    split: str
    seed: int
    record_id: NDArray[np.str_]
    patient: NDArray[np.str_]
    fold_of_cv: NDArray[np.int64]
    truth: NDArray[np.int64]
    score: NDArray[np.float64]
    age_years: NDArray[np.float64]
    sex: NDArray[np.str_]

    def __post_init__(self) -> None:
        types: dict[str, Any] = {
            "fold_of_cv": np.int64,
            "truth": np.int64,
            "score": np.float64,
            "age_years": np.float64,
        }
        for name in _COLUMNS:
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=types.get(name, np.str_)))
        lengths = {name: getattr(self, name).shape for name in _COLUMNS}
        if len(set(lengths.values())) > 1 or self.truth.ndim != 1:
            raise BadInputError(f"The columns of {self.name} have different lengths: {lengths}.")
        if np.unique(self.record_id).size != len(self):
            names, counts = np.unique(self.record_id, return_counts=True)
            raise BadInputError(f"{self.name} holds {names[counts > 1][0]} twice.", "Give each record one prediction.")
        if not np.isin(self.truth, (0, 1)).all():
            raise BadInputError(f"{self.name} has labels other than 0 and 1.", "Leave unknown labels out.")
        if not ((self.score >= 0) & (self.score <= 1)).all():
            raise BadInputError(f"{self.name} has scores that are no probabilities.", "Give numbers from 0 to 1.")

    def __len__(self) -> int:
        return int(self.truth.size)

    @property
    def name(self) -> str:
        """What these predictions are, in words."""
        return f"{self.model}, {self.task}, {self.leads}, {self.split}, seed {self.seed}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Model, task, leads and split: what several seeds share."""
        return self.model, self.task, self.leads, self.split

    @property
    def file_name(self) -> str:
        """Name of the file that caches these predictions; different predictions never share one."""
        return file_name(self.model, self.task, self.leads, self.split, self.seed)

    def select(self, index: NDArray[Any]) -> "Predictions":
        """Keep the records of an index or mask, in its order."""
        return replace(self, **{name: getattr(self, name)[index] for name in _COLUMNS})

    def of_records(self, wanted: Iterable[str]) -> "Predictions":
        """Keep the named records, in the order named.

        Raises
        ------
        BadInputError
            If one of them has no prediction.
        """
        place = {name: index for index, name in enumerate(self.record_id.tolist())}
        names = [str(name) for name in wanted]
        missing = [name for name in names if name not in place]
        if missing:
            raise BadInputError(f"{self.name} has no prediction for {missing[0]} and {len(missing) - 1} more.")
        return self.select(np.array([place[name] for name in names], dtype=np.intp))

    def to_csv(self, path: Path) -> None:
        """Write a line of JSON that names the predictions, then one line a record; whole or not at all."""
        head = {"schema": SCHEMA, "model": self.model, "task": self.task, "leads": self.leads, "split": self.split}
        text = io.StringIO()
        text.write("# " + json.dumps({**head, "seed": self.seed, "n": len(self)}) + "\n")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        # tolist() gives Python numbers, whose shortest text reads back as the same number.
        writer.writerows(zip(*(getattr(self, name).tolist() for name in _COLUMNS), strict=True))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.part")
        draft.write_text(text.getvalue(), encoding="utf-8")
        draft.replace(path)

    @classmethod
    def from_csv(cls, path: Path) -> "Predictions":
        """Read what `to_csv` wrote.

        Raises
        ------
        BadInputError
            If the file is missing, is something else, or is not whole.
        """
        try:
            first, _, rest = path.read_text(encoding="utf-8").partition("\n")
            head = json.loads(first.removeprefix("#"))
            if head["schema"] != SCHEMA:
                raise ValueError(f"schema {head['schema']!r}")
            rows = list(csv.DictReader(io.StringIO(rest)))
            if len(rows) != head["n"]:
                raise ValueError(f"{len(rows)} rows, not {head['n']}")
            columns: dict[str, Any] = {name: [row[name] for row in rows] for name in _COLUMNS}
            for name, kind in (("fold_of_cv", np.int64), ("truth", np.int64), ("score", float), ("age_years", float)):
                columns[name] = np.array(columns[name], dtype=np.str_).astype(kind)
            return cls(**{name: head[name] for name in ("model", "task", "leads", "split", "seed")}, **columns)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f"{path} holds no whole predictions: {error}.", "Delete the file and run the command again."
            ) from error


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample: divided by folds - 1) of a metric over cross-validation folds."""

    mean: float
    std: float
    folds: int
    left_out: int = 0

    def __str__(self) -> str:
        note = f", {self.left_out} of {self.folds + self.left_out} folds without both classes" if self.left_out else ""
        return f"{self.mean:.3f} ± {self.std:.3f}{note}"


def file_name(model: str, task: str, leads: str, split: str, seed: int) -> str:
    """Name a file after what its predictions are, readably and without two sharing one."""
    parts = [model, task, leads, split, f"seed{seed}"]
    words = "__".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-").lower() for part in parts)
    return f"{words[:120]}__{sha256(json.dumps(parts).encode()).hexdigest()[:8]}.csv"


def validation_of(split: str) -> str:
    """Name the split whose predictions choose thresholds for another: the same model's, on its validation records."""
    return f"validation of {split}"


def pool(parts: Iterable[Predictions]) -> Predictions:
    """Join the held-out parts of a cross-validation into one set of out-of-fold predictions.

    Parameters
    ----------
    parts : iterable of Predictions
        Of the same model, task, leads, split and seed, each with its ``fold_of_cv``.

    Raises
    ------
    BadInputError
        If there is none, if they are of different things, or if a record was held out twice.
    """
    found = list(parts)
    if not found:
        raise BadInputError("There are no predictions to pool.", "Run the folds first.")
    named = {(*part.key, part.seed) for part in found}
    if len(named) > 1:
        raise BadInputError(f"Predictions of different things cannot be pooled: {sorted(named)}.")
    columns: Any = {name: np.concatenate([getattr(part, name) for part in found]) for name in _COLUMNS}
    return replace(found[0], **columns)


def over_folds(predictions: Predictions, metric: Metric) -> Spread | None:
    """Mean ± standard deviation of a metric over the cross-validation folds; None without at least two.

    Folds in which one class is absent are left out, and counted.
    """
    folds = [predictions.fold_of_cv == fold for fold in np.unique(predictions.fold_of_cv) if fold != NO_FOLD]
    usable = [mask for mask in folds if 0 < predictions.truth[mask].sum() < mask.sum()]
    values = [metric(predictions.truth[mask].astype(bool), predictions.score[mask]) for mask in usable]
    if len(values) < 2:
        return None
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)), len(values), len(folds) - len(usable))


def median_seed(of_seeds: Sequence[Predictions], metric: Metric) -> Predictions:
    """Return the predictions of the median seed by a metric; of an even number the lower of the middle two."""
    ranked = sorted(of_seeds, key=lambda one: (metric(one.truth.astype(bool), one.score), one.seed))
    return ranked[(len(ranked) - 1) // 2]


def by_key(predictions: Iterable[Predictions], metric: Metric) -> list[tuple[Predictions, list[Predictions]]]:
    """Group the seeds of each model, task, leads and split, in the order given: the median seed, then all of them."""
    groups: dict[tuple[str, str, str, str], list[Predictions]] = {}
    for one in predictions:
        groups.setdefault(one.key, []).append(one)
    return [(median_seed(group, metric), group) for group in groups.values()]
