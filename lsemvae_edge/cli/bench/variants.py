"""``bench variants``: what each part of the recipe brings."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    variants = parts.add_parser("variants", help="what each part of the student's recipe brings")
    variants.add_argument("--only", action="append", default=[], metavar="NAME", help="one variant, may be repeated")
    variants.add_argument("--work", type=Path, default=Path("runs"), help="where finished parts are kept")
    variants.add_argument("--processes", type=int, default=2, help="trainings at a time (default %(default)s)")
    variants.add_argument("--seed", type=int, default=0, help="default %(default)s")
    add_json(variants)
    variants.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print each variant beside the shipped recipe."""
    try:
        from lsemvae_edge.benchmarks import accuracy, variants
    except ImportError as error:
        raise MissingExtraError("bench variants", "export") from error
    rows = variants.measure(
        work=options.work, names=tuple(options.only), seed=options.seed, processes=options.processes, say=say
    )
    if options.json:
        for row in rows:
            print_json(row)
    else:
        print(accuracy.table(rows, against=variants.SHIPPED))
    return int(ExitCode.DONE)
