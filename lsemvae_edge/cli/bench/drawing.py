"""``bench drawing``: what the kiosk's live traces cost a slow browser."""

import argparse
import importlib.util
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, MissingExtraError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("drawing", help="what live traces cost a browser that is slowed down, and its memory")
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

    width, _, height = options.size.partition("x")
    figures = drawing_live.measure(options.minutes, (int(width), int(height)), options.slower, say)
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
    return int(ExitCode.DONE)
