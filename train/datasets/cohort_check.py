"""Whether a cohort's labels and patients suffice for what is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lsemvae_edge.errors import BadInputError
from lsemvae_edge.train.datasets.entry import Kind, Problems


@dataclass(frozen=True)
class CohortCheck:
    """Tasks that can be learned and judged, in the order given, and why others cannot."""

    usable: tuple[str, ...]
    problems: Problems


def check_cohort(patient: ArrayLike, targets: Mapping[str, ArrayLike], n_folds: int = 5) -> CohortCheck:
    """Tell which tasks have both classes, in enough patients to be split into folds by patient.

    Parameters
    ----------
    patient : array (n,)
        Patient of each recording.
    targets : mapping of str to array (n,), int
        Task name to 0, 1, or -1 where unknown.
    n_folds : int
        Folds wanted; 1 when there is nothing to split.

    Returns
    -------
    CohortCheck
        A task is usable if each of its classes has recordings of at least ``n_folds`` patients.

    Raises
    ------
    BadInputError
        If no task is usable.
    """
    patients: NDArray[Any] = np.asarray(patient)
    problems, usable = Problems(), []
    for task, values in targets.items():
        truth: NDArray[Any] = np.asarray(values)
        counts = [int(np.count_nonzero(truth == cls)) for cls in (0, 1)]
        of_class = [np.unique(patients[truth == cls]).size for cls in (0, 1)]
        if min(counts) == 0:
            problems.add(Kind.ONE_CLASS, task, f"{counts[1]} positive, {counts[0]} negative recordings")
        elif min(of_class) < n_folds:
            problems.add(
                Kind.FEW_PATIENTS, task, f"{of_class[1]} positive, {of_class[0]} negative patients for {n_folds} folds"
            )
        else:
            usable.append(task)
    if not usable:
        raise BadInputError(
            f"No task can be learned or judged: {'; '.join(problems.lines()) or 'the cohort has no labels'}.",
            "Add labelled recordings of both classes, or ask for fewer folds.",
        )
    return CohortCheck(tuple(usable), problems)
