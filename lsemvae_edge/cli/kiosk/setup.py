"""``kiosk setup``: everything a kiosk needs before its first person; run again, it changes only what is asked for."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.kiosk import _secrets
from lsemvae_edge.errors import ExitCode, StoreError, UsageError
from lsemvae_edge.language import LANGUAGES

if TYPE_CHECKING:
    from lsemvae_edge.kiosk.settings import Settings

NO_PRINTER = "none"


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "setup",
        help="make store, key and first supervisor; set language, site and printer",
        description="What is there already stays. What is not named is asked for in a terminal, and left elsewhere.",
    )
    parser.add_argument("--language", choices=list(LANGUAGES), help="of the page when nobody has chosen another")
    parser.add_argument("--site", help="name of the place on reports")
    parser.add_argument("--printer", metavar="QUEUE", help=f"queue of CUPS, or `{NO_PRINTER}`")
    parser.add_argument("--supervisor", metavar="CODE", help="code of the first supervisor; no name")
    parser.add_argument("--pin-file", metavar="FILE", help="file with the supervisor's PIN; `-` for standard input")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--passphrase-file", metavar="FILE", help="file with the passphrase of the store's key")
    secret.add_argument(
        "--no-passphrase", action="store_true", help="protect the key by nothing: a stolen card can be read"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make what is missing, then say what there is."""
    if options.pin_file == options.passphrase_file == "-":
        raise UsageError("Standard input holds one secret.", "Name a file for the other.")
    made = _store(options)
    supervisor = _supervisor(options)
    settings = _settings(options)
    if options.json:
        print_json({
            "schema": "lsemvae-edge/kiosk-setup/1",
            **made,
            "supervisor": supervisor,
            "language": settings.language,
            "site": settings.site,
            "printer": settings.printer,
        })  # fmt: skip
        return int(ExitCode.DONE)
    print(f"Store      {made['store']} ({'made now' if made['store_made'] else 'was there'})")
    print(f"Key        {made['key']} ({'with' if made['key_protected'] else 'WITHOUT'} passphrase)")
    print(f"Supervisor {supervisor or 'was there'}")
    print(f"Language   {settings.language}\nSite       {settings.site or '-'}\nPrinter    {settings.printer or 'none'}")
    if not made["key_protected"]:
        say("Whoever takes the card can read the records. `lsemvae-edge records rotate-key --passphrase` changes that.")
    say("Copy the key to a safe place now: without it nothing can be read, and nobody can restore it.")
    return int(ExitCode.DONE)


def _store(options: argparse.Namespace) -> dict[str, Any]:
    from lsemvae_edge.store import places
    from lsemvae_edge.store.key import is_protected

    folder, key = places.store_folder("clinic"), places.key_path()
    is_new = not folder.exists()
    if is_new:
        passphrase = _passphrase(options, key.exists() and is_protected(key))
        places.create_store(passphrase).close()
    elif not key.exists():
        raise StoreError(
            f"There is a store in {folder}, and its key {key} is missing.",
            "Put the key back from its copy; without it the records cannot be read.",
        )
    return {
        "store": str(folder),
        "store_made": is_new,
        "key": str(key),
        "key_protected": is_protected(key),
    }


def _passphrase(options: argparse.Namespace, is_needed: bool) -> str | None:
    if options.no_passphrase and not is_needed:
        return None
    if options.passphrase_file is None and not _secrets.is_asked():
        raise UsageError(
            "It is not said whether the store's key has a passphrase.",
            "Give --passphrase-file FILE or --no-passphrase.",
        )
    passphrase = _secrets.read("Passphrase of the store's key", options.passphrase_file, "--passphrase-file")
    if not passphrase and options.passphrase_file is None and not is_needed:
        say("No passphrase: whoever takes the card can read the records.")
        return None
    if len(passphrase) < _secrets.MIN_PASSPHRASE and not is_needed:
        raise UsageError(
            f"A passphrase has at least {_secrets.MIN_PASSPHRASE} characters.", "Choose four or five words at random."
        )
    return passphrase


def _supervisor(options: argparse.Namespace) -> str | None:
    from lsemvae_edge.kiosk import operators

    if operators.codes():
        return None
    code = options.supervisor
    if code is None:
        if not _secrets.is_asked():
            raise UsageError("The first supervisor is missing.", "Give --supervisor CODE and --pin-file FILE.")
        code = input("Code of the first supervisor (no name): ").strip()
    pin = _secrets.read(f"PIN of {code.upper()}, 4 to 8 digits", options.pin_file, "--pin-file")
    return operators.add(code, pin, "supervisor").code


def _settings(options: argparse.Namespace) -> "Settings":
    from lsemvae_edge.kiosk import settings

    def change(now: "Settings") -> "Settings":
        if options.language is not None:
            languages = now.languages if options.language in now.languages else (*now.languages, options.language)
            now = replace(now, language=options.language, languages=languages)
        if options.site is not None:
            now = replace(now, site=options.site)
        if options.printer is not None:
            now = replace(now, printer=None if options.printer == NO_PRINTER else _queue(options.printer))
        return now

    return settings.update(change)


def _queue(name: str) -> str:
    from lsemvae_edge.kiosk.printing import Printer

    state = Printer(name).state()
    if state.state != "ready":
        say(state.text)
    return name
