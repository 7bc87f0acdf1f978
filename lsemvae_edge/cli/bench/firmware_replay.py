"""``bench firmware-replay``: recordings on emulated boards, bit for bit as on this machine."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("firmware-replay", help="recordings on emulated boards, bit for bit as on this machine")
    parser.add_argument(
        "--bundle", type=Path, action="append", metavar="PATH",
        help="quantized bundle, more than once for several (default: the one that ships with the package)",
    )  # fmt: skip
    parser.add_argument("--board", action="append", default=[], metavar="NAME", help="this board alone; repeatable")
    parser.add_argument("--first", type=int, metavar="N", help="the first recordings alone (default: folds 9 and 10)")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/firmware"), metavar="DIR",
        help="where the firmware folders are written and built (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="result file to write")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print how much is the same on each board; fail if anything differs. No label is looked at."""
    try:
        from lsemvae_edge import bundle as bundles
        from lsemvae_edge.benchmarks import firmware, firmware_parity, firmware_replay, proof
    except ImportError as error:
        raise MissingExtraError("bench firmware-replay", "export") from error
    on = firmware.chosen(options.board)
    named = [bundles.load(path) for path in options.bundle] if options.bundle else [bundles.default()]
    listed, signals = firmware_parity.judged(first=options.first)
    rows = [row for one in named for row in firmware_replay.measure(one, listed, signals, options.work, on, say)]
    if options.out is not None:
        proof.write(options.out, "firmware-replay", {"rows": rows})
    if options.json:
        for row in rows:
            print_json(row)
    else:
        print(firmware_replay.markdown(rows))
    return int(ExitCode.DONE if rows and firmware_replay.passed(rows) else ExitCode.BUNDLE_REFUSED)
