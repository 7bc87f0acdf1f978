"""Whose bundles this machine takes: trusted keys, pinned digests, and the newest version that it ever took.

They lie in a small file of the operator. On a machine without one, for research, every whole bundle is taken and its
results say that it was unsigned; from the first key or pin on, only what these vouch for is taken.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lsemvae_edge import signing, strict_json
from lsemvae_edge.bundle import DIGEST, FAMILY, KEY_BYTES, MAX_VERSION, Bundle, Standing, from_base64, is_shipped
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.operator_file import OperatorFile
from lsemvae_edge.signing import PublicKey
from lsemvae_edge.spec import from_dict

SCHEMA = "lsemvae-edge/trust/1"
VARIABLE = "LSEMVAE_EDGE_TRUST"
"""Environment variable that names the store. Where it is set, a store that is absent is an error."""
UNVOUCHED = ("unknown_key", "unsigned")
"""Kinds of `Standing` for research alone."""
_REPAIR = "Restore the file from a copy, or remove it and trust your keys again."


@dataclass(frozen=True)
class TrustedKey:
    """A public key in base64, and what the operator calls its owner."""

    name: str
    key: str

    @property
    def id(self) -> str:
        """See `PublicKey`."""
        return PublicKey(from_base64(self.key, KEY_BYTES, f"The key of {self.name}")).id


@dataclass(frozen=True)
class Pin:
    """The digest of a bundle's manifest, and what the operator calls it."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Store:
    """What an operator trusts; ``accepted`` holds the highest version taken of each bundle's name."""

    schema: str = SCHEMA
    keys: tuple[TrustedKey, ...] = ()
    pins: tuple[Pin, ...] = ()
    accepted: dict[str, int] = field(default_factory=dict)

    @property
    def restricts(self) -> bool:
        """Whether only what keys and pins vouch for is taken."""
        return bool(self.keys or self.pins)


def store_path() -> Path:
    """Return where the store lies: where `VARIABLE` says, else in the user's configuration.

    Raises
    ------
    BundleError
        If there is neither.
    """
    return _FILE.path()


def read_store(*, create: bool = False) -> Store:
    """Read the store; an absent one is empty.

    Parameters
    ----------
    create : bool
        An absent one is empty also where `VARIABLE` names it.

    Raises
    ------
    BundleError
        If it is damaged, can be written by others, or is absent where it was named.
    """
    store = _FILE.read()
    if store is None and os.environ.get(VARIABLE) and not create:
        raise BundleError(
            f"{VARIABLE} names the trust store {store_path()}, which does not exist.",
            "Restore it, or begin a new one: lsemvae-edge bundle trust KEY.pub.",
        )
    return store or Store()


def update(change: Callable[[Store], Store]) -> Store:
    """Change the store, one writer at a time; the file is whole at every moment.

    Raises
    ------
    BundleError
        If it is damaged, or cannot be written.
    """
    return _FILE.update(lambda store: change(store or Store()))


def judge(bundle: Bundle, store: Store, *, strict: bool = False) -> Standing:
    """Say why this machine takes a bundle.

    Parameters
    ----------
    bundle : Bundle
    store : Store
    strict : bool
        Refuse what nobody vouches for also where nothing is trusted yet, as a kiosk does.

    Raises
    ------
    BundleError
        If its signature does not hold, nobody vouches for it, or a newer version was taken before.
    """
    standing = _vouched(bundle, store, strict)
    taken = store.accepted.get(bundle.manifest.name, 0)
    if standing.kind not in UNVOUCHED and bundle.manifest.version < taken:
        raise BundleError(
            f"{bundle.manifest.name} version {bundle.manifest.version} is older than version {taken}, "
            "which this machine took before.",
            f"To go back on purpose: lsemvae-edge bundle trust --roll-back {bundle.path}",
        )
    return standing


def admit(bundle: Bundle, *, strict: bool = False) -> Bundle:
    """Return a bundle with its standing on this machine, and remember its version if a key or pin vouches for it.

    Raises
    ------
    BundleError
        If it is refused (see `judge`), or its version cannot be remembered.
    """
    store = read_store()
    standing = judge(bundle, store, strict=strict)
    name, version = bundle.manifest.name, bundle.manifest.version
    if standing.kind in ("pinned", "signed") and version > store.accepted.get(name, 0):
        # A newer version whose files are damaged must not shut out the one that works.
        bundle.verify_files()
        update(lambda now: _remembering(now, name, max(version, now.accepted.get(name, 0))))
    return replace(bundle, standing=standing)


def words(standing: Standing) -> str:
    """Say a standing in a few words."""
    return {
        "shipped": "ships with this software",
        "pinned": f"pinned as {standing.name}",
        "signed": f"signed by {standing.name} (key {standing.key})",
        "unknown_key": f"signed by key {standing.key}, which this machine does not know",
        "unsigned": "not signed",
    }[standing.kind]


def warning(standing: Standing) -> str | None:
    """Return the sentence that goes with a bundle that nobody vouches for."""
    if standing.kind not in UNVOUCHED:
        return None
    return f"This bundle is {words(standing)}: nobody vouches for where it comes from. For research."


def roll_back(bundle: Bundle) -> Store:
    """Take an older version than before from now on; what vouches for it must still hold.

    Raises
    ------
    BundleError
        If no key or pin of this machine vouches for the bundle.
    """
    bundle.verify_files()
    _vouched(bundle, read_store(create=True), strict=True)
    return update(lambda now: _remembering(now, bundle.manifest.name, bundle.manifest.version))


def trust_key(key: PublicKey, name: str) -> Store:
    """Trust what a key signs."""
    return update(
        lambda now: replace(now, keys=(*(k for k in now.keys if k.id != key.id), TrustedKey(name, key.base64)))
    )


def pin(digest: str, name: str) -> Store:
    """Take the bundle whose manifest has a digest."""
    return update(lambda now: replace(now, pins=(*(p for p in now.pins if p.sha256 != digest), Pin(name, digest))))


def remove(prefix: str) -> tuple[str, Store]:
    """Stop trusting a key or a pinned digest, named by the head of its id; return the whole id and what is left.

    Raises
    ------
    UsageError
        If it names nothing, or several.
    """
    store = read_store(create=True)
    ids = [key.id for key in store.keys] + [pinned.sha256 for pinned in store.pins]
    found = [known for known in ids if known.startswith(prefix)] if prefix else []
    if len(found) != 1:
        what = "no key and no digest" if not found else "several keys or digests"
        raise UsageError(f"{prefix!r} names {what} of this machine.", "See them: lsemvae-edge bundle trust --list.")
    left = update(
        lambda now: replace(
            now,
            keys=tuple(key for key in now.keys if key.id != found[0]),
            pins=tuple(pinned for pinned in now.pins if pinned.sha256 != found[0]),
        )
    )
    return found[0], left


def _vouched(bundle: Bundle, store: Store, strict: bool) -> Standing:
    # A signature that does not hold is a sign of tampering, whatever else vouches for the bundle.
    key = signing.check(bundle) if bundle.signature else None
    key_id = key.id if key else None
    if is_shipped(bundle):
        return Standing("shipped", key=key_id)
    for pinned in store.pins:
        if pinned.sha256 == bundle.sha256:
            return Standing("pinned", pinned.name, key_id)
    for trusted in store.keys:
        if key and trusted.key == key.base64:
            return Standing("signed", trusted.name, key_id)
    if store.restricts or strict:
        if key:
            raise BundleError(
                f"The bundle is signed by key {key.id}, which this machine does not trust.",
                "If you know its maker, trust their key: lsemvae-edge bundle trust KEY.pub",
            )
        raise BundleError(
            "The bundle is not signed, and its digest is not pinned on this machine.",
            f"Ask its maker to sign it, or pin it if you know it: lsemvae-edge bundle trust {bundle.path}",
        )
    return Standing("unknown_key" if key else "unsigned", key=key_id)


def _remembering(store: Store, name: str, version: int) -> Store:
    return replace(store, accepted={**store.accepted, name: version})


def _parsed(raw: bytes, path: Path) -> Store:
    damaged = f"The trust store {path} is damaged"
    try:
        store = from_dict(Store, strict_json.parse(raw, "it"), "trust")
        ids = [key.id for key in store.keys] + [pinned.sha256 for pinned in store.pins]
    except BundleError as error:
        raise BundleError(f"{damaged}: {error.message}", _REPAIR) from error
    if store.schema != SCHEMA:
        raise BundleError(f"{damaged}: its schema is {store.schema!r:.100}, not {SCHEMA!r}.", _REPAIR)
    if len(set(ids)) < len(ids) or not all(re.fullmatch(DIGEST, pinned.sha256) for pinned in store.pins):
        raise BundleError(f"{damaged}: a key or digest stands there twice, or is none.", _REPAIR)
    for name, version in store.accepted.items():
        if not re.fullmatch(FAMILY, name) or not 1 <= version <= MAX_VERSION:
            raise BundleError(f"{damaged}: it remembers version {version!r:.30} of {name!r:.100}.", _REPAIR)
    return store


_FILE: OperatorFile[Store] = OperatorFile("The trust store", "trust.json", VARIABLE, BundleError, _REPAIR, _parsed)
