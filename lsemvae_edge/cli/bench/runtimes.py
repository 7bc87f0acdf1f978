"""``bench runtimes``: what each runtime costs on this machine."""

import argparse
from dataclasses import asdict
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("runtimes", help="load, run and memory of each runtime in fresh processes")
    parser.add_argument("--bundle", type=Path, help="bundle to run (default: the one that ships with the package)")
    parser.add_argument("--repeats", type=int, default=10, help="counted processes of each (default %(default)s)")
    parser.add_argument(
        "--tflite-runtime-python", type=Path, metavar="PATH", help="interpreter of tflite-runtime's own environment"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="result file with every sample")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one row for each runtime and file."""
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge.benchmarks import proof, runtimes
    from lsemvae_edge.runtime import versions

    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    costs = runtimes.measure(bundle, options.repeats, options.tflite_runtime_python, say)
    if options.out:
        figures = {
            "bundle": bundle.spec.id,
            "sha256": bundle.sha256,
            "versions": {name: versions.installed(name).version for name in ("numpy", *versions.RUNTIMES.values())},
            "rows": [asdict(cost) for cost in costs],
        }
        proof.write(options.out, "runtimes", figures)
    if options.json:
        for cost in costs:
            print_json(asdict(cost))
    else:
        print(runtimes.table(costs))
    return int(ExitCode.DONE)
