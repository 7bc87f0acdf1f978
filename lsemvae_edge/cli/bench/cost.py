"""``bench cost``: start to result, peak memory, preprocessing."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode


def add(parts: Commands) -> None:
    """Describe the command."""
    cost = parts.add_parser("cost", help="start to result, peak memory, preprocessing")
    cost.add_argument("recording", type=Path, help="recording to screen")
    cost.add_argument("--runs", type=int, default=20, help="counted runs (default %(default)s)")
    add_json(cost)
    cost.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what a screening costs."""
    from lsemvae_edge.benchmarks import cost

    rows = [*cost.start(options.recording, options.runs)], [*cost.preprocessing(10 * options.runs)]
    if options.json:
        for part in rows:
            for row in part:
                print_json(asdict(row))
    else:
        print("\n\n".join(cost.table(part) for part in rows))
    return int(ExitCode.DONE)
