"""``records restore``: a kept copy in the place of the store."""

import argparse
import secrets
from datetime import UTC, datetime
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "restore",
        help="put a kept copy of the clinic's store in its place; what is there is moved aside",
        description="Reads all of the copy first. Records that were wiped since are wiped in it, too. Stop the kiosk.",
    )
    parser.add_argument("backup", type=Path, nargs="?", metavar="COPY", help="its folder (default: list what is kept)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Restore the clinic's store, after asking."""
    from lsemvae_edge.kiosk import instance
    from lsemvae_edge.store import places, restoring

    folder, key = places.store_folder("clinic"), places.key_path()
    if options.backup is None:
        return _listed(restoring.backups(folder), folder, as_json=options.json)
    _records.refuse_strangers(folder)
    planned = restoring.plan(options.backup, folder)
    _records.confirmed(f"{_loses(planned.newer)} Restore {options.backup}?", "RESTORE", yes=options.yes)
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    if folder.is_dir():
        with instance.only(folder):
            done = restoring.restore(planned, places.read_key(key), stamp=stamp, operator=_records.who())
    else:
        done = restoring.restore(planned, places.read_key(key), stamp=stamp, operator=_records.who())
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/restored/1",
                "copy": str(options.backup),
                "head": str(done.head),
                "left_out": planned.newer,
                "wiped_again": done.wiped,
                "aside": done.aside and str(done.aside),
            }
        )
        return int(ExitCode.DONE)
    print(f"Restored {options.backup}: up to {done.head}, every entry was read")
    if done.wiped:
        print(f"Wiped again: {done.wiped}, which were wiped since the copy was made")
    if planned.wiped is None:
        say("The store before could not be read: records that were wiped since the copy was made may be there again.")
    if done.aside is not None:
        print(f"The store before lies in {done.aside}; nothing of it was changed")
    return int(ExitCode.DONE)


def _listed(found: list[Path], folder: Path, *, as_json: bool) -> int:
    if not found:
        raise UsageError(f"No copy of {folder} is kept beside it.", "Name one: lsemvae-edge records restore COPY.")
    for path in found:
        if as_json:
            print_json({"schema": "lsemvae-edge/backup/1", "path": str(path)})
        else:
            print(path)
    return int(ExitCode.DONE)


def _loses(newer: int | None) -> str:
    if newer is None:
        return "The store cannot be read; what it holds beyond the copy is not known."
    return (
        f"{newer} newer {'entry' if newer == 1 else 'entries'} of the store {'is' if newer == 1 else 'are'} not in it."
    )
