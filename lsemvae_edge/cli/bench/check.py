"""``bench check``: whether a session keeps its budgets."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import BadInputError, ExitCode, LsemvaeError, OverBudgetError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("check", help="hold ratios of a session against budgets; without one, of a short run")
    parser.add_argument("session", nargs="?", type=Path, metavar="SESSION", help="folder of a session")
    parser.add_argument("--budgets", type=Path, metavar="FILE", help="other budgets than the package's own")
    parser.add_argument("--bundle", type=Path, help="of the short run (default: the one that ships with the package)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keep the short run's session there")
    parser.add_argument("--seed", type=int, default=0, help="of the short run (default %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check, print a row for each budget and case, and fail if one is over."""
    from lsemvae_edge.benchmarks.target import budgets, session

    read = budgets.load(options.budgets or budgets.FILE)
    if options.session is not None:
        recorded = session.read(options.session)
    else:
        with tempfile.TemporaryDirectory() as folder:
            recorded = session.read(_short_run(options, read.short_run, options.out or Path(folder) / "session"))
    rows = budgets.check(recorded, read)
    if options.json:
        for row in rows:
            print_json(row.to_dict())
    else:
        print(budgets.table(rows))
    if failed := budgets.failed(rows, read, short=options.session is None):
        first = failed[0]
        value = "" if first.value is None else f" is {first.value:.4g},"
        raise OverBudgetError(
            f"{len(failed)} of {len(rows)} are {first.state}: {first.budget}, {first.case},{value} and should be "
            f"{first.bound}.",
            first.why,
        )
    return int(ExitCode.DONE)


def _short_run(options: argparse.Namespace, wanted: Sequence[str], folder: Path) -> Path:
    """Measure the parts that budgets speak of, quickly, as ``bench report --quick --only`` does.

    Raises
    ------
    LsemvaeError
        If there is no such part, or one broke.
    """
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge.benchmarks.target import host, whole
    from lsemvae_edge.benchmarks.target.plan import Plan
    from lsemvae_edge.benchmarks.target.session import Session

    if unknown := set(wanted) - {part.name for part in whole.PARTS}:
        raise BadInputError(f"The short run names a part {min(unknown)}, which there is not.", "Correct the budgets.")
    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    parts = [part for part in whole.PARTS if part.name in wanted]
    with Session(folder, host.facts(), [bundle], options.seed, say) as session:
        defects = whole.measure(session, Plan([bundle], quick=True), parts)
    if defects:
        told = "; ".join(f"{defect.part} ({defect.what})" for defect in defects)
        raise LsemvaeError(f"Not all parts of the short run worked: {told}", "Run them by themselves to see why.")
    return folder
