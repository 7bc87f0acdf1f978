"""The kiosk in a terminal, for boards too small for a browser: the same flow, from the same station."""

import os
from typing import TYPE_CHECKING

from lsemvae_edge.errors import MissingExtraError

if TYPE_CHECKING:
    from lsemvae_edge.kiosk.station import Station


async def run(station: "Station") -> int:
    """Serve a station that is entered, until somebody leaves the terminal.

    Returns
    -------
    int
        An exit code.

    Raises
    ------
    MissingExtraError
        If textual is not installed.
    """
    require()
    from lsemvae_edge.kiosk.terminal.app import Kiosk

    kiosk = Kiosk(station, console=is_console())
    await kiosk.run_async(mouse=False)
    return kiosk.return_code or 0


def require() -> None:
    """Raise unless the packages of the terminal are installed.

    Raises
    ------
    MissingExtraError
    """
    try:
        import textual  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError("The terminal kiosk", "terminal") from error


def is_console() -> bool:
    """Return whether this is the kernel's own console, which has neither Braille nor Devanagari."""
    return os.environ.get("TERM") == "linux"
