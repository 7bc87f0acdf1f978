"""``bench inputs``: other sampling rates, bands and window lengths."""

import argparse

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    inputs = parts.add_parser("inputs", help="the student at other rates, bands and window lengths")
    inputs.add_argument("--seeds", type=int, default=1, help="default %(default)s")
    inputs.add_argument("--processes", type=int, default=2, help="readers at a time (default %(default)s)")
    add_json(inputs)
    inputs.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one row for each input."""
    try:
        from lsemvae_edge.benchmarks import inputs
    except ImportError as error:
        raise MissingExtraError("bench inputs", "export") from error
    rows = inputs.measure(seeds=options.seeds, processes=options.processes, say=say)
    if options.json:
        for row in rows:
            print_json(row)
    else:
        print(inputs.table(rows))
    return int(ExitCode.DONE)
