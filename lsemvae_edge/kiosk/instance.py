"""One kiosk at a time: two would take the recorder and the printer from each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsemvae_edge.errors import StoreError, UsageError

NAME = "kiosk.lock"


@contextmanager
def only(folder: Path) -> Iterator[None]:
    """Be the only kiosk of a store, until the end of the context or of this process.

    Raises
    ------
    UsageError
        If another one is running.
    StoreError
        If the folder cannot be written.
    """
    import fcntl

    try:
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"The folder {folder} cannot be written: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                "A kiosk is running on this machine already.", "Use that one, or end it before you start another."
            ) from error
        yield
    finally:
        os.close(descriptor)
