"""``bench aarch64``: a bundle's model files on emulated ARM processors."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("aarch64", help="a bundle's files on emulated ARM processors, beside this machine")
    parser.add_argument("--bundle", type=Path, help="bundle to run (default: the one that ships with the package)")
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder of the emulated system, kept")
    parser.add_argument(
        "--cpus",
        type=lambda text: tuple(text.split(",")),
        metavar="NAME,NAME",
        help="processors as qemu names them (default: cortex-a53,cortex-a72,cortex-a76)",
    )
    parser.add_argument(
        "--release",
        action="append",
        default=[],
        metavar="NAME==VERSION",
        help="a runtime's release to try instead of the tested one",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="result file to write")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one row for each processor, runtime and file; fail if one of them differs."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge.benchmarks import aarch64, proof

    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    releases = {}
    for text in options.release:
        name, equals, version = text.partition("==")
        if not equals:
            raise UsageError(f"A release is NAME==VERSION, not {text!r}.")
        releases[name] = version
    rows = aarch64.compare(bundle, options.work, options.cpus or aarch64.CPUS, releases, say)
    if options.out:
        figures = {"bundle": bundle.spec.id, "sha256": bundle.sha256, "rows": [asdict(row) for row in rows]}
        proof.write(options.out, "aarch64", figures)
    if options.json:
        for row in rows:
            print_json(asdict(row))
    else:
        print(aarch64.table(rows))
    return int(ExitCode.DONE if rows and all(row.passed for row in rows) else ExitCode.BUNDLE_REFUSED)
