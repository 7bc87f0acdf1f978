"""``bench fuzz``: coverage-guided fuzzing of everything that takes bytes from outside."""

import argparse
import importlib.util
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import DeviceError, ExitCode, MissingExtraError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("fuzz", help="feed drivers, journals and recorder files with hostile bytes")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs for each target (default %(default)s)")
    parser.add_argument("--target", action="append", metavar="NAME", help="one target, may be repeated (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer (default %(default)s)")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fuzz, and fail if anything but a typed error came out."""
    if importlib.util.find_spec("atheris") is None:
        raise MissingExtraError("bench fuzz", "dev")
    from lsemvae_edge.benchmarks import fuzz, proof

    known = list(fuzz.targets())
    if unknown := sorted(set(options.target or ()) - set(known)):
        raise UsageError(f"There is no target {', '.join(unknown)}.", f"Name one of: {', '.join(known)}.")
    for figures in fuzz.prove(options.target or known, options.inputs, options.seed, say):
        if options.out:
            proof.write(options.out, "fuzz", figures)
    if options.json:
        print_json(figures)
    else:
        print(f"{figures['inputs']} inputs, {figures['failures']} failures")
    if figures["failures"]:
        raise DeviceError("Hostile bytes raised what they must not.", "See `failure` in the result (--json).")
    return int(ExitCode.DONE)
