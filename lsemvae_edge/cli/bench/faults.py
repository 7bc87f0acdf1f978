"""``bench faults``: what becomes of every sample when something goes wrong between recorder and record."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import DeviceError, ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("faults", help="the fault table of Bluetooth, on virtual recorders, in real time")
    parser.add_argument("--driver", action="append", metavar="NAME", help="may be repeated (default: one of each kind)")
    parser.add_argument("--scenario", action="append", metavar="TEXT", help="only those whose name begins so")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default %(default)s)")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the table; a broken promise is an error."""
    try:
        from lsemvae_edge.benchmarks import faults, proof
    except ImportError as error:
        raise MissingExtraError("bench faults", "simulator") from error
    figures = faults.measure(
        tuple(options.driver or faults.DRIVERS), options.seed, say, tuple(options.scenario or ("",))
    )
    if options.out:
        proof.write(options.out, "faults", figures)
    if options.json:
        print_json(figures)
    else:
        print(faults.table(figures))
    if figures["broken"]:
        raise DeviceError(
            "A driver with sample index and integrity placed a sample wrongly, or made one up.",
            "See `broken` in the result (--json).",
        )
    return int(ExitCode.DONE)
