"""Lead names, their aliases, and the algebra that ties the six limb leads together.

The limb leads are differences of three electrode potentials (right arm RA, left
arm LA, left leg LL), so they have rank 2: I = LA - RA, II = LL - RA, III = LL - LA
(Einthoven 1913) and the augmented leads of Goldberger (1942) follow from any two.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BadInputError

LIMB_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF")
PRECORDIAL_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6")
STANDARD_12 = LIMB_LEADS + PRECORDIAL_LEADS

LIMB_MATRIX: NDArray[np.float64] = np.array(
    [[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [-0.5, -0.5], [1.0, -0.5], [-0.5, 1.0]]
)
"""Rows in ``LIMB_LEADS`` order, columns (I, II): Einthoven's and Goldberger's equations."""

_CANONICAL = {name.lower(): name for name in STANDARD_12}
_PREFIXES = ("mdc_ecg_lead_", "mdc_ecg_elec_potl_", "lead_", "lead ", "lead", "ecg_", "ecg ", "ekg ")
# MDC reference identifiers of ISO/IEEE 11073-10101 carry the augmented leads with an upper-case suffix;
# DICOM's CID 3001 meanings are "Lead I", "Lead aVR".


def canonical_name(label: str) -> str | None:
    """Return the standard name of a lead label, or None when it names no standard lead.

    Case, surrounding blanks and the prefixes that files use are ignored:
    ``"i"``, ``"AVR"``, ``"Lead I"``, ``"LEAD_aVF"``, ``"MDC_ECG_LEAD_III"``, ``"ECG II"``.
    """
    text = label.strip().lower()
    while True:
        if text in _CANONICAL:
            return _CANONICAL[text]
        for prefix in _PREFIXES:
            if text.startswith(prefix) and len(text) > len(prefix):
                text = text[len(prefix) :].strip()
                break
        else:
            return None


def canonical_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Map labels to standard names, keeping unknown ones as they are.

    Raises
    ------
    BadInputError
        If two labels name the same lead.
    """
    names = tuple(canonical_name(label) or label.strip() for label in labels)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise BadInputError(
            f"The recording names the same lead twice: {', '.join(repeated)}.",
            "Export the recording again with one channel per lead.",
        )
    return names


def derive_limb_leads(lead_i: NDArray[Any], lead_ii: NDArray[Any]) -> NDArray[Any]:
    """Derive all six limb leads from leads I and II.

    Parameters
    ----------
    lead_i, lead_ii : array (n_samples,)
        Leads I and II in the same unit.

    Returns
    -------
    array (6, n_samples)
        The leads in ``LIMB_LEADS`` order, in the inputs' floating type (float64 for integers).
    """
    pair = np.stack([np.asarray(lead_i), np.asarray(lead_ii)])
    if not np.issubdtype(pair.dtype, np.floating):
        pair = pair.astype(np.float64)
    six: NDArray[Any] = LIMB_MATRIX.astype(pair.dtype) @ pair
    return six


def solve_i_ii(available: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Recover leads I and II from whichever limb leads were measured.

    Leads I and II are taken as they are when present; what is missing is solved
    by least squares from all limb leads given.

    Parameters
    ----------
    available : mapping of lead name to array (n_samples,)
        Measured limb leads under their standard names; other names are ignored.

    Returns
    -------
    array (2, n_samples) or None
        Leads I and II, or None when fewer than two independent limb leads are given.
    """
    names = [name for name in LIMB_LEADS if name in available]
    rows = LIMB_MATRIX[[LIMB_LEADS.index(name) for name in names]]
    if len(names) < 2 or np.linalg.matrix_rank(rows) < 2:
        return None
    if "I" in available and "II" in available:
        return np.stack([available["I"], available["II"]])
    measured = np.stack([available[name] for name in names])
    solved = np.linalg.pinv(rows) @ measured.astype(np.float64)
    solved = solved.astype(measured.dtype) if np.issubdtype(measured.dtype, np.floating) else solved
    for row, name in enumerate(("I", "II")):
        if name in available:
            solved[row] = available[name]
    return solved


def consistency_residual(limb: Mapping[str, NDArray[Any]]) -> float | None:
    """Relative violation of Einthoven's and Goldberger's equations.

    Parameters
    ----------
    limb : mapping of lead name to array (n_samples,)
        The limb leads that were *measured* (a derived lead would always agree).

    Returns
    -------
    float or None
        Root mean square of what the best-fitting pair (I, II) leaves unexplained, over
        the root mean square of the measured leads, offsets removed: 0 for a consistent
        recording, near 1 for unrelated leads. None when fewer than three limb leads were
        measured, because two leads cannot contradict each other.
    """
    names = [name for name in LIMB_LEADS if name in limb]
    if len(names) < 3:
        return None
    measured = np.stack([np.asarray(limb[name], dtype=np.float64) for name in names])
    valid = np.isfinite(measured).all(axis=0)
    if not valid.any():
        return None
    measured = measured[:, valid]
    measured = measured - measured.mean(axis=1, keepdims=True)
    rows = LIMB_MATRIX[[LIMB_LEADS.index(name) for name in names]]
    total = float(np.sqrt(np.mean(measured**2)))
    if total == 0.0:
        return None
    unexplained = measured - rows @ (np.linalg.pinv(rows) @ measured)
    return float(np.sqrt(np.mean(unexplained**2))) / total


def reorder(signal: NDArray[Any], labels: Sequence[str], wanted: Sequence[str]) -> NDArray[Any]:
    """Pick rows of a signal by lead name, whatever order or spelling the source used.

    Parameters
    ----------
    signal : array (n_leads, n_samples)
        One row for each label.
    labels : sequence of str
        Lead labels of the rows, aliases allowed.
    wanted : sequence of str
        Standard names in the order wanted.

    Returns
    -------
    array (len(wanted), n_samples)

    Raises
    ------
    BadInputError
        If a wanted lead is absent or a label repeats.
    """
    names = canonical_names(labels)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BadInputError(f"The recording lacks lead {', '.join(missing)}; it has {', '.join(names)}.")
    return signal[[names.index(name) for name in wanted]]
