"""Samples as whole numbers of a decimal step, as FHIR and DICOM keep them."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import UsageError
from lsemvae_edge.formats import steps

_POWERS = range(-7, 4)


@dataclass(frozen=True, eq=False)
class Counts:
    """Whole numbers that stand for a signal.

    Parameters
    ----------
    values : array (n_leads, n_samples), int16
        0 in gaps, which the reader must look up in the record.
    step : Decimal
        Size of one count in the signal's unit.
    """

    values: NDArray[np.int16]
    step: Decimal


def count(signal: NDArray[np.floating]) -> Counts:
    """Express a signal in 16 bits, by the smallest step of 1, 2 or 5 times a power of ten that holds it.

    Parameters
    ----------
    signal : array (n_leads, n_samples)
        NaN in gaps.

    Raises
    ------
    UsageError
        If the values are too large.
    """
    known = np.nan_to_num(np.asarray(signal, dtype=np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    largest = float(np.abs(known).max(initial=0.0))
    step = steps.smallest(largest, _POWERS)
    if step is None:
        raise UsageError("The values are too large for 16 bits.", "Export the record as CSV.")
    return Counts(np.rint(known / float(step)).astype(np.int16), step)
