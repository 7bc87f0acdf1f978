"""``kiosk clock``: whether this machine's clock counts as set, why, and an operator's word that it is right."""

import argparse
from datetime import datetime
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode

if TYPE_CHECKING:
    from lsemvae_edge.store.clock import State

_UNSET = (
    "Records are kept all the same, without a time. Set the clock (`sudo timedatectl set-time 'YYYY-MM-DD HH:MM'`), "
    "then run `lsemvae-edge kiosk clock --right` as the kiosk's user."
)


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "clock",
        help="say whether the clock counts as set, and why; or that it is right",
        description="Exit 0 if it counts as set, else 6.",
    )
    parser.add_argument(
        "--right", action="store_true", help="you compared it with a watch: it counts as set until the machine restarts"
    )
    parser.add_argument("--yes", action="store_true", help="with --right: do not ask")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Say what is known; with an operator's word, write it down and note it in the store."""
    from lsemvae_edge.store import clock

    told = clock.state()
    if options.right:
        told = _confirmed(yes=options.yes)
    at = clock.now().astimezone()
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/kiosk-clock/1",
                "set": told.is_set,
                "by": told.by,
                "reason": told.reason,
                "shows": at.isoformat(timespec="seconds"),
            }
        )
    else:
        print(f"The clock shows {at:%Y-%m-%d %H:%M %Z}")
        print(f"{'Set' if told.is_set else 'Not set'}: {told.reason}")
        if not told.is_set:
            say(_UNSET)
    return int(ExitCode.DONE if told.is_set else ExitCode.DEVICE)


def _confirmed(*, yes: bool) -> "State":
    from lsemvae_edge.cli.records import _records
    from lsemvae_edge.kiosk.updates import audit
    from lsemvae_edge.store import clock, places

    # The kiosk would not find what another user's word was written down under.
    _records.refuse_strangers(places.store_folder("clinic"))
    shown = datetime.now().astimezone()
    _records.confirmed(f"Is it {shown:%A, %Y-%m-%d %H:%M} ({shown:%Z})?", "RIGHT", yes=yes)
    told = clock.confirm()
    audit.leave(audit.CLOCK, {"by": told.by}, operator=_records.who())
    return told
