"""``bench badge``: small pictures of a session's figures, for a README."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode


def add(parts: Commands) -> None:
    """Describe the command."""
    badge = parts.add_parser("badge", help="draw a session's figures as badges, SVG files that need no service")
    badge.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    badge.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the badges")
    add_json(badge)
    badge.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draw the badges and print their files."""
    from lsemvae_edge.benchmarks.target import badges, session
    from lsemvae_edge.benchmarks.target.report_view import View

    written = badges.write(View(session.read(options.session)), options.out)
    for path in written:
        if options.json:
            print_json({"file": str(path)})
        else:
            print(path)
    return int(ExitCode.DONE)
