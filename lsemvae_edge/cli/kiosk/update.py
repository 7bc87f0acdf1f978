"""``kiosk update`` and ``kiosk roll-back``: new software from a stick, and the way back."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.kiosk.updates.software import Updated


def add(parts: Commands) -> None:
    """Describe the two commands."""
    parser = parts.add_parser("update", help="install new software from a stick, beside the old, and switch to it")
    parser.add_argument("path", type=Path, nargs="?", help="folder of the wheelhouse")
    parser.add_argument("--unsigned", action="store_true", help="take a wheelhouse that nobody vouches for; root alone")
    parser.add_argument("--older", action="store_true", help="take an older version than the one in use")
    parser.add_argument(
        "--remove-backups", action="store_true", help="destroy the copies of the records that earlier updates kept"
    )
    _add_store(parser)
    add_json(parser)
    parser.set_defaults(run=update)
    parser = parts.add_parser("roll-back", help="use the version of the software before again")
    _add_store(parser)
    add_json(parser)
    parser.set_defaults(run=roll_back)


def update(options: argparse.Namespace) -> int:
    """Install, try and switch; the software in use stays in use if anything fails."""
    from lsemvae_edge.cli.records import _records
    from lsemvae_edge.kiosk.updates import software

    if (options.path is None) != options.remove_backups:
        raise UsageError("Name a wheelhouse, or --remove-backups alone.", "Run `lsemvae-edge kiosk update --help`.")
    if options.remove_backups:
        count = software.remove_backups(_store(options))
        if options.json:
            print_json({"schema": "lsemvae-edge/backups-removed/1", "count": count})
        else:
            print(f"Copies removed: {count}")
        return int(ExitCode.DONE)
    if not options.json:
        say("Checking, installing and trying the new software; this takes minutes. The old one stays until the end.")
    done = software.install(
        options.path, store=_store(options), unsigned=options.unsigned, older=options.older, operator=_records.who()
    )
    return _told(done, options)


def roll_back(options: argparse.Namespace) -> int:
    """Switch back, if the earlier software reads the records as they are by now."""
    from lsemvae_edge.cli.records import _records
    from lsemvae_edge.kiosk.updates import software

    return _told(software.roll_back(store=_store(options), operator=_records.who()), options)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, metavar="FOLDER", help="of the records (default: the clinic's)")


def _store(options: argparse.Namespace) -> Path:
    from lsemvae_edge.store import places

    return options.store if options.store else places.store_folder("clinic")


def _told(done: "Updated", options: argparse.Namespace) -> int:
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/updated/1",
                **{name: value for name, value in asdict(done.version).items() if name != "schema"},
                "changed": done.changed,
                "backup": done.backup and str(done.backup),
                "entries": done.entries,
            }
        )
        return int(ExitCode.DONE)
    print(f"Software {done.version.version} ({done.version.name})")
    print(f"signed by key {done.version.key}" if done.version.key else "not signed")
    if done.entries is not None:
        print(f"It took over all {done.entries} entries of the records, on a copy of them")
    if done.backup:
        print(f"The records as the software before knows them: {done.backup}")
    print("The kiosk uses it from its next start" if done.changed else "It was in use already")
    return int(ExitCode.DONE)
