"""``bench leaks``: nothing that a kiosk leaves on its disk tells a study id or a waveform."""

import argparse
import importlib.util
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import BadInputError, ExitCode, MissingExtraError, StoreError, UsageError


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "leaks",
        help="search what a kiosk leaves on its disk for a study id and a waveform",
        description="Without --study-id and --recording a kiosk is let work, and killed; another goes through "
        "a session in a real browser, and prints; then all they left is searched.",
    )
    parser.add_argument("path", nargs="*", type=Path, help="also search these: a browser's profile, a spool")
    parser.add_argument("--study-id", metavar="ID", help="search the paths alone, for this study id")
    parser.add_argument("--recording", type=Path, metavar="FILE", help="search the paths alone, for this recording")
    parser.add_argument("--without-browser", action="store_true", help="leave the session before a browser out")
    parser.add_argument("--out", type=Path, help="also write a result file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Search, and print what was found."""
    from lsemvae_edge.benchmarks import leaks, proof

    if missing := [str(path) for path in options.path if not path.exists()]:
        raise BadInputError(f"There is no {missing[0]}.", "Name a file or a folder that exists.")
    if options.study_id or options.recording:
        if not options.path:
            raise UsageError("There is nothing to search.", "Name the folders.")
        from lsemvae_edge import formats

        wanted = leaks.Wanted(
            leaks.forms_of_id(options.study_id) if options.study_id else {},
            {"the recording": leaks.stretch_of(formats.read(options.recording))} if options.recording else {},
        )
        figures = leaks.look(options.path, wanted)
    else:
        if not options.without_browser and importlib.util.find_spec("playwright") is None:
            raise MissingExtraError("bench leaks", "dev")
        figures = leaks.measure(say, options.path, browser=not options.without_browser)
    if options.out:
        proof.write(options.out, "leaks", figures)
    if options.json:
        print_json(figures)
    else:
        print(
            f"{figures['files']} files, {figures['bytes']} bytes searched for {figures['forms_of_ids']} forms of ids "
            f"and {figures['stretches']} stretches of recordings: {len(figures['findings'])} findings;"
        )
        if session := figures.get("browser"):
            printed = "no print service" if session["printed"] is None else f"{session['printed']} printed"
            print(
                f"session before a browser: {session['recorded']} recorded, {printed}, {session['files']} files, "
                f"{session['bytes']} bytes; {len(session['planted'])} kinds of planted things looked for"
            )
        print(f"{len(figures['control_missed'])} planted forms missed; swap: {', '.join(figures['swap']) or 'none'}")
    if figures["findings"] or figures["control_missed"]:
        first = (figures["findings"] or figures["control_missed"])[0]
        raise StoreError(f"The search did not pass: {first}", "See `findings` and `control_missed` in the result.")
    return int(ExitCode.DONE)
