"""What leaves a stored attempt: one view of it, the same for every format, and names that a repeat has again."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from lsemvae_edge.record import Record
from lsemvae_edge.result import ScreeningResult
from lsemvae_edge.screening import SIMULATED_ORIGINS
from lsemvae_edge.store import Stored
from lsemvae_edge.visit import Visit

NAMESPACE = UUID("d5634b79-dc57-425d-acc6-dceb016710f1")
"""Under it lie all names of this module (RFC 9562, version 5)."""

SLACK = timedelta(minutes=30)
"""An attempt is stored within minutes. If more lies between, the clock was corrected since, and the store knows."""


@dataclass(frozen=True, eq=False)
class Exported:
    """A stored attempt as other systems get it.

    Parameters
    ----------
    study_id : str
        After amendments; the one first entered is not here.
    site : str
        Name of the place within which study ids are unique; empty: not set.
    visit : Visit
        With the study id above.
    number : int
        Of the attempt.
    detail : str or None
        Why it was interrupted.
    record : Record or None
    result : ScreeningResult or None
    simulated : bool
        It is no person's.
    started_at : datetime or None
        When the first sample was taken; None when no clock knew.
    stored_at : datetime or None
        When it was stored, after corrections of the clock.
    seq, hash
        Entry of the store: a head that shows later whether what came before it is whole.
    amended : bool
        The study id was corrected.
    """

    study_id: str
    site: str
    visit: Visit
    number: int
    detail: str | None
    record: Record | None
    result: ScreeningResult | None
    simulated: bool
    started_at: datetime | None
    stored_at: datetime | None
    seq: int
    hash: str
    amended: bool

    @property
    def stand_in(self) -> bool:
        """Whether nothing here is final: the model's label is a stand-in, or no model said anything."""
        return self.result is None or self.result.model.stand_in is not None

    def name(self, what: str) -> UUID:
        """Return the name of a thing that belongs to this attempt alone."""
        return uuid5(NAMESPACE, f"record/{self.hash}/{what}")

    def visit_name(self, what: str) -> UUID:
        """Return the name of a thing that all attempts of the visit share."""
        return uuid5(NAMESPACE, f"visit/{self.visit.id}/{what}")

    def person_name(self) -> UUID:
        """Return the name of the person under a study id.

        Two places may use the same id for two persons. Where no place is set, only the attempts of a visit share a
        person: one person under two names can be joined later, two persons under one name cannot be told apart again.
        """
        if self.simulated or not self.site:
            return self.visit_name("person")
        return uuid5(NAMESPACE, f"person/{self.site}/{self.study_id}")

    def shared_name(self, what: str) -> UUID:
        """Return the name of a thing that is described by ``what`` alone, such as a version of the software."""
        return uuid5(NAMESPACE, what)


def of(stored: Stored, *, site: str = "", synthetic: bool = False) -> Exported:
    """Take from a stored attempt what other systems get.

    Parameters
    ----------
    stored : Stored
    site : str
    synthetic : bool
        It comes from a store for demonstrations, whatever the recording says of itself.
    """
    attempt, entry = stored.attempt, stored.entry
    study_id = attempt.visit.study_id
    for amendment in stored.amendments:
        study_id = str(amendment.facts.get("study_id", study_id))
    simulated = synthetic or (attempt.record is not None and attempt.record.origin in SIMULATED_ORIGINS)
    record, result = attempt.record, attempt.result
    if simulated:
        # Also what says "live" of itself is marked by writers that know of the origin alone.
        if record is not None and record.origin not in SIMULATED_ORIGINS:
            record = replace(record, origin="demo")
        if result is not None and result.record.origin not in SIMULATED_ORIGINS:
            result = replace(result, record=replace(result.record, origin="demo"))
    stored_at = datetime.fromisoformat(entry.at) if entry.at else None
    return Exported(
        study_id=study_id,
        site=site,
        visit=replace(attempt.visit, study_id=study_id),
        number=attempt.number,
        detail=attempt.detail,
        record=record,
        result=result,
        simulated=simulated,
        started_at=_started_at(record, stored_at, clock_set=entry.clock_set),
        stored_at=stored_at,
        seq=entry.seq,
        hash=entry.hash,
        amended=bool(stored.amendments),
    )


def _started_at(record: Record | None, stored_at: datetime | None, *, clock_set: bool) -> datetime | None:
    """Return the time of the first sample; from the end of the recording where its own clock was wrong."""
    if record is None:
        return None
    from_end = None if stored_at is None else stored_at - timedelta(seconds=record.duration_s)
    told = record.started_at
    if told is None or not record.meta.get("clock_set", clock_set):
        return from_end
    if from_end is not None and told.tzinfo is not None and not -SLACK <= told - from_end <= SLACK:
        return from_end
    return told
