"""``bench boards``: boards for a kiosk, and what others published of them, with sources."""

import argparse
from dataclasses import asdict

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("boards", help="boards for a kiosk, and published figures with their sources")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every board, and which of them this machine is."""
    from lsemvae_edge.benchmarks.target import boards, host

    here = boards.of_host(host.facts())
    if options.json:
        print_json({"here": here and here.name, "boards": [asdict(board) for board in boards.boards()]})
    else:
        print("\n\n".join(boards.markdown(board) for board in boards.boards()))
        named = "none of them" if here is None else f"a {here.name}"
        print(f"\nThis machine is {named}. Nothing above was measured here.")
    return int(ExitCode.DONE)
