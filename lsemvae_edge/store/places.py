"""Where a machine's stores and their keys lie, and how a command opens one."""

import os
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store.key import StoreKey, is_protected, sync_folder
from lsemvae_edge.store.log import Kind
from lsemvae_edge.store.store import Store

FOLDER_VARIABLE = "LSEMVAE_EDGE_STORE"
KEY_VARIABLE = "LSEMVAE_EDGE_STORE_KEY"
PASSPHRASE_VARIABLE = "LSEMVAE_EDGE_PASSPHRASE_FILE"  # noqa: S105  # the name of a variable
CREDENTIAL = "lsemvae-edge-passphrase"
"""Name of the passphrase among the credentials that systemd hands to a service."""

_MAX_PASSPHRASE_BYTES = 4096
_SETUP = "Run `lsemvae-edge kiosk setup`."


def store_folder(kind: Kind) -> Path:
    """Return where a store lies: below what `FOLDER_VARIABLE` names, else in the user's data."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named) / kind
    return _below("XDG_DATA_HOME", ".local/share", FOLDER_VARIABLE) / kind


def key_path() -> Path:
    """Return where the clinic store's key lies: where `KEY_VARIABLE` says, else in the user's configuration."""
    if named := os.environ.get(KEY_VARIABLE):
        return Path(named)
    return _below("XDG_CONFIG_HOME", ".config", KEY_VARIABLE) / "store.key"


def demo_key_path() -> Path:
    """Return where the key of the demonstrations' store lies: beside it, for it keeps nobody's data."""
    folder = store_folder("demo")
    return folder.with_name(f"{folder.name}.key")


def open_store(kind: Kind, *, wait_s: float = 5.0) -> Store:
    """Open the store that a command uses; the one of demonstrations is made if there is none.

    Parameters
    ----------
    kind : {"clinic", "demo"}
    wait_s : float
        See `Store.open`.

    Raises
    ------
    StoreError
        If there is none, or key or passphrase are missing or wrong.
    """
    folder = store_folder(kind)
    if kind == "demo":
        return _demo(folder, wait_s)
    if not _exists(folder):
        raise StoreError("There is no store on this machine yet.", _SETUP)
    path = key_path()
    try:
        return Store.open(folder, read_key(path), wait_s=wait_s)
    except StoreError:
        # The power may have gone between the store's commit and the change of the file.
        if (store := _with_next_key(folder, path, wait_s)) is None:
            raise
        return store


def create_store(passphrase: str | None = None) -> Store:
    """Make this machine's clinic store, with a new key unless there is one.

    Parameters
    ----------
    passphrase : str, optional
        For the key's file.
    """
    path = key_path()
    key = StoreKey.read(path, passphrase) if _exists(path) else StoreKey.create(path, passphrase)
    return Store.create(store_folder("clinic"), key, kind="clinic")


def rotate(store: Store, passphrase: str | None = None) -> int:
    """Give the clinic store a new key, and put its file in the place of the old one.

    A cut at any moment leaves a store that `open_store` opens.

    Parameters
    ----------
    store : Store
    passphrase : str, optional
        For the new key's file.

    Returns
    -------
    int
        See `Store.rotate`.
    """
    path = key_path()
    new_path = _next(path)
    if _exists(new_path):
        # Left by a cut, most likely before the commit; but a key is never destroyed on a guess.
        new_path.rename(path.with_name(f"{path.name}.unused-{uuid.uuid4().hex[:8]}"))
    n_wrapped = store.rotate(StoreKey.create(new_path, passphrase))
    _into_place(new_path, path)
    return n_wrapped


def read_key(path: Path) -> StoreKey:
    """Read a key; where it needs a passphrase, find that.

    The passphrase is the first line of the file that `PASSPHRASE_VARIABLE` names, or of systemd's `CREDENTIAL`; else
    it is asked for, if there is a terminal.
    """
    return StoreKey.read(path, _passphrase(path) if is_protected(path) else None)


def _with_next_key(folder: Path, path: Path, wait_s: float) -> Store | None:
    if not _exists(_next(path)):
        return None
    try:
        store = Store.open(folder, read_key(_next(path)), wait_s=wait_s)
    except StoreError:
        return None
    _into_place(_next(path), path)
    return store


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _demo(folder: Path, wait_s: float) -> Store:
    path = demo_key_path()
    if not _exists(folder):
        with suppress(StoreError):
            StoreKey.create(path)
        with suppress(StoreError):
            Store.create(folder, StoreKey.read(path), kind="demo").close()
    # Another program may have made it at the same time.
    return Store.open(folder, StoreKey.read(path), wait_s=wait_s)


def _passphrase(path: Path) -> str | None:
    if named := os.environ.get(PASSPHRASE_VARIABLE):
        return _first_line(Path(named))
    if folder := os.environ.get("CREDENTIALS_DIRECTORY"):
        credential = Path(folder) / CREDENTIAL
        if _exists(credential):
            return _first_line(credential)
    if sys.stdin is not None and sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"Passphrase of {path}: ")
    return None


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_PASSPHRASE_BYTES).decode().split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"The passphrase file {path} cannot be read.", "Check the file and its permissions; it is one line of text."
        ) from error


def _into_place(new_path: Path, path: Path) -> None:
    try:
        new_path.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"The new key {new_path} cannot take the place of {path}: {error.strerror}.",
            "The store has the new key; move the file by hand.",
        ) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise StoreError(f"{path} cannot be looked at: {error.strerror}.", "Check its permissions.") from error


def _below(variable: str, default: str, own_variable: str) -> Path:
    base = os.environ.get(variable)
    try:
        folder = Path(base) if base else Path.home() / default
    except RuntimeError as error:
        raise StoreError(
            "There is no home folder to look for the store in.", f"Name a place: {own_variable}."
        ) from error
    return folder / "lsemvae-edge"
