"""``bench store-kills``: what was shown as saved is there after SIGKILL at any moment."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, StoreError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("store-kills", help="kill a process that records, screens, stores and exports")
    parser.add_argument("--kills", type=int, default=100, help="kills in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default %(default)s)")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Kill, look, and print what came of it; a lost or half record is an error."""
    from lsemvae_edge.benchmarks import proof, store_kills

    if options.kills < 1:
        raise UsageError(f"At least one kill is needed, not {options.kills}.")
    figures = store_kills.measure(options.kills, options.seed, say)
    if options.out:
        proof.write(options.out, "store kills", figures)
    if options.json:
        print_json(figures)
    else:
        moments = ", ".join(f"{count} while {what}" for what, count in figures["moments"].items())
        print(f"{figures['kills']} kills ({moments}): {figures['saved']} entries were shown as saved,")
        print(
            f"{figures['stored_not_yet_shown']} more had been stored; {figures['journals_read_back']} cut-off "
            f"recordings were read back; {len(figures['findings'])} findings"
        )
    if figures["findings"]:
        raise StoreError(f"A kill did harm: {figures['findings'][0]}", "See `findings` in the result (--json).")
    return int(ExitCode.DONE)
