"""``bench firmware-parity``: the C library against LiteRT's reference kernels, its oracles and Python's chain."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("firmware-parity", help="the C code against all that it should equal, on recordings")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="may be repeated (default: the shipped one)"
    )
    parser.add_argument("--all", action="store_true", help="every recording, not folds 9-10 alone")
    parser.add_argument("--out", type=Path, help="result file to write")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build each model's library and compare; no label is looked at."""
    from lsemvae_edge import bundle as bundles

    try:
        from lsemvae_edge.benchmarks import firmware_parity, proof
    except ImportError as error:
        raise MissingExtraError("bench firmware-parity", "export") from error
    chosen = [bundles.load(path) for path in options.bundle] or [bundles.default()]
    listed, signals = firmware_parity.judged(every=options.all)
    rows = [firmware_parity.measure(bundle, listed, signals, say) for bundle in chosen]
    if options.out:
        proof.write(options.out, "firmware-parity", {"rows": rows})
    if options.json:
        for row in rows:
            print_json(row)
    else:
        print(firmware_parity.table(rows))
    return int(ExitCode.DONE)
