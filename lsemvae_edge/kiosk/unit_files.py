"""Unit files of systemd for the kiosk, filled in for this machine."""

import os
import re
import shutil
import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path

from lsemvae_edge.errors import UsageError

TEMPLATES = {
    "lsemvae-edge-kiosk.service": "systemd/system",
    "lsemvae-edge-browser.service": "systemd/system",
    "lsemvae-edge-terminal.service": "systemd/system",
    "lsemvae-edge.sysusers": "sysusers.d",
    "lsemvae-edge.tmpfiles": "tmpfiles.d",
}
"""Name of a template, and the folder below ``/etc`` that its file belongs into."""
COMPOSITORS = ("cage",)
SOFTWARE = Path("/opt/lsemvae-edge/current/bin/lsemvae-edge")
"""Where updates put the software; a unit that names it needs no change after one."""
SETTINGS = Path("/var/lib/lsemvae-edge/.config/lsemvae-edge/kiosk.json")
"""Of the user that the units name."""
CREDENTIAL = "lsemvae-edge-passphrase"
_INSTALL = "Run `lsemvae-edge kiosk units --install` as root."
_VARYING = ("ExecStart=", "LoadCredential=", "IPAddressDeny=", "IPAddressAllow=")
_FINAL = {"lsemvae-edge.sysusers": "lsemvae-edge.conf", "lsemvae-edge.tmpfiles": "lsemvae-edge.conf"}


def program() -> Path:
    """Return the program that units start: the updated software, else the one that runs now."""
    if SOFTWARE.exists():
        return SOFTWARE
    beside = Path(sys.executable).with_name("lsemvae-edge")
    found = str(beside) if beside.exists() else shutil.which("lsemvae-edge")
    return Path(found) if found else SOFTWARE


def compositor() -> str:
    """Return the command that gives the browser a screen."""
    found = next((path for name in COMPOSITORS if (path := shutil.which(name))), "/usr/bin/cage")
    return f"{found} -s --"


def filled_in(
    *,
    starting: Path | None = None,
    under: str | None = None,
    passphrase_file: Path | None = None,
    with_network: bool = True,
) -> dict[Path, str]:
    """Return the files by their places below ``/etc``.

    Parameters
    ----------
    starting : Path, optional
        Default: `program`.
    under : str, optional
        Command that gives the browser a screen; default: `compositor`.
    passphrase_file : Path, optional
        Of the store's key, on a stick for instance; None: the key has no passphrase.
    with_network : bool
        Results go to a server; otherwise the kiosk reaches this machine alone.

    Raises
    ------
    UsageError
        If a path would be read as something else in a unit.
    """
    values = {
        "PROGRAM": _plain(starting or program()),
        "COMPOSITOR": under or compositor(),
        "CREDENTIAL": f"LoadCredential={CREDENTIAL}:{_plain(passphrase_file)}" if passphrase_file else "",
        "NETWORK": "" if with_network else "IPAddressDeny=any\nIPAddressAllow=localhost",
    }
    folder = resources.files("lsemvae_edge.kiosk") / "units"
    files = {}
    for name, below in TEMPLATES.items():
        text = (folder / name).read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace(f"@{key}@\n", f"{value}\n" if value else "").replace(f"@{key}@", value)
        files[Path(below) / _FINAL.get(name, name)] = text
    return files


def write(files: dict[Path, str], root: Path) -> list[Path]:
    """Write the files below a folder, each whole or not at all.

    Raises
    ------
    UsageError
        If that cannot be done.
    """
    written = []
    for below, text in files.items():
        path = root / below
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.chmod(0o644)
            draft.replace(path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise UsageError(
                f"{path} cannot be written: {error.strerror}.", "Run it as root, or name --out."
            ) from error
        written.append(path)
    return written


def findings(root: Path = Path("/etc")) -> list[str]:
    """Return which files are missing below ``root``, are not those of this version, or start what is not there."""
    found = []
    for below, text in filled_in().items():
        path = root / below
        try:
            installed = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            found.append(f"{path} is not installed. {_INSTALL}")
            continue
        except (OSError, UnicodeDecodeError):
            found.append(f"{path} cannot be read.")
            continue
        if _fixed(installed) != _fixed(text):
            found.append(f"{path} is not the one of this version. {_INSTALL}")
        for command in re.findall(r"^ExecStart=(.+)$", installed, re.MULTILINE):
            found += [f"{path} starts {word}, which is not there." for word in _absent(command)]
    return found


def _fixed(text: str) -> list[str]:
    """Return the lines that are the same on every machine."""
    return [line for line in text.splitlines() if not line.startswith(_VARYING)]


def _absent(command: str) -> list[str]:
    """Return the programs of a command that cannot be run."""
    words = [word for word in command.split() if word.startswith("/") and not word.startswith("/run/")]
    return [word for word in words if not os.access(word, os.X_OK)]


def _plain(path: Path) -> str:
    text = str(path)
    if not path.is_absolute() or any(letter in text for letter in " \t\n%$\\'\";@"):
        raise UsageError(f"{text} cannot stand in a unit.", "Name an absolute path of letters, digits and hyphens.")
    return text
