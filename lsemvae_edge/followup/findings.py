"""What people found out about a recording or a person later: checked when it is entered, strict when it is read.

Values are those measured. Whether they mean pulmonary hypertension is decided by whoever trains, with a definition of
their choice (`lsemvae_edge.train.haemodynamics`).
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from lsemvae_edge.errors import BadInputError, BundleError

OVER_READ_SCHEMA = "lsemvae-edge/over-read/1"
ECHO_SCHEMA = "lsemvae-edge/echo/1"
CATHETER_SCHEMA = "lsemvae-edge/catheter/1"

Pattern = Literal["present", "absent", "unsure"]
Rhythm = Literal["sinus", "atrial fibrillation", "atrial flutter", "paced", "ectopic", "other", "unreadable"]
Readability = Literal["good", "limited", "unreadable"]
Precision = Literal["day", "month", "year"]

PRECISION_DAYS: MappingProxyType[Precision, int] = MappingProxyType({"day": 0, "month": 16, "year": 183})
"""So far the true day may lie from the one that stands for a month or a year: its middle."""
RANGES: MappingProxyType[str, tuple[float, float]] = MappingProxyType(
    {
        "mpap_mmhg": (3.0, 120.0),
        "pawp_mmhg": (0.0, 60.0),
        "pvr_wu": (0.0, 40.0),
        "tr_velocity_m_s": (0.5, 6.5),
        "rvsp_mmhg": (5.0, 200.0),
    }
)
"""What a living adult can have; anything else is most often another unit or a slip of the hand."""
MAX_DAYS = 3660
MAX_NOTE = 500

_NAMES = {
    "mpap_mmhg": "mPAP",
    "pawp_mmhg": "PAWP",
    "pvr_wu": "PVR",
    "tr_velocity_m_s": "The velocity of the tricuspid regurgitation",
    "rvsp_mmhg": "RVSP",
}
_SHORT = {
    "mpap_mmhg": ("mPAP", "mmHg"),
    "pawp_mmhg": ("PAWP", "mmHg"),
    "pvr_wu": ("PVR", "WU"),
    "tr_velocity_m_s": ("TR velocity", "m/s"),
    "rvsp_mmhg": ("RVSP", "mmHg"),
}
# How many of the value's own unit one of this unit is.
_UNITS: dict[str, dict[str, float]] = {
    "mmhg": {"mmhg": 1.0, "kpa": 7.50062},
    "wu": {"wu": 1.0, "dyn": 1 / 80, "dyn·s/cm5": 1 / 80},
    "m_s": {"m/s": 1.0, "cm/s": 0.01},
}
_QUANTITY = re.compile(r"\s*(\d{1,6}(?:[.,]\d{1,4})?)\s*([^\d\s].*?)?\s*")
_CODE = re.compile(r"[A-Z0-9-]{1,12}")
_DIGITS = re.compile(r"\d(?:[ .-]?\d){5,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class OverRead:
    """A clinician's reading of one recording.

    Parameters
    ----------
    reader : str
        Code of the clinician: 1 to 12 letters, digits or hyphens, in capitals; no name.
    pattern : {"present", "absent", "unsure"}
        The right-heart pattern.
    rhythm : str
        One of `Rhythm`.
    quality : {"good", "limited", "unreadable"}
        What the recording is good for.
    note : str
        At most 500 characters that identify nobody.

    Raises
    ------
    BadInputError
        If a value has no meaning; also if an unreadable recording has a pattern.
    """

    reader: str
    pattern: Pattern
    rhythm: Rhythm
    quality: Readability
    note: str = ""
    schema: str = OVER_READ_SCHEMA

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.reader):
            raise BadInputError(
                "A reader's code is 1 to 12 letters, digits or hyphens.", "Use a code that is no person's name."
            )
        if self.quality == "unreadable" and self.pattern != "unsure":
            raise BadInputError(
                "In a recording that cannot be read a pattern is neither present nor absent.",
                "Give the pattern as unsure, or the quality as limited.",
            )
        _check_note(self.note)


@dataclass(frozen=True)
class Echo:
    """What echocardiography measured.

    Parameters
    ----------
    days : int
        From the recording to the examination; below 0 if it was earlier.
    precision : {"day", "month", "year"}
        How exactly its date is known.
    tr_velocity_m_s : float or None
        Peak velocity of the tricuspid regurgitation.
    rvsp_mmhg : float or None
        Estimated right ventricular systolic pressure.
    rv_dilated : bool or None
        The right ventricle is dilated.

    Raises
    ------
    BadInputError
        If nothing was measured, or a value is none that a living adult has, or velocity and pressure contradict.
    """

    days: int
    precision: Precision
    tr_velocity_m_s: float | None
    rvsp_mmhg: float | None
    rv_dilated: bool | None
    schema: str = ECHO_SCHEMA

    def __post_init__(self) -> None:
        _check_values(self)
        if self.tr_velocity_m_s is not None and self.rvsp_mmhg is not None:
            gradient = 4 * self.tr_velocity_m_s**2
            # The pressure is the gradient and that of the right atrium, which is 0 to 30.
            if not gradient - 5 <= self.rvsp_mmhg <= gradient + 35:
                raise BadInputError(
                    f"An RVSP of {self.rvsp_mmhg:g} mmHg does not fit a velocity of {self.tr_velocity_m_s:g} m/s, "
                    f"whose gradient is {gradient:.0f} mmHg.",
                    "Check both values and their units.",
                )


@dataclass(frozen=True)
class Catheter:
    """What a right-heart catheter measured at rest.

    Parameters
    ----------
    days : int
        From the recording to the examination; below 0 if it was earlier.
    precision : {"day", "month", "year"}
        How exactly its date is known.
    mpap_mmhg : float or None
        Mean pulmonary artery pressure.
    pawp_mmhg : float or None
        Pulmonary artery wedge pressure.
    pvr_wu : float or None
        Pulmonary vascular resistance in Wood units.

    Raises
    ------
    BadInputError
        If nothing was measured, or a value is none that a living adult has, or the wedge exceeds the artery's mean.
    """

    days: int
    precision: Precision
    mpap_mmhg: float | None
    pawp_mmhg: float | None
    pvr_wu: float | None
    schema: str = CATHETER_SCHEMA

    def __post_init__(self) -> None:
        _check_values(self)
        # A few mmHg may be an artefact of two readings; more is a slip.
        if self.mpap_mmhg is not None and self.pawp_mmhg is not None and self.pawp_mmhg > self.mpap_mmhg + 5:
            raise BadInputError(
                f"A PAWP of {self.pawp_mmhg:g} mmHg is above the mPAP of {self.mpap_mmhg:g} mmHg.",
                "Check that the two were not exchanged.",
            )


_KINDS: dict[str, type[OverRead] | type[Echo] | type[Catheter]] = {
    OVER_READ_SCHEMA: OverRead,
    ECHO_SCHEMA: Echo,
    CATHETER_SCHEMA: Catheter,
}


def to_facts(finding: OverRead | Echo | Catheter) -> dict[str, Any]:
    """Return a finding as plain JSON values under its schema."""
    return asdict(finding)


def from_facts(facts: Mapping[str, Any]) -> OverRead | Echo | Catheter:
    """Read a finding back, strictly.

    Raises
    ------
    BadInputError
        If it is of an unknown schema, or not what that schema says.
    """
    from lsemvae_edge.spec import from_dict

    kind = _KINDS.get(str(facts.get("schema")))
    if kind is None:
        raise BadInputError("The finding is of an unknown kind.", "Update lsemvae-edge.")
    try:
        return from_dict(kind, dict(facts), "The finding")
    except BundleError as error:
        raise BadInputError(error.message, "Enter it again.") from error


def described(finding: OverRead | Echo | Catheter) -> str:
    """Return a finding in a line, for people."""
    if isinstance(finding, OverRead):
        note = f"; {finding.note}" if finding.note else ""
        read = f"pattern {finding.pattern}, rhythm {finding.rhythm}, quality {finding.quality}"
        return f"{finding.reader} reads: {read}{note}"
    values = asdict(finding)
    told = [
        f"{name} {values[field]:g} {unit}" for field, (name, unit) in _SHORT.items() if values.get(field) is not None
    ]
    if isinstance(finding, Echo) and finding.rv_dilated is not None:
        told.append(f"right ventricle {'' if finding.rv_dilated else 'not '}dilated")
    side = "after" if finding.days >= 0 else "before"
    exactly = "" if finding.precision == "day" else f", known to the {finding.precision}"
    return (
        f"{type(finding).__name__.lower()}: {', '.join(told)}; {abs(finding.days)} days {side} the recording{exactly}"
    )


def over_read(
    reader: str, pattern: Pattern, rhythm: Rhythm, quality: Readability, note: str, study_id: str
) -> OverRead:
    """Make an over-read of what a person typed; a note that repeats the study id is refused.

    Raises
    ------
    BadInputError
        See `OverRead`.
    """
    squeezed = re.sub(r"[^A-Z0-9]", "", note.upper())
    if study_id and re.sub(r"[^A-Z0-9]", "", study_id.upper()) in squeezed:
        raise _identifying()
    return OverRead(reader.strip().upper(), pattern, rhythm, quality, note.strip())


def in_unit(text: str, field: str) -> float:
    """Read a measured value with its unit, such as ``"35 mmHg"``, ``"4,2 WU"``, ``"310 cm/s"``.

    Parameters
    ----------
    text : str
    field : str
        A key of `RANGES`, whose ending is the unit that is returned.

    Raises
    ------
    BadInputError
        If it is no number, has no unit or another quantity's.
    """
    units = next(units for ending, units in _UNITS.items() if field.endswith(f"_{ending}"))
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise BadInputError(f"{_NAMES[field]} is a number and its unit, such as 30 {_shown(units)[0]}.")
    unit = (found[2] or "").lower().replace(" ", "")
    if unit not in units:
        known = ", ".join(_shown(units))
        told = "has no unit" if not unit else "has a unit of another quantity, or one that is not taken"
        raise BadInputError(f"{_NAMES[field]} {told}.", f"Give it in one of: {known}.")
    return round(float(found[1].replace(",", ".")) * units[unit], 3)


def _check_values(finding: Echo | Catheter) -> None:
    if abs(finding.days) > MAX_DAYS:
        raise BadInputError(
            f"The examination is {abs(finding.days)} days from the recording.",
            "Check both dates; after more than ten years it says nothing about the recording.",
        )
    measured = [field.name for field in fields(finding) if field.name not in ("days", "precision", "schema")]
    if all(getattr(finding, name) is None for name in measured):
        raise BadInputError("No value was given.", "Give at least one that was measured.")
    for name in measured:
        value = getattr(finding, name)
        if name in RANGES and value is not None and not RANGES[name][0] <= value <= RANGES[name][1]:
            low, high = RANGES[name]
            raise BadInputError(
                f"{_NAMES[name]} of {value:g} is outside {low:g} to {high:g}.", "Check the value and its unit."
            )


def _check_note(note: str) -> None:
    if len(note) > MAX_NOTE:
        raise BadInputError(f"A note has at most {MAX_NOTE} characters.", "Shorten it.")
    if _CONTROL.search(note):
        raise BadInputError("The note holds control characters.", "Type it in one line of plain text.")
    if "@" in note or _DIGITS.search(note):
        raise _identifying()


def _identifying() -> BadInputError:
    return BadInputError(
        "The note holds what may identify a person: an id, a number of six or more digits, or an address.",
        "Leave it out; the reading is already tied to its record.",
    )


def _shown(units: Mapping[str, float]) -> list[str]:
    return [{"mmhg": "mmHg", "kpa": "kPa", "wu": "WU"}.get(unit, unit) for unit in units]
