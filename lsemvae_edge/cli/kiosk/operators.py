"""``kiosk operators``: who may sign in."""

import argparse

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.cli.kiosk import _secrets
from lsemvae_edge.errors import ExitCode


def add(parts: Commands) -> None:
    """Describe the commands."""
    parser = parts.add_parser("operators", help="add, remove and list who may sign in")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="list codes and roles")
    added = actions.add_parser("add", help="add an operator")
    removed = actions.add_parser("remove", help="remove an operator; their records stay")
    pin = actions.add_parser("pin", help="give an operator a new PIN")
    for one in (added, removed, pin):
        one.add_argument("code", metavar="CODE", help="1 to 12 letters, digits or hyphens; no name")
    added.add_argument("--supervisor", action="store_true", help="may also correct a wrong study id at the kiosk")
    for one in (added, pin):
        one.add_argument("--pin-file", metavar="FILE", help="file with the PIN; `-` for standard input")
    for one, run in ((listed, run_list), (added, run_add), (removed, run_remove), (pin, run_pin)):
        add_json(one)
        one.set_defaults(run=run)


def run_list(options: argparse.Namespace) -> int:
    """List who may sign in."""
    from lsemvae_edge.kiosk import operators

    found = sorted(operators.read().operators, key=lambda one: one.code)
    for one in found:
        _tell(options, one.code, one.role)
    if not found and not options.json:
        print("No operator is set up: nobody has to sign in.")
    return int(ExitCode.DONE)


def run_add(options: argparse.Namespace) -> int:
    """Add an operator."""
    from lsemvae_edge.kiosk import operators

    pin = _secrets.read(f"PIN of {options.code.upper()}, 4 to 8 digits", options.pin_file, "--pin-file")
    one = operators.add(options.code, pin, "supervisor" if options.supervisor else "operator")
    _tell(options, one.code, one.role)
    return int(ExitCode.DONE)


def run_remove(options: argparse.Namespace) -> int:
    """Remove an operator."""
    from lsemvae_edge.kiosk import operators

    one = operators.remove(options.code)
    _tell(options, one.code, one.role)
    return int(ExitCode.DONE)


def run_pin(options: argparse.Namespace) -> int:
    """Give an operator a new PIN."""
    from lsemvae_edge.kiosk import operators

    pin = _secrets.read(f"New PIN of {options.code.upper()}, 4 to 8 digits", options.pin_file, "--pin-file")
    one = operators.change_pin(options.code, pin)
    _tell(options, one.code, one.role)
    return int(ExitCode.DONE)


def _tell(options: argparse.Namespace, code: str, role: str) -> None:
    if options.json:
        print_json({"schema": "lsemvae-edge/operator/1", "code": code, "role": role})
    else:
        print(f"{code:12} {role}")
