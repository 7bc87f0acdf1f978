"""The key of a store: a file that its owner alone can read, under a passphrase if there is one."""

import json
import os
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsemvae_edge.container import open_plain
from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.store.sealing import KEY_BYTES, BrokenSealError, random_key, seal, unseal

SCHEMA = "lsemvae-edge/store-key/1"
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 3
"""Work to try one passphrase: 32 MB of memory, three times over."""

_MAX_BYTES = 4096
_SALT_BYTES = 16
_BOUND = SCHEMA.encode()


@dataclass(frozen=True, eq=False)
class StoreKey:
    """The key that wraps the keys of all records of a store.

    Parameters
    ----------
    secret : bytes
        32 random bytes.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")

    @classmethod
    def create(cls, path: Path, passphrase: str | None = None) -> "StoreKey":
        """Make a key and write its file, which must not exist.

        Parameters
        ----------
        path : Path
            Its folder is made if need be, for the owner alone.
        passphrase : str, optional
            The file is useless without it. None: whoever has the file has the key.

        Raises
        ------
        StoreError
            If there is a file already, or it cannot be written.
        UsageError
            If the passphrase is empty.
        """
        key = cls(random_key())
        content = json.dumps(key._sealed(passphrase), indent=1).encode() + b"\n"
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise StoreError(
                f"There is a key {path} already.", "Keep it: without it the records of its store cannot be read."
            ) from error
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise _unwritable(path, error) from error
        return key

    @classmethod
    def read(cls, path: Path, passphrase: str | None = None) -> "StoreKey":
        """Read a key's file.

        Raises
        ------
        StoreError
            If there is none, others can read it, it is damaged, or the passphrase is not the right one.
        """
        found = _content(path)
        if "key" in found:
            return cls(_hex(found, "key", path))
        if passphrase is None:
            raise StoreError(
                f"The key {path} needs a passphrase.",
                "Name a file that holds it in LSEMVAE_EDGE_PASSPHRASE_FILE, or start the command in a terminal.",
            )
        cost = [value for name in ("n", "r", "p") if isinstance(value := found.get(name), int) and 0 < value <= 2**20]
        if len(cost) != 3:
            raise _damaged(path)
        try:
            derived = _derived(passphrase, _hex(found, "salt", path), cost[0], cost[1], cost[2])
            return cls(unseal(derived, _hex(found, "sealed", path), _BOUND))
        except BrokenSealError as error:
            raise StoreError(f"That is not the passphrase of the key {path}.", "Type it again.") from error
        except (ValueError, MemoryError) as error:
            raise _damaged(path) from error

    def wrap(self, key: bytes, bound: bytes) -> bytes:
        """Encrypt a key of a record for its place."""
        return seal(self.secret, key, bound)

    def unwrap(self, wrapped: bytes, bound: bytes) -> bytes:
        """Decrypt a key of a record.

        Raises
        ------
        BrokenSealError
            If it was altered, or wrapped for another place or by another key.
        """
        return unseal(self.secret, wrapped, bound)

    def _sealed(self, passphrase: str | None) -> dict[str, Any]:
        if passphrase is None:
            return {"schema": SCHEMA, "key": self.secret.hex()}
        if not passphrase:
            raise UsageError("A passphrase must not be empty.", "Choose several words that nobody guesses.")
        salt = os.urandom(_SALT_BYTES)
        derived = _derived(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
        sealed = seal(derived, self.secret, _BOUND).hex()
        return {"schema": SCHEMA, "sealed": sealed, "salt": salt.hex(), "n": SCRYPT_N, "r": SCRYPT_R, "p": SCRYPT_P}


def is_protected(path: Path) -> bool:
    """Whether a key's file needs a passphrase.

    Raises
    ------
    StoreError
        See `StoreKey.read`.
    """
    return "key" not in _content(path)


def sync_folder(folder: Path) -> None:
    """Hand a folder's list of files to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(path: Path) -> dict[str, Any]:
    try:
        file = open_plain(path)
    except FileNotFoundError as error:
        raise StoreError(
            f"There is no key {path}.",
            "Bring the key file, or name it in LSEMVAE_EDGE_STORE_KEY; without it no record can be read.",
        ) from error
    except OSError as error:
        raise StoreError(f"The key {path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if file is None:
        raise StoreError(f"The key {path} is not a plain file.", "Name the key's file in LSEMVAE_EDGE_STORE_KEY.")
    with file:
        if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
            raise StoreError(f"Other users can read the key {path}.", f"Run `chmod 600 {path}`.")
        raw = file.read(_MAX_BYTES + 1)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if len(raw) > _MAX_BYTES or not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise _damaged(path)
    return found


def _hex(found: dict[str, Any], name: str, path: Path) -> bytes:
    try:
        value = bytes.fromhex(found[name])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if name == "key" and len(value) != KEY_BYTES:
        raise _damaged(path)
    return value


def _derived(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    # The same passphrase typed on another keyboard must be the same bytes.
    text = unicodedata.normalize("NFC", passphrase).encode()
    return Scrypt(salt=salt, length=KEY_BYTES, n=n, r=r, p=p).derive(text)


def _damaged(path: Path) -> StoreError:
    return StoreError(f"The key {path} is damaged or none of this software.", "Bring the copy that was kept of it.")


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The key {path} cannot be written: {error.strerror or error}.", "Free space, or make its folder writable."
    )
