"""``bench firmware-parity``: the C library against LiteRT's reference kernels, its oracles and Python's chain."""

import argparse
import json
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError

FOLDS = (9, 10)


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("firmware-parity", help="the C code against all that it should equal, on recordings")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="may be repeated (default: the shipped one)"
    )
    parser.add_argument("--all", action="store_true", help="every recording, not folds 9-10 alone")
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build each model's library and compare; no label is looked at."""
    from lsemvae_edge import bundle as bundles

    try:
        from lsemvae_edge.benchmarks import firmware_parity
        from lsemvae_edge.quantize.build import model_inputs
        from lsemvae_edge.train import datasets
        from lsemvae_edge.train.cohort import load_cohort
    except ImportError as error:
        raise MissingExtraError("bench firmware-parity", "export") from error
    chosen = [bundles.load(path) for path in options.bundle] or [bundles.default()]
    listed = [one for one in datasets.entries(datasets.data_folder()) if options.all or one.fold in FOLDS]
    signals = model_inputs(load_cohort(listed, [])[0])
    rows = [firmware_parity.measure(bundle, listed, signals, say) for bundle in chosen]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")
    if options.json:
        for row in rows:
            print_json(row)
    else:
        print(firmware_parity.table(rows))
    return int(ExitCode.DONE)
