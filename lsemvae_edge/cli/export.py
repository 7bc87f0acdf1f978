"""``export``: the model of a bundle in another format."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("export", help="make a bundle that also holds another format")
    parser.add_argument("--format", choices=["onnx"], required=True, help="format to add (float)")
    parser.add_argument("--bundle", type=Path, help="bundle with float weights (default: the shipped one)")
    parser.add_argument("--out", type=Path, required=True, help="new folder, or archive ending in .zip")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert, prove the result against the golden vectors, and write it; nothing is left when a proof fails."""
    from lsemvae_edge import bundle as bundles

    try:
        from lsemvae_edge.quantize import release
    except ImportError as error:
        raise MissingExtraError("export", "export") from error
    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    say(f"Converting {bundle.spec.id} to {options.format}")
    made = release.add_onnx(bundle, options.out)
    if options.json:
        print_json({"schema": "lsemvae-edge/export/1", "bundle": str(made.path), "sha256": made.sha256})
    else:
        print(f"{made.path} ({made.sha256[:12]}): {', '.join(model.path for model in made.manifest.models)}")
    return int(ExitCode.DONE)
