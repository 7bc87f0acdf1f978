"""What a kiosk knows of a visit beside the recording, as a page prints it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VisitFacts:
    """Whose page it is, without a name, and where it was printed.

    Parameters
    ----------
    study_id : str
        Printed in large type; empty: there is none.
    attempt : int
        Number of this attempt within the visit, from 1.
    of : int or None
        So many attempts a visit may have; None where that is not known, as of a record that is exported later.
    operator : str
        Code of the operator; empty where nobody signs in.
    site : str
        Name of the place; empty: not set.
    head : str or None
        Hash of the store's last entry. A printed one shows later whether the store's end was cut off.
    reprint : bool
        The page was printed before.
    """

    study_id: str
    attempt: int
    of: int | None
    operator: str = ""
    site: str = ""
    head: str | None = None
    reprint: bool = False
