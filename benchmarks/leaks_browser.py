"""What a session before a real browser leaves: its profiles, the print service, and the kiosk's own folders, searched.

In every place something else is planted, which must be found there: what is seen in none of them would be no proof.
"""

import gzip
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lsemvae_edge.benchmarks import leaks, leaks_session, own_cups, specimens
from lsemvae_edge.benchmarks.kills import Say
from lsemvae_edge.benchmarks.leaks import Wanted
from lsemvae_edge.benchmarks.leaks_session import ORDINARY, PLANTED_IN_PROFILE, SHIPPED, STANDING

SHARED = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - searched, never written
"""Where programs leave files of which nobody told them to."""
_PLANTED = "planted"
_WAVEFORM = f"{_PLANTED} waveform"
_SPOOL = "print service"
_PLANTED_ID = "PLANTED{:02}X"


def measure(say: Say, also: Iterable[Path] = (), shared: Iterable[Path] = SHARED) -> dict[str, Any]:
    """Go through the session and search everything it left.

    Parameters
    ----------
    say : callable
    also : iterable of Path
        Searched as well.
    shared : iterable of Path
        Folders of which what is new after the session is searched as well.

    Returns
    -------
    dict
        ``findings`` and ``control_missed``, which must be empty; ``planted``: where each control was found;
        ``profiles``: files and bytes of each; ``printed``: reports, None without a print service.
    """
    with TemporaryDirectory(prefix="leaks-") as place, ExitStack() as stack:
        folder = Path(place) / "session"
        folder.mkdir()
        cups = stack.enter_context(own_cups.Cups()) if own_cups.is_possible() else None
        own = {Path(place), cups.folder} if cups else {Path(place)}
        before = {path for one in shared for path in _entries(one)}
        control = leaks_session.Control(_ids(PLANTED_IN_PROFILE, 0), leaks.stretch_of(specimens.heart(9, 0)).tolist())
        left = leaks_session.attend(folder, cups, control, say)
        new = [path for one in shared for path in _entries(one) if path not in before | own]

        places = _places(folder)
        ids = _ids(places, len(PLANTED_IN_PROFILE))
        for name, where in places.items():
            (where / _PLANTED).write_bytes(gzip.compress(f"about {ids[name]}.".encode("utf-16-le")))
        if cups:
            ids[_SPOOL] = _PLANTED_ID.format(99)
            places[_SPOOL] = cups.folder / "spool"
            cups.leave(gzip.compress(ids[_SPOOL].encode() * 9))
            cups.stop()
        wanted = _wanted(left, {**control.ids, **ids}, control)
        searched = [folder, *([cups.folder] if cups else []), *new, *also]
        found, n_files, n_bytes = leaks.search(searched, wanted)
        say(f"{n_files} files, {n_bytes} bytes of the session searched")
        seen = _seen(found, folder, places)
        return {
            "printed": left.printed,
            "recorded": len(left.records),
            "files": n_files,
            "bytes": n_bytes,
            "profiles": {name: _size(folder / name) for name in (SHIPPED, ORDINARY, STANDING)},
            "new_in_shared_folders": len(new),
            "planted": seen,
            "findings": _findings(found, folder, control.ids),
            "control_missed": [f"{name}, in the session's files" for name, where in seen.items() if not where],
        }


def _places(folder: Path) -> dict[str, Path]:
    """Return the folders of the session by name."""
    kiosk = folder / "kiosk"
    return {
        "data": kiosk / "data" / "lsemvae-edge",
        "configuration": kiosk / "config" / "lsemvae-edge",
        "runtime": kiosk,
        "temporary": folder / "temporary",
        "profile as shipped": folder / SHIPPED,
        "profile while the result stood": folder / STANDING,
    }


def _wanted(left: leaks_session.Left, planted: Mapping[str, str], control: leaks_session.Control) -> Wanted:
    texts = {f"{id}: {form}": text for id in left.ids for form, text in leaks.forms_of_id(id).items()}
    for name, id in planted.items():
        texts |= {f"{_PLANTED} in {name}: {form}": text for form, text in leaks.forms_of_id(id).items()}
    stretches = {f"recording {number}": leaks.stretch_of(record) for number, record in enumerate(left.records)}
    return Wanted(texts, {**stretches, _WAVEFORM: np.array(control.stretch)})


def _seen(found: Mapping[str, list[str]], folder: Path, places: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return where each control was found, below the folder in which it must be."""
    expected = {f"{_PLANTED} in {name}:": folder / ORDINARY for name in PLANTED_IN_PROFILE}
    expected |= {f"{_PLANTED} in {name}:": where for name, where in places.items()}
    profile = folder / ORDINARY / "Default"
    expected |= {
        f"{_WAVEFORM}, in IndexedDB": profile / "IndexedDB",
        f"{_WAVEFORM}, in the cache": folder / ORDINARY / "cache",
    }
    seen = {}
    for name, where in expected.items():
        begin = name.partition(", in ")[0]
        files = [
            str(Path(path).relative_to(where))
            for path, forms in found.items()
            if Path(path).is_relative_to(where) and any(form.startswith(begin) for form in forms)
        ]
        seen[name.removesuffix(":")] = files
    return seen


def _findings(found: Mapping[str, list[str]], folder: Path, in_profile: Mapping[str, str]) -> list[str]:
    """Return what is nobody's control, and what another page could keep in the browser as it is shipped."""
    begins = tuple(f"{_PLANTED} in {name}:" for name in in_profile)
    findings = []
    for path, forms in found.items():
        own = [form for form in forms if not form.startswith(_PLANTED)]
        if Path(path).is_relative_to(folder / SHIPPED):
            own += [form for form in forms if form.startswith((*begins, _WAVEFORM))]
        if own:
            findings.append(f"{path}: {', '.join(own[:5])}")
    return findings


def _ids(names: Iterable[str], first: int) -> dict[str, str]:
    return {name: _PLANTED_ID.format(first + number) for number, name in enumerate(names)}


def _size(folder: Path) -> dict[str, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _entries(folder: Path) -> set[Path]:
    """Return what lies in a shared folder and is ours."""
    if not folder.is_dir():
        return set()
    return {Path(one.path) for one in os.scandir(folder) if one.stat(follow_symlinks=False).st_uid == os.getuid()}
