"""``records export``: records as files for other systems."""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, print_json, say
from lsemvae_edge.cli.records import _records
from lsemvae_edge.errors import ExitCode, LsemvaeError, StoreError, UsageError
from lsemvae_edge.language import LANGUAGES

if TYPE_CHECKING:
    from lsemvae_edge.store import Entry, Store

SCHEMA = "lsemvae-edge/exported/1"
FORMATS = ("pdf", "fhir", "dicom", "edf", "csv", "json")
"""Those of `lsemvae_edge.exchange`, which is not imported to describe the command."""


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "export",
        help="write records as PDF, FHIR, DICOM, EDF, CSV or JSON",
        description="Files are named by the records' numbers alone; what is in them names the study id.",
    )
    _records.add_choice(parser)
    parser.add_argument("--all", action="store_true", help="all records that are there")
    parser.add_argument("--since", metavar="DAY", help="since this day; those of a clock that was not set as well")
    parser.add_argument(
        "--format", default="pdf", metavar="NAMES", help=f"one or more of {','.join(FORMATS)} (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to")
    parser.add_argument("--replace", action="store_true", help="files of the same name may be overwritten")
    parser.add_argument("--language", choices=tuple(LANGUAGES), default="en", help="of PDFs (default %(default)s)")
    _records.add_store(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export, once the store has noted it; a record that a format cannot hold does not stop the rest."""
    from lsemvae_edge import exchange
    from lsemvae_edge.kiosk import settings

    wanted, site = _formats(options.format), settings.read().site
    several = options.all or options.since is not None
    if several and (options.seq or options.study_id or options.visit):
        raise UsageError("Choose records, or --all, or --since.", "Leave out one of them.")
    worst = int(ExitCode.DONE)
    written: Counter[str] = Counter()
    with _records.opened(options) as store:
        if several:
            found, damage = _records.gathered(store.attempts(newest_first=False))
            entries = [entry for entry in _records.after(found, options.since) if not entry.damaged]
            if damage is not None or any(entry.damaged for entry in found):
                worst = int(ExitCode.STORE)
                say("Some records are damaged and left out; run `lsemvae-edge records verify`.")
        else:
            entries = _records.chosen(store, options)
        _make(options.out)
        # First noted, then given out: no file without its line in the log.
        store.note("export", {"seqs": [entry.seq for entry in entries], "formats": wanted}, operator=_records.who())
        for entry in entries:
            for name in wanted:
                try:
                    content = _content(store, entry, name, options.language, site)
                except LsemvaeError as error:
                    if len(entries) == len(wanted) == 1:
                        raise
                    worst = max(worst, int(error.code))
                    say(f"Record {entry.seq} as {name}: {error.message}")
                    continue
                path = options.out / f"record-{entry.seq:06}{exchange.suffix(name)}"
                _write(path, content, replace=options.replace)
                written[name] += 1
                if options.json:
                    print_json({"schema": SCHEMA, "seq": entry.seq, "format": name, "path": str(path)})
    if not options.json:
        told = ", ".join(f"{count} {name}" for name, count in written.items()) or "nothing"
        print(f"Wrote {told} to {options.out}")
    if options.store == "demo":
        say("Demonstration: these are no persons' records.")
    return worst


def _formats(text: str) -> list[str]:
    named = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in FORMATS]
    if unknown or not named:
        raise UsageError(
            f"There is no format {', '.join(unknown) or repr(text)}.", f"Choose among {', '.join(FORMATS)}."
        )
    return list(dict.fromkeys(named))


def _content(store: "Store", entry: "Entry", name: str, language: str, site: str) -> bytes:
    from lsemvae_edge import exchange

    stored = store.read(entry.seq)
    return exchange.export(stored, name, language=language, site=site, synthetic=store.kind == "demo")


def _write(path: Path, content: bytes, *, replace: bool) -> None:
    from lsemvae_edge.report.files import put

    try:
        put(path, content, replace=replace)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already.", "Name another folder, or add --replace.") from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}.", "Free space, or name another folder."
        ) from error


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}.", "Name another folder.") from error
