"""A folder with all wheels that a kiosk's software needs, each listed with its digest, signed as bundles are.

``wheelhouse.json`` lists them by Python release; its own digest is the wheelhouse's identity, and what is signed.
``SHA256SUMS`` says the same for ``sha256sum -c``.
"""

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lsemvae_edge import strict_json
from lsemvae_edge.bundle import DIGEST, KEY_BYTES, SIGNATURE_BYTES, Signature, dumped, from_base64
from lsemvae_edge.container import open_plain
from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.kiosk.updates import durable
from lsemvae_edge.manifest import FileInfo
from lsemvae_edge.signing import PublicKey
from lsemvae_edge.spec import from_dict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SCHEMA = "lsemvae-edge/wheelhouse/1"
SIGNATURE_SCHEMA = "lsemvae-edge/wheelhouse-signature/1"
FACTS = "wheelhouse.json"
SUMS = "SHA256SUMS"
SIGNATURE = "wheelhouse.sig.json"
DISTRIBUTION = "lsemvae_edge"
MAX_WHEELS = 400
MAX_WHEEL_BYTES = 512 * 1024 * 1024
_WHEEL = re.compile(r"([A-Za-z0-9_.]{1,100})-([A-Za-z0-9_.+!]{1,60})(-[0-9][A-Za-z0-9_.]{0,40})?-[A-Za-z0-9_.]{1,150}(-[A-Za-z0-9_.]{1,200}){2}\.whl")  # fmt: skip  # noqa: E501
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_MANYLINUX = re.compile(r"manylinux_([0-9]+)_([0-9]+)_")
_OLD_MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_AGAIN = "Get the wheelhouse again from its maker; do not use this copy."
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Facts:
    """``wheelhouse.json``.

    Parameters
    ----------
    schema : str
    version : str
        Of lsemvae-edge.
    machine : str
        Processor, ``aarch64`` or ``x86_64``.
    glibc : str
        Oldest release of the GNU C library on which all of it runs.
    python : dict
        Wheels that are installed, by Python release.
    files : dict
        Size and digest of every wheel.
    """

    schema: str
    version: str
    machine: str
    glibc: str
    python: dict[str, tuple[str, ...]]
    files: dict[str, FileInfo]


@dataclass(frozen=True)
class Wheelhouse:
    """A wheelhouse that was read; its wheels are checked by `check_files`.

    Parameters
    ----------
    path : Path
    facts : Facts
    sha256 : str
        Digest of ``wheelhouse.json``.
    key : PublicKey or None
        Whose signature holds, trusted or not; None if there is no signature.
    """

    path: Path
    facts: Facts
    sha256: str
    key: PublicKey | None

    @property
    def name(self) -> str:
        """What the installed version's folder is called."""
        return f"{self.facts.version}-{self.sha256[:12]}"

    def wheels(self, python: str) -> tuple[str, ...]:
        """Return the wheels for a release of Python.

        Raises
        ------
        UsageError
            If there are none.
        """
        found = self.facts.python.get(python)
        if found is None:
            raise UsageError(
                f"This wheelhouse is for Python {' and '.join(sorted(self.facts.python))}; this machine has {python}.",
                "Get a wheelhouse for this release of Python.",
            )
        return found

    def check_files(self, python: str) -> None:
        """Read every wheel for a release of Python and compare size and digest.

        Raises
        ------
        BundleError
            Names the first that is missing, no plain file, or another one.
        """
        for name in self.wheels(python):
            info = self.facts.files[name]
            with _opened(self.path / name) as file:
                if os.fstat(file.fileno()).st_size != info.bytes or _digest(file, name) != info.sha256:
                    raise BundleError(f"{name} in the wheelhouse is not the file that it lists.", _AGAIN)

    def requirements(self, python: str) -> str:
        """Return what pip is to install: exact releases with their digests."""
        lines = []
        for name in self.wheels(python):
            project, version = _named(name)
            lines.append(f"{project}=={version} --hash=sha256:{self.facts.files[name].sha256}")
        return "\n".join(lines) + "\n"

    def total_bytes(self, python: str) -> int:
        """Return the size of all wheels for a release of Python."""
        return sum(self.facts.files[name].bytes for name in self.wheels(python))


def read(path: Path) -> Wheelhouse:
    """Read what a wheelhouse says of itself, and check its signature if it has one.

    Raises
    ------
    UsageError
        If it is none.
    BundleError
        If it is damaged, or its signature does not hold.
    """
    if not path.is_dir() or not os.path.lexists(path / FACTS):
        raise UsageError(f"There is no wheelhouse in {path}: no {FACTS}.", "Name the folder that holds it.")
    with _opened(path / FACTS) as file:
        raw = _limited(file, strict_json.MAX_BYTES, FACTS)
    parsed = strict_json.parse(raw, FACTS)
    schema = parsed.get("schema") if isinstance(parsed, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{FACTS} has schema {schema!r:.100}; this software reads {SCHEMA!r}.", "Update by hand.")
    facts = from_dict(Facts, parsed, "wheelhouse")
    _check(facts)
    digest = sha256(raw).hexdigest()
    key = None
    if os.path.lexists(path / SIGNATURE):
        with _opened(path / SIGNATURE) as file:
            key = _signer(_limited(file, 1024, SIGNATURE), digest)
    return Wheelhouse(path, facts, digest, key)


def seal(path: Path, pythons: Mapping[str, tuple[str, ...]], machine: str) -> Wheelhouse:
    """List the wheels of a folder: write ``wheelhouse.json`` and ``SHA256SUMS``, and remove an older signature.

    Parameters
    ----------
    path : Path
    pythons : mapping
        Names of the wheels that are installed, by Python release.
    machine : str
        Processor.

    Raises
    ------
    UsageError
        If a wheel does not fit the processor, or lsemvae-edge is missing.
    """
    names = sorted({name for wheels in pythons.values() for name in wheels})
    files = {}
    for name in names:
        with _opened(path / name) as file:
            files[name] = FileInfo(os.fstat(file.fileno()).st_size, _digest(file, name))
    own = {version for project, version in map(_named, names) if project == DISTRIBUTION}
    if len(own) != 1:
        raise UsageError(f"{path} holds {len(own)} releases of lsemvae-edge, not one.", "Begin with an empty folder.")
    foreign = [name for name in names if not name.removesuffix(".whl").endswith(("-none-any", machine))]
    if foreign:
        raise UsageError(f"{foreign[0]} is not for {machine}.", "Download wheels for one processor.")
    oldest = max((_oldest_glibc(name) for name in names), default=(2, 17))
    facts = Facts(
        SCHEMA,
        own.pop(),
        machine,
        ".".join(map(str, oldest)),
        {python: tuple(sorted(wheels)) for python, wheels in sorted(pythons.items())},
        files,
    )
    _check(facts)
    (path / SIGNATURE).unlink(missing_ok=True)
    content = durable.dumped(asdict(facts))
    (path / FACTS).write_bytes(content)
    listed = {**{name: info.sha256 for name, info in files.items()}, FACTS: sha256(content).hexdigest()}
    (path / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items())))
    return read(path)


def sign(wheelhouse: Wheelhouse, key: "Ed25519PrivateKey") -> Wheelhouse:
    """Sign a wheelhouse, after checking all its wheels.

    Raises
    ------
    BundleError
        If a wheel is missing or another one.
    """
    for python in wheelhouse.facts.python:
        wheelhouse.check_files(python)
    public = PublicKey(key.public_key().public_bytes_raw())
    made = b64encode(key.sign(signed_text(wheelhouse.sha256))).decode()
    (wheelhouse.path / SIGNATURE).write_bytes(dumped(Signature(SIGNATURE_SCHEMA, public.base64, made)))
    return read(wheelhouse.path)


def signed_text(digest: str) -> bytes:
    """Return what is signed; the first line tells it from a bundle's signature by the same key."""
    return f"{SIGNATURE_SCHEMA}\n{digest}\n".encode()


def _signer(raw: bytes, digest: str) -> PublicKey:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    found = from_dict(Signature, strict_json.parse(raw, SIGNATURE), "signature")
    if found.schema != SIGNATURE_SCHEMA:
        raise BundleError(f"{SIGNATURE} is no signature of a wheelhouse.", _AGAIN)
    key = PublicKey(from_base64(found.key, KEY_BYTES, f"The key in {SIGNATURE}"))
    signature = from_base64(found.signature, SIGNATURE_BYTES, f"The signature in {SIGNATURE}")
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, signed_text(digest))
    except (InvalidSignature, ValueError) as error:
        raise BundleError(f"The signature does not hold: {FACTS} is not what key {key.id} signed.", _AGAIN) from error
    return key


def _check(facts: Facts) -> None:
    if len(facts.files) > MAX_WHEELS:
        raise BundleError(f"The wheelhouse lists more than {MAX_WHEELS} wheels.", _AGAIN)
    for name, info in facts.files.items():
        if not _WHEEL.fullmatch(name):
            raise BundleError(f"{name!r:.120} in the wheelhouse is no name of a wheel.", _AGAIN)
        if not 0 < info.bytes <= MAX_WHEEL_BYTES or not re.fullmatch(DIGEST, info.sha256):
            raise BundleError(f"{name} is listed with no size and digest that a wheel may have.", _AGAIN)
    if not facts.python or not all(_PYTHON.fullmatch(python) for python in facts.python):
        raise BundleError("The wheelhouse names no release of Python.", _AGAIN)
    if not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", facts.glibc) or not re.fullmatch(r"[a-z0-9_]{1,20}", facts.machine):
        raise BundleError("The wheelhouse does not say which machines it is for.", _AGAIN)
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}[A-Za-z0-9.+]{0,30}", facts.version):
        raise BundleError(f"The wheelhouse has version {facts.version!r:.60}, which is none.", _AGAIN)
    for python, names in facts.python.items():
        projects = [_named(name)[0].lower().replace(".", "_") for name in names if name in facts.files]
        own = [name for name in names if _WHEEL.fullmatch(name) and _named(name) == (DISTRIBUTION, facts.version)]
        if len(projects) != len(names) or len(set(projects)) != len(names) or len(own) != 1:
            raise BundleError(f"What the wheelhouse lists for Python {python} cannot be installed together.", _AGAIN)


def _named(wheel: str) -> tuple[str, str]:
    project, version = wheel.split("-")[:2]
    return project, version


def _oldest_glibc(wheel: str) -> tuple[int, int]:
    """Return the release that a wheel's tags ask for; a wheel with several asks for the lowest of them."""
    platforms = wheel.removesuffix(".whl").rsplit("-", 1)[1].split(".")
    asked = [(int(major), int(minor)) for one in platforms for major, minor in _MANYLINUX.findall(one)]
    asked += [release for one in platforms for old, release in _OLD_MANYLINUX.items() if one.startswith(f"{old}_")]
    return min(asked, default=(2, 17))


def _opened(path: Path) -> BinaryIO:
    try:
        file = open_plain(path, getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise BundleError(f"{path.name} in the wheelhouse cannot be read: {error.strerror}.", _AGAIN) from error
    if file is None:
        raise BundleError(f"{path.name} in the wheelhouse is not a plain file.", _AGAIN)
    return file


def _digest(file: BinaryIO, name: str) -> str:
    total = sha256()
    try:
        while chunk := file.read(_CHUNK_BYTES):
            total.update(chunk)
    except OSError as error:
        raise BundleError(f"{name} in the wheelhouse cannot be read: {error.strerror}.", _AGAIN) from error
    return total.hexdigest()


def _limited(file: BinaryIO, limit: int, name: str) -> bytes:
    try:
        raw = file.read(limit + 1)
    except OSError as error:
        raise BundleError(f"{name} cannot be read: {error.strerror}.", _AGAIN) from error
    if len(raw) > limit:
        raise BundleError(f"{name} is larger than such a file may be.", _AGAIN)
    return raw
