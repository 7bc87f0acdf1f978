"""``verify``: whether a bundle or a firmware folder is whole and gives its known answers on this machine."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import BundleError, ExitCode

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle, Standing


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("verify", help="check a bundle or a firmware folder and run its known answers")
    parser.add_argument(
        "path", nargs="?", type=Path, help="bundle or firmware folder (default: the bundle that ships with the package)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check schema, files, standing, and the golden vectors of every model file on every runtime that runs it here."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import trust

    if options.path and _holds_firmware(options.path):
        return _firmware(options.path, options.json)
    bundle = bundles.load(options.path) if options.path else bundles.default()
    check_schema(bundle)
    bundle.verify_files()
    standing = bundle.standing or trust.judge(bundle, trust.read_store())
    rows = _run_everywhere(bundle)
    failed = [
        f"{check.stage} of {row['model']} on {row['runtime']}"
        for row in rows
        for check in row["checks"]
        if not check.passed
    ]
    if failed:
        raise BundleError(f"Known answers differ: {', '.join(failed)}.", "Do not use this bundle on this machine.")
    ran = {row["model"] for row in rows}
    not_run = [model.path for model in bundle.manifest.models if model.path not in ran]
    if options.json:
        print_json(_object(bundle, standing, rows, not_run))
    else:
        _print(bundle, standing, rows, not_run)
    return int(ExitCode.DONE)


def _holds_firmware(path: Path) -> bool:
    from lsemvae_edge.quantize.firmware import folder

    return folder.is_firmware(path)


def _firmware(path: Path, as_json: bool) -> int:
    """Hold a firmware folder's files against their digests, build a copy, and run its own test."""
    from lsemvae_edge.quantize.firmware import folder

    manifest = folder.check_files(path)
    lines = folder.prove(path)
    if as_json:
        told = {name: manifest[name] for name in ("model", "spec_sha256", "bundle_sha256", "software_version")}
        print_json(
            {"schema": "lsemvae-edge/firmware-verification/1", **told, "files": len(manifest["files"]), "said": lines}
        )
    else:
        print(f"{manifest['model']} as C (contract {manifest['spec_sha256'][:12]})")
        print(f"{len(manifest['files'])} files as listed; built and run here:")
        print("\n".join(lines))
    return int(ExitCode.DONE)


def check_schema(bundle: "Bundle") -> None:
    """Hold a manifest against the JSON schema as published, by a validator that is not ours.

    Raises
    ------
    BundleError
        Names the place that does not fit.
    """
    import json

    import fastjsonschema

    schema = json.loads((Path(__file__).parent.parent / "bundle-1.schema.json").read_bytes())
    try:
        # The validator is compiled from the package's own schema; the manifest is only its input.
        fastjsonschema.compile(schema)(json.loads(bundle.raw_manifest()))
    except fastjsonschema.JsonSchemaValueException as error:
        raise BundleError(f"The manifest does not fit the schema of bundles: {error.message:.200}.") from error


def _run_everywhere(bundle: "Bundle") -> list[dict[str, Any]]:
    from lsemvae_edge import golden, runtime

    pairs = [
        (model, engine.name)
        for model in bundle.manifest.models
        for engine in runtime.available()
        if engine.format == model.format
    ]
    if not pairs:
        # Says what to install.
        runtime.open_session(bundle)
    return [
        {
            "runtime": name,
            "model": model.path,
            "precision": model.precision,
            "checks": golden.check(bundle, runtime.open_session(bundle, name, model=model)),
        }
        for model, name in pairs
    ]


def _object(bundle: "Bundle", standing: "Standing", rows: list[dict[str, Any]], not_run: list[str]) -> dict[str, Any]:
    return {
        "schema": "lsemvae-edge/verification/1",
        "bundle": bundle.spec.id,
        "name": bundle.manifest.name,
        "version": bundle.manifest.version,
        "sha256": bundle.sha256,
        "standing": asdict(standing),
        "files": len(bundle.manifest.files),
        "runtimes": [{**row, "checks": [asdict(check) for check in row["checks"]]} for row in rows],
        "not_run": not_run,
    }


def _print(bundle: "Bundle", standing: "Standing", rows: list[dict[str, Any]], not_run: list[str]) -> None:
    from lsemvae_edge import trust

    manifest = bundle.manifest
    print(f"{bundle.spec.id} ({manifest.name} version {manifest.version}, {bundle.sha256[:12]})")
    print(f"{trust.words(standing)}; {len(manifest.files)} files as listed")
    for row in rows:
        checks = ", ".join(f"{check.stage} {check.worst:.2g} (<= {check.allowed:g})" for check in row["checks"])
        print(f"{row['runtime']} {row['model']}: {checks}")
    for path in not_run:
        print(f"{path}: not run, no runtime for it is installed here")
