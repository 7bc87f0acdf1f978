"""``bench drawing``: what the kiosk's live traces cost a slow browser."""

import argparse
import importlib.util
import re
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import DeviceError, ExitCode, MissingExtraError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "drawing",
        help="what live traces cost a browser that is slowed down, and its memory",
        description="Fails when traces were not live throughout or, in runs of five minutes and more, memory grew.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of live traces (default %(default)s)")
    parser.add_argument("--slower", type=float, default=4.0, help="slow the browser down so much (default %(default)s)")
    parser.add_argument("--size", default="800x480", metavar="WxH", help="of the screen (default %(default)s)")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Record and draw for so long."""
    if importlib.util.find_spec("playwright") is None:
        raise MissingExtraError("bench drawing", "dev")
    from lsemvae_edge.benchmarks import drawing_live, proof

    size = re.fullmatch(r"(\d{2,5})x(\d{2,5})", options.size)
    if size is None:
        raise UsageError(f"A size is like 800x480, not {options.size}.")
    if options.minutes <= 0 or options.slower < 1:
        raise UsageError("Minutes are above 0, and a browser is slowed down once or more.")
    figures = drawing_live.measure(options.minutes, (int(size[1]), int(size[2])), options.slower, say)
    if options.out:
        proof.write(options.out, "drawing", figures)
    if options.json:
        print_json(figures)
    else:
        cost, memory = figures["main_thread_ms_per_frame"], figures["memory_pss_mb"]
        print(
            f"{figures['frames']} frames, {figures['dropped']} dropped; main thread {cost['median']} ms a frame "
            f"(95 %: {cost['p95']} ms) at {figures['slower']:g} x; browser and program {memory['highest']} MB"
        )
        heap, server = figures["heap_mb"], figures["server_rss_mb"]
        print(
            f"second half: server {server['slope_mb_per_min']:+} MB/min ({server['first']} to {server['last']} MB), "
            f"heap {heap['slope_mb_per_min']:+} ({heap['first']} to {heap['last']} MB); "
            + (f"flat is {drawing_live.FLAT_MB_PER_MIN:g} at most" if figures["judged"] else "too short to judge")
        )
    if figures["broken"]:
        raise DeviceError(f"Live drawing does not hold: {'; '.join(figures['broken'])}.", "See the result (--json).")
    return int(ExitCode.DONE)
