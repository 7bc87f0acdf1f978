"""``bench kills``: what is killed at random moments and run again ends as if nothing had happened."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError, StoreError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    kills = parts.add_parser("kills", help="kill long work at random moments, resume it, compare the results")
    kills.add_argument("--what", required=True, choices=("prepare", "pretrain"), help="what to kill")
    kills.add_argument("--times", type=int, default=10, help="kills in all (default %(default)s)")
    kills.add_argument("--seed", type=int, default=0, help="of the moments (default %(default)s)")
    kills.add_argument("--out", type=Path, help="also write a result file")
    add_json(kills)
    kills.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Kill, resume, compare, and print what came of it."""
    try:
        from lsemvae_edge.benchmarks import kills, kills_pretrain, proof
    except ImportError as error:
        raise MissingExtraError("bench kills", "train") from error
    subjects: dict[str, Callable[[], kills.Subject]] = {
        "prepare": kills.preparation,
        "pretrain": kills_pretrain.pretraining,
    }
    if options.times < 1:
        raise UsageError(f"At least one kill is needed, not {options.times}.")
    with tempfile.TemporaryDirectory() as folder:
        subject = subjects[options.what]()
        figures = kills.prove(subject, options.times, options.seed, Path(folder), say)
    if options.out:
        proof.write(options.out, f"kills: {options.what}", figures)
    if options.json:
        print_json(figures)
    else:
        moments = [kill["progress"] for trial in figures["trials"] for kill in trial["kills"]]
        print(f"{options.what}: {figures['kills']} kills in {len(figures['trials'])} folders, at progress {moments};")
        print(f"{figures['different']} folders differ from the undisturbed one")
    if figures["different"]:
        raise StoreError("A killed and resumed run ended differently.", "See `trials` in the result (--json).")
    return int(ExitCode.DONE)
