"""``doctor``: what is installed, and whether it runs."""

import argparse
import sys

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode

_PROBE = (
    "import sys; from lsemvae_edge import bundle, golden, runtime; b = bundle.default(); "
    "sys.exit(0 if all(c.passed for c in golden.check(b, runtime.open_session(b, sys.argv[1]))) else 9)"
)
_DISTRIBUTIONS = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime", "onnxruntime": "onnxruntime"}


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("doctor", help="say what is installed and whether it runs")
    parser.add_argument("topic", nargs="?", choices=["runtimes"], default="runtimes")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the shipped bundle once in a child process for each runtime, so that a crash becomes a sentence."""
    from importlib import metadata

    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import runtime

    formats = {model.format for model in bundles.default().manifest.models}
    found = []
    for engine in runtime.ENGINES:
        version = metadata.version(_DISTRIBUTIONS[engine.name]) if engine.installed else None
        if version is None:
            state = "not installed"
        elif engine.format not in formats:
            state = f"installed; the shipped bundle holds no .{engine.format}"
        else:
            state = _try(engine.name)
        found.append({"runtime": engine.name, "version": version, "state": state})
    if options.json:
        print_json({"schema": "lsemvae-edge/doctor/1", "runtimes": found})
    else:
        for row in found:
            print(f"{row['runtime']} {row['version'] or ''}: {row['state']}")
    works = any(row["state"] == "works" for row in found)
    return int(ExitCode.DONE if works else ExitCode.BUNDLE_REFUSED)


def _try(name: str) -> str:
    import subprocess

    # The child runs this package's own code with the interpreter that runs us.
    child = subprocess.run([sys.executable, "-c", _PROBE, name], capture_output=True, text=True, check=False)  # noqa: S603
    if child.returncode == 0:
        return "works"
    if child.returncode < 0:
        return f"crashed with signal {-child.returncode}; install another version of it"
    if child.returncode == 9:
        return "runs, but its numbers are not the bundle's; do not use it"
    last = child.stderr.strip().splitlines()
    return f"does not run: {last[-1] if last else f'exit code {child.returncode}'}"
