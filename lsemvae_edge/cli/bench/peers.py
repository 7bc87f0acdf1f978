"""``bench peers``: ours beside the published classifier, its own student in torch, and plain CNNs of equal size."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("peers", help="ours beside the published classifier, torch and plain CNNs, in one run")
    _session.add_options(parser)
    _session.add_plan(parser)
    _session.add_recording(parser)
    parser.add_argument("--work", type=Path, default=Path("runs/peers"), help="where the peers' files are kept")
    parser.add_argument("--final", action="store_true", help="AUROCs on folds 9-10; appended to the ledger")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, and print the tables."""
    from lsemvae_edge.benchmarks.target import peers

    plan = _session.plan_of(options, recording=options.recording, final=options.final)
    return _session.measured(
        options, peers.PART, lambda session, chosen: peers.measure(session, chosen, options.work), plan
    )
