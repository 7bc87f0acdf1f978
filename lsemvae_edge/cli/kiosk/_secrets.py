"""PINs and passphrases: from a file, from standard input, or asked twice in a terminal; never from the command line."""

import sys
from pathlib import Path

from lsemvae_edge.errors import UsageError

MAX_BYTES = 4096
MIN_PASSPHRASE = 12


def read(what: str, path: str | None, option: str) -> str:
    """Return a secret.

    Parameters
    ----------
    what : str
        For the person who is asked.
    path : str or None
        File whose first line it is; ``-`` for standard input; None: ask.
    option : str
        That names the file, for the error.

    Raises
    ------
    UsageError
        If there is nobody to ask, the file cannot be read, or what was typed twice differs.
    """
    if path == "-":
        return sys.stdin.readline(MAX_BYTES).rstrip("\r\n")
    if path is not None:
        try:
            with Path(path).open(encoding="utf-8") as file:
                return file.readline(MAX_BYTES).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read.", "Name a text file whose first line it is.") from error
    if not is_asked():
        raise UsageError(f"{what} is missing.", f"Name a file that holds it: {option} FILE, or `-` for standard input.")
    from getpass import getpass

    first = getpass(f"{what}: ")
    if getpass(f"{what}, again: ") != first:
        raise UsageError("The two differ.", "Type it again.")
    return first


def is_asked() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()
