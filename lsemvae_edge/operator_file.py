"""Small files of the operator, such as what a machine trusts: found in one place, read strictly, written whole."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from lsemvae_edge import strict_json
from lsemvae_edge.container import open_plain
from lsemvae_edge.errors import LsemvaeError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)
else:
    T = TypeVar("T")


@dataclass(frozen=True)
class OperatorFile(Generic[T]):
    """A JSON file that belongs to the operator alone.

    Parameters
    ----------
    what : str
        What it is, in a sentence: "The trust store".
    name : str
        Of the file, in the user's configuration.
    variable : str
        Environment variable that names another place.
    error : type
        What is raised.
    repair : str
        What to do when it is damaged.
    parse : callable
        Content and place to value; raises ``error``.
    """

    what: str
    name: str
    variable: str
    error: type[LsemvaeError]
    repair: str
    parse: Callable[[bytes, Path], T]

    def path(self) -> Path:
        """Return where it lies: where the variable says, else in the user's configuration."""
        if named := os.environ.get(self.variable):
            return Path(named)
        configuration = os.environ.get("XDG_CONFIG_HOME")
        try:
            folder = Path(configuration) if configuration else Path.home() / ".config"
        except RuntimeError as error:
            raise self.error(
                f"There is no home folder to look for {self.what[0].lower()}{self.what[1:]} in.",
                f"Name a file: {self.variable}.",
            ) from error
        return folder / "lsemvae-edge" / self.name

    def read(self) -> T | None:
        """Read it; None if it does not exist. One that others can write is refused."""
        path = self.path()
        try:
            file = open_plain(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.error(f"{self.what} {path} cannot be read: {error.strerror}.", self.repair) from error
        if file is None:
            raise self.error(f"{self.what} {path} is not a plain file.", self.repair)
        with file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o022:
                raise self.error(f"{self.what} {path} can be written by other users.", f"Run `chmod 600 {path}`.")
            raw = file.read(strict_json.MAX_BYTES + 1)
        return self.parse(raw, path)

    def update(self, change: Callable[[T | None], T]) -> T:
        """Change it, one writer at a time; it is whole at every moment."""
        path = self.path()
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(path.with_name(f".{path.name}.lock")):
                changed = change(self.read())
                with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.write((json.dumps(asdict(changed), indent=1) + "\n").encode())
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise self.error(
                f"{self.what} {path} cannot be written: {error.strerror}.", "Make its folder writable."
            ) from error
        return changed


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock, so that two commands do not undo each other's changes."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
