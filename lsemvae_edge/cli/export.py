"""``export``: the model of a bundle in further formats."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError, UsageError


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("export", help="make a bundle that also holds other formats")
    parser.add_argument("--list", action="store_true", help="say which formats there are, and what each needs here")
    parser.add_argument("--format", metavar="F[,F]", help="formats to make, as --list names them: pte,tflite,onnx")
    parser.add_argument("--precision", default="int8,fp32", metavar="P[,P]", help="default %(default)s")
    parser.add_argument("--bundle", type=Path, help="bundle with float weights (default: the shipped one)")
    parser.add_argument("--out", type=Path, help="new folder, or archive ending in .zip")
    parser.add_argument(
        "--data", action="store_true", help="compare on every recording of LSEMVAE_EDGE_DATA, not on simulated hearts"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert, pass every gate, and write; nothing is left when a gate fails."""
    try:
        from lsemvae_edge.quantize import targets
    except ImportError as error:
        raise MissingExtraError("export", "export") from error
    if options.list:
        return _list(options.json)
    if not options.format or not options.out:
        raise UsageError("--format and --out are needed.", "See the formats: lsemvae-edge export --list")
    chosen = targets.choose(options.format.split(","), options.precision.split(","))
    from lsemvae_edge import bundle as bundles

    try:
        from lsemvae_edge.quantize import parity, release
    except ImportError as error:
        raise MissingExtraError("export", "export") from error
    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    asked = None
    if options.data:
        from lsemvae_edge.quantize.build import every_input

        asked = parity.everyday(every_input(say))
    say(f"Converting {bundle.spec.id} to {', '.join(target.name for target in chosen)}")
    made = release.export(bundle, chosen, options.out, asked=asked)
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/export/1",
                "bundle": str(made.path),
                "sha256": made.sha256,
                "models": [asdict(model) for model in made.manifest.models],
                "agreement": made.manifest.metrics["agreement"],
            }
        )
    else:
        print(f"{made.path} ({made.sha256[:12]}): {', '.join(model.path for model in made.manifest.models)}")
        for line in summary(made.manifest.metrics["agreement"]):
            print(line)
    return int(ExitCode.DONE)


def summary(agreement: dict[str, Any]) -> list[str]:
    """Return a line a form: how far it lies from its reference in torch and from floating point."""
    lines = []
    for name, found in agreement["recordings"].items():
        if name in ("rounding", "pairs"):
            continue
        reference, exact = found["reference"], found["float"]
        lines.append(
            f"{name}: from its reference {reference['tail']:.2g} (99.9 %), {reference['worst']:.2g} (worst); "
            f"from floating point {exact['tail']:.2g}, {exact['worst']:.2g}; "
            f"{exact['flipped']} of {exact['n']} outcomes changed"
        )
    return lines


def _list(as_json: bool) -> int:
    from lsemvae_edge.quantize.targets import targets

    rows = [
        {"format": one.format, "precision": one.precision, "runs_on": one.runs_on, "state": one.state}
        for one in targets()
    ]
    if as_json:
        print_json({"schema": "lsemvae-edge/formats/1", "formats": rows})
    else:
        for row in rows:
            print(f"{row['format']:<7} {row['precision']:<5} {row['state']}\n{'':<14}{row['runs_on']}")
    return int(ExitCode.DONE)
