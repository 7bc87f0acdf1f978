"""A firmware folder on disk: written whole or not at all, and verified by building and running it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lsemvae_edge import strict_json
from lsemvae_edge.errors import BundleError, UsageError

MANIFEST = "firmware.json"
SCHEMA = "lsemvae-edge/firmware/1"
_TIMEOUT_S = 600


def is_firmware(path: Path) -> bool:
    """Whether a path is a firmware folder rather than a bundle."""
    return (path / MANIFEST).is_file()


def write(contents: Mapping[str, bytes], about: Mapping[str, Any], into: Path) -> None:
    """Write the files and the manifest that lists them into a new folder.

    Parameters
    ----------
    contents : mapping of str to bytes
        By path in the folder.
    about : mapping
        Further entries of the manifest.
    into : Path
        New folder, see `lsemvae_edge.quantize.draft`.
    """
    listed = {name: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in sorted(contents.items())}
    manifest = {"schema": SCHEMA, **about, "files": listed}
    lay_out({**contents, MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode()}, into)


def lay_out(contents: Mapping[str, bytes], into: Path) -> Path:
    """Write files by their paths in a folder, which is made; return it."""
    for name, data in contents.items():
        place = into / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return into


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest of a firmware folder.

    Raises
    ------
    BundleError
        If it is none.
    """
    manifest = strict_json.parse((folder / MANIFEST).read_bytes(), MANIFEST)
    if (
        not isinstance(manifest, dict)
        or manifest.get("schema") != SCHEMA
        or not isinstance(manifest.get("files"), dict)
    ):
        raise BundleError(f"{folder / MANIFEST} does not describe a firmware folder of this release.")
    return manifest


def check_files(folder: Path) -> dict[str, Any]:
    """Hold every listed file against its digest, and return the manifest. Files that a build added are left alone.

    Raises
    ------
    BundleError
        Names the first file that is missing or differs.
    """
    manifest = read(folder)
    for name, told in manifest["files"].items():
        place = folder / name
        if not place.resolve().is_relative_to(folder.resolve()) or not place.is_file():
            raise BundleError(f"The firmware folder lacks {name}.", "Export it again.")
        if sha256(place.read_bytes()).hexdigest() != told.get("sha256"):
            raise BundleError(f"{name} of the firmware folder was changed.", "Export it again.")
    return manifest


def prove(folder: Path) -> list[str]:
    """Build a copy of the listed files and run ``make test`` there; return the lines it prints.

    Raises
    ------
    UsageError
        If there is no C compiler or no make.
    BundleError
        If it does not compile or a known answer differs; says which.
    """
    if missing := [tool for tool in ("make", "cc") if shutil.which(tool) is None]:
        raise UsageError(
            f"A firmware folder proves itself by building; {' and '.join(missing)} not found.",
            "Install make and gcc or clang (on Debian: apt install build-essential).",
        )
    manifest = read(folder)
    with TemporaryDirectory() as temporary:
        copy = lay_out({name: (folder / name).read_bytes() for name in manifest["files"]}, Path(temporary) / "firmware")
        # What a user set for builds of their own must not decide here.
        plain = {name: value for name, value in os.environ.items() if name not in ("CFLAGS", "LDFLAGS", "MAKEFLAGS")}
        done = subprocess.run(
            ["make", "--no-print-directory", "test"],  # noqa: S607  # found on the path, as a user's is
            cwd=copy,
            env=plain,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "not ok ", "lsemvae "))]
    if done.returncode:
        said = "; ".join(line for line in lines if not line.startswith("ok ")) or done.stderr.strip()[-500:]
        raise BundleError(f"The firmware does not prove itself: {said}.", "Do not use it; export it again.")
    return lines
