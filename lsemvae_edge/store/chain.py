"""The chain that entries form: each holds the hash of the one before it."""

import json
import re
from dataclasses import dataclass
from hashlib import sha256

from lsemvae_edge.errors import UsageError

SHORT_DIGITS = 16
NOTHING = b"\0" * 32
"""Stands before the first entry."""

_SCHEME = "lsemvae-edge/store-entry/1"
_HEAD = re.compile(r"(\d{1,18})[-:]([0-9a-f]{16,64})")


@dataclass(frozen=True)
class Head:
    """How far a store went: its newest entry. Who keeps one elsewhere can later see whether the store was cut.

    Parameters
    ----------
    seq : int
        Number of the entry.
    hash : str
        Its hash, or the first `SHORT_DIGITS` hexadecimal digits of it or more.
    """

    seq: int
    hash: str

    def __str__(self) -> str:
        """Return what is printed on reports: number and the hash's first digits."""
        return f"{self.seq}-{self.hash[:SHORT_DIGITS]}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Return the head that was printed.

        Raises
        ------
        UsageError
            If the text is none.
        """
        found = _HEAD.fullmatch(text.strip().lower())
        if found is None:
            raise UsageError(
                f"{text!r:.80} is no head of a store.", "Type it as printed: a number, '-', and 16 digits or letters."
            )
        return cls(int(found[1]), found[2])


@dataclass(frozen=True)
class Place:
    """Where an entry stands, and when it was made: everything of it that is not encrypted.

    Parameters
    ----------
    seq : int
        From 1, without holes.
    kind : str
    boot : str
        Start of the machine.
    boot_seq : int
        Number within it, from 1.
    at : str
        What the clock showed, ISO 8601, UTC; also if it was not set.
    clock_set : bool
    previous : bytes
        Hash of the entry before.
    """

    seq: int
    kind: str
    boot: str
    boot_seq: int
    at: str
    clock_set: bool
    previous: bytes

    def bound(self, store_id: str) -> bytes:
        """Return what this entry's ciphertexts are bound to."""
        values = [
            _SCHEME,
            store_id,
            self.seq,
            self.kind,
            self.boot,
            self.boot_seq,
            self.at,
            self.clock_set,
            self.previous.hex(),
        ]
        return json.dumps(values, separators=(",", ":")).encode()

    def hash(self, store_id: str, body_sha256: bytes, signal_sha256: bytes | None) -> bytes:
        """Return the entry's hash, over its place and the digests of its ciphertexts."""
        return sha256(self.bound(store_id) + body_sha256 + (signal_sha256 or b"")).digest()
