"""``records amend`` and ``correct-clock``: corrections that leave what was stored first."""

import argparse
from datetime import datetime

from lsemvae_edge.cli._common import Commands, print_json
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, UsageError


def add(parts: Commands) -> None:
    """Describe the commands."""
    amend = parts.add_parser(
        "amend",
        help="correct a wrong study id; the one that was typed first stays in the record",
        description="Give the record's number, or --visit for all attempts of a visit.",
    )
    amend.add_argument("seq", nargs="*", type=int, metavar="NUMBER", help="records, as `records list` numbers them")
    amend.add_argument("--visit", metavar="ID", help="all attempts of this visit")
    amend.add_argument("--to", required=True, metavar="ID", help="the right study id")
    amend.add_argument("--reason", required=True, metavar="TEXT", help="such as: card of another person scanned")
    amend.set_defaults(run=run_amend)
    clock = parts.add_parser(
        "correct-clock",
        help="say when a recording really began, for all of that start of the machine",
        description="For what was recorded between a start of the machine and the moment when its clock was set.",
    )
    clock.add_argument("seq", type=int, metavar="NUMBER", help="a record whose true time is known")
    clock.add_argument("--began", required=True, metavar="TIME", help="when it really began: 2026-03-14T10:30")
    clock.add_argument(
        "--even-if-set", action="store_true", help="also where the clock showed a plausible time, which was wrong"
    )
    clock.set_defaults(run=run_clock)
    for parser in (amend, clock):
        _records.add_store(parser)


def run_amend(options: argparse.Namespace) -> int:
    """Append an amendment for each record."""
    from lsemvae_edge import study_id
    from lsemvae_edge.kiosk import settings

    rules = settings.read()
    corrected = study_id.checked(options.to, rules.study_id_pattern, rules.check_character)
    reason = " ".join(options.reason.split())
    if not 0 < len(reason) <= 200:
        raise UsageError("A reason is 1 to 200 characters.", "Write another reason.")
    options.study_id = None
    with _records.opened(options) as store:
        entries = _records.chosen(store, options)
        same = [entry.seq for entry in entries if entry.facts["visit"]["study_id"] == corrected]
        if same:
            raise UsageError(f"Record {same[0]} has this study id already.", "Leave it out.")
        for entry in entries:
            made = store.amend(entry.seq, study_id=corrected, reason=reason, operator=_records.who())
            if options.json:
                print_json({"schema": "lsemvae-edge/amended/1", "seq": made.seq, "of": entry.seq})
    if not options.json:
        print(f"Corrected the study id of record {', '.join(str(entry.seq) for entry in entries)}")
    return int(ExitCode.DONE)


def run_clock(options: argparse.Namespace) -> int:
    """Append a correction, from what the clock showed when the recording began."""
    options.study_id = options.visit = None
    options.seq = [options.seq]
    with _records.opened(options) as store:
        (entry,) = _records.chosen(store, options)
        shown = (entry.facts["record"] or {}).get("started_at")
        if shown is None:
            raise UsageError(f"Record {entry.seq} holds no recording.", "Name one of the same start that does.")
        if entry.clock_set and not options.even_if_set:
            raise UsageError(
                f"The clock was set when record {entry.seq} was made.",
                "Add --even-if-set if it was wrong all the same.",
            )
        offset_s = (_records.since(options.began) - datetime.fromisoformat(shown)).total_seconds()
        made = store.correct_clock(entry.boot, offset_s, operator=_records.who(), even_if_set=options.even_if_set)
        corrected = [
            one for one in store.attempts() if one.boot == entry.boot and (options.even_if_set or not one.clock_set)
        ]
    if options.json:
        print_json(
            {
                "schema": "lsemvae-edge/clock-corrected/1",
                "seq": made.seq,
                "boot": entry.boot,
                "offset_s": offset_s,
                "records": len(corrected),
            }
        )
    else:
        times = [f"record {one.seq}: {_records.when(one)}" for one in reversed(corrected)]
        print(f"Corrected the time of {len(corrected)} records of that start\n" + "\n".join(times))
    return int(ExitCode.DONE)
