"""Authenticated encryption of what the store keeps: AES-256-GCM, each ciphertext bound to its place."""

import os

from lsemvae_edge.errors import StoreError

KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16


class BrokenSealError(StoreError):
    """Something cannot be decrypted: it was altered, moved, or sealed with another key."""

    def __init__(self, message: str = "A part of the store cannot be decrypted.", next_step: str | None = None) -> None:
        super().__init__(message, next_step or "Run `lsemvae-edge records verify`; other records are not affected.")


def random_key() -> bytes:
    """Return a new key."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """Encrypt under a nonce of chance, which comes first in what is returned.

    Parameters
    ----------
    key : bytes
        `KEY_BYTES`.
    plain : bytes
    bound : bytes
        What must be the same when it is decrypted: where it belongs.
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + seal_with(key, nonce, plain, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Decrypt what `seal` returned.

    Raises
    ------
    BrokenSealError
        If it was altered, or sealed for another place or with another key.
    """
    return unseal_with(key, sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)


def seal_with(key: bytes, nonce: bytes, plain: bytes, bound: bytes) -> bytes:
    """Encrypt under a nonce that the caller never uses again with this key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key).encrypt(nonce, plain, bound)


def unseal_with(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Decrypt what `seal_with` returned.

    Raises
    ------
    BrokenSealError
        See `unseal`.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(nonce) != NONCE_BYTES or len(sealed) < TAG_BYTES:
        raise BrokenSealError
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except InvalidTag as error:
        raise BrokenSealError from error
