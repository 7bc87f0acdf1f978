"""One process at a time writes a folder of work that resumes."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsemvae_edge.errors import UsageError


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Hold a folder's lock, which the system lets go of when this process ends in whatever way.

    Raises
    ------
    UsageError
        If another process holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"Another process works in {out}.", "Wait for it, or name another folder.") from error
        yield
