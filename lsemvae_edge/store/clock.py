"""Which start of the machine this is, and what its clock shows."""

import uuid
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

SET_AFTER = datetime(2025, 1, 1, tzinfo=UTC)
"""A machine without a battery for its clock starts in the past; the same rule as for recordings."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@lru_cache(maxsize=1)
def boot() -> str:
    """Return 32 hexadecimal digits that are the same until the machine starts anew."""
    try:
        return uuid.UUID(_BOOT.read_text().strip()).hex
    except (OSError, ValueError):
        # Elsewhere than on Linux, a start of this program.
        return uuid.uuid4().hex


def now() -> datetime:
    """Return what the clock shows, in UTC."""
    return datetime.now(UTC)


def is_set(at: datetime) -> bool:
    """Whether a clock that shows this can have been set."""
    return at > SET_AFTER
