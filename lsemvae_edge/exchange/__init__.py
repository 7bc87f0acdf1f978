"""A stored attempt as a file for other systems: what each format keeps stands in ``docs/exchange.md``.

A simulated recording says so in every format, whatever the store it comes from.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lsemvae_edge.errors import UsageError
from lsemvae_edge.exchange import dicom, exported, fhir, files
from lsemvae_edge.exchange.exported import Exported
from lsemvae_edge.store import Stored

__all__ = ["FORMATS", "export", "suffix"]


def export(stored: Stored, format: str, *, language: str = "en", site: str = "", synthetic: bool = False) -> bytes:
    """Return a stored attempt as the content of a file.

    Parameters
    ----------
    stored : Stored
    format : str
        One of `FORMATS`.
    language : str
        Of the page; the other formats are for machines, and English.
    site : str
        Name of the place where it was recorded.
    synthetic : bool
        It comes from a store for demonstrations.

    Returns
    -------
    bytes

    Raises
    ------
    UsageError
        If there is no such format, or the attempt holds nothing that it could carry.
    MissingExtraError
        If the format's library is not installed.
    """
    return _kind(format).encode(stored, exported.of(stored, site=site, synthetic=synthetic), language)


def suffix(format: str) -> str:
    """Return the extension of a format's files, with its dot.

    Raises
    ------
    UsageError
        If there is no such format.
    """
    return _kind(format).suffix


@dataclass(frozen=True)
class _Kind:
    suffix: str
    encode: Callable[[Stored, Exported, str], bytes]


_KINDS = {
    "pdf": _Kind(".pdf", files.pdf),
    "fhir": _Kind(".fhir.json", fhir.encode),
    "dicom": _Kind(".dcm", dicom.encode),
    "edf": _Kind(".edf", files.european),
    "csv": _Kind(".csv", files.table),
    "json": _Kind(".json", files.document),
}
FORMATS = tuple(_KINDS)
"""Names of all formats."""


def _kind(format: str) -> _Kind:
    kind = _KINDS.get(format)
    if kind is None:
        raise UsageError(f"There is no format {format!r} to export.", f"Choose one of: {', '.join(FORMATS)}.")
    return kind
