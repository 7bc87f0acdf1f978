"""``bench prepare``: records a second beside neurokit2, and peak memory at sizes a factor ten apart."""

import argparse
import os
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    prepare = parts.add_parser("prepare", help="records a second and memory of `train prepare`")
    prepare.add_argument("--data", type=Path, help="folder of the packed subset (default: simulated recordings)")
    prepare.add_argument("--records", type=int, default=256, help="recordings a round (default %(default)s)")
    prepare.add_argument("--rounds", type=int, default=7, help="counted rounds (default %(default)s)")
    prepare.add_argument("--memory", action="store_true", help="also prepare simulated cohorts of two sizes")
    prepare.add_argument(
        "--sizes", type=int, nargs="+", default=[2000, 20000], help="recordings of these cohorts (default %(default)s)"
    )
    prepare.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes for them")
    prepare.add_argument("--out", type=Path, help="also write a result file")
    add_json(prepare)
    prepare.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print rates and peaks."""
    try:
        from lsemvae_edge.benchmarks import preparing, proof
    except ImportError as error:
        raise MissingExtraError("bench prepare", "train") from error
    rates = preparing.throughput(options.data, options.records, options.rounds, say)
    rows = preparing.memory(options.sizes, options.workers, say) if options.memory else []
    figures = preparing.to_dict(rates, rows)
    if options.out:
        proof.write(options.out, "prepare: throughput and memory", figures)
    if options.json:
        print_json(figures)
    else:
        print(preparing.rate_table(rates))
        if rows:
            print(f"\n{preparing.memory_table(rows)}")
    return int(ExitCode.DONE)
