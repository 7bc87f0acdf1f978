"""What several data sets share: reading a 12-lead file, its header's comments, and words about the person."""

import os
from collections.abc import Iterator
from pathlib import Path

from lsemvae_edge import formats
from lsemvae_edge.errors import BadInputError
from lsemvae_edge.leads import LIMB_LEADS, PRECORDIAL_LEADS, canonical_name, solve_i_ii
from lsemvae_edge.record import Record
from lsemvae_edge.train.datasets.entry import Kind, RecordError, Sex

OVER_89 = 90.0
"""De-identified sets write 300, or like numbers, for "over 89"."""

_OLDEST = 130.0
_FEMALE, _MALE = {"female", "f", "w", "woman"}, {"male", "m", "man"}


def read_twelve(path: Path) -> Record:
    """Read a recording that must have twelve leads, or those they follow from.

    Raises
    ------
    RecordError
        If there is no file, a channel's name is unknown, or leads are missing.
    LsemvaeError
        If the file cannot be read.
    """
    record = read_any(path)
    missing = [name for name in PRECORDIAL_LEADS if name not in record.leads]
    if solve_i_ii(record.limb()) is None:
        missing = [*(name for name in LIMB_LEADS if name not in record.leads), *missing]
    if missing:
        unknown = unknown_channels(record)
        if unknown:
            raise RecordError(Kind.UNKNOWN_LEAD, f"{path.name} has channels that are no leads: {', '.join(unknown)}.")
        raise RecordError(
            Kind.LEAD_COUNT, f"{path.name} has {len(record.leads)} leads; {', '.join(missing)} are missing."
        )
    return record


def read_any(path: Path) -> Record:
    """Read a recording in any format, with whatever leads it has.

    Raises
    ------
    RecordError
        If there is no file, or none of its channels is named as a limb lead.
    LsemvaeError
        If the file cannot be read.
    """
    if not path.is_file():
        raise RecordError(Kind.MISSING_FILE, f"There is no file {path}.")
    try:
        return formats.read(path)
    except BadInputError as error:
        if "none of the limb leads" in error.message:
            raise RecordError(Kind.UNKNOWN_LEAD, error.message, error.next_step) from error
        raise


def unknown_channels(record: Record) -> list[str]:
    """Return the channels that a reader left out because their name is no lead's."""
    return [name for name in record.meta.get("ignored_channels", ()) if canonical_name(name.split(" (")[0]) is None]


def comments(header: Path) -> dict[str, str]:
    """Return the ``# key: value`` lines of a WFDB header, keys in lower case; the first of a repeated key.

    Raises
    ------
    BadInputError
        If it cannot be read.
    """
    try:
        text = header.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise BadInputError(f"Cannot read {header}: {error.strerror}.") from error
    return parse_comments(text)


def parse_comments(text: str) -> dict[str, str]:
    """Return the ``# key: value`` lines of a WFDB header's text."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.strip().lstrip("#").partition(":")
        if line.lstrip().startswith("#") and colon:
            found.setdefault(key.strip().lower(), value.strip())
    return found


def headers(folder: Path) -> Iterator[Path]:
    """Walk a folder for WFDB headers, sorted in each folder, holding one folder's names at a time."""
    yield from (path for path in files(folder) if path.suffix == ".hea")


def files(folder: Path) -> Iterator[Path]:
    """Walk a folder for files, in an order that does not depend on the machine."""
    names = sorted(os.scandir(folder), key=lambda item: item.name)
    for item in names:
        if item.is_dir():
            yield from files(Path(item.path))
        elif item.is_file():
            yield Path(item.path)


def age_years(text: str) -> float | None:
    """Read an age; None for a blank or a word, 90 for what stands for "over 89"."""
    try:
        years = float(text.replace(",", "."))
    except ValueError:
        return None
    if not 0 <= years < 1000:
        return None
    return years if years <= _OLDEST else OVER_89


def sex(text: str) -> Sex | None:
    """Read a sex; None for anything but female and male."""
    word = text.strip().lower()
    return "female" if word in _FEMALE else "male" if word in _MALE else None
