"""What an operator's organisation sets for a kiosk."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lsemvae_edge import strict_json
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.language import LANGUAGES
from lsemvae_edge.operator_file import OperatorFile
from lsemvae_edge.spec import from_dict

SCHEMA = "lsemvae-edge/kiosk/1"
VARIABLE = "LSEMVAE_EDGE_KIOSK"
"""Environment variable that names the file."""


@dataclass(frozen=True)
class FhirServer:
    """Where results go when there is a network.

    Parameters
    ----------
    url : str
        Base address, ``https://…``; ``http://`` on this machine alone.
    token_file : str or None
        File with a bearer token, readable by its owner alone.
    ca_file : str or None
        Certificate (PEM) of the one authority that is believed; None for the system's.
    """

    url: str
    token_file: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True)
class Settings:
    """All settings of a kiosk; the file lists those that differ from these.

    Parameters
    ----------
    language : str
        Of the page when nobody has chosen another.
    languages : tuple of str
        That are offered.
    site : str
        Name of the place on reports; no person's.
    study_id_pattern : str
        Regular expression that a whole study id, in capitals, must match.
    check_character : bool
        The last character of a study id is its ISO 7064 Mod 37,36 check character.
    attempts : int
        So many in one visit; then it is "refer or repeat later".
    recording_limit_s : float
        Longest single recording.
    idle_lock_s : float
        Nobody touched anything for so long: the page locks. A recording goes on.
    result_clears_s : float
        A result leaves the page after so long.
    printer : str or None
        Queue of CUPS; None: there is no printer.
    retention_days : int or None
        Records older than this may be wiped by `records retain`; None: never.
    fhir : FhirServer or None
    """

    schema: str = SCHEMA
    language: str = "en"
    languages: tuple[str, ...] = tuple(LANGUAGES)
    site: str = ""
    study_id_pattern: str = "[A-Z0-9]{4,20}"
    check_character: bool = True
    attempts: int = 3
    recording_limit_s: float = 60.0
    idle_lock_s: float = 120.0
    result_clears_s: float = 60.0
    printer: str | None = None
    retention_days: int | None = None
    fhir: FhirServer | None = None


def read() -> Settings:
    """Read the settings; where there is no file, the defaults.

    Raises
    ------
    UsageError
        If the file is damaged, holds a setting that does not exist, or can be written by others.
    """
    return _FILE.read() or Settings()


def update(change: Callable[[Settings], Settings]) -> Settings:
    """Change the file, one writer at a time; it is whole at every moment."""
    return _FILE.update(lambda settings: _checked(change(settings or Settings())))


def _parse(raw: bytes, path: Path) -> Settings:
    what = f"The settings {path}"
    try:
        told = strict_json.parse(raw, what, _REPAIR)
        if not isinstance(told, dict):
            raise UsageError(f"{what} are no object.", _REPAIR)
        # A file may list what differs alone; what it lists that does not exist is refused.
        return _checked(from_dict(Settings, {**json.loads(json.dumps(asdict(Settings()))), **told}, what))
    except BundleError as error:
        raise UsageError(error.message, _REPAIR) from error


def _checked(settings: Settings) -> Settings:
    unknown = {settings.language, *settings.languages} - set(LANGUAGES)
    if settings.schema != SCHEMA:
        raise UsageError(f"The settings are of an unknown kind: {settings.schema}.", _REPAIR)
    if unknown or settings.language not in settings.languages:
        raise UsageError(
            f"A kiosk's language must be one of those it offers, of {', '.join(LANGUAGES)}; "
            f"not {', '.join(sorted(unknown)) or settings.language}.",
            _REPAIR,
        )
    try:
        re.compile(settings.study_id_pattern)
    except re.error as error:
        raise UsageError(f"The pattern of study ids is none: {error}.", _REPAIR) from error
    positive = (settings.recording_limit_s, settings.idle_lock_s, settings.result_clears_s, settings.attempts)
    if min(positive) <= 0 or settings.attempts > 10 or settings.result_clears_s > 60:
        raise UsageError(
            "Limits must be above 0, attempts at most 10, and a result clears after 60 s at most.", _REPAIR
        )
    return settings


_REPAIR = "Correct the file, or remove it and run `lsemvae-edge kiosk setup`."
_FILE: OperatorFile[Settings] = OperatorFile(
    what="The kiosk's settings",
    name="kiosk.json",
    variable=VARIABLE,
    error=UsageError,
    repair=_REPAIR,
    parse=_parse,
)
