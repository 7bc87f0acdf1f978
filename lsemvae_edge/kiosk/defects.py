"""What is said and logged when the program itself is wrong: a defect's own words may hold whose result it was."""

import logging
import traceback
from pathlib import Path

from lsemvae_edge.errors import LsemvaeError
from lsemvae_edge.kiosk.flow import Trouble
from lsemvae_edge.language import mark

DEFECT = mark("Something in the kiosk's program went wrong.")
DEFECT_STEP = mark("Try again. If it comes again, tell whoever looks after this kiosk.")

_LOG = logging.getLogger(__name__)


def trouble(error: Exception) -> Trouble:
    """Return what to say on the screen of whatever went wrong."""
    if isinstance(error, LsemvaeError):
        return Trouble(error.message, error.next_step)
    return Trouble(DEFECT, DEFECT_STEP)


def log(error: Exception) -> None:
    """Write down of a defect which kind it is and where it happened, and nothing that it says."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"  {Path(one.filename).name}:{one.lineno} {one.name}" for one in frames]
    _LOG.error("A defect: %s\n%s", type(error).__name__, "\n".join(places))
