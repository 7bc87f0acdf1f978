"""What files say of the person and the recording, in words; never who it is."""

import re
from datetime import date, datetime
from typing import Any

from lsemvae_edge.record import Origin

_SEX = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "woman": "female"}
_YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "none": False}
_OLDEST_KNOWN = 130.0
_OVER_89 = 90.0


def age_years(text: str) -> float | None:
    """Age in years from free text (``"80"``, ``"80 years"``), or None when it states none.

    De-identified sets write 300 (or a like number) for "over 89"; that is read as 90.
    """
    found = re.match(r"\s*(\d{1,3}(?:\.\d+)?)\s*(?:y|yr|yrs|years?)?\s*$", text, re.IGNORECASE)
    if not found:
        return None
    years = float(found.group(1))
    return years if years <= _OLDEST_KNOWN else _OVER_89


def age_at(birth: date, then: date) -> float | None:
    """Whole years between a birth date and a day, or None when they make no age."""
    years = then.year - birth.year - ((then.month, then.day) < (birth.month, birth.day))
    return float(years) if 0 <= years <= _OLDEST_KNOWN else None


def sex(text: str) -> str | None:
    """Return ``"male"``, ``"female"``, or None."""
    return _SEX.get(text.strip().lower())


def yes_no(text: str) -> bool | None:
    """Return a boolean for yes or no, None for anything else."""
    return _YES_NO.get(text.strip().lower())


def origin(text: str) -> Origin:
    """Return the origin a file states; a demo or simulated recording stays marked when it comes back as a file."""
    word = text.strip().lower()
    return "demo" if word == "demo" else "simulated" if word == "simulated" else "file"


def timestamp(text: str) -> datetime | None:
    """Return an ISO 8601 date and time, or None when it is not one."""
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def from_pairs(pairs: dict[str, str]) -> dict[str, Any]:
    """Pick what the toolkit uses from ``key: value`` lines with lower-case keys."""
    found = {
        "age_years": age_years(pairs.get("age_years", pairs.get("age", ""))),
        "sex": sex(pairs.get("sex", pairs.get("gender", ""))),
        "pacemaker": yes_no(pairs.get("pacemaker", "")),
        "clock_set": yes_no(pairs.get("clock_set", "")),
        "device": pairs.get("device") or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def to_pairs(meta: Any, origin_of_record: Origin) -> dict[str, str]:
    """Return the same facts as text, for formats that keep ``key: value`` lines; the inverse of ``from_pairs``."""
    pairs: dict[str, str] = {}
    for key in ("age_years", "sex", "device"):
        if meta.get(key) is not None:
            value = meta[key]
            text = f"{value:g}" if isinstance(value, float) else str(value)
            pairs[key] = " ".join(text.split())
    for key in ("pacemaker", "clock_set"):
        if isinstance(meta.get(key), bool):
            pairs[key] = "yes" if meta[key] else "no"
    if origin_of_record in ("demo", "simulated"):
        pairs["origin"] = origin_of_record
    return pairs
