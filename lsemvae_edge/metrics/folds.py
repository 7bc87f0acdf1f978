"""Which folds have a fixed role, and how patients are spread over the folds of a cross-validation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

VALIDATION_FOLD, TEST_FOLD = 9, 10
"""PTB-XL's ``strat_fold``: 1-8 train, 9 chooses and calibrates, 10 is read once."""


def patient_folds(patients: ArrayLike, strata: ArrayLike, n_folds: int = 5, seed: int = 0) -> NDArray[np.int64]:
    """Assign recordings to folds so that no patient is in two, positives spread evenly.

    Parameters
    ----------
    patients, strata : array (n,)
        A patient's stratum is the largest of its recordings'.

    Returns
    -------
    array (n,)
        Fold numbers 0 to ``n_folds - 1``.
    """
    _, inverse = np.unique(np.asarray(patients), return_inverse=True)
    patient_stratum = np.full(inverse.max() + 1, -1, dtype=np.int64)
    np.maximum.at(patient_stratum, inverse, np.asarray(strata, dtype=np.int64))
    rng = np.random.default_rng(seed)
    fold_of_patient = np.empty(patient_stratum.size, dtype=np.int64)
    for stratum in np.unique(patient_stratum):
        members = rng.permutation(np.flatnonzero(patient_stratum == stratum))
        fold_of_patient[members] = np.arange(members.size) % n_folds
    return fold_of_patient[inverse]
