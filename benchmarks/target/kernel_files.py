"""Small files in which a kernel tells of itself; under another root they may be those of another machine."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path("/")
T = TypeVar("T")


def read(path: Path) -> str | None:
    """Return the text of a small file, without the ends that kernels add, or None."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0\n\t ")
    except OSError:
        return None


def whole(path: Path) -> int | None:
    """Return the whole number that a file holds, or None."""
    text = read(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def listed(root: Path, pattern: str) -> list[Path]:
    """Return the paths of a pattern in order of the numbers in their names: cpu2 before cpu10."""
    try:
        found = list(root.glob(pattern))
    except OSError:
        return []
    return sorted(found, key=lambda path: [(len(part), part) for part in path.parts])


def cpuinfo(root: Path) -> list[dict[str, str]]:
    """Return the fields of each core; a board's own, after them, is left out with its serial number."""
    blocks = []
    for text in (root / "proc/cpuinfo").read_text(errors="replace").split("\n\n"):
        pairs = (line.partition(":") for line in text.splitlines())
        block = {name.strip(): value.strip() for name, _, value in pairs}
        if "processor" in block:
            blocks.append(block)
    return blocks


def or_none(tell: Callable[[], T]) -> T | None:
    """Return what a function tells, or None where a file is absent, or not as it should be."""
    try:
        return tell()
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
        return None
