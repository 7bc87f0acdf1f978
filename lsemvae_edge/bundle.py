"""A model bundle: weights, their contract, where they come from, and the proof that they run as trained.

A bundle is a folder or a one-file zip archive: ``manifest.json`` and the files that it lists with size and SHA-256.
Nothing in a bundle is executed, unlisted files are refused, and every file is checked before it is used.
"""

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BundleError
from lsemvae_edge.spec import ModelSpec, from_dict

SCHEMA = "lsemvae-edge/bundle/0.1"
MANIFEST = "manifest.json"
DEFAULT_NAME = "small"
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_FILES = 64
_DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,  # an encrypted member; NotImplementedError, of an unknown version, is one
)


@dataclass(frozen=True)
class FileInfo:
    """Size and digest of one file of a bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelFile:
    """One runnable form of the model; tensors are bound by name.

    ``input`` (1, n_leads, 1, n_samples) and ``mask`` (1, n_leads) are what it takes; ``lead_mu``, ``lead_logvar`` and
    ``contributions`` hold the leads one after another.
    """

    path: str
    format: Literal["tflite", "onnx"]
    precision: Literal["int8", "fp32"]
    input: str
    mask: str
    logits: str
    mu: str
    logvar: str
    lead_mu: str
    lead_logvar: str
    contributions: str


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds; ``tolerance`` is the largest logit difference each runtime may show."""

    schema: str
    version: int
    spec: ModelSpec
    models: tuple[ModelFile, ...]
    golden: str
    tolerance: dict[str, float]
    files: dict[str, FileInfo]
    metrics: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle; files are read, and checked, on demand.

    Parameters
    ----------
    path : Path
        Folder or archive.
    manifest : Manifest
    sha256 : str
        Digest of ``manifest.json``, which holds the digests of all other files.
    """

    path: Path
    manifest: Manifest
    sha256: str

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self.manifest.spec

    @cached_property
    def golden(self) -> dict[str, NDArray[Any]]:
        """Known answers of every stage, by name."""
        content = self.read(self.manifest.golden)
        try:
            with np.load(BytesIO(content), allow_pickle=False) as data:
                return {name: data[name] for name in data.files}
        except _DAMAGED_ARCHIVE as error:
            raise BundleError(f"{self.manifest.golden} in the bundle holds no known answers.") from error

    def read(self, name: str) -> bytes:
        """Return a listed file's content after checking its size and digest.

        Raises
        ------
        BundleError
            If the file is not listed, absent, or changed.
        """
        info = self.manifest.files.get(name)
        if info is None:
            raise BundleError(f"The bundle lists no file {name}.")
        content = _Source(self.path).read(name, info.bytes)
        if len(content) != info.bytes or sha256(content).hexdigest() != info.sha256:
            raise BundleError(f"{name} in the bundle is not the file its manifest lists.")
        return content

    def verify_files(self) -> None:
        """Check every listed file."""
        for name in self.manifest.files:
            self.read(name)


def load(path: str | Path) -> Bundle:
    """Load a bundle from a folder or an archive.

    Raises
    ------
    BundleError
        If it is absent, not a bundle of this schema, or holds files that the manifest does not list.
    """
    source = _Source(Path(path))
    listed = source.names()
    if MANIFEST not in listed:
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}.")
    raw = source.read(MANIFEST, MAX_FILE_BYTES)
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The manifest of {path} is not readable JSON.") from error
    schema = parsed.get("schema") if isinstance(parsed, dict) else None
    if schema != SCHEMA:
        raise BundleError(f"{path} has schema {schema!r}; this software reads {SCHEMA!r}.", "Update the software.")
    manifest = from_dict(Manifest, parsed)
    unlisted = sorted(listed - set(manifest.files) - {MANIFEST})
    missing = sorted(set(manifest.files) - listed)
    if unlisted or missing:
        raise BundleError(
            f"The bundle does not match its manifest: unlisted files {unlisted}, missing files {missing}."
        )
    return Bundle(Path(path), manifest, sha256(raw).hexdigest())


def default() -> Bundle:
    """Load the bundle that ships with the package, anchored by a digest in the package.

    Raises
    ------
    BundleError
        If the shipped files were changed after the package was built.
    """
    folder = Path(__file__).parent / "bundles"
    bundle = load(folder / DEFAULT_NAME)
    try:
        anchored = json.loads((folder / "anchors.json").read_text())[DEFAULT_NAME]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError("The package's anchor of its bundle is missing.", "Reinstall the package.") from error
    if bundle.sha256 != anchored:
        raise BundleError("The shipped bundle is not the one this package was released with.", "Reinstall the package.")
    return bundle


def write(
    path: Path,
    *,
    spec: ModelSpec,
    models: tuple[ModelFile, ...],
    files: dict[str, bytes],
    golden: str,
    tolerance: dict[str, float],
    metrics: dict[str, Any],
    provenance: dict[str, Any],
    version: int = 1,
) -> Bundle:
    """Write a bundle to a new or empty folder, or to one archive if the path ends in ``.zip``, and load it again.

    Parameters
    ----------
    files : dict
        Content of every file beside the manifest, by name.
    """
    manifest = Manifest(
        schema=SCHEMA,
        version=version,
        spec=spec,
        models=models,
        golden=golden,
        tolerance=tolerance,
        files={name: FileInfo(len(content), sha256(content).hexdigest()) for name, content in sorted(files.items())},
        metrics=metrics,
        provenance=provenance,
    )
    everything = {**files, MANIFEST: (json.dumps(asdict(manifest), indent=1) + "\n").encode()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(everything.items()):
                # A fixed time stamp, so that the same content gives the same archive.
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    else:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise BundleError(f"{path} is not empty.", "Name a new folder for the bundle.")
        for name, content in everything.items():
            (path / name).write_bytes(content)
    return load(path)


class _Source:
    """Read access to a folder or an archive, bounded in count and size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise BundleError(f"There is no bundle at {path}.")

    def names(self) -> set[str]:
        if self.path.is_dir():
            names = {
                entry.relative_to(self.path).as_posix()
                for entry in self.path.rglob("*")
                if entry.is_symlink() or not entry.is_dir()
            }
        else:
            with self._archive() as archive:
                names = {info.filename for info in archive.infolist() if not info.is_dir()}
                if len(names) != sum(not info.is_dir() for info in archive.infolist()):
                    raise BundleError("The bundle's archive names a file twice.")
        if len(names) > MAX_FILES:
            raise BundleError(f"The bundle has more than {MAX_FILES} files.")
        for name in names:
            if len(PurePosixPath(name).parts) != 1 or name.startswith(("/", "\\", ".")):
                raise BundleError(f"The bundle names a file outside its folder: {name!r}.")
        return names

    def read(self, name: str, limit: int) -> bytes:
        limit = min(limit, MAX_FILE_BYTES)
        if self.path.is_dir():
            file = self.path / name
            if file.is_symlink():
                raise BundleError(f"{name} in the bundle is a link.")
            if not file.is_file():
                raise BundleError(f"{name} in the bundle is not a plain file.")
            try:
                with file.open("rb") as stream:
                    content = stream.read(limit + 1)
            except OSError as error:
                raise BundleError(f"{name} in the bundle cannot be read: {error.strerror}.") from error
        else:
            with self._archive() as archive:
                try:
                    with archive.open(name) as stream:
                        content = stream.read(limit + 1)
                except _DAMAGED_ARCHIVE as error:
                    raise BundleError(f"{name} in the bundle's archive is damaged.") from error
        if len(content) > limit:
            raise BundleError(f"{name} in the bundle is larger than stated.")
        return content

    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except _DAMAGED_ARCHIVE as error:
            raise BundleError(f"{self.path} is neither a bundle folder nor an archive.") from error
