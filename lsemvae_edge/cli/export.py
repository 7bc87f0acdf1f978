"""``export``: the model of a bundle in further formats, or as firmware."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.bundle import Bundle
    from lsemvae_edge.quantize.parity import Asked


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("export", help="make a bundle that also holds other formats, or a folder of C")
    parser.add_argument("--list", action="store_true", help="say which formats there are, and what each needs here")
    parser.add_argument("--format", metavar="F[,F]", help="formats, as --list names them: pte,tflite,onnx; or c")
    parser.add_argument("--precision", default="int8,fp32", metavar="P[,P]", help="default %(default)s")
    parser.add_argument("--bundle", type=Path, help="bundle with float weights (default: the shipped one)")
    parser.add_argument("--out", type=Path, help="new folder, or archive ending in .zip")
    parser.add_argument(
        "--rates", metavar="HZ[,HZ]", help="sampling rates of the front end, for c (default: 125,250,300,500)"
    )
    parser.add_argument(
        "--tflm-python",
        type=Path,
        metavar="P",
        help="for c: interpreter with tflite-micro and Vela (adds Ethos-U)",
    )
    parser.add_argument("--npu", metavar="NAME", help="for c, with --tflm-python: which (default: ethos-u55-128)")
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
    formats = options.format.split(",")
    as_firmware = "c" in formats
    if as_firmware and formats != ["c"]:
        raise UsageError("Firmware is a folder of its own.", "Run `export --format c` by itself.")
    for name in ("rates", "tflm_python", "npu"):
        if getattr(options, name) and not as_firmware:
            raise UsageError(f"--{name.replace('_', '-')} is for --format c.")
    precisions = options.precision.split(",")
    chosen = targets.choose(formats, ["int8"] if as_firmware and "int8" in precisions else precisions)
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
    if as_firmware:
        return _firmware(bundle, asked, options)
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


def _firmware(bundle: "Bundle", asked: "Asked | None", options: argparse.Namespace) -> int:
    from lsemvae_edge.quantize.firmware import image, release, tflm

    try:
        rates_hz = [int(rate) for rate in options.rates.split(",")] if options.rates else image.DEFAULT_RATES_HZ
    except ValueError as error:
        raise UsageError("--rates are whole numbers of samples a second.", "For instance --rates 250,500.") from error
    say(f"Writing {bundle.spec.id} as C, building it and comparing it with its oracles")
    made = release.export(
        bundle,
        options.out,
        rates_hz=rates_hz,
        asked=asked,
        tflm_python=options.tflm_python,
        npu=options.npu or tflm.DEFAULT_NPU,
    )
    if options.json:
        print_json({"schema": "lsemvae-edge/export/1", "firmware": str(options.out), **made})
        return int(ExitCode.DONE)
    found, exact = made["agreement"], made["agreement"]["float"]
    print(f"{options.out} ({made['model']}): {len(made['files'])} files; prove it there with `make test`")
    print(f"model image {made['image_bytes']:,} bytes, arena {made['arena_bytes']:,} bytes")
    print(f"{found['layers']} layers of {found['inputs']} inputs equal the reference kernels bit for bit")
    print(
        f"from floating point {exact['tail']:.2g} (99.9 %), {exact['worst']:.2g} (worst); "
        f"{exact['flipped']} of {exact['n']} outcomes changed"
    )
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
