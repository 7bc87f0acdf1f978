"""Keeping converters' talk off the operator's terminal."""

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, start-up messages, and warnings about the converters' own use of old interfaces."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
