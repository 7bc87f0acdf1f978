"""``devices scan`` and ``devices info``."""

import argparse
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.devices import _options
from lsemvae_edge.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lsemvae_edge.device.link import Link
    from lsemvae_edge.device.radio import Radio


def add(parts: Commands) -> None:
    """Describe the commands."""
    scan = parts.add_parser("scan", help="list the recorders in range, the nearest first")
    scan.add_argument("--seconds", type=float, default=5.0, help="how long to listen (default %(default)s)")
    scan.add_argument("--all", action="store_true", help="also list what no driver knows")
    info = parts.add_parser("info", help="connect to a recorder and say what it is, without recording")
    info.add_argument("address", help="as `devices scan` prints it")
    info.add_argument("--driver", help="by default the one that its advertisement fits")
    for parser, run in ((scan, run_scan), (info, run_info)):
        _options.add_adapter(parser)
        add_json(parser)
        parser.set_defaults(run=run)


def run_scan(options: argparse.Namespace) -> int:
    """List recorders; signal strength only sorts."""
    from lsemvae_edge.cli.devices import _live

    return _live.run(_scan(options))


async def _scan(options: argparse.Namespace) -> int:
    from lsemvae_edge.cli.devices import _live
    from lsemvae_edge.device import enrolment

    async with _live.radio(options) as radio:
        found = await radio.scan(options.seconds, enrolment.read().recorders)
    shown = [sighting for sighting in found if options.all or sighting.driver]
    if options.json:
        rows = [
            {
                "address": sighting.address,
                "name": sighting.name,
                "rssi_dbm": sighting.rssi_dbm,
                "driver": sighting.driver,
                "enrolled": sighting.enrolled,
            }
            for sighting in shown
        ]
        print_json({"schema": "lsemvae-edge/sightings/1", "recorders": rows})
        return int(ExitCode.DONE)
    for sighting in shown:
        mark = "enrolled" if sighting.enrolled else ""
        name, strength = sighting.name or "(no name)", f"{sighting.rssi_dbm} dBm"
        print(f"{sighting.address}  {name:24}  {sighting.driver or '-':10}  {strength:>8}  {mark}".rstrip())
    if not shown:
        say("No recorder is in range. Switch it on, bring it closer, and close other apps that use it.")
    return int(ExitCode.DONE)


def run_info(options: argparse.Namespace) -> int:
    """Describe one recorder."""
    from lsemvae_edge.cli.devices import _live

    return _live.run(_info(options))


async def _info(options: argparse.Namespace) -> int:
    from lsemvae_edge.cli.devices import _live

    async with _live.radio(options) as radio, _met(radio, options) as link:
        facts: dict[str, Any] = {
            "address": options.address.upper(),
            "name": link.name,
            "driver": link.driver.description.name,
            "serial": link.serial,
            "manufacturer": link.manufacturer,
            "firmware": link.stream.firmware,
            "simulated": link.simulated,
            "battery_percent": link.battery,
            "mtu": link.mtu,
            "fs_hz": link.stream.fs_hz,
            "leads": list(link.stream.leads),
            "uv_per_lsb": 1000 * link.stream.mv_per_lsb,
            "amplitude": link.stream.amplitude,
            "sample_index": link.driver.description.indexed,
            "integrity": link.driver.description.integrity,
        }
    if options.json:
        print_json({"schema": "lsemvae-edge/recorder/1", **facts})
    else:
        for name, value in facts.items():
            text = ", ".join(value) if isinstance(value, list) else value
            print(f"{name.replace('_', ' '):16} {'not known' if text is None else text}")
    return int(ExitCode.DONE)


@asynccontextmanager
async def _met(radio: "Radio", options: argparse.Namespace) -> "AsyncIterator[Link]":
    """Connect to any recorder; a bond that was made with one that is not enrolled is dropped again."""
    from lsemvae_edge.device import drivers, enrolment
    from lsemvae_edge.device.errors import NotEnrolledError, UnknownRecorderError

    try:
        known = enrolment.read().get(options.address)
    except NotEnrolledError:
        sighting = await radio.find(options.address)
        name = options.driver or sighting.driver
        if name is None:
            raise UnknownRecorderError(str(sighting), drivers.names()) from None
        try:
            async with await radio.meet(sighting, drivers.get(name)) as link:
                yield link
        finally:
            await radio.forget(options.address)
    else:
        async with await radio.connect(known) as link:
            yield link
