"""Bundles on a stick: looked for without following links, and judged without taking one."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge import bundle as model_bundles
from lsemvae_edge.bundle import MANIFEST, Bundle, Standing
from lsemvae_edge.errors import LsemvaeError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.trust import Store

FIND_AT_MOST = 500
"""So many files and folders of a stick are looked at."""


@dataclass(frozen=True)
class Candidate:
    """A bundle found on a stick.

    Parameters
    ----------
    path : Path
    bundle : Bundle or None
        None if it cannot be read.
    standing : Standing or None
        Why this machine would take it; None if it would not.
    refusal : str or None
        Why not, in a sentence.
    """

    path: Path
    bundle: Bundle | None
    standing: Standing | None
    refusal: str | None


def find(stick: Path) -> list[Candidate]:
    """Look for bundles in a folder and one and two folders below it, newest version first.

    Links are not followed, and at most `FIND_AT_MOST` names are looked at.

    Raises
    ------
    UsageError
        If it is no folder, or cannot be read.
    """
    from lsemvae_edge import trust

    if not stick.is_dir():
        raise UsageError(f"There is no folder {stick}.", "Name the folder of the stick, for instance /media/stick.")
    try:
        store = trust.read_store()
        found = [_candidate(path, store) for path in _bundles_in(stick)]
    except OSError as error:
        raise UsageError(f"{stick} cannot be read: {error.strerror}.", "Put the stick in again.") from error
    return sorted(found, key=lambda one: (one.refusal is not None, -(one.bundle.manifest.version if one.bundle else 0)))


def _bundles_in(stick: Path) -> Iterator[Path]:
    left = FIND_AT_MOST
    waiting = [(stick, 0)]
    while waiting:
        place, depth = waiting.pop(0)
        with os.scandir(place) as entries:
            names = sorted(entries, key=lambda entry: entry.name)[:left]
        left -= len(names)
        if any(entry.name == MANIFEST and entry.is_file(follow_symlinks=False) for entry in names):
            yield place
            continue
        for entry in names:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False) and depth < 2:
                waiting.append((Path(entry.path), depth + 1))
            elif entry.name.lower().endswith(".zip") and entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _candidate(path: Path, store: "Store") -> Candidate:
    from lsemvae_edge import trust

    bundle = None
    try:
        bundle = model_bundles.load(path)
        return Candidate(path, bundle, trust.judge(bundle, store, strict=True), None)
    except LsemvaeError as error:
        return Candidate(path, bundle, None, error.message)
