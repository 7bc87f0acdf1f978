"""``records cohort`` and ``drift``: what many records say together."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, StoreError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.followup.drift import Row, Share

_WITHIN_DAYS = 90


def add(parts: Commands) -> None:
    """Describe the commands."""
    cohort = parts.add_parser(
        "cohort",
        help="export recordings with their over-reads and outcomes for training",
        description="Writes a folder for `train prepare --dataset folder` and `train recalibrate`, without study ids.",
    )
    cohort.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder")
    cohort.add_argument(
        "--within-days",
        type=int,
        default=_WITHIN_DAYS,
        metavar="N",
        help="an examination counts for recordings at most so far from it (default %(default)s)",
    )
    cohort.add_argument("--only-labelled", action="store_true", help="leave out recordings without a label")
    cohort.add_argument(
        "--pseudonym-key",
        type=Path,
        metavar="FILE",
        help="key of the pseudonyms, made if absent: exports with it name the same patients and folds "
        "(default: a key for this export alone)",
    )
    cohort.set_defaults(run=run_cohort)
    drift = parts.add_parser("drift", help="rates of outcomes and of poor quality by week and recorder, without ids")
    drift.add_argument("--all-counts", action="store_true", help="also counts below 5; not to be given away")
    drift.set_defaults(run=run_drift)
    for parser in (cohort, drift):
        _records.add_store(parser)


def run_cohort(options: argparse.Namespace) -> int:
    """Export a cohort, once the store has noted it."""
    from lsemvae_edge.followup import cohort

    if options.within_days < 0:
        raise UsageError(f"{options.within_days} days are no distance.", "Name 0 or more.")
    key = None if options.pseudonym_key is None else _key(options.pseudonym_key)
    with _records.opened(options) as store:
        store.note("cohort", {"within_days": options.within_days}, operator=_records.who())
        exported = cohort.export(
            store, options.out, key=key, within_days=options.within_days, only_labelled=options.only_labelled
        )
    if options.json:
        print_json({"schema": "lsemvae-edge/cohort/1", **cohort.describe(exported)})
        return int(ExitCode.DONE)
    print(f"Wrote {exported.recordings} recordings of {exported.patients} patients to {exported.folder}")
    for name, count in exported.labelled.items():
        print(f"  {name}: {count}")
    for reason, count in sorted(exported.left_out.items()):
        print(f"  left out, {reason}: {count}")
    say(
        f"Read it with: lsemvae-edge train prepare --dataset folder --data {exported.folder} --recipe edge --out SHARDS"
    )
    if options.store == "demo":
        say("Demonstration: these are no persons' recordings.")
    return int(ExitCode.DONE)


def run_drift(options: argparse.Namespace) -> int:
    """Print a block for each week and recorder."""
    from lsemvae_edge.followup import drift

    with _records.opened(options) as store:
        rows = drift.report(store, smallest=1 if options.all_counts else drift.SMALLEST)
    if options.json:
        for row in rows:
            print_json(drift.to_dict(row))
        return int(ExitCode.DONE)
    if not rows:
        say("The store holds no attempt yet.")
    for row in rows:
        print(_title(row))
        if row.attempts is None:
            continue
        named = [
            (name.replace("_", " "), share)
            for shares in (row.outcomes, row.reasons, row.flags)
            for name, share in sorted(shares.items(), key=lambda item: -(item[1].count or 0))
        ]
        cells = [(f"  {name}", *_cells(share)) for name, share in named if share.count]
        if cells:
            print(_records.columns(("", "n", "%", "95 % interval"), cells, right=(1, 2, 3)).partition("\n")[2])
        if withheld := [name for name, share in named if share.count is None]:
            print(f"  withheld: {', '.join(withheld)}")
    if rows and not options.all_counts:
        say(f"Counts below {drift.SMALLEST} are withheld, and as many more as would give them away.")
    return int(ExitCode.DONE)


def _title(row: "Row") -> str:
    number = "fewer than 5 attempts" if row.attempts is None else f"{row.attempts} attempts"
    models = f"; {', '.join(row.models)}" if row.models else ""
    return _records.plain(f"{row.week} · {row.recorder} · {number}{models}")


def _cells(share: "Share") -> tuple[str, str, str]:
    found = share.share
    assert found is not None
    return (str(share.count), f"{100 * found.value:.0f} %", f"{100 * found.low:.0f} to {100 * found.high:.0f} %")


def _key(path: Path) -> bytes:
    """Read the key of pseudonyms, or make one."""
    from lsemvae_edge.followup.cohort import KEY_BYTES

    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(os.urandom(KEY_BYTES).hex() + "\n")
            say(f"Made {path}. Whoever has it and the study ids can join exports; without it no later one joins this.")
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise UsageError(f"The key {path} can be read by other users.", f"Run `chmod 600 {path}`.")
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise StoreError(f"The key {path} cannot be used: {error.strerror}.", "Name another file.") from error
    except ValueError as error:
        raise UsageError(f"{path} is no key of pseudonyms.", "Name the file that an earlier export made.") from error
