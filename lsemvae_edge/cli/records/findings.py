"""``records over-read`` and ``outcome``: what was found out later, appended to a record."""

import argparse
import re
from contextlib import suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, get_args

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, UsageError
from lsemvae_edge.followup import findings

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Store

_DATE = re.compile(r"\d{4}(-\d\d){0,2}")
# By the length of the text: what completes it, to the middle of its month or year.
_PRECISIONS: dict[int, tuple[str, findings.Precision | None]] = {
    10: ("", "day"),
    7: ("-16", "month"),
    4: ("-07-02", "year"),
}
_CATHETER = {"mpap": "mpap_mmhg", "pawp": "pawp_mmhg", "pvr": "pvr_wu"}
_ECHO = {"tr_velocity": "tr_velocity_m_s", "rvsp": "rvsp_mmhg"}


def add(parts: Commands) -> None:
    """Describe the commands."""
    reading = parts.add_parser("over-read", help="append a clinician's reading of a recording")
    reading.add_argument("--reader", required=True, metavar="CODE", help="code of the clinician, not a name")
    reading.add_argument(
        "--pattern", required=True, choices=get_args(findings.Pattern), help="is the right-heart pattern there?"
    )
    reading.add_argument("--rhythm", required=True, choices=get_args(findings.Rhythm))
    reading.add_argument("--quality", default="good", choices=get_args(findings.Readability))
    reading.add_argument("--note", default="", metavar="TEXT", help="what else was seen, without ids")
    reading.set_defaults(run=run_over_read)
    outcome = parts.add_parser(
        "outcome",
        help="append what an echo or a right-heart catheter found",
        description="Values come with their units, such as --mpap '35 mmHg'. It counts for the whole visit.",
    )
    catheter = outcome.add_argument_group("right-heart catheter, at rest")
    catheter.add_argument("--mpap", metavar="VALUE", help="mean pulmonary artery pressure, mmHg or kPa")
    catheter.add_argument("--pawp", metavar="VALUE", help="pulmonary artery wedge pressure, mmHg or kPa")
    catheter.add_argument("--pvr", metavar="VALUE", help="pulmonary vascular resistance, WU or dyn")
    echo = outcome.add_argument_group("echocardiography")
    echo.add_argument("--tr-velocity", metavar="VALUE", help="peak velocity of tricuspid regurgitation, m/s or cm/s")
    echo.add_argument("--rvsp", metavar="VALUE", help="estimated right ventricular systolic pressure, mmHg or kPa")
    echo.add_argument(
        "--rv-dilated", action=argparse.BooleanOptionalAction, default=None, help="the right ventricle is (not) dilated"
    )
    day = outcome.add_mutually_exclusive_group(required=True)
    day.add_argument("--date", metavar="DAY", help="of the examination: 2026-03-14, or 2026-03, or 2026")
    day.add_argument("--days", type=int, metavar="N", help="days from the recording to it; below 0 if it was before")
    outcome.set_defaults(run=run_outcome)
    for parser in (reading, outcome):
        parser.add_argument("seq", type=int, metavar="NUMBER", help="record, as `records list` numbers it")
        _records.add_store(parser)


def run_over_read(options: argparse.Namespace) -> int:
    """Append a reading."""
    with _records.opened(options) as store:
        entry = _entry(store, options)
        reading = findings.over_read(
            options.reader,
            options.pattern,
            options.rhythm,
            options.quality,
            options.note,
            entry.facts["visit"]["study_id"],
        )
        made = store.over_read(entry.seq, findings.to_facts(reading), operator=_records.who())
    return _told(options, entry, made, "over-read", findings.to_facts(reading))


def run_outcome(options: argparse.Namespace) -> int:
    """Append an outcome."""
    measured: dict[str, Any] = {}
    for given, field in (_CATHETER | _ECHO).items():
        text = getattr(options, given)
        measured[field] = None if text is None else findings.in_unit(text, field)
    of_catheter = any(measured[field] is not None for field in _CATHETER.values())
    of_echo = options.rv_dilated is not None or any(measured[field] is not None for field in _ECHO.values())
    if of_catheter == of_echo:
        raise UsageError(
            "An outcome is that of a catheter or of an echo.",
            "Give values of one examination; run the command again for the other.",
        )
    with _records.opened(options) as store:
        entry = _entry(store, options)
        days, precision = _days(options, entry)
        finding: findings.Catheter | findings.Echo
        if of_catheter:
            finding = findings.Catheter(days, precision, **{field: measured[field] for field in _CATHETER.values()})
        else:
            values = {field: measured[field] for field in _ECHO.values()}
            finding = findings.Echo(days, precision, **values, rv_dilated=options.rv_dilated)
        made = store.outcome(entry.seq, findings.to_facts(finding), operator=_records.who())
    return _told(options, entry, made, "outcome", findings.to_facts(finding))


def _entry(store: "Store", options: argparse.Namespace) -> "Entry":
    (entry,) = _records.chosen(store, argparse.Namespace(seq=[options.seq], study_id=None, visit=None))
    return entry


def _days(options: argparse.Namespace, entry: "Entry") -> "tuple[int, findings.Precision]":
    """Return the days from the recording to the examination, so that no date is kept."""
    if options.days is not None:
        return options.days, "day"
    day, precision = _date(options.date)
    if entry.at is None:
        raise UsageError(
            f"The clock was not set when record {entry.seq} was made, so a date says nothing of it.",
            "Correct the clock first, or give --days.",
        )
    return (day - datetime.fromisoformat(entry.at).astimezone().date()).days, precision


def _date(text: str) -> "tuple[date, findings.Precision]":
    """Read a date; a month stands for its 16th day, a year for the 2nd of July."""
    rest, precision = _PRECISIONS.get(len(text), ("", None))
    if precision is not None and _DATE.fullmatch(text):
        with suppress(ValueError):
            return date.fromisoformat(text + rest), precision
    raise UsageError(f"{text!r:.40} is no date.", "Write it as 2026-03-14, 2026-03 or 2026.")


def _told(options: argparse.Namespace, entry: "Entry", made: "Entry", what: str, facts: dict[str, Any]) -> int:
    if options.json:
        print_json({**facts, "seq": made.seq, "of": entry.seq})
    else:
        print(f"Appended the {what} to record {entry.seq} as entry {made.seq}")
        if entry.facts["ended"] not in ("screened", "refused"):
            say("This attempt was not finished: a cohort leaves it out.")
    return int(ExitCode.DONE)
