"""A model bundle: weights, their contract, where they come from, and the proof that they run as trained.

A bundle is a folder or a one-file zip archive: ``manifest.json``, the files that it lists with size and SHA-256, and
maybe ``signature.json``. Nothing in a bundle is executed, unlisted files are refused, and every file is checked before
it is used. Who made a bundle is asked by `lsemvae_edge.trust`.
"""

import binascii
import json
import re
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from lsemvae_edge import strict_json
from lsemvae_edge.container import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES, arrays, check_names, open_container
from lsemvae_edge.errors import BundleError
from lsemvae_edge.manifest import FileInfo, Manifest, ModelFile, Quantization
from lsemvae_edge.spec import ModelSpec, from_dict

SCHEMA = "lsemvae-edge/bundle/1"
SIGNATURE_SCHEMA = "lsemvae-edge/signature/1"
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
DEFAULT_NAME = "small"
FAMILY = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}"
"""What a bundle may be called."""
DIGEST = r"[0-9a-f]{64}"
MAX_VERSION = 2**31 - 1
KEY_BYTES = 32
SIGNATURE_BYTES = 64


@dataclass(frozen=True)
class Signature:
    """``signature.json``: an Ed25519 signature of the manifest's digest and the public key it holds for, in base64.

    That the two fit each other and the manifest is not known before `lsemvae_edge.signing.check` said so.
    """

    schema: str
    key: str
    signature: str


@dataclass(frozen=True)
class Standing:
    """Why this machine takes a bundle.

    ``shipped``: the package holds its digest. ``pinned``: the operator pinned its digest, under ``name``. ``signed``:
    by a key that the operator trusts, under ``name``. ``unknown_key`` and ``unsigned``: nobody vouches for it; taken
    only where nothing was ever pinned or trusted. ``key`` is the id of the signing key.
    """

    kind: Literal["shipped", "pinned", "signed", "unknown_key", "unsigned"]
    name: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle; files are read, and checked, on demand.

    Parameters
    ----------
    path : Path
        Folder or archive.
    manifest : Manifest
    sha256 : str
        Digest of ``manifest.json``, which holds the digests of all other files: the bundle's identity.
    signature : Signature or None
        Well-formed; whether it holds is asked by `lsemvae_edge.trust`.
    standing : Standing or None
        None before `default` or `lsemvae_edge.trust.admit` asked for it.
    """

    path: Path
    manifest: Manifest
    sha256: str
    signature: Signature | None = None
    standing: Standing | None = None

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self.manifest.spec

    @cached_property
    def golden(self) -> dict[str, NDArray[Any]]:
        """Known answers of every stage, by name."""
        return arrays(self.read(self.manifest.golden))

    def raw_manifest(self) -> bytes:
        """Return ``manifest.json`` as it lies there, after checking that it is still what was loaded.

        Raises
        ------
        BundleError
            If it was changed since.
        """
        raw = open_container(self.path).read(MANIFEST, strict_json.MAX_BYTES)
        if sha256(raw).hexdigest() != self.sha256:
            raise BundleError(f"{MANIFEST} of the bundle was changed after it was loaded.")
        return raw

    def read(self, name: str) -> bytes:
        """Return a listed file's content after checking its size and digest.

        Raises
        ------
        BundleError
            If the file is not listed, absent, or changed, or an ONNX file that takes data from outside itself.
        """
        info = self.manifest.files.get(name)
        if info is None:
            raise BundleError(f"The bundle lists no file {name}.")
        content = open_container(self.path).read(name, info.bytes)
        if len(content) != info.bytes or sha256(content).hexdigest() != info.sha256:
            raise BundleError(f"{name} in the bundle is not the file its manifest lists.")
        if any(model.path == name and model.format == "onnx" for model in self.manifest.models):
            _check_self_contained(name, content)
        return content

    def verify_files(self) -> None:
        """Check every listed file."""
        for name in self.manifest.files:
            self.read(name)


def load(path: str | Path) -> Bundle:
    """Load a bundle from a folder or an archive; cheap, as its files are read on demand.

    Raises
    ------
    BundleError
        If it is absent, not a bundle of this schema, or holds files that the manifest does not list.
    """
    source = open_container(Path(path))
    held = source.names()
    if MANIFEST not in held:
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}.")
    raw = source.read(MANIFEST, strict_json.MAX_BYTES)
    parsed = strict_json.parse(raw, f"The manifest of {path}")
    schema = parsed.get("schema") if isinstance(parsed, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{path} has schema {schema!r:.100}; this software reads {SCHEMA!r}.", "Update the software.")
    manifest = from_dict(Manifest, parsed)
    _check(manifest)
    unlisted = sorted(held - set(manifest.files) - {MANIFEST, SIGNATURE})
    missing = sorted(set(manifest.files) - held)
    if unlisted or missing:
        raise BundleError(
            f"The bundle does not match its manifest: unlisted files {unlisted}, missing files {missing}."
        )
    signature = _signature(source.read(SIGNATURE, 1024)) if SIGNATURE in held else None
    return Bundle(Path(path), manifest, sha256(raw).hexdigest(), signature)


def default() -> Bundle:
    """Load the bundle that ships with the package, anchored by a digest in the package.

    Raises
    ------
    BundleError
        If the shipped files were changed after the package was built.
    """
    bundle = load(_shipped() / DEFAULT_NAME)
    if bundle.sha256 != _anchors().get(DEFAULT_NAME):
        raise BundleError("The shipped bundle is not the one this package was released with.", "Reinstall the package.")
    return replace(bundle, standing=Standing("shipped"))


def is_shipped(bundle: Bundle) -> bool:
    """Whether a bundle, wherever it lies, is one that the package was released with."""
    return bundle.sha256 in _anchors().values()


def write(
    path: Path,
    *,
    files: Mapping[str, bytes],
    name: str,
    spec: ModelSpec,
    models: tuple[ModelFile, ...],
    quantization: Quantization | None,
    golden: str,
    tolerance: dict[str, dict[str, float]],
    metrics: dict[str, Any],
    provenance: dict[str, Any],
    licence: str,
    attribution: str,
    version: int = 1,
) -> Bundle:
    """Write a bundle to a new or empty folder, or to one archive if the path ends in ``.zip``, and load it again.

    Parameters
    ----------
    files : mapping
        Content of every file beside the manifest, by name.
    name, spec, models, quantization, golden, tolerance, metrics, provenance, licence, attribution, version
        See `Manifest`.
    """
    manifest = Manifest(
        schema=SCHEMA,
        name=name,
        version=version,
        spec=spec,
        models=models,
        quantization=quantization,
        golden=golden,
        tolerance=tolerance,
        files={name: FileInfo(len(content), sha256(content).hexdigest()) for name, content in sorted(files.items())},
        metrics=metrics,
        provenance=provenance,
        licence=licence,
        attribution=attribution,
    )
    _check(manifest)
    pack(path, {**files, MANIFEST: dumped(manifest)})
    return load(path)


def rewrite(bundle: Bundle, path: Path, *, files: Mapping[str, bytes], **changes: Any) -> Bundle:
    """Write a bundle with other files, and a manifest changed in the named fields; see `write`."""
    told = {of.name: getattr(bundle.manifest, of.name) for of in fields(Manifest) if of.name not in ("schema", "files")}
    return write(path, files=files, **{**told, **changes})


def pack(path: Path, content: Mapping[str, bytes]) -> None:
    """Write files to a new or empty folder, or to one archive if the path ends in ``.zip``.

    Raises
    ------
    BundleError
        If the folder is not empty.
    """
    check_names(content)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, inside in sorted(content.items()):
                # A fixed time stamp, so that the same content gives the same archive.
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), inside, zipfile.ZIP_DEFLATED)
        return
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise BundleError(f"{path} is not empty.", "Name a new folder for the bundle.")
    for name, inside in content.items():
        (path / name).write_bytes(inside)


def dumped(value: Manifest | Signature) -> bytes:
    """Return a manifest or a signature as the file that a bundle holds."""
    return (json.dumps(asdict(value), indent=1, allow_nan=False) + "\n").encode()


def from_base64(text: str, size: int, what: str) -> bytes:
    """Return the bytes that a base64 text of one possible spelling holds.

    Raises
    ------
    BundleError
        If it is none, or holds another number of bytes.
    """
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"{what} is no base64.") from error
    if len(raw) != size:
        raise BundleError(f"{what} has {len(raw)} bytes, not {size}: it was cut or is of another kind.")
    if b64encode(raw).decode() != text:
        raise BundleError(f"{what} is no base64.")
    return raw


def _check(manifest: Manifest) -> None:
    """Refuse what types alone do not tell."""
    if not re.fullmatch(FAMILY, manifest.name):
        raise BundleError(f"manifest.name is {manifest.name!r:.100}, which is no name of a bundle.")
    if not 1 <= manifest.version <= MAX_VERSION:
        raise BundleError(f"manifest.version is {manifest.version!r:.100}, not between 1 and {MAX_VERSION}.")
    files = manifest.files
    if len(files) > MAX_FILES:
        raise BundleError(f"The bundle's manifest lists more than {MAX_FILES} files.")
    check_names(files)
    if own := {MANIFEST, SIGNATURE} & set(files):
        raise BundleError(f"The bundle's manifest lists {min(own)}, which cannot hold its own digest.")
    for name, info in files.items():
        if not 0 <= info.bytes <= MAX_FILE_BYTES:
            raise BundleError(f"{name} is listed with {info.bytes!r:.100} bytes; at most {MAX_FILE_BYTES} are read.")
        if not re.fullmatch(DIGEST, info.sha256):
            raise BundleError(f"{name} is listed with {info.sha256!r:.100}, which is no SHA-256.")
    if sum(info.bytes for info in files.values()) > MAX_TOTAL_BYTES:
        raise BundleError(f"The bundle's files are larger together than {MAX_TOTAL_BYTES} bytes.")
    paths = [model.path for model in manifest.models]
    if not paths or len(set(paths)) < len(paths):
        raise BundleError("The bundle's manifest names no model, or one twice.")
    for path in (*paths, manifest.golden):
        if path not in files:
            raise BundleError(f"The bundle's manifest names {path!r:.100} and does not list it.")


def _check_self_contained(name: str, content: bytes) -> None:
    """Refuse an ONNX file that names files of its own choice, which ONNX Runtime reads from the working directory.

    The place of such a tensor has the key ``location`` (onnx.proto, TensorProto.external_data). It cannot be seen in
    ONNX Runtime's own format, which is therefore none of a bundle's.
    """
    if b"location" in content or content[4:8] == b"ORTM":
        raise BundleError(f"{name} in the bundle may take data from files outside it.", "Export it as one whole file.")


def _signature(raw: bytes) -> Signature:
    found = from_dict(Signature, strict_json.parse(raw, f"{SIGNATURE} of the bundle"), "signature")
    if found.schema != SIGNATURE_SCHEMA:
        raise BundleError(
            f"{SIGNATURE} has schema {found.schema!r:.100}; this software reads {SIGNATURE_SCHEMA!r}.",
            "Update the software.",
        )
    from_base64(found.key, KEY_BYTES, f"The key in {SIGNATURE}")
    from_base64(found.signature, SIGNATURE_BYTES, f"The signature in {SIGNATURE}")
    return found


def _shipped() -> Path:
    return Path(__file__).parent / "bundles"


def _anchors() -> dict[str, str]:
    """Return the digests of the shipped bundles by name, as the package was released with."""
    try:
        found = json.loads((_shipped() / "anchors.json").read_bytes())
        return {str(name): str(digest) for name, digest in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise BundleError("The package's anchor of its bundle is missing.", "Reinstall the package.") from error
