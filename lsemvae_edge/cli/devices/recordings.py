"""``devices record`` and ``devices replay``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.devices import _options
from lsemvae_edge.errors import BadInputError, ExitCode, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.record import Record


def add(parts: Commands) -> None:
    """Describe the commands."""
    record = parts.add_parser("record", help="record from an enrolled recorder into a file")
    record.add_argument("--device", default="auto", metavar="ADDRESS", help="default: the one enrolled in range")
    record.add_argument("--seconds", type=float, default=30.0, help="length (default %(default)s)")
    record.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to; its ending says the format")
    record.add_argument(
        "--fs", type=float, metavar="HZ", help="sampling rate to ask for (default: the recorder's usual one)"
    )
    record.add_argument("--keep-journal", action="store_true", help="keep what was received, byte for byte, beside it")
    _options.add_adapter(record)
    replay = parts.add_parser("replay", help="decode a journal again")
    replay.add_argument("journal", type=Path)
    replay.add_argument("--out", type=Path, metavar="FILE", help="where to; several parts get numbers")
    for parser, run in ((record, run_record), (replay, run_replay)):
        add_json(parser)
        parser.set_defaults(run=run)


def run_record(options: argparse.Namespace) -> int:
    """Record for a while; what arrived before an error stays in the journal, which is named."""
    if options.seconds <= 0:
        raise UsageError(f"A recording lasts longer than {options.seconds:g} s.")
    from lsemvae_edge.cli.devices import _live

    return _live.run(_record(options))


async def _record(options: argparse.Namespace) -> int:
    from lsemvae_edge.cli.devices import _live
    from lsemvae_edge.device.capture import NEWEST_S, judged

    journal = options.out.with_name(f"{options.out.name}.lsej")
    async with (
        _live.radio(options) as radio,
        _live.recording(radio, options, journal, options.seconds) as live,
    ):
        display = _live.Display(live)
        async for progress in live:
            display(judged(progress, live.record(NEWEST_S) if progress.seconds else None))
        display.close()
        records = [*live.parts, live.record()]
    _write(records, options)
    if not options.keep_journal:
        journal.unlink()
    return int(ExitCode.DONE)


def run_replay(options: argparse.Namespace) -> int:
    """Decode a journal with the driver of today."""
    from lsemvae_edge.device.replay import replay

    records = replay(options.journal)
    if not records:
        raise BadInputError(f"{options.journal} holds no samples.", "Record again.")
    _write(records, options)
    return int(ExitCode.DONE)


def _write(records: "list[Record]", options: argparse.Namespace) -> None:
    from lsemvae_edge import formats

    for number, record in enumerate(records, 1):
        path = options.out
        if path is not None:
            path = path if len(records) == 1 else path.with_stem(f"{path.stem}-{number}")
            formats.write(record, path)
        missing = float(record.gaps.any(axis=0).mean())
        facts = {
            "path": None if path is None else str(path),
            "id": record.meta.get("id"),
            "device": record.meta.get("device"),
            "origin": record.origin,
            "duration_s": record.duration_s,
            "fs_hz": record.fs_hz,
            "leads": list(record.leads),
            "missing": missing,
            "sha256": record.sha256(),
        }
        if options.json:
            print_json({"schema": "lsemvae-edge/recorded/1", **facts})
        else:
            kept = "" if path is None else f"{path}: "
            print(
                f"{kept}{record.duration_s:.1f} s of {', '.join(record.leads)} at {record.fs_hz:g} Hz, "
                f"{100 * missing:.2f} % missing"
            )
            if record.origin == "simulated":
                say("Simulated: this is no person's recording.")
