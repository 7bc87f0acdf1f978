"""``bench accuracy``: the exported files on a cohort, each through its own runtime."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands
from lsemvae_edge.cli.bench import _session
from lsemvae_edge.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.benchmarks.target.cohorts import Cohort
    from lsemvae_edge.bundle import Bundle


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("accuracy", help="accuracy of the exported files, each through its own runtime")
    _session.add_options(parser)
    parser.add_argument("--runtime", type=_names, default=(), metavar="R[,R]", help="these alone (default: all here)")
    parser.add_argument("--precision", type=_names, default=(), metavar="P[,P]", help="int8, fp32 (default: both)")
    parser.add_argument(
        "--cohort", type=Path, metavar="PATH",
        help="folder with labels.csv, or such a table; needs no package (default: fold 9 of LSEMVAE_EDGE_DATA)",
    )  # fmt: skip
    parser.add_argument("--dataset", metavar="KIND", help="a data set that training reads (docs/datasets.md)")
    parser.add_argument("--data", type=Path, metavar="PATH", help="its folder")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="of the data set")
    parser.add_argument(
        "--every-fold", action="store_true", help="all of a data set that the bundle never learned from"
    )
    parser.add_argument("--label", metavar="NAME", help="label that the primary task is judged by (default: its name)")
    parser.add_argument("--final", action="store_true", help="also what is looked at once; appended to the ledger")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge, and print the rows."""
    from lsemvae_edge.benchmarks.target import accuracy, report_part
    from lsemvae_edge.benchmarks.target.plan import Plan

    bundles = _session.bundles_of(options)
    cohort = _cohort(options, bundles)
    plan = Plan(bundles, final=options.final, runtimes=options.runtime, precisions=options.precision)
    with _session.opened(options, accuracy.PART, bundles) as session:
        accuracy.measure(session, plan, cohort, options.label)
    return _session.show(options, session.folder, report_part.tables(session.folder, accuracy.PART))


def _cohort(options: argparse.Namespace, bundles: "list[Bundle]") -> "Cohort":
    from lsemvae_edge.benchmarks.target import cohorts

    if options.cohort is not None:
        if options.dataset or options.final:
            raise UsageError("--cohort names a table; --dataset and --final are of other cohorts.", "Name one of them.")
        tasks = dict.fromkeys(task.name for bundle in bundles for task in bundle.spec.tasks)
        return cohorts.of_table(options.cohort, [*([options.label] if options.label else []), *tasks])
    try:
        if options.dataset is None:
            return cohorts.of_project(final=options.final)
        given = dict(text.partition("=")[::2] for text in options.option)
        return cohorts.of_dataset(
            options.dataset, options.data, given, every_fold=options.every_fold, final=options.final
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("bench accuracy, but for --cohort,", "train") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))
