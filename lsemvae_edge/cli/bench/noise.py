"""``bench noise``: what noise and missing samples cost."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    noise = parts.add_parser("noise", help="AUROC against noise and missing samples")
    noise.add_argument("--bundle", type=Path, metavar="PATH", help="bundle to measure (default: the shipped one)")
    noise.add_argument("--final", action="store_true", help="read fold 10 and append to the ledger")
    add_json(noise)
    noise.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a row for each kind and level of noise."""
    try:
        from lsemvae_edge.benchmarks import bearing, judging, table_files
    except ImportError as error:
        raise MissingExtraError("bench noise", "export") from error
    rows = bearing.measure(final=options.final, bundle=options.bundle, say=say)
    if options.json:
        for row in rows:
            print_json(judging.plain(row))
    else:
        print(table_files.to_markdown(rows))
    return int(ExitCode.DONE)
