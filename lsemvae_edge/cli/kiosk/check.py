"""``kiosk check``: what should be put right before the first person."""

import argparse
from collections.abc import Callable
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode

ETC = Path("/etc")


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "check",
        help="say what should be put right: printer, page, machine, units",
        description="Exit 0 if nothing was found, else 6. `lsemvae-edge doctor` examines the rest.",
    )
    parser.add_argument("--topic", choices=list(_TOPICS), action="append", help="look at this alone; may be repeated")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look at everything, or at what was named."""
    count = 0
    for topic in options.topic or _TOPICS:
        found = _TOPICS[topic]()
        count += len(found)
        if options.json:
            print_json({"schema": "lsemvae-edge/kiosk-check/1", "topic": topic, "findings": found})
            continue
        print(f"{topic.capitalize()}: {'nothing to put right' if not found else ''}".rstrip())
        for sentence in found:
            print(f"  - {sentence}")
    return int(ExitCode.DEVICE if count else ExitCode.DONE)


def _printer() -> list[str]:
    from lsemvae_edge.kiosk import printing, settings

    return printing.check(settings.read().printer)


def _page() -> list[str]:
    from lsemvae_edge.kiosk import machine

    return machine.screen_findings()


def _machine() -> list[str]:
    from lsemvae_edge.kiosk import machine

    return machine.findings()


def _units() -> list[str]:
    from lsemvae_edge.kiosk import unit_files

    return unit_files.findings(ETC)


_TOPICS: dict[str, Callable[[], list[str]]] = {
    "printer": _printer, "page": _page, "machine": _machine, "units": _units,
}  # fmt: skip
