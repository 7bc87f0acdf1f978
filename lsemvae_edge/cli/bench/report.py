"""``bench report``: everything that can be measured here in one session, and its report; or a session's report anew."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, print_json
from lsemvae_edge.cli.bench import _session
from lsemvae_edge.errors import ExitCode, LsemvaeError, UsageError

if TYPE_CHECKING:
    from lsemvae_edge.benchmarks.target.report import Files
    from lsemvae_edge.benchmarks.target.whole import Part

MINUTES, QUICK_MINUTES = 5.0, 0.5


def add(parts: Commands) -> None:
    """Describe the command."""
    report = parts.add_parser(
        "report", help="measure everything here in one session and write its report; or write the report of a session"
    )
    report.add_argument(
        "session", type=Path, nargs="?", metavar="SESSION", help="measure nothing, write the report of this folder"
    )
    report.add_argument(
        "--minutes",
        type=float,
        help=f"length of the sustained load (default {MINUTES:g}, quick {QUICK_MINUTES:g})",
    )
    report.add_argument("--final", action="store_true", help="accuracy also on fold 10, which is looked at once")
    report.add_argument("--only", metavar="PART,…", help="these parts alone")
    _session.add_recording(report)
    _session.add_plan(report)
    _session.add_options(report)
    report.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, write the report and print where it is.

    Raises
    ------
    LsemvaeError
        If a part broke; after everything else was measured and written.
    """
    from lsemvae_edge.benchmarks.target import report, whole

    if options.session is not None:
        return _written(options, report.write(options.session, options.out))
    parts = _parts(options, whole.PARTS)
    minutes = options.minutes or (QUICK_MINUTES if options.quick else MINUTES)
    plan = _session.plan_of(options, minutes=minutes, final=options.final, recording=options.recording)
    with _session.opened(options, "whole", plan.bundles) as session:
        session.fact("whole", "command", _command(options))
        defects = whole.measure(session, plan, parts)
    done = _written(options, report.write(session.folder))
    if defects:
        raise LsemvaeError(
            "Not all parts worked: " + "; ".join(f"{defect.part} ({defect.what})" for defect in defects),
            f"See {session.folder / 'log.txt'}; all other parts were measured.",
        )
    return done


def _parts(options: argparse.Namespace, known: "Sequence[Part]") -> "list[Part]":
    wanted = options.only.split(",") if options.only else [part.name for part in known]
    unknown = sorted(set(wanted) - {part.name for part in known})
    if unknown:
        names = ", ".join(part.name for part in known)
        raise UsageError(f"There is no part {', '.join(unknown)}.", f"Name some of: {names}.")
    return [part for part in known if part.name in wanted]


def _command(options: argparse.Namespace) -> str:
    """Return the command that measures the same elsewhere; of files it gives the names, not where they lie here."""
    words = ["lsemvae-edge", "bench", "report", "--out", "FOLDER"]
    words += [word for path in options.bundle or () for word in ("--bundle", path.name)]
    words += [f"--{name}" for name in ("quick", "final") if getattr(options, name)]
    for name in ("minutes", "only", "seed", "repeats", "runs"):
        if getattr(options, name) is not None:
            words += [f"--{name}", str(getattr(options, name))]
    for name in ("runtime", "precision", "threads"):
        if getattr(options, name):
            words += [f"--{name}", ",".join(map(str, getattr(options, name)))]
    for name in ("recording", "tflite_runtime_python"):
        if getattr(options, name):
            words += [f"--{name.replace('_', '-')}", getattr(options, name).name]
    return shlex.join(words)


def _written(options: argparse.Namespace, files: "Files") -> int:
    if options.json:
        figures = [str(path) for path in files.figures]
        print_json({"html": str(files.html), "markdown": str(files.markdown), "figures": figures})
    else:
        print(files.html, files.markdown, sep="\n")
    return int(ExitCode.DONE)
