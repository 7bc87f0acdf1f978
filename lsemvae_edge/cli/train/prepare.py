"""``train prepare``: from a data set to shards that training reads."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, parse_options, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    prepare = parts.add_parser("prepare", help="condition a data set and store it as shards; resumes after a kill")
    prepare.add_argument("--dataset", required=True, metavar="KIND", help="kind of data set, see docs/datasets.md")
    prepare.add_argument("--data", type=Path, metavar="PATH", help="its folder (default: LSEMVAE_EDGE_DATA)")
    prepare.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="option of the data set; may be repeated"
    )
    prepare.add_argument("--recipe", required=True, help="reference or edge, see docs/prepare.md")
    prepare.add_argument("--out", type=Path, required=True, help="new folder of shards, or one to go on in")
    prepare.add_argument("--shard-size", type=int, default=256, help="recordings a shard (default %(default)s)")
    prepare.add_argument("--workers", type=int, help="processes (default: one a core)")
    prepare.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler, as tcp://host:8786")
    add_json(prepare)
    prepare.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prepare a data set and print what came of it."""
    try:
        from lsemvae_edge.train import datasets, recipes
        from lsemvae_edge.train.prepare import prepare
    except ImportError as error:
        raise MissingExtraError("train prepare", "train") from error

    path = options.data
    if path is None and options.dataset != datasets.Synthetic.name:
        path = datasets.data_folder()
    report = prepare(
        datasets.open_dataset(options.dataset, path, **parse_options(options.option)),
        recipes.recipe(options.recipe),
        options.out,
        shard_size=options.shard_size,
        workers=options.workers,
        scheduler=options.scheduler,
        say=say,
    )
    if options.json:
        print_json(asdict(report))
    else:
        print("\n".join(report.lines()))
    return int(ExitCode.DONE)
