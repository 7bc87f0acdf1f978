"""``bench power-cuts``: what was shown as saved is there after the power of a guest was cut."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, StoreError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "power-cuts",
        help="cut the power of a QEMU guest that stores records, look at what is there",
        description="Needs Debian's qemu-system-x86, busybox-static, e2fsprogs, and a Linux kernel with modules.",
    )
    parser.add_argument("--kills", type=int, default=20, help="power cuts in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and losses (default %(default)s)")
    parser.add_argument("--without-sync", action="store_true", help="do not wait for the disk: must fail")
    parser.add_argument("--out", type=Path, help="also write a result file, anew after every disk")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Cut, look, and print what came of it; a lost or half record is an error."""
    from lsemvae_edge.benchmarks import power_cuts, proof

    if options.kills < 1:
        raise UsageError(f"At least one kill is needed, not {options.kills}.")

    def checkpoint(figures: Mapping[str, Any]) -> None:
        if options.out:
            proof.write(options.out, "power cuts", figures)

    figures = power_cuts.measure(options.kills, options.seed, say, sync=not options.without_sync, checkpoint=checkpoint)
    if options.json:
        print_json(figures)
    else:
        print(f"{figures['kills']} power cuts on {figures['disks']} disks: {figures['saved']} entries shown as saved,")
        print(
            f"{figures['stored_not_yet_shown']} more had been stored; {figures['journals_read_back']} cut-off "
            f"recordings were read back; {len(figures['findings'])} findings"
        )
    if figures["findings"]:
        raise StoreError(f"A power cut did harm: {figures['findings'][0]}", "See `findings` in the result (--json).")
    return int(ExitCode.DONE)
