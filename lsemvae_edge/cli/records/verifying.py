"""``records verify`` and ``head``."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, StoreError

if TYPE_CHECKING:
    from lsemvae_edge.store import Store, Verdict

SCHEMA = "lsemvae-edge/store-verdict/1"


def add(parts: Commands) -> None:
    """Describe the commands."""
    verify = parts.add_parser(
        "verify",
        help="read everything: find what was edited, moved, deleted or damaged",
        description="Reads every entry. A tail that was cut off is found only against a head from elsewhere.",
    )
    verify.add_argument("--head", metavar="HEAD", help="as a report or `records head` printed it: 210-5c1d0f…")
    verify.set_defaults(run=run_verify)
    head = parts.add_parser("head", help="print how far the store goes; keep it elsewhere for `verify --head`")
    head.set_defaults(run=run_head)
    for parser in (verify, head):
        _records.add_store(parser)


def run_verify(options: argparse.Namespace) -> int:
    """Verify, and note in the store that it was done."""
    from lsemvae_edge.store import Head

    head = None if options.head is None else Head.parse(options.head)
    with _records.opened(options) as store:
        verdict = store.verify(head)
        _note(store, verdict)
    if options.json:
        print_json({"schema": SCHEMA, **asdict(verdict), "findings": list(verdict.findings), "caveat": verdict.caveat})
    else:
        print(f"{verdict.n_entries} entries, {verdict.n_wiped} of them wiped, up to {verdict.head}")
        for finding in verdict.findings:
            print(finding)
        print("Everything else is as it was written." if verdict.findings else "Everything is as it was written.")
        if verdict.caveat:
            print(verdict.caveat)
    return int(ExitCode.DONE if verdict.ok else ExitCode.STORE)


def run_head(options: argparse.Namespace) -> int:
    """Print the head."""
    with _records.opened(options) as store:
        head = store.head()
    if options.json:
        print_json({"schema": "lsemvae-edge/store-head/1", "head": str(head), "seq": head.seq, "hash": head.hash})
    else:
        print(head)
    return int(ExitCode.DONE)


def _note(store: "Store", verdict: "Verdict") -> None:
    facts = {"ok": verdict.ok, "findings": len(verdict.findings), "tail_checked": verdict.tail_checked}
    try:
        store.note("verify", facts, operator=_records.who())
    except StoreError as error:
        # A store that can only be read is verified all the same.
        say(f"It could not be noted that the store was verified. {error.message}")
