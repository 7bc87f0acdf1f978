"""The command line: the one place that may use every room, each only when its command is called."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lsemvae_edge import __version__
from lsemvae_edge.cli import (
    bench,
    bundle,
    devices,
    doctor,
    export,
    kiosk,
    quantize,
    records,
    runtime,
    screen,
    train,
    verify,
)
from lsemvae_edge.errors import ExitCode, LsemvaeError, UsageError

ERROR_SCHEMA = "lsemvae-edge/error/1"
COMMANDS = (screen, records, kiosk, devices, train, quantize, export, verify, bundle, bench, doctor, runtime)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        An `ExitCode`; 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A kiosk's console may know fewer characters than a device's name holds.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python flushes once more at exit, into the reader that went away.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.DONE)
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except LsemvaeError as error:
        report_error(error, as_json="--json" in arguments)
        return int(error.code)


def report_error(error: LsemvaeError, *, as_json: bool) -> None:
    """Print an error: one JSON object on standard output, or two lines on standard error."""
    if as_json:
        print(json.dumps(error_object(error), ensure_ascii=False))
    else:
        print(f"lsemvae-edge: {error.message}\n{error.next_step}", file=sys.stderr)


def error_object(error: LsemvaeError) -> dict[str, object]:
    """Return an error as plain JSON values under its schema."""
    return {
        "schema": ERROR_SCHEMA,
        "code": int(error.code),
        "message": error.message,
        "next_step": error.next_step,
    }


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage as an error of the package, so that ``--json`` holds for it too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # An abbreviated --json would be obeyed by the command and missed by the error.
        super().__init__(*args, **{**options, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"Run `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lsemvae-edge",
        description="Six-lead ECG screening. Research software, not a medical device.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        command.add(commands)
    return parser
