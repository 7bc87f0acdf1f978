"""The JSON schema of ``manifest.json``, made from the dataclasses that read it.

``python -m lsemvae_edge.quantize.schema`` writes the file that is packaged, and that ``verify`` and other programs
hold a manifest against.
"""

import json
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lsemvae_edge import bundle as bundles
from lsemvae_edge import container
from lsemvae_edge.manifest import FileInfo, Manifest

FILE = Path(bundles.__file__).parent / "bundle-1.schema.json"
# What the loader asks of a value beside its type.
NARROWED: dict[tuple[type, str], dict[str, Any]] = {
    (Manifest, "schema"): {"const": bundles.SCHEMA},
    (Manifest, "name"): {"pattern": f"^{bundles.FAMILY}$"},
    (Manifest, "version"): {"minimum": 1, "maximum": bundles.MAX_VERSION},
    (Manifest, "models"): {"minItems": 1},
    (Manifest, "files"): {
        "maxProperties": container.MAX_FILES,
        "propertyNames": {
            "pattern": f"^{container.NAME}$",
            "not": {"enum": [bundles.MANIFEST, bundles.SIGNATURE]},
        },
    },
    (FileInfo, "bytes"): {"minimum": 0, "maximum": container.MAX_FILE_BYTES},
    (FileInfo, "sha256"): {"pattern": f"^{bundles.DIGEST}$"},
}


def schema() -> dict[str, Any]:
    """Return the schema, draft 7; every object is closed but those whose content is free."""
    definitions: dict[str, Any] = {}
    _of(Manifest, definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"{bundles.MANIFEST} of {bundles.SCHEMA}",
        **definitions.pop(Manifest.__name__),
        "definitions": dict(sorted(definitions.items())),
    }


def text() -> str:
    """Return the schema as the file holds it."""
    return json.dumps(schema(), indent=1) + "\n"


def _of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        if hint.__name__ not in definitions:
            hints = get_type_hints(hint)
            definitions[hint.__name__] = {
                "type": "object",
                "description": (hint.__doc__ or "").partition("\n")[0],
                "properties": {
                    of.name: {**_of(hints[of.name], definitions), **NARROWED.get((hint, of.name), {})}
                    for of in fields(hint)
                },
                "required": [of.name for of in fields(hint)],
                "additionalProperties": False,
            }
        return {"$ref": f"#/definitions/{hint.__name__}"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(one, definitions) for one in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _of(inner[0], definitions)}
    if origin is tuple:
        items = [_of(one, definitions) for one in inner]
        return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
    if origin is dict:
        return (
            {"type": "object"}
            if inner[1] is Any
            else {
                "type": "object",
                "additionalProperties": _of(inner[1], definitions),
            }
        )
    # A type that is not here is a KeyError on purpose: the schema would be weaker than the loader.
    return {"type": {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null"}[hint]}


if __name__ == "__main__":
    FILE.write_text(text())
