"""``bench leads``: loose electrodes, and what the leads' contributions are worth."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    leads = parts.add_parser("leads", help="loose electrodes, and lead contributions against other accounts")
    leads.add_argument("--bundle", type=Path, metavar="PATH", help="bundle to measure (default: the shipped one)")
    leads.add_argument("--final", action="store_true", help="read fold 10 and append to the ledger")
    add_json(leads)
    leads.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what each electrode is worth, and how far accounts of the leads agree."""
    try:
        from lsemvae_edge.benchmarks import explanation, judging, table_files
    except ImportError as error:
        raise MissingExtraError("bench leads", "export") from error
    tables = explanation.measure(final=options.final, bundle=options.bundle, say=say)
    if options.json:
        for name, rows in tables.items():
            for row in rows:
                print_json({"table": name, **judging.plain(row)})
        return int(ExitCode.DONE)
    print(table_files.to_markdown(tables["electrodes"]))
    print(
        "\nAny two of the six limb leads give all six by algebra, so that a single lost lead costs nothing; a loose "
        "electrode leaves one lead.\n"
    )
    print(table_files.to_markdown(tables["contributions"]))
    return int(ExitCode.DONE)
