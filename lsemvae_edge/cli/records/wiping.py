"""``records wipe`` and ``retain``: records that go, and leave a tombstone."""

import argparse
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry

SCHEMA = "lsemvae-edge/wiped/1"


def add(parts: Commands) -> None:
    """Describe the commands."""
    wipe = parts.add_parser(
        "wipe",
        help="destroy records for good; a tombstone stays, so that the store still verifies",
        description="Destroys the keys and the ciphertexts of records. Copies that were exported or sent stay.",
    )
    _records.add_choice(wipe)
    wipe.add_argument("--reason", required=True, metavar="TEXT", help="why, without ids: it stays readable")
    wipe.set_defaults(run=run_wipe)
    retain = parts.add_parser("retain", help="wipe what is older than the retention period")
    retain.add_argument(
        "--older-than", type=int, metavar="DAYS", help="the period (default: `retention_days` of the kiosk's settings)"
    )
    retain.set_defaults(run=run_retain)
    for parser in (wipe, retain):
        parser.add_argument("--yes", action="store_true", help="do not ask")
        _records.add_store(parser)


def run_wipe(options: argparse.Namespace) -> int:
    """Wipe what was chosen, after asking."""
    with _records.opened(options) as store:
        entries = [entry for entry in _records.chosen(store, options, wiped=True) if not entry.wiped]
        if not entries:
            raise UsageError("These records were wiped before.", "Run `lsemvae-edge records list`.")
        reason = _reason(options.reason, entries)
        if not options.yes:
            head = ("No.", "When", "Study id", "Try", "Result")
            rows = [(*_named(entry), _records.ended(entry)) for entry in entries]
            say(_records.columns(head, rows, right=(0, 3)))
        _records.confirmed(f"Wipe {_count(len(entries))} for good?", "WIPE", yes=options.yes)
        for entry in entries:
            store.wipe(entry.seq, reason=reason, operator=_records.who())
            if options.json:
                print_json({"schema": SCHEMA, "seq": entry.seq, "reason": reason})
    if not options.json:
        print(f"Wiped {_count(len(entries))}")
    return int(ExitCode.DONE)


def run_retain(options: argparse.Namespace) -> int:
    """Wipe by age; records without a time stay, and so do those that the FHIR server does not hold yet."""
    from lsemvae_edge.kiosk import settings

    found = settings.read()
    days = found.retention_days if options.older_than is None else options.older_than
    if days is None:
        raise UsageError(
            "No retention period is set.", "Name one with --older-than DAYS, or set `retention_days` of the kiosk."
        )
    if days < 1:
        raise UsageError(f"A retention period of {days} days is none.", "Name one day or more.")
    with _records.opened(options) as store:
        _records.confirmed(f"Wipe all records older than {days} days for good?", "WIPE", yes=options.yes)
        unsent_to = None if found.fhir is None else found.fhir.url
        wiped = store.retain(days, operator=_records.who(), unsent_to=unsent_to)
    if options.json:
        print_json({"schema": "lsemvae-edge/retained/1", "older_than_days": days, "wiped": wiped})
    else:
        print(f"Wiped {_count(wiped)} older than {days} days")
    return int(ExitCode.DONE)


def _named(entry: "Entry") -> tuple[object, ...]:
    if not entry.facts:
        return (entry.seq, _records.when(entry), "-", "-")
    return (entry.seq, _records.when(entry), entry.facts["visit"]["study_id"], entry.facts["number"])


def _reason(text: str, entries: "list[Entry]") -> str:
    """Return the reason; one that names the person would outlive the wipe."""
    reason = " ".join(text.split())
    ids = {entry.facts["visit"]["study_id"] for entry in entries if entry.facts}
    if not reason or len(reason) > 200 or any(one in reason.upper() for one in ids):
        raise UsageError(
            "A reason is 1 to 200 characters without the study id, because it stays readable.", "Write another reason."
        )
    return reason


def _count(number: int) -> str:
    return f"{number} record{'' if number == 1 else 's'}"
