"""``devices drivers`` and ``devices check-driver``."""

import argparse

from lsemvae_edge.cli._common import Commands, add_json, print_json
from lsemvae_edge.errors import DeviceError, ExitCode


def add(parts: Commands) -> None:
    """Describe the commands."""
    listed = parts.add_parser("drivers", help="list the kinds of recorder that are known")
    check = parts.add_parser("check-driver", help="hold a driver against the conformance kit")
    check.add_argument("name", help="of `devices drivers`")
    for parser, run in ((listed, run_list), (check, run_check)):
        add_json(parser)
        parser.set_defaults(run=run)


def run_list(options: argparse.Namespace) -> int:
    """List drivers with what they promise."""
    from lsemvae_edge.device import drivers

    for name in drivers.names():
        found = drivers.get(name).description
        if options.json:
            print_json({
                "schema": "lsemvae-edge/driver/1",
                "name": name,
                "title": found.title,
                "leads": list(found.leads),
                "fs_hz": list(found.fs_hz),
                "sample_index": found.indexed,
                "integrity": found.integrity,
                "needs_bond": found.needs_bond,
                "opt_in": found.opt_in,
            })  # fmt: skip
            continue
        promises = [
            "sample index" if found.indexed else "no sample index",
            "integrity" if found.integrity else "no integrity check",
            *(["opt-in"] if found.opt_in else []),
        ]
        print(f"{name:12} {found.title}: {', '.join(found.leads)}; {', '.join(promises)}")
    return int(ExitCode.DONE)


def run_check(options: argparse.Namespace) -> int:
    """Print every finding; a driver with one is not for patients."""
    from lsemvae_edge.device import conformance, drivers
    from lsemvae_edge.device.virtual import shelf

    driver = drivers.get(options.name)
    recorder = shelf.make(options.name) if options.name in shelf.MADE else None
    findings = conformance.check(driver, recorder)
    if options.json:
        print_json(
            {"schema": "lsemvae-edge/conformance/1", "driver": options.name, "findings": list(map(str, findings))}
        )
    else:
        for finding in findings:
            print(finding)
    if findings:
        raise DeviceError(f"The driver {options.name} does not conform.", "Mend what is listed, and check again.")
    if not options.json:
        print(f"{options.name} conforms")
    return int(ExitCode.DONE)
