"""``bench recorders``: the recordings of fold 9 as recorders send them, against the files."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("recorders", help="what a recorder's coding changes in the results of fold 9")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Play, screen, compare."""
    try:
        from lsemvae_edge.benchmarks import proof, recorders
    except ImportError as error:
        raise MissingExtraError("bench recorders", "train") from error
    figures = recorders.measure(say)
    if options.out:
        proof.write(options.out, "recorders", figures)
    if options.json:
        print_json(figures)
        return int(ExitCode.DONE)
    for name, row in figures["recorders"].items():
        print(
            f"{name}: {row['n']} recordings, samples equal in {row['equal_samples']}, logits in {row['equal_logits']}, "
            f"outcome in {row['same_outcome']} ({100 * row['same_outcome_share']:.1f} %)"
        )
        for flip in row["flips"]:
            print(f"  {flip['id']}: {flip['file']} from the file, {flip['recorder']} from the recorder")
    return int(ExitCode.DONE)
