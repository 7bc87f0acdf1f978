"""From a right-heart catheter's numbers to labels of pulmonary hypertension.

Definitions of the 2022 ESC/ERS guidelines (Humbert et al. 2022, Eur Heart J 43:3618), or pulmonary artery wedge
pressure (PAWP) alone, as arXiv:2503.13470 divides pre- from post-capillary.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat

PULMONARY_HYPERTENSION = "pulmonary_hypertension"
CAPILLARY = "capillary"
ELEVATED_WEDGE = "elevated_wedge"

DYN_PER_WOOD = 80.0
"""dyn s cm^-5 in one Wood unit (mmHg min/l)."""

CmH2O = Literal["refuse", "convert", "as_mmhg"]

_MMHG_PER_CMH2O = 0.7356
_PLAUSIBLE = {"mPAP": (3.0, 120.0), "PAWP": (0.0, 60.0), "PVR": (0.0, 40.0), "cardiac output": (0.5, 25.0)}
_NUMBER = r"(\d{1,5}(?:[.,]\d+)?)"
_VALUE = re.compile(rf"\s*{_NUMBER}(?:\s*/\s*{_NUMBER})?\s*(mm\s*Hg|cm\s*H2O|l/min)?\s*", re.IGNORECASE)
_ABSENT = {"", "n/a", "na", "nan", "-", "none", "unknown"}


class Definition(BaseModel):
    """Thresholds, and the rule that divides pre- from post-capillary.

    Parameters
    ----------
    mpap_above_mmhg : float
        Mean pulmonary artery pressure above which there is pulmonary hypertension.
    pawp_above_mmhg : float
        Wedge pressure above which it is elevated, and pulmonary hypertension post-capillary.
    pvr_above_wu : float
        Pulmonary vascular resistance above which there is a pre-capillary component.
    rule : {"guideline", "wedge"}
        ``"wedge"``: by PAWP alone, resistance not looked at.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mpap_above_mmhg: PositiveFloat = 20.0
    pawp_above_mmhg: PositiveFloat = 15.0
    pvr_above_wu: PositiveFloat = 2.0
    rule: Literal["guideline", "wedge"] = "guideline"


@dataclass(frozen=True)
class Haemodynamics:
    """A catheter's numbers at rest; None where unknown."""

    mpap_mmhg: float | None = None
    pawp_mmhg: float | None = None
    pvr_wu: float | None = None


class Phenotype(StrEnum):
    """What a patient has, as far as the numbers say."""

    NONE = "no pulmonary hypertension"
    PRE = "pre-capillary"
    ISOLATED_POST = "isolated post-capillary"
    COMBINED = "combined post- and pre-capillary"
    POST = "post-capillary"
    UNCLASSIFIED = "unclassified"
    UNKNOWN = "unknown"


def phenotype(found: Haemodynamics, definition: Definition | None = None) -> Phenotype:
    """Classify a patient; ``UNKNOWN`` where a number that decides is missing."""
    rule = definition or Definition()
    if found.mpap_mmhg is None:
        return Phenotype.UNKNOWN
    if found.mpap_mmhg <= rule.mpap_above_mmhg:
        return Phenotype.NONE
    if found.pawp_mmhg is None:
        return Phenotype.UNKNOWN
    post = found.pawp_mmhg > rule.pawp_above_mmhg
    if rule.rule == "wedge":
        return Phenotype.POST if post else Phenotype.PRE
    if found.pvr_wu is None:
        return Phenotype.POST if post else Phenotype.UNKNOWN
    resistant = found.pvr_wu > rule.pvr_above_wu
    if post:
        return Phenotype.COMBINED if resistant else Phenotype.ISOLATED_POST
    return Phenotype.PRE if resistant else Phenotype.UNCLASSIFIED


def targets(found: Haemodynamics, definition: Definition | None = None) -> dict[str, int]:
    """Return the targets that the numbers decide; others are absent.

    Returns
    -------
    dict
        `PULMONARY_HYPERTENSION`; `CAPILLARY`, 1 for post-capillary, only with pulmonary hypertension that is
        classified; `ELEVATED_WEDGE`, whatever the artery's pressure.
    """
    rule = definition or Definition()
    made: dict[str, int] = {}
    if found.mpap_mmhg is not None:
        made[PULMONARY_HYPERTENSION] = int(found.mpap_mmhg > rule.mpap_above_mmhg)
    kind = phenotype(found, rule)
    if kind in (Phenotype.PRE, Phenotype.POST, Phenotype.ISOLATED_POST, Phenotype.COMBINED):
        made[CAPILLARY] = int(kind is not Phenotype.PRE)
    if found.pawp_mmhg is not None:
        made[ELEVATED_WEDGE] = int(found.pawp_mmhg > rule.pawp_above_mmhg)
    return made


def plausible(what: str, value: float | None) -> float | None:
    """Return a value if a living patient can have it.

    Raises
    ------
    ValueError
        If not: most often another unit, as 240 dyn s cm^-5 taken for Wood units.
    """
    low, high = _PLAUSIBLE[what]
    if value is not None and not low <= value <= high:
        raise ValueError(f"{what} of {value:g} is outside {low:g} to {high:g}")
    return value


def from_columns(row: Mapping[str, str], *, pvr_unit: Literal["WU", "dyn"] = "WU") -> tuple[Haemodynamics, list[str]]:
    """Read a catheter's numbers from a table's row.

    Parameters
    ----------
    row : mapping
        Text under ``mpap``, ``pawp``, ``pvr`` (in ``pvr_unit``), ``pvr_wu``, ``pvr_dyn``, ``cardiac_output`` (l/min);
        whichever there are.
    pvr_unit : {"WU", "dyn"}

    Returns
    -------
    found : Haemodynamics
        Resistance follows from the pressures and the cardiac output where it is not given.
    complaints : list of str
        Values that have no meaning, which count as unknown.
    """
    complaints: list[str] = []

    def number(name: str, what: str, scale: float = 1.0) -> float | None:
        text = row.get(name, "").strip()
        if text.lower() in _ABSENT:
            return None
        try:
            return plausible(what, float(text.replace(",", ".")) / scale)
        except ValueError as error:
            complaints.append(str(error))
            return None

    mpap, pawp = number("mpap", "mPAP"), number("pawp", "PAWP")
    pvr = number("pvr_wu", "PVR")
    if pvr is None:
        pvr = number("pvr_dyn", "PVR", DYN_PER_WOOD)
    if pvr is None:
        pvr = number("pvr", "PVR", DYN_PER_WOOD if pvr_unit == "dyn" else 1.0)
    if pvr is None:
        pvr = _resistance(mpap, pawp, number("cardiac_output", "cardiac output"))
    return Haemodynamics(mpap, pawp, pvr), complaints


def from_ptb_comments(comments: Mapping[str, str], *, cmh2o: CmH2O = "refuse") -> tuple[Haemodynamics, list[str]]:
    """Read a catheter's numbers at rest from the header of a PTB Diagnostic ECG Database record.

    Parameters
    ----------
    comments : mapping
        The header's ``# key: value`` lines, keys in lower case.
    cmh2o : {"refuse", "convert", "as_mmhg"}
        What to do with a pressure in cmH2O. The database writes aortic pressures of 160/64 cmH2O beside cuff pressures
        of 140/80 mmHg, so the unit may be a slip; it is not guessed.

    Returns
    -------
    found : Haemodynamics
        Mean artery pressure follows from systole and diastole (a third and two thirds) where only these are given;
        resistance from the pressures and the cardiac output.
    complaints : list of str
        Values that have no meaning, which count as unknown.
    """
    complaints: list[str] = []

    def value(key: str, what: str) -> float | None:
        try:
            return plausible(what, parse_pressure(comments.get(key, ""), cmh2o=cmh2o))
        except ValueError as error:
            complaints.append(str(error))
            return None

    mpap = value("pulmonary artery pressure (at rest) (mean)", "mPAP")
    if mpap is None:
        mpap = value("pulmonary artery pressure (at rest) (syst/diast)", "mPAP")
    pawp = value("pulmonary capillary wedge pressure (at rest)", "PAWP")
    output = value("cardiac output (at rest)", "cardiac output")
    return Haemodynamics(mpap, pawp, _resistance(mpap, pawp, output)), complaints


def parse_pressure(text: str, *, cmh2o: CmH2O = "refuse") -> float | None:
    """Read ``"22 mmHg"``, ``"35/12 mmHg"`` (its mean), ``"4,34 l/min"``; None for ``"n/a"`` and blanks.

    Raises
    ------
    ValueError
        If it is something else, or in cmH2O and these are refused.
    """
    if text.strip().lower() in _ABSENT:
        return None
    found = _VALUE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no pressure")
    first, second = (None if part is None else float(part.replace(",", ".")) for part in found.group(1, 2))
    assert first is not None
    value = first if second is None else (first + 2 * second) / 3
    if (found.group(3) or "").lower().startswith("cm") and cmh2o != "as_mmhg":
        if cmh2o == "refuse":
            raise ValueError(f"{text!r} is in cmH2O, which may be a slip for mmHg; say which")
        value *= _MMHG_PER_CMH2O
    return value


def _resistance(mpap: float | None, pawp: float | None, output_l_min: float | None) -> float | None:
    if mpap is None or pawp is None or output_l_min is None or mpap < pawp:
        return None
    return (mpap - pawp) / output_l_min
