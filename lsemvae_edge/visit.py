"""One person's visit at a kiosk, and each attempt to record during it."""

from dataclasses import dataclass
from typing import Literal

from lsemvae_edge.record import Record
from lsemvae_edge.result import ScreeningResult

AgeBand = Literal["under 18", "18-39", "40-64", "65 and over", "not asked"]
YOUNGEST: dict[AgeBand, float] = {"under 18": 0.0, "18-39": 18.0, "40-64": 40.0, "65 and over": 65.0}
"""Lowest age of each band in years: what the model is told. A kiosk always asks; a file may not say."""
Ended = Literal["screened", "refused", "interrupted", "cancelled"]
"""How an attempt ended: the model ran; quality refused it; the link, the machine or the recorder gave up; the operator
did."""


def band_of(age_years: float | None) -> AgeBand:
    """Return the band that an age lies in."""
    if age_years is None:
        return "not asked"
    return max((band for band in YOUNGEST if YOUNGEST[band] <= max(age_years, 0.0)), key=lambda band: YOUNGEST[band])


@dataclass(frozen=True)
class Visit:
    """Whom the operator says is being recorded, without a name.

    Parameters
    ----------
    id : str
        32 hexadecimal digits, random; the same for all attempts of one visit.
    study_id : str
        As typed or scanned, checked against the kiosk's pattern.
    operator : str
        Code of the operator who was signed in; empty where nobody signs in (demonstrations).
    age_band : str
        One of `AgeBand`.
    pacemaker : bool or None
        None: the person does not know.
    consent : bool or None
        The person agreed to the recording; None: it came as a file, and nobody asked here.
    note : str
        What the operator added; empty by default.
    """

    id: str
    study_id: str
    operator: str
    age_band: AgeBand
    pacemaker: bool | None
    consent: bool | None
    note: str = ""

    @property
    def age_years(self) -> float | None:
        """Lowest age of the band; None if nobody asked."""
        return YOUNGEST.get(self.age_band)


@dataclass(frozen=True, eq=False)
class Attempt:
    """One attempt to record, as it is stored.

    Parameters
    ----------
    visit : Visit
    number : int
        Within the visit, from 1.
    ended : str
        One of `Ended`.
    record : Record or None
        What was received; None if nothing was.
    result : ScreeningResult or None
        None unless it was screened or refused by quality.
    detail : str or None
        Why it was interrupted, in one English sentence.
    electrodes_confirmed : bool
        The operator said that the electrodes were checked after a swap warning.
    """

    visit: Visit
    number: int
    ended: Ended
    record: Record | None
    result: ScreeningResult | None
    detail: str | None = None
    electrodes_confirmed: bool = False
