"""The bill of materials of a bundle, in CycloneDX: what the model is made of and what made it.

It follows from its arguments alone: no clock, no random serial number, so that a bundle built twice has one digest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from hashlib import sha256
from importlib import metadata
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

FILE_NAME = "sbom.cdx.json"


@dataclass(frozen=True)
class DataSet:
    """A data set that a model was trained on; ``licence`` by its SPDX identifier."""

    name: str
    version: str
    licence: str
    url: str
    attribution: str


def sbom(
    *,
    name: str,
    version: int,
    licence: str,
    files: Mapping[str, bytes],
    libraries: Mapping[str, str],
    data: tuple[DataSet, ...],
    made_on: date,
) -> bytes:
    """Return the file for a bundle.

    Parameters
    ----------
    name, version, licence
        Of the bundle, see `Manifest`.
    files : mapping
        Content of the bundle's other files, by name.
    libraries : mapping
        Versions of the Python distributions that made the model, by name; see `versions`.
    data : tuple of DataSet
    made_on : date

    Returns
    -------
    bytes
        CycloneDX 1.6, JSON.
    """
    licences = LicenseFactory()
    model = Component(
        name=name,
        version=str(version),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        licenses=[licences.make_from_string(licence)],
        components=[
            Component(
                name=path,
                type=ComponentType.FILE,
                bom_ref=f"file:{path}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(content).hexdigest())],
            )
            for path, content in files.items()
        ],
    )
    made_with = [
        Component(
            name=library,
            version=found,
            type=ComponentType.LIBRARY,
            bom_ref=f"pkg:pypi/{library}@{found}",
            purl=PackageURL("pypi", name=library, version=found),
        )
        for library, found in libraries.items()
    ]
    learned_from = [
        Component(
            name=one.name,
            version=one.version,
            type=ComponentType.DATA,
            bom_ref=f"data:{one.name}",
            description=one.attribution,
            licenses=[licences.make_from_string(one.licence)],
            external_references=[ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(one.url))],
        )
        for one in data
    ]
    identity = "\n".join([name, str(version), *(f"{path} {sha256(files[path]).hexdigest()}" for path in sorted(files))])
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, identity),
        metadata=BomMetaData(component=model, timestamp=datetime.combine(made_on, time.min, UTC)),
        components=[*made_with, *learned_from],
    )
    bom.register_dependency(model, [*made_with, *learned_from])
    return (JsonV1Dot6(bom).output_as_string(indent=1) + "\n").encode()


def versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Return the installed versions of distributions, of those that are installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
