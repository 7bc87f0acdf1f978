"""``records list`` and ``show``."""

import argparse
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Stored

SCHEMA = "lsemvae-edge/record/1"


def add(parts: Commands) -> None:
    """Describe the commands."""
    listed = parts.add_parser("list", help="list records, the newest first; wiped ones as tombstones")
    listed.add_argument("--study-id", metavar="ID", help="of this person")
    listed.add_argument("--visit", metavar="ID", help="of this visit")
    listed.add_argument(
        "--since", metavar="DAY", help="since this day; those of a clock that was not set are listed too"
    )
    listed.add_argument("--limit", type=int, metavar="N", help="at most so many")
    listed.set_defaults(run=run_list)
    show = parts.add_parser("show", help="show one record: its result, and what was said of it later")
    show.add_argument("seq", type=int, metavar="NUMBER", help="as `records list` numbers it")
    show.set_defaults(run=run_show)
    for parser in (listed, show):
        _records.add_store(parser)


def run_list(options: argparse.Namespace) -> int:
    """List attempts without their signals."""
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"A list of {options.limit} records is none.", "Name 1 or more with --limit.")
    from lsemvae_edge.study_id import normalise

    study_id = None if options.study_id is None else normalise(options.study_id)
    with _records.opened(options) as store:
        # A limit counts what is listed; of a day that is known afterwards.
        limit = options.limit if options.since is None else None
        found, damage = _records.gathered(
            store.attempts(study_id=study_id, visit=options.visit, wiped=True, limit=limit)
        )
    entries = _records.after(found, options.since)[: options.limit]
    code = int(ExitCode.DONE)
    if damage is not None:
        code = int(damage.code)
        say(f"{damage.message} {damage.next_step}")
    if options.json:
        for entry in entries:
            print_json(_plain(entry))
        return code
    if options.store == "demo":
        say("Demonstration: these are no persons' records.")
    if not entries:
        say("There is no such record.")
        return code
    head = ("No.", "When", "Study id", "Try", "Result", "Operator", "Recorder")
    print(_records.columns(head, [_row(entry) for entry in entries], right=(0, 3)))
    return code


def run_show(options: argparse.Namespace) -> int:
    """Show one record, or its tombstone."""
    options.study_id = options.visit = None
    options.seq = [options.seq]
    with _records.opened(options) as store:
        (entry,) = _records.chosen(store, options, wiped=True)
        stored = None if entry.wiped or entry.damaged else store.read(entry.seq)
    if options.json:
        later = {} if stored is None else {name: [_said(one) for one in said] for name, said in _later(stored).items()}
        print_json({**_plain(entry), "facts": dict(entry.facts), **later})
    elif stored is None:
        state = "was wiped: only this tombstone is left" if entry.wiped else "is damaged and cannot be read"
        print(f"Record {entry.seq} {state}.\n{'When':12}  {_records.when(entry)}\n{'Hash':12}  {entry.hash}")
    else:
        print("\n".join(_lines(stored)))
    return int(ExitCode.DONE)


def _plain(entry: "Entry") -> dict[str, Any]:
    facts = entry.facts
    result = facts.get("result") or {}
    about = facts.get("record") or {}
    visit = facts.get("visit") or {}
    return {
        "schema": SCHEMA,
        "seq": entry.seq,
        "at": entry.at,
        "clock_set": entry.clock_set,
        "boot": entry.boot,
        "wiped": entry.wiped,
        "damaged": entry.damaged,
        "study_id": visit.get("study_id"),
        "visit": visit.get("id"),
        "attempt": facts.get("number"),
        "operator": visit.get("operator"),
        "ended": facts.get("ended"),
        "outcome": result.get("outcome"),
        "device": about.get("device"),
        "origin": about.get("origin"),
        "duration_s": about.get("duration_s"),
        "hash": entry.hash,
    }


def _row(entry: "Entry") -> tuple[Any, ...]:
    facts = entry.facts
    if not facts:
        return (entry.seq, _records.when(entry), "-", "-", _records.ended(entry), "-", "-")
    visit, about = facts["visit"], facts["record"] or {}
    study_id = visit["study_id"] + (" (corrected)" if facts["original_study_id"] else "")
    return (
        entry.seq,
        _records.when(entry),
        study_id,
        facts["number"],
        _records.ended(entry),
        visit["operator"] or "-",
        about.get("device") or "-",
    )


def _lines(stored: "Stored") -> list[str]:
    entry, attempt = stored.entry, stored.attempt
    visit, record, result = attempt.visit, attempt.record, attempt.result
    pacemaker = {True: "yes", False: "no", None: "not known"}[visit.pacemaker]
    lines = [
        ("Record", entry.seq),
        ("When", _records.when(entry)),
        ("Study id", visit.study_id),
        ("Visit", f"{visit.id}, attempt {attempt.number}"),
        ("Operator", visit.operator or "-"),
        ("Person", f"{visit.age_band}; pacemaker: {pacemaker}; consent: {'yes' if visit.consent else 'no'}"),
    ]
    if original := entry.facts.get("original_study_id"):
        lines.append(("First typed", original))
    if visit.note:
        lines.append(("Note", visit.note))
    if record is not None:
        missing = 100 * float(record.gaps.any(axis=0).mean()) if record.n_samples else 0.0
        length = f"{record.duration_s:.1f} s of {', '.join(record.leads)} at {record.fs_hz:g} Hz"
        lines.append(("Recording", f"{length}, {missing:.1f} % missing, {record.amplitude}, {record.origin}"))
        lines.append(("Recorder", record.meta.get("device") or "not known"))
    lines.append(("Ended", _records.ended(entry) + (f": {attempt.detail}" if attempt.detail else "")))
    if result is not None:
        lines.append(("Result", result.wording.headline))
        lines.append(("Advice", result.wording.advice))
        lines += [("", note) for note in result.wording.notes]
        lines += [
            (
                name.replace("_", " "),
                task.outcome
                + ("" if task.probability is None else f", probability {task.probability:.3f}")
                + (f"; {task.reason}" if task.reason else ""),
            )
            for name, task in result.tasks.items()
        ]
        lines.append(("Model", f"{result.model.id}, {result.model.runtime or 'did not run'}"))
    lines.append(("Software", entry.facts["software_version"]))
    lines.append(("Hash", entry.hash))
    for name, said in _later(stored).items():
        for one in said:
            label = name.replace("_", "-").rstrip("s").capitalize()
            lines.append((label, f"{_records.when(one)}, {_told(one)}"))
    width = max(len(name) for name, _ in lines)
    return [f"{name:{width}}  {_records.plain(value)}".rstrip() for name, value in lines]


def _later(stored: "Stored") -> "dict[str, list[Entry]]":
    return {"amendments": stored.amendments, "over_reads": stored.over_reads, "outcomes": stored.outcomes}


def _said(entry: "Entry") -> dict[str, Any]:
    return {"seq": entry.seq, "at": entry.at, "clock_set": entry.clock_set, "facts": dict(entry.facts)}


def _told(entry: "Entry") -> str:
    from lsemvae_edge import followup

    facts = entry.facts
    if entry.damaged:
        return "damaged"
    if "study_id" in facts:
        return f"by {facts['operator']}: study id {facts['before']} became {facts['study_id']}; {facts['reason']}"
    finding = followup.from_facts(facts.get("reading") or facts["finding"])
    return f"by {facts['operator']}: {followup.described(finding)}"
