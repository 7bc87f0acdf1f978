"""``devices enrol``, ``pair``, ``list`` and ``forget``: the recorders this machine records from."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.devices import _options
from lsemvae_edge.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lsemvae_edge.device.enrolment import Enrolled
    from lsemvae_edge.device.radio import Radio


def add(parts: Commands) -> None:
    """Describe the commands."""
    enrol = parts.add_parser("enrol", help="bond with a recorder, test it, and remember it")
    pair = parts.add_parser("pair", help="bond anew with a recorder that was enrolled, after its bond was lost")
    for parser in (enrol, pair):
        parser.add_argument("address", help="as `devices scan` prints it")
        _options.add_adapter(parser)
    enrol.add_argument("--driver", help="by default the one that its advertisement fits")
    enrol.add_argument("--replace", action="store_true", help="another recorder may take an enrolled one's place")
    listed = parts.add_parser("list", help="list the enrolled recorders")
    forget = parts.add_parser("forget", help="no longer record from a recorder")
    forget.add_argument("address")
    for parser, run in ((enrol, run_enrol), (pair, run_pair), (listed, run_list), (forget, run_forget)):
        add_json(parser)
        parser.set_defaults(run=run)


def run_enrol(options: argparse.Namespace) -> int:
    """Enrol a recorder."""
    from lsemvae_edge.cli.devices import _live
    from lsemvae_edge.device import enrolment

    return _live.run(
        _remembered(
            options, lambda radio: enrolment.enrol(radio, options.address, options.driver, replace=options.replace)
        )
    )


def run_pair(options: argparse.Namespace) -> int:
    """Bond anew; the recorder must still be the one that was enrolled."""
    from lsemvae_edge.cli.devices import _live
    from lsemvae_edge.device import enrolment

    return _live.run(_remembered(options, lambda radio: enrolment.pair(radio, options.address)))


async def _remembered(options: argparse.Namespace, work: "Callable[[Radio], Awaitable[Enrolled]]") -> int:
    from lsemvae_edge.cli.devices import _live

    say("Press the recorder's pairing button now, if it has one.")
    async with _live.radio(options) as radio:
        recorder = await work(radio)
    if options.json:
        print_json({"schema": "lsemvae-edge/enrolled/1", **asdict(recorder)})
    else:
        bond = "bonded" if recorder.bonded else "not bonded, its kind of recorder does not ask for it"
        print(f"Enrolled {recorder}, serial {recorder.serial or 'not stated'}, {recorder.driver}, {bond}")
        if recorder.simulated:
            say("Simulated: its recordings are no person's.")
    return int(ExitCode.DONE)


def run_list(options: argparse.Namespace) -> int:
    """List what is enrolled."""
    from lsemvae_edge.device import enrolment

    recorders = enrolment.read().recorders
    if options.json:
        print_json({"schema": "lsemvae-edge/enrolment/1", "recorders": [asdict(recorder) for recorder in recorders]})
        return int(ExitCode.DONE)
    for recorder in recorders:
        print(f"{recorder.address}  {recorder.name or '(no name)':24}  {recorder.driver:10}  {recorder.serial or ''}")
    if not recorders:
        say("No recorder is enrolled. Run `lsemvae-edge devices scan`, then `lsemvae-edge devices enrol ADDRESS`.")
    return int(ExitCode.DONE)


def run_forget(options: argparse.Namespace) -> int:
    """Forget a recorder."""
    from lsemvae_edge.device import enrolment

    enrolment.remove(options.address)
    if options.json:
        print_json({"schema": "lsemvae-edge/forgotten/1", "address": options.address})
    else:
        print(f"Forgot {options.address}")
    return int(ExitCode.DONE)
