"""``bench students``: teachers, students, the shipped bundle and the plain CNN in one table."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    students = parts.add_parser(
        "students", help="teachers, students of three sizes, the shipped bundle and the plain CNN"
    )
    students.add_argument("--cross-validate", action="store_true", help="also 5-fold cross-validation of the recipe")
    students.add_argument("--final", action="store_true", help="read fold 10 and append to the ledger")
    students.add_argument("--curve", action="store_true", help="also learn from shares of the training patients")
    students.add_argument("--work", type=Path, default=Path("runs"), help="where finished parts are kept")
    students.add_argument("--processes", type=int, default=2, help="trainings at a time (default %(default)s)")
    students.add_argument("--seeds", type=int, default=3, help="seeds of each recipe (default %(default)s)")
    add_json(students)
    students.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one table of every model on every set asked for."""
    try:
        from lsemvae_edge.benchmarks import accuracy
    except ImportError as error:
        raise MissingExtraError("bench students", "export") from error
    rows = accuracy.evaluate(
        work=options.work,
        final=options.final,
        cross_validate=options.cross_validate,
        curve=options.curve,
        seeds=options.seeds,
        processes=options.processes,
        say=say,
    )
    if options.json:
        for row in rows:
            print_json(row)
    else:
        print(accuracy.table(rows))
    return int(ExitCode.DONE)
