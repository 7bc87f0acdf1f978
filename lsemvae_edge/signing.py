"""Ed25519 keys and signatures of bundles, through the library `cryptography`, which is loaded when it is needed.

A signature covers the digest of ``manifest.json``, which is the bundle's identity and holds the digests of all files.
Keys are the deployer's own; the package brings none.
"""

import os
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.bundle import (
    KEY_BYTES,
    MANIFEST,
    SIGNATURE,
    SIGNATURE_BYTES,
    SIGNATURE_SCHEMA,
    Bundle,
    Signature,
    dumped,
    from_base64,
    load,
    pack,
)
from lsemvae_edge.errors import BundleError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KIND = "lsemvae-edge-ed25519"
"""First word of a public key file."""


@dataclass(frozen=True)
class PublicKey:
    """A raw Ed25519 public key; ``id`` is what people compare."""

    raw: bytes

    @property
    def id(self) -> str:
        """The first 128 bits of the key's SHA-256, in hexadecimal."""
        return sha256(self.raw).hexdigest()[:32]

    @property
    def base64(self) -> str:
        """The key as files hold it."""
        return b64encode(self.raw).decode()

    @property
    def line(self) -> str:
        """The content of a public key file."""
        return f"{KIND} {self.base64} {self.id}\n"


def read_public(path: Path) -> PublicKey:
    """Read a public key file.

    Raises
    ------
    UsageError
        If it is none, or its key does not have the id beside it.
    """
    try:
        with path.open("rb") as file:
            words = file.read(1024).decode().split()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a public key.", "Name the .pub file of a key.") from error
    if len(words) != 3 or words[0] != KIND:
        raise UsageError(f"{path} is no public key of bundles.", "Name the .pub file that `bundle keygen` left.")
    try:
        key = PublicKey(from_base64(words[1], KEY_BYTES, f"The key in {path}"))
    except BundleError as error:
        raise UsageError(error.message, "Copy the .pub file again.") from error
    if key.id != words[2]:
        raise UsageError(f"The key in {path} is not {words[2]!r:.60}, which stands beside it.", "Copy the file again.")
    return key


def generate(stem: Path, passphrase: bytes | None) -> tuple[Path, Path, PublicKey]:
    """Make a key pair: ``STEM.pem``, private (PKCS 8, for the owner's eyes alone), and ``STEM.pub``.

    Parameters
    ----------
    stem : Path
    passphrase : bytes or None
        Encrypts the private key; None leaves it open to whoever reads the file.

    Raises
    ------
    UsageError
        If one of the files exists, or cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private_file, public_file = (stem.with_name(stem.name + suffix) for suffix in (".pem", ".pub"))
    for file in (private_file, public_file):
        if file.exists() or file.is_symlink():
            raise UsageError(f"{file} exists; a key is never written over.", "Name another key.")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
    )
    public = PublicKey(private.public_key().public_bytes_raw())
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for file, content, mode in ((private_file, pem, 0o600), (public_file, public.line.encode(), 0o644)):
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                stream.write(content)
    except OSError as error:
        raise UsageError(f"{stem} cannot be written: {error.strerror}.", "Name another folder.") from error
    return private_file, public_file, public


def is_encrypted(path: Path) -> bool:
    """Whether a private key file asks for a passphrase."""
    try:
        with path.open("rb") as file:
            return b"ENCRYPTED" in file.read(256)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Name the .pem file of a key.") from error


def read_private(path: Path, passphrase: bytes | None) -> "Ed25519PrivateKey":
    """Read a private key.

    Raises
    ------
    UsageError
        If the file is no Ed25519 key in PEM, or the passphrase is not the one it was encrypted with.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    encrypted = is_encrypted(path)
    if encrypted and not passphrase:
        raise UsageError(f"{path} is encrypted.", "Give its passphrase: --passphrase-file FILE.")
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(16 * 1024), passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = "not opened by this passphrase" if encrypted else "no private key in PEM"
        raise UsageError(f"{path} is {what}.", "Name the .pem file that `bundle keygen` left.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} holds another kind of key than Ed25519.", "Make one: lsemvae-edge bundle keygen.")
    return key


def sign(bundle: Bundle, key: "Ed25519PrivateKey") -> Bundle:
    """Sign a bundle in its place, in place of an earlier signature, after checking its files.

    Raises
    ------
    BundleError
        If a file of the bundle was changed.
    UsageError
        If the signature cannot be written.
    """
    bundle.verify_files()
    public = PublicKey(key.public_key().public_bytes_raw())
    made = dumped(Signature(SIGNATURE_SCHEMA, public.base64, b64encode(key.sign(signed_text(bundle.sha256))).decode()))
    # Beside the bundle: a draft inside it would be an unlisted file.
    place = bundle.path.resolve()
    draft = place.with_name(f".{place.name}.{os.getpid()}.zip")
    try:
        if place.is_dir():
            draft.write_bytes(made)
            draft.replace(place / SIGNATURE)
        else:
            content = {name: bundle.read(name) for name in bundle.manifest.files}
            pack(draft, {**content, MANIFEST: bundle.raw_manifest(), SIGNATURE: made})
            draft.replace(place)
    except OSError as error:
        raise UsageError(f"{bundle.path} cannot be written: {error.strerror}.", "Sign a copy of it.") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    signed = load(bundle.path)
    if signed.sha256 != bundle.sha256:
        raise BundleError("The bundle was changed while it was signed.")
    check(signed)
    return signed


def check(bundle: Bundle) -> PublicKey:
    """Return the key that signed a bundle, trusted or not.

    Raises
    ------
    BundleError
        If the signature does not hold for this manifest and the key beside it.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature = bundle.signature
    if signature is None:
        raise BundleError("The bundle is not signed.", "Sign it: lsemvae-edge bundle sign.")
    key = PublicKey(from_base64(signature.key, KEY_BYTES, f"The key in {SIGNATURE}"))
    raw = from_base64(signature.signature, SIGNATURE_BYTES, f"The signature in {SIGNATURE}")
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, signed_text(bundle.sha256))
    except (InvalidSignature, ValueError) as error:
        raise BundleError(
            f"The signature does not hold: {MANIFEST} is not what key {key.id} signed.",
            "Get the bundle again from its maker; do not use this copy.",
        ) from error
    return key


def signed_text(digest: str) -> bytes:
    """Return what is signed; the first line tells it from anything else that the key may ever sign."""
    return f"{SIGNATURE_SCHEMA}\n{digest}\n".encode()
