"""A cohort in memory: average beats and conditioned recordings with labels, for the student and what judges it."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError, LsemvaeError
from lsemvae_edge.leads import LIMB_MATRIX
from lsemvae_edge.train.datasets import RIGHT_AXIS_LIKE, TWELVE_LEAD, Entry
from lsemvae_edge.train.datasets.ptbxl import band_of_limb_only
from lsemvae_edge.train.labels import N_AUXILIARY
from lsemvae_edge.train.recipes import InputRecipe, recipe

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Cohort:
    """Recordings and what is known of them, aligned by position.

    Parameters
    ----------
    beats : array (n, 12, n_beat), float32
        Average beat of the middle window, recipe ``beat``; absent leads are zero.
    pairs : array (n, 2, n_samples), float32
        Leads I and II as conditioned, recipe ``edge``: what networks on windows read.
    present : array (n, 12) of bool
    tasks : tuple of str
    targets : array (n, n_tasks), float32
        0, 1, or NaN where a task has no label.
    auxiliary : array (n, n_auxiliary), float32
        Further statements to learn from, NaN where unknown.
    age_years : array (n,), float32
        NaN where unknown.
    fold, patient, source, site, device, sex, right_axis_like, record_id : arrays (n,)
    """

    beats: NDArray[np.float32]
    pairs: NDArray[np.float32]
    present: NDArray[np.bool_]
    tasks: tuple[str, ...]
    targets: NDArray[np.float32]
    auxiliary: NDArray[np.float32]
    fold: NDArray[np.int64]
    patient: NDArray[np.str_]
    source: NDArray[np.str_]
    site: NDArray[np.str_]
    device: NDArray[np.str_]
    sex: NDArray[np.str_]
    age_years: NDArray[np.float32]
    right_axis_like: NDArray[np.bool_]
    record_id: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.fold)

    def select(self, mask: NDArray[Any]) -> "Cohort":
        """Return the recordings of a boolean mask or an index array."""
        kept = {name: value if name == "tasks" else value[mask] for name, value in vars(self).items()}
        return Cohort(**kept)

    @property
    def strata(self) -> NDArray[np.int64]:
        """What folds are balanced by (n,): which tasks the recording is positive for."""
        return np.asarray(np.nan_to_num(self.targets) @ 2 ** np.arange(len(self.tasks)), dtype=np.int64)

    @property
    def has_chest_leads(self) -> NDArray[np.bool_]:
        """Whether all twelve leads are there (n,)."""
        return np.asarray(self.present.all(axis=1))

    def limb_windows(self) -> NDArray[np.float32]:
        """Return the six limb leads of the conditioned recordings (n, 6, n_samples)."""
        return np.asarray(LIMB_MATRIX.astype(np.float32) @ self.pairs)


def load_cohort(
    listed: Iterable[Entry],
    tasks: Sequence[str],
    *,
    same_band: bool = False,
    workers: int = 1,
    beat: InputRecipe | None = None,
) -> tuple[Cohort, dict[str, str]]:
    """Read and condition recordings.

    Parameters
    ----------
    listed : iterable of Entry
    tasks : sequence of str
        Names of the tasks whose labels are kept, in order.
    same_band : bool
        Filter the unfiltered folder as the other one was before us, so that a model cannot learn the folder. For
        training; what is judged stays as a recorder gives it.
    workers : int
        Processes.
    beat : InputRecipe, optional
        Another recipe of the average beat than the device's.

    Returns
    -------
    cohort : Cohort
        All recordings that could be conditioned.
    rejected : dict
        Reason for each recording left out, by id.

    Raises
    ------
    BadInputError
        If none could be read.
    """
    rows = list(listed)
    read = partial(_read_some, same_band=same_band, beats=beat or recipe("beat"))
    parts = _batched(rows)
    if workers == 1:
        found = list(chain.from_iterable(map(read, parts)))
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            found = list(chain.from_iterable(pool.map(read, parts)))
    kept = [(entry, one) for entry, one in zip(rows, found, strict=True) if not isinstance(one, str)]
    rejected = {entry.record_id: one for entry, one in zip(rows, found, strict=True) if isinstance(one, str)}
    if not kept:
        raise BadInputError("No recording could be read.", "Check the folder and the list of rejected recordings.")
    of = [entry for entry, _ in kept]
    unknown = (np.nan,) * N_AUXILIARY
    return (
        Cohort(
            beats=np.stack([beat for _, (beat, _, _) in kept]),
            pairs=np.stack([pair for _, (_, pair, _) in kept]),
            present=np.stack([present for _, (_, _, present) in kept]),
            tasks=tuple(tasks),
            targets=np.array([[entry.targets.get(task, np.nan) for task in tasks] for entry in of], dtype=np.float32),
            auxiliary=np.array([entry.auxiliary or unknown for entry in of], dtype=np.float32),
            fold=np.array([entry.fold for entry in of]),
            patient=np.array([entry.patient for entry in of]),
            source=np.array([entry.source for entry in of]),
            site=np.array([entry.site for entry in of]),
            device=np.array([entry.device for entry in of]),
            sex=np.array([entry.sex or "" for entry in of]),
            age_years=np.array([entry.age_years for entry in of], dtype=np.float32),
            right_axis_like=np.array([RIGHT_AXIS_LIKE in entry.marks for entry in of]),
            record_id=np.array([entry.record_id for entry in of]),
        ),
        rejected,
    )


Read = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]


def _read_some(entries: Sequence[Entry], *, same_band: bool, beats: InputRecipe) -> list[Read | str]:
    """Read entries: beat, pair and presence of each, or why it was left out."""
    found: list[Read | str] = []
    for entry in entries:
        try:
            record = entry.load()
            if same_band and entry.source == TWELVE_LEAD:
                record = band_of_limb_only(record)
            beat, present = beats.apply(record)
            window, _ = recipe("edge").apply(record)
        except LsemvaeError as error:
            found.append(error.message)
        else:
            found.append((beat, window[:2], present))
    return found


def _batched(rows: Sequence[Entry]) -> Iterable[tuple[Entry, ...]]:
    stream = iter(rows)
    while batch := tuple(islice(stream, _BATCH)):
        yield batch
