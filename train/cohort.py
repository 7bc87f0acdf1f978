"""A cohort in memory: conditioned recordings with labels, for the student and what judges it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge import preprocess
from lsemvae_edge.errors import BadInputError, LsemvaeError
from lsemvae_edge.spec import PreprocessSpec
from lsemvae_edge.train.datasets import HEART_SIDE, RIGHT_AXIS_LIKE, RIGHT_HEART, TWELVE_LEAD, Entry
from lsemvae_edge.train.datasets.packed import band_of_limb_only


@dataclass(frozen=True, eq=False)
class Cohort:
    """Conditioned recordings and what is known of them, aligned by position.

    Parameters
    ----------
    pairs : array (n, 2, n_samples), float32
        Leads I and II at the model's rate, filtered.
    right_heart, heart_side : array (n,), int
        Stand-in labels; -1 where a task has none.
    auxiliary : array (n, N_AUXILIARY), float32
        Further statements to learn from, NaN where unknown.
    fold, patient, source, right_axis_like, record_id : arrays (n,)
    """

    pairs: NDArray[np.float32]
    right_heart: NDArray[np.int64]
    heart_side: NDArray[np.int64]
    auxiliary: NDArray[np.float32]
    fold: NDArray[np.int64]
    patient: NDArray[np.str_]
    source: NDArray[np.str_]
    right_axis_like: NDArray[np.bool_]
    record_id: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.fold)

    def select(self, mask: NDArray[Any]) -> "Cohort":
        """Return the recordings of a boolean mask or an index array."""
        return Cohort(**{name: value[mask] for name, value in vars(self).items()})


def load_cohort(
    listed: Iterable[Entry], spec: PreprocessSpec, *, same_band: bool = False
) -> tuple[Cohort, dict[str, str]]:
    """Read and condition recordings.

    Parameters
    ----------
    listed : iterable of Entry
    spec : PreprocessSpec
    same_band : bool
        Filter the unfiltered folder as the other one was before us, so that a model cannot learn the folder. For
        training; what is judged stays as a recorder gives it.

    Returns
    -------
    cohort : Cohort
        All recordings that could be conditioned; signals are cut to the shortest common length.
    rejected : dict
        Reason for each recording left out, by id.

    Raises
    ------
    BadInputError
        If none could be read.
    """
    kept: list[tuple[Entry, NDArray[np.float32]]] = []
    rejected: dict[str, str] = {}
    for entry in listed:
        try:
            record = entry.load()
            if same_band and entry.source == TWELVE_LEAD:
                record = band_of_limb_only(record)
            conditioned = preprocess.condition(record, spec)
            if conditioned.excluded.any() or not conditioned.pair.any():
                raise BadInputError("The signal has long gaps or is flat.")
        except LsemvaeError as error:
            rejected[entry.record_id] = error.message
            continue
        kept.append((entry, conditioned.pair.astype(np.float32)))
    if not kept:
        raise BadInputError("No recording could be read.", "Check the folder and the list of rejected recordings.")
    length = min(pair.shape[1] for _, pair in kept)
    rows = [entry for entry, _ in kept]
    return (
        Cohort(
            pairs=np.stack([pair[:, :length] for _, pair in kept]),
            right_heart=np.array([row.targets.get(RIGHT_HEART.name, -1) for row in rows]),
            heart_side=np.array([row.targets.get(HEART_SIDE.name, -1) for row in rows]),
            auxiliary=np.array([row.auxiliary for row in rows], dtype=np.float32),
            fold=np.array([row.fold for row in rows]),
            patient=np.array([row.patient for row in rows]),
            source=np.array([row.source for row in rows]),
            right_axis_like=np.array([RIGHT_AXIS_LIKE in row.marks for row in rows]),
            record_id=np.array([row.record_id for row in rows]),
        ),
        rejected,
    )
