"""``runtime``: parts of a runtime that are made where it runs."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode

_BUILT = ("executorch",)


def add(commands: Commands) -> None:
    """Describe the command and its parts."""
    parser = commands.add_parser("runtime", help="build what a runtime needs on this machine")
    parts = parser.add_subparsers(dest="part", required=True, metavar="PART")
    build = parts.add_parser("build", help="compile the shim that lets ExecuTorch run without torch")
    build.add_argument("runtime", choices=_BUILT, help="the runtime to build for")
    build.add_argument(
        "--site-packages",
        type=Path,
        metavar="DIR",
        help="folder that holds another wheel, of another processor perhaps (default: this environment's)",
    )
    build.add_argument("--out", type=Path, metavar="DIR", help="folder of the shim (default: this environment's)")
    build.add_argument(
        "--compiler", metavar="COMMAND", help="C++ compiler, a cross compiler perhaps (default: CXX, or g++)"
    )
    add_json(build)
    build.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build the shim and say where it lies."""
    from lsemvae_edge.runtime import build

    path = build.build(options.site_packages, options.out, options.compiler)
    if options.json:
        print_json({"schema": "lsemvae-edge/runtime-build/1", "runtime": options.runtime, "path": str(path)})
    else:
        print(f"Built {path}")
    return int(ExitCode.DONE)
