"""``records rotate-key``: another key for the store."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, StoreError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "rotate-key",
        help="give the store a new key, after the old one may have been seen",
        description="Wraps the keys of all records anew. Whoever copied store and old key before can still read that.",
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--passphrase", action="store_true", help="ask for a passphrase that guards the new key's file")
    how.add_argument("--passphrase-file", type=Path, metavar="FILE", help="its first line is that passphrase")
    how.add_argument("--no-passphrase", action="store_true", help="whoever has the new key's file has the key")
    _records.add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Rotate the key of the clinic's store."""
    from lsemvae_edge.store import places

    if options.store == "demo":
        raise UsageError("The store of demonstrations keeps nobody's data.", "Leave its key as it is.")
    with _records.opened(options) as store:
        passphrase = _passphrase(options)
        wrapped = places.rotate(store, passphrase)
    path = places.key_path()
    if options.json:
        print_json({"schema": "lsemvae-edge/key-rotated/1", "keys": wrapped, "path": str(path)})
    else:
        print(f"Wrapped {wrapped} keys anew; the new key is {path}")
        say("Keep a copy of it apart from this machine, destroy copies of the old one, and start the kiosk again.")
    return int(ExitCode.DONE)


def _passphrase(options: argparse.Namespace) -> str | None:
    if options.no_passphrase:
        return None
    if options.passphrase_file is not None:
        try:
            text: str = options.passphrase_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{options.passphrase_file} cannot be read.", "It is one line of text.") from error
        return text.split("\n", 1)[0].rstrip("\r") or _none()
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here for a passphrase.", "Name a file with --passphrase-file.")
    from getpass import getpass

    passphrase = getpass("New passphrase: ")
    if getpass("The same again: ") != passphrase:
        raise UsageError("The two passphrases differ; the key is unchanged.", "Run the command again.")
    return passphrase or _none()


def _none() -> NoReturn:
    raise UsageError("The passphrase is empty; the key is unchanged.", "Choose several words that nobody guesses.")
