"""``bench formats``: every form of a model side by side."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("formats", help="size, insides, error and accuracy of every form of a model")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="may be repeated (default: the shipped one)"
    )
    parser.add_argument("--final", action="store_true", help="rank on folds 9-10, and append to the ledger")
    parser.add_argument("--out", type=Path, help="folder for the table as CSV and Markdown")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert, ask and compare on every recording of LSEMVAE_EDGE_DATA."""
    from lsemvae_edge import bundle as bundles

    try:
        from lsemvae_edge.benchmarks import formats
        from lsemvae_edge.benchmarks.judging import plain
    except ImportError as error:
        raise MissingExtraError("bench formats", "export") from error
    chosen = [bundles.load(path) for path in options.bundle] or [bundles.default()]
    rows = formats.measure(chosen, formats.load(options.final), final=options.final, say=say)
    if options.out:
        formats.write(rows, options.out)
    if options.json:
        for row in rows:
            print_json(plain(row))
    else:
        print(formats.table(rows))
    return int(ExitCode.DONE)
