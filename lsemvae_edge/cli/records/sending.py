"""``records send``: empty the outbox once."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "send",
        help="send what the configured FHIR server does not hold yet, once",
        description="The kiosk does it by itself when there is a network. What is sent again is stored there once.",
    )
    parser.add_argument(
        "--retry-refused", action="store_true", help="try again what the server refused and was set aside"
    )
    _records.add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Send once; exit 7 if anything waits or was refused."""
    from lsemvae_edge import outbox
    from lsemvae_edge.kiosk import settings

    found = settings.read()
    if found.fhir is None:
        raise UsageError("No FHIR server is configured.", "Run `lsemvae-edge kiosk setup`, or edit the settings.")
    destination = outbox.Destination(
        found.fhir.url,
        token_file=None if found.fhir.token_file is None else Path(found.fhir.token_file),
        ca_file=None if found.fhir.ca_file is None else Path(found.fhir.ca_file),
        site=found.site,
    )
    with _records.opened(options) as store:
        if options.retry_refused:
            outbox.release(store, destination.url, operator=_records.who())
        report = outbox.send(store, destination)
    done = not report.waiting and not report.parked
    if options.json:
        print_json({"schema": "lsemvae-edge/sent/1", "destination": destination.url, **asdict(report)})
    else:
        print(f"Sent {report.sent}, waiting {report.waiting}, refused {len(report.parked)}")
        if report.reason:
            say(_records.plain(report.reason))
        for parked in report.parked:
            say(f"Record {parked.seq}: {_records.plain(parked.reason)}")
    return int(ExitCode.DONE if done else ExitCode.STORE)
