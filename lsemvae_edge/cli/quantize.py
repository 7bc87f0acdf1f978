"""``quantize``: from a trained student to int8 forms in a bundle, with a diagnosis."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import BadInputError, ExitCode, MissingExtraError, UsageError
from lsemvae_edge.leads import LIMB_LEADS

if TYPE_CHECKING:
    from lsemvae_edge.model import Student


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("quantize", help="quantize a student, set its thresholds, and pack a bundle")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--student", type=Path, metavar="DIR", help="folder that `train distill` wrote")
    source.add_argument("--bundle", type=Path, help="bundle with float weights (default: the shipped one)")
    parser.add_argument("--out", type=Path, help="new folder of the bundle, or archive ending in .zip")
    parser.add_argument("--format", default="tflite", metavar="F[,F]", help="formats to pack (default %(default)s)")
    parser.add_argument("--precision", default="int8", metavar="P[,P]", help="default %(default)s")
    parser.add_argument(
        "--method",
        choices=["ptq", "qat", "auto"],
        default="auto",
        help="after training, by training on, or the second if the first changes too much (default %(default)s)",
    )
    parser.add_argument("--no-equalize", action="store_true", help="leave the channels' ranges as they are")
    parser.add_argument(
        "--float-layers", metavar="L[,L]", help="layers to leave in floating point, encoder0.conv1 (default: a search)"
    )
    parser.add_argument("--explain", action="store_true", help="say what rounding costs, layer by layer, worst first")
    parser.add_argument("--compare", action="store_true", help="print a table of other ways of rounding, and end")
    parser.add_argument("--plot", type=Path, help="draw the diagnosis to this file")
    parser.add_argument("--seed", type=int, default=0, help="of the calibration set (default %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Quantize on recordings of LSEMVAE_EDGE_DATA."""
    if not (options.out or options.explain or options.plot or options.compare):
        raise UsageError("Name a bundle to write with --out, or ask for a diagnosis with --explain or --compare.")
    if options.out and options.out.exists():
        raise UsageError(f"{options.out} exists.", "Name a new folder or archive.")
    try:
        from lsemvae_edge.quantize import build, explain, pipeline
        from lsemvae_edge.quantize.targets import choose
        from lsemvae_edge.train import datasets
    except ImportError as error:
        raise MissingExtraError("quantize", "export") from error
    targets = choose(options.format.split(","), options.precision.split(","))
    student, told, name, version = _source(options)
    lessons = build.load(datasets.data_folder(), say)
    if options.compare:
        table = pipeline.ways(student, lessons, options.seed)
        print_json({"schema": "lsemvae-edge/quantization/1", "table": table}) if options.json else print(table)
        return int(ExitCode.DONE)
    recipe = pipeline.Recipe(
        method=options.method,
        equalize=not options.no_equalize,
        float_layers=tuple(options.float_layers.split(",")) if options.float_layers else None,
        seed=options.seed,
    )
    made = pipeline.quantize(student, lessons, recipe, say)
    answer: dict[str, Any] = {
        "schema": "lsemvae-edge/quantization/1",
        "method": made.quantization.method,
        "float_layers": list(made.quantization.float_layers),
        "notes": list(made.notes),
    }
    lines = list(made.notes)
    if options.explain or options.plot:
        found = pipeline.examine(made, lessons)
        answer["explanation"] = explain.sentences(found, LIMB_LEADS)
        lines += answer["explanation"]
        if options.plot:
            explain.plot(found, options.plot)
    if options.out:
        from lsemvae_edge.cli.export import summary

        written = build.assemble(
            made, lessons, options.out, name=name, version=version, told=told, targets=targets, say=say
        )
        agreement = written.manifest.metrics["agreement"]
        answer |= {
            "bundle": str(written.path),
            "id": written.spec.id,
            "version": version,
            "sha256": written.sha256,
            "agreement": agreement,
        }
        lines += [f"{written.path}: {written.spec.id}, version {version} ({written.sha256[:12]})", *summary(agreement)]
    if options.json:
        print_json(answer)
    else:
        print("\n".join(lines))
    return int(ExitCode.DONE)


def _source(options: argparse.Namespace) -> "tuple[Student, dict[str, Any], str, int]":
    """Return the student, where it comes from, and name and version of the bundle that is made of it."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge.quantize import release, weights

    if not options.student:
        bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
        told: dict[str, Any] = {
            name: bundle.manifest.provenance[name]
            for name in ("distill", "processor_seconds")
            if name in bundle.manifest.provenance
        }
        told = {**told, "made_from": bundle.sha256, "command": "lsemvae-edge quantize"}
        return release.restored(bundle), told, bundle.manifest.name, bundle.manifest.version + 1
    try:
        parts = [(options.student / name).read_bytes() for name in (weights.WEIGHTS, weights.CONFIG)]
        recipe, made = (json.loads((options.student / name).read_text()) for name in ("recipe.json", "provenance.json"))
    except (OSError, ValueError) as error:
        raise BadInputError(
            f"{options.student} holds no student.", "Name the folder that `lsemvae-edge train distill` wrote."
        ) from error
    told = {**made, "distill": recipe, "command": f"{made['command']}; lsemvae-edge quantize --student DIR"}
    return weights.restore(*parts), told, f"lsemvae-edge-{recipe['student']['size']}", 1
