"""Leave a result as files: the JSON other programs read and the page people read."""

import json
import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.record import Record
from lsemvae_edge.result import ScreeningResult


def write(result: ScreeningResult, record: Record, directory: str | os.PathLike[str], stem: str) -> dict[str, Path]:
    """Write ``<stem>.json`` and ``<stem>.pdf``, each whole or not at all, readable by their owner alone.

    Parameters
    ----------
    result : ScreeningResult
    record : Record
        The recording that was screened.
    directory : path
        Made when it does not exist.
    stem : str
        Name of the files without extension.

    Returns
    -------
    dict of str to Path
        ``"json"`` and ``"pdf"``.

    Raises
    ------
    FontError
        If the page's font is not installed.
    UsageError
        If ``stem`` is not a plain file name.
    StoreError
        If the place is not writable.
    """
    if not stem or Path(stem).name != stem or stem == "..":
        raise UsageError(f"{stem!r} is not a plain file name.")
    # fpdf2 and the font take longer to import than a screening takes; only who wants a page pays for them.
    from lsemvae_edge.report.pdf import render

    text = json.dumps(result.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)
    contents = {"json": f"{text}\n".encode(), "pdf": render(result, record)}
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {kind: put(folder / f"{stem}.{kind}", content) for kind, content in contents.items()}
    except OSError as error:
        raise StoreError(f"The report could not be written to {folder}: {error.strerror}.") from error


def put(path: Path, content: bytes, *, replace: bool = True) -> Path:
    """Write a file whole or not at all, readable by its owner alone.

    Parameters
    ----------
    path : Path
    content : bytes
    replace : bool
        Whether it may take the place of another.

    Raises
    ------
    FileExistsError
        If there is one, and it may not.
    OSError
        If it cannot be written; nothing is left then.
    """
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as draft:
        try:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
            # A hard link would refuse at this very moment, but sticks are FAT and have none.
            if not replace and path.exists():
                raise FileExistsError(path)
            Path(draft.name).replace(path)
        except BaseException:
            Path(draft.name).unlink(missing_ok=True)
            raise
    return path
