"""``kiosk units``: unit files of systemd, filled in for this machine."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.errors import ExitCode, UsageError

ETC = Path("/etc")
_NEXT = """Next, as root:
  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload
  sudo -H -u lsemvae-edge {program} kiosk setup
  systemctl enable --now lsemvae-edge-kiosk lsemvae-edge-browser   # or lsemvae-edge-terminal"""


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser("units", help="write the unit files that start the kiosk with the machine")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help="write them there, in folders as below /etc")
    where.add_argument("--install", action="store_true", help="write them below /etc; needs root")
    parser.add_argument("--program", type=Path, metavar="PATH", help="the program that they start")
    parser.add_argument(
        "--compositor", metavar="COMMAND", help="what gives the browser its screen (default: cage -s --)"
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="PATH", help="where the passphrase of the store's key lies at start"
    )
    parser.add_argument(
        "--network",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="results go to a server (default: as the kiosk's settings say)",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write them, and say what comes next."""
    from lsemvae_edge.kiosk import unit_files

    program = options.program or unit_files.program()
    files = unit_files.filled_in(
        starting=program,
        under=options.compositor,
        passphrase_file=options.passphrase_file,
        with_network=_has_server() if options.network is None else options.network,
    )
    root = ETC if options.install else options.out
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is not a folder.", "Name a folder.")
    for path in unit_files.write(files, root):
        if options.json:
            print_json({"schema": "lsemvae-edge/unit/1", "path": str(path)})
        else:
            print(path)
    if options.install and not options.json:
        say(_NEXT.format(program=program))
    return int(ExitCode.DONE)


def _has_server() -> bool:
    """Return whether the kiosk sends results; root, who installs units, has other settings than the kiosk's user."""
    import os

    from lsemvae_edge.kiosk import settings, unit_files

    variable = settings.VARIABLE
    if variable in os.environ or not unit_files.SETTINGS.exists():
        return settings.read().fhir is not None
    os.environ[variable] = str(unit_files.SETTINGS)
    try:
        return settings.read().fhir is not None
    finally:
        del os.environ[variable]
