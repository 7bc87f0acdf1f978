"""``bench firmware``: flash, RAM and instructions of the C library on emulated boards."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("firmware", help="flash, RAM and instructions of the C library on emulated boards")
    parser.add_argument(
        "--bundle", type=Path, action="append", metavar="PATH",
        help="quantized bundle, more than once for several (default: the one that ships with the package)",
    )  # fmt: skip
    parser.add_argument("--board", action="append", default=[], metavar="NAME", help="this board alone; repeatable")
    parser.add_argument(
        "--kernels", action="append", default=[], choices=("plain", "dsp", "mve"), help="these alone; repeatable"
    )
    parser.add_argument(
        "--tail", choices=("fixed", "float"), default="fixed", help="of the model (default %(default)s)"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/firmware"), metavar="DIR",
        help="where the firmware folders are written and built (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="result file to write; tables go beside it, as .md")
    parser.add_argument(
        "--generators", type=Path, metavar="DIR",
        help="also other generators of C, installed there: pip install --no-deps --target DIR emx-onnx-cgen==1.4.0 "
        "emx-regex-cgen==0.2.0 bakenn==1.0.0",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what each model takes on each board; fail if a self-test does."""
    try:
        from lsemvae_edge import bundle as bundles
        from lsemvae_edge.benchmarks import firmware, firmware_peers, proof
    except ImportError as error:
        raise MissingExtraError("bench firmware", "export") from error
    on = firmware.chosen(options.board)
    named = [bundles.load(path) for path in options.bundle] if options.bundle else [bundles.default()]
    found = firmware.measure(named, options.work, on, options.kernels, options.tail, say)
    others = []
    for bundle in named if options.generators is not None else ():
        folder = firmware.folder_of(bundle, options.work)
        others += firmware_peers.measure(bundle, folder, on, options.generators, say)
    told = firmware.markdown(found, others)
    if options.out is not None:
        proof.write(options.out, "firmware", {"rows": found, "others": others})
        options.out.with_suffix(".md").write_text(told + "\n")
    if options.json:
        for figures in [*found, *others]:
            print_json(figures)
    else:
        print(told)
    return int(ExitCode.DONE if found and all(figures["passed"] for figures in found) else ExitCode.BUNDLE_REFUSED)
