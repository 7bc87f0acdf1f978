"""``bench transfer``: sites and recorders left out, and other hospitals."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    transfer = parts.add_parser("transfer", help="leave one site, one recorder out; with --final other hospitals")
    transfer.add_argument("--teachers", action="store_true", help="students also learn from teachers (slow)")
    transfer.add_argument("--student-only", action="store_true", help="without the plain CNN, in a fifth of the time")
    transfer.add_argument("--seeds", type=int, default=1, help="seeds of each training (default %(default)s)")
    transfer.add_argument("--final", action="store_true", help="read other_recorders and append to the ledger")
    transfer.add_argument("--work", type=Path, default=Path("runs"), help="where finished trainings are kept")
    transfer.add_argument("--processes", type=int, default=2, help="trainings at a time (default %(default)s)")
    add_json(transfer)
    transfer.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a row for each group and model."""
    try:
        from lsemvae_edge.benchmarks import judging, table_files, transfer
    except ImportError as error:
        raise MissingExtraError("bench transfer", "export") from error
    tables = transfer.evaluate(
        work=options.work,
        teachers=options.teachers,
        plain_cnn=not options.student_only,
        seeds=options.seeds,
        processes=options.processes,
        final=options.final,
        say=say,
    )
    if options.json:
        for name, rows in tables.items():
            for row in rows:
                print_json({"table": name, **judging.plain(row)})
    else:
        print("\n\n".join(table_files.to_markdown(rows) for rows in tables.values()))
    return int(ExitCode.DONE)
