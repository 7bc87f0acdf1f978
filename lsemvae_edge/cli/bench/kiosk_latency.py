"""``bench kiosk-latency``: how soon the kiosk's server answers, and what memory it needs."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import DeviceError, ExitCode, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("kiosk-latency", help="from the last sample to the result, from the start to the page")
    parser.add_argument("--times", type=int, default=20, help="starts, and screenings (default %(default)s)")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Start, screen, and print; a broken promise is an error."""
    from lsemvae_edge.benchmarks import kiosk_speed, proof

    if options.times < 1:
        raise UsageError(f"At least one start is needed, not {options.times}.")
    figures = kiosk_speed.measure(options.times, say)
    if options.out:
        proof.write(options.out, "kiosk latency", figures)
    if options.json:
        print_json(figures)
    else:
        print(f"from the last sample to the result: {figures['result_ms']['median']} ms")
        print(f"from the start to the first page: {figures['first_page_s']['median']} s")
        memory = figures["server_pss_mb"]
        print(f"server: {memory['idle']} MB idle, {memory['highest']} MB at most while recording")
    if figures["broken"]:
        raise DeviceError(f"The kiosk was too slow: {'; '.join(figures['broken'])}.", "See the result (--json).")
    return int(ExitCode.DONE)
