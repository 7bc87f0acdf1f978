"""``bench firmware-fuzz``: the C library under libFuzzer with sanitizers."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import BundleError, ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("firmware-fuzz", help="the C code under libFuzzer with sanitizers; needs clang")
    parser.add_argument("--bundle", type=Path, help="bundle with float weights (default: the shipped one)")
    parser.add_argument("--work", type=Path, required=True, help="new folder for sources, corpus and findings")
    parser.add_argument("--seconds", type=int, default=600, help="how long (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer (default %(default)s)")
    parser.add_argument(
        "--tail", choices=("fixed", "float"), default="fixed", help="of the model (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build, fuzz, and fail if a sanitizer or the target's own checks object."""
    from lsemvae_edge import bundle as bundles

    try:
        from lsemvae_edge.benchmarks import firmware_fuzz, proof
    except ImportError as error:
        raise MissingExtraError("bench firmware-fuzz", "export") from error
    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    figures = firmware_fuzz.fuzz(
        bundle, options.work, seconds=options.seconds, seed=options.seed, tail=options.tail, say=say
    )
    if options.out:
        proof.write(options.out, "firmware-fuzz", figures)
    if options.json:
        print_json(figures)
    else:
        found = "nothing found" if figures["failure"] is None else "FAILED"
        print(f"{figures['executions']:,} executions, {figures['edges']:,} edges covered: {found}")
    if figures["failure"] is not None:
        raise BundleError("The C library failed under the fuzzer.", f"The input lies in {options.work}.")
    return int(ExitCode.DONE)
