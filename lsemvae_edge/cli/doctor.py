"""``doctor``: what is installed and whether it runs, whether Bluetooth can be used, and whether the store is sound."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import ExitCode

if TYPE_CHECKING:
    from lsemvae_edge.runtime import Engine

_PROBE = """
import sys
from lsemvae_edge import bundle, golden, runtime
name, path = sys.argv[1:]
found = bundle.load(path) if path else bundle.default()
format = next(engine.format for engine in runtime.ENGINES if engine.name == name)
for model in found.manifest.models:
    if model.format == format:
        checks = golden.check(found, runtime.open_session(found, name, model))
        if not all(check.passed for check in checks):
            sys.exit(9)
"""
_PROBE_S = 120.0


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("doctor", help="say what is installed and whether it runs")
    parser.add_argument("topic", nargs="?", choices=list(_TOPICS), default="runtimes")
    parser.add_argument(
        "--bundle",
        type=Path,
        help="bundle whose known answers are run, one with every format for instance (default: the shipped one)",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Examine what was asked for."""
    return _TOPICS[options.topic](options)


def runtimes(options: argparse.Namespace) -> int:
    """Say what is known of each package, and run a bundle in each runtime.

    Each runs in a child process, so that a crash becomes a sentence.
    """
    from lsemvae_edge import bundle as bundles
    from lsemvae_edge import runtime
    from lsemvae_edge.runtime import versions

    bundle = bundles.load(options.bundle) if options.bundle else bundles.default()
    formats = {model.format for model in bundle.manifest.models}
    rows = []
    for engine in runtime.ENGINES:
        verdict = versions.installed(versions.RUNTIMES[engine.name])
        rows.append({
            "runtime": engine.name,
            **_told(asdict(verdict)),
            "state": _state(engine, verdict.version, formats, options.bundle),
        })  # fmt: skip
    exporters = [_told(asdict(versions.installed(name))) for name in versions.EXPORTERS]
    if options.json:
        print_json({"schema": "lsemvae-edge/doctor/1", "runtimes": rows, "exporters": exporters})
    else:
        print("Runtimes")
        for row in rows:
            print("  " + " ".join(filter(None, (row["runtime"], _release(row)))) + f": {row['state']}")
        print("Exporters")
        for row in exporters:
            print(f"  {row['distribution']} {_release(row) or 'not installed'}")
    works = any(row["state"] == "works" for row in rows)
    return int(ExitCode.DONE if works else ExitCode.BUNDLE_REFUSED)


def bluetooth(options: argparse.Namespace) -> int:
    """Say whether this machine's Bluetooth can be used, and what to do if not."""
    from lsemvae_edge.device import health

    findings = health.examine()
    return _shown(options, "bluetooth", findings, usable=health.usable(findings), if_not=ExitCode.DEVICE)


def store(options: argparse.Namespace) -> int:
    """Say whether this machine's store can be used and is safe, and what to do if not."""
    from lsemvae_edge.cli import _store_health

    findings = _store_health.examine()
    return _shown(options, "store", findings, usable=_store_health.usable(findings), if_not=ExitCode.STORE)


_TOPICS: dict[str, Callable[[argparse.Namespace], int]] = {"runtimes": runtimes, "bluetooth": bluetooth, "store": store}


def _shown(options: argparse.Namespace, name: str, findings: Sequence[Any], *, usable: bool, if_not: ExitCode) -> int:
    if options.json:
        rows = [asdict(finding) for finding in findings]
        print_json({"schema": "lsemvae-edge/doctor/1", "usable": usable, name: rows})
    else:
        print(name.capitalize())
        for finding in findings:
            print(f"  {finding.state:<4} {finding.name}: {finding.sentence}")
            if finding.next_step:
                print(f"       {finding.next_step}")
        print("It can be used." if usable else "It cannot be used.")
    return int(ExitCode.DONE if usable else if_not)


def _told(verdict: dict[str, Any]) -> dict[str, Any]:
    return {"release" if name == "state" else name: value for name, value in verdict.items()}


def _release(row: dict[str, Any]) -> str:
    if row["version"] is None:
        return ""
    return f"{row['version']} ({row['release']}{': ' if row['reason'] else ''}{row['reason'] or ''})"


def _state(engine: "Engine", version: str | None, formats: set[Any], bundle: Path | None) -> str:
    if version is None:
        return "not installed"
    if not engine.installed:
        return f"installed, and not ready: {engine.install}"
    if engine.format not in formats:
        return f"installed; the bundle holds no .{engine.format} to try, name one with --bundle"
    return _try(engine.name, bundle)


def _try(name: str, bundle: Path | None) -> str:
    import subprocess

    command = [sys.executable, "-c", _PROBE, name, str(bundle or "")]
    try:
        # The child runs this package's own code with the interpreter that runs us.
        child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROBE_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"does not end within {_PROBE_S:g} s; install another version of it"
    if child.returncode == 0:
        return "works"
    if child.returncode < 0:
        return f"crashed with signal {-child.returncode}; install another version of it"
    if child.returncode == 9:
        return "runs, but its numbers are not the bundle's; do not use it"
    last = child.stderr.strip().splitlines()
    return f"does not run: {last[-1] if last else f'exit code {child.returncode}'}"
