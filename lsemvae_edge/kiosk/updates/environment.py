"""A Python environment made from a wheelhouse alone, and tried before anything uses it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsemvae_edge.kiosk.updates.durable import UpdateError
from lsemvae_edge.kiosk.updates.wheelhouse import Wheelhouse

_BUILD_S = 1800.0
"""A Zero 2 W unpacks and compiles for minutes."""
_TRIAL_S = 600.0
_KEEP = "The software used before stays in use; tell the maker of the wheelhouse."


def build(folder: Path, wheelhouse: Wheelhouse, python: str) -> None:
    """Make an environment in a folder that does not exist, and install a wheelhouse into it, from nowhere else.

    Parameters
    ----------
    folder : Path
    wheelhouse : Wheelhouse
    python : str
        Release, ``3.11``.

    Raises
    ------
    UpdateError
        With the last line of what pip said.
    """
    interpreter = getattr(sys, "_base_executable", "") or sys.executable
    _run(
        [interpreter, "-I", "-m", "venv", str(folder)],
        "No environment could be made",
        "Install Debian's package python3-venv, then try again.",
    )
    wanted = folder / "requirements.txt"
    wanted.write_text(wheelhouse.requirements(python))
    pip = [str(folder / "bin" / "python"), "-I", "-m", "pip", "--no-input", "--disable-pip-version-check"]
    _run(
        [
            *pip, "install", "--quiet", "--isolated", "--no-cache-dir", "--no-index", "--only-binary", ":all:",
            "--require-hashes", "--find-links", str(wheelhouse.path.resolve()), "--requirement", str(wanted),
        ],
        "The wheelhouse could not be installed",
        _KEEP,
    )  # fmt: skip
    _run([*pip, "check"], "The wheelhouse is not complete", _KEEP)


def try_out(folder: Path, version: str, bundle: Path | None) -> int:
    """Run an environment's own checks: its release, its runtimes with the shipped known answers, the kiosk's bundle.

    Parameters
    ----------
    folder : Path
    version : str
        What it must say that it is.
    bundle : Path or None
        That the kiosk uses, if it is not the shipped one.

    Returns
    -------
    int
        Version of the stores that it writes.

    Raises
    ------
    UpdateError
        If one fails.
    """
    command = str(folder / "bin" / "lsemvae-edge")
    found = _run([command, "--version"], "The new software does not start", _KEEP).strip()
    if found != version:
        raise UpdateError(f"The new software says that it is {found:.40}, not {version}.", _KEEP)
    _run([command, "doctor"], "The new software's runtimes do not work here", _KEEP)
    _run([command, "verify"], "The new software does not give its known answers here", _KEEP)
    if bundle is not None:
        _run(
            [command, "verify", str(bundle)],
            "The new software does not run the bundle that this kiosk uses",
            "Install a bundle that fits the new software first. " + _KEEP,
        )
    return int(rehearse(folder)["store_version"])


def rehearse(folder: Path, store: Path | None = None) -> dict[str, Any]:
    """Let an environment lead the copy of a store to its own version; see `lsemvae_edge.kiosk.updates.rehearsal`.

    Parameters
    ----------
    folder : Path
    store : Path, optional
        The copy; by default it says only which version it writes.

    Raises
    ------
    UpdateError
        If it cannot.
    """
    module = [str(folder / "bin" / "python"), "-I", "-m", "lsemvae_edge.kiosk.updates.rehearsal"]
    what = "The new software could not take over the records, on a copy of them"
    child = _child([*module, *([str(store)] if store else [])], what, _TRIAL_S)
    try:
        told: dict[str, Any] = json.loads(child.stdout.strip().splitlines()[-1])
        if child.returncode == 0 and isinstance(told["store_version"], int):
            return told
        reason = str(told["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        reason = _last_line(child)
    raise UpdateError(f"{what}: {reason}", _KEEP)


def _run(command: Sequence[str], what: str, next_step: str) -> str:
    child = _child(command, what, _BUILD_S)
    if child.returncode:
        raise UpdateError(f"{what}: {_last_line(child)}", next_step)
    return child.stdout


def _child(command: Sequence[str], what: str, limit_s: float) -> "subprocess.CompletedProcess[str]":
    try:
        # The program and its arguments are this package's own; paths are single arguments.
        return subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
            env=_clean(os.environ),
            stdin=subprocess.DEVNULL,
            # The kiosk runs as another user than who installs.
            umask=0o022,
        )
    except subprocess.TimeoutExpired as error:
        raise UpdateError(f"{what}: it did not end within {limit_s:g} s.", _KEEP) from error


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which nothing of the operator's leads Python or pip elsewhere."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_"))}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def _last_line(child: "subprocess.CompletedProcess[str]") -> str:
    if child.returncode < 0:
        return f"it crashed with signal {-child.returncode}."
    lines = (child.stderr.strip() or child.stdout.strip()).splitlines()
    # The package's own errors are a sentence and a next step.
    said = next((line for line in lines if line.startswith(("lsemvae-edge: ", "ERROR: "))), lines[-1] if lines else "")
    return f"{said.partition(': ')[2] or said or 'no reason was given'}"
