"""``bench disk-full``: nothing earlier is lost, and the message is clear, when the disk fills up at a write point."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, StoreError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("disk-full", help="fill a small file system at every write point of a kiosk")
    parser.add_argument("--point", action="append", metavar="NAME", help="may be repeated (default: all)")
    parser.add_argument("--step", type=int, default=8192, help="bytes from try to try (default %(default)s)")
    parser.add_argument(
        "--file-system",
        choices=("tmpfs", "ext4"),
        default="tmpfs",
        help="in memory, or ext4 on a loop mount, for which one must be root (default %(default)s)",
    )
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fill, try, look, and print what came of it."""
    from lsemvae_edge.benchmarks import disk_full, proof

    points = tuple(options.point or disk_full.POINTS)
    if unknown := set(points) - set(disk_full.POINTS):
        raise UsageError(f"There is no write point {', '.join(unknown)}.", f"Choose: {', '.join(disk_full.POINTS)}.")
    if options.step < 1:
        raise UsageError(f"A step is at least 1 byte, not {options.step}.")
    figures = disk_full.measure(say, points, options.step, options.file_system)
    if options.out:
        proof.write(options.out, "disk full", figures)
    if options.json:
        print_json(figures)
    else:
        for name, point in figures["points"].items():
            print(f"{name}: {point['refused']} of {point['tries']} tries refused; {' / '.join(point['messages'])}")
        print(f"{figures['file_system']}: {len(figures['findings'])} findings")
    if figures["findings"]:
        raise StoreError(f"A full disk did harm: {figures['findings'][0]}", "See `findings` in the result (--json).")
    return int(ExitCode.DONE)
