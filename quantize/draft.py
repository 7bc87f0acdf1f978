"""What is made appears at its place whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import move, rmtree
from tempfile import mkdtemp

from lsemvae_edge.errors import BundleError


@contextmanager
def draft(out: Path) -> Iterator[Path]:
    """Give a path beside ``out`` to write to, which becomes ``out`` at the end, and nothing if that is not reached.

    Raises
    ------
    BundleError
        If ``out`` exists.
    """
    if out.exists():
        raise BundleError(f"{out} exists.", "Name a new folder or archive.")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        yield folder / out.name
        move(folder / out.name, out)
    finally:
        rmtree(folder, ignore_errors=True)
