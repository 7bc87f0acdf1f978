"""``bench host``: the facts of this machine that a session keeps."""

import argparse

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("host", help="facts of this machine that decide how quick it is; nothing that names it")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a line a fact."""
    from lsemvae_edge.benchmarks.target import host

    facts = host.facts()
    if options.json:
        print_json(facts)
    else:
        print("\n".join(host.lines(facts)))
    return int(ExitCode.DONE)
