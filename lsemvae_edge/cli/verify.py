"""``verify``: whether a bundle is whole and gives its known answers on this machine."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import BundleError, ExitCode


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("verify", help="check a bundle and run its known answers")
    parser.add_argument("path", nargs="?", type=Path, help="bundle (default: the one that ships with the package)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check files, then the golden vectors on every installed runtime that can run the bundle."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import golden, runtime

    bundle = bundles.load(options.path) if options.path else bundles.default()
    bundle.verify_files()
    formats = {model.format for model in bundle.manifest.models}
    engines = [engine.name for engine in runtime.available() if engine.format in formats]
    if not engines:
        runtime.open_session(bundle)
    checks = {name: golden.check(bundle, runtime.open_session(bundle, name)) for name in engines}
    failed = [f"{check.stage} on {name}" for name, found in checks.items() for check in found if not check.passed]
    if options.json and not failed:
        print_json(
            {
                "schema": "lsemvae-edge/verification/1",
                "bundle": bundle.spec.id,
                "sha256": bundle.sha256,
                "files": len(bundle.manifest.files),
                "runtimes": {name: [asdict(check) for check in found] for name, found in checks.items()},
            }
        )
    elif not failed:
        print(f"{bundle.spec.id} ({bundle.sha256[:12]}): {len(bundle.manifest.files)} files as listed")
        for name, found in checks.items():
            print(f"{name}: " + ", ".join(f"{check.stage} {check.worst:.2g} (<= {check.allowed:g})" for check in found))
    if failed:
        raise BundleError(f"Known answers differ: {', '.join(failed)}.", "Do not use this bundle on this machine.")
    return int(ExitCode.DONE)
