"""``devices simulate``: a recorder without hardware."""

import argparse
from pathlib import Path

from lsemvae_edge.cli._common import Commands, add_json, print_json, say
from lsemvae_edge.cli.devices import _options
from lsemvae_edge.errors import ExitCode

DEFAULT_PORT = 9041
ADDRESS = "C0:5E:C9:00:00:01"
"""Random static address, as a recorder without a registered one has."""


def add(parts: Commands) -> None:
    """Describe the command."""
    parser = parts.add_parser(
        "simulate",
        help="be a recorder: for a kiosk on this machine, or over a real adapter for another",
        description="Until interrupted, be a recorder that plays a recording, or a simulated heart.",
    )
    parser.add_argument("recording", type=Path, nargs="?", help="what to play (default: a simulated heart)")
    parser.add_argument("--seed", type=int, default=0, help="which simulated person (default %(default)s)")
    parser.add_argument("--driver", default="open-6l", help="kind of recorder (default %(default)s)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="offer a virtual adapter on this port of this machine alone (default %(default)s)",
    )
    where.add_argument(
        "--over", metavar="TRANSPORT", help="advertise over a real controller that bumble drives: usb:0, hci-socket:0"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from lsemvae_edge.cli.devices import _live

    return _live.run(_simulate(options))


async def _simulate(options: argparse.Namespace) -> int:
    import asyncio

    from lsemvae_edge.device.virtual import shelf
    from lsemvae_edge.device.virtual.air import VirtualAir
    from lsemvae_edge.device.virtual.host import on_controller

    record = None
    if options.recording is not None:
        from lsemvae_edge import formats

        record = formats.read(options.recording)
    recorder = shelf.make(options.driver, record, seed=options.seed)
    if options.over:
        async with on_controller(options.over, recorder, ADDRESS):
            _told(options, recorder.local_name, None)
            await asyncio.Event().wait()
    async with VirtualAir() as air:
        await air.add(recorder, ADDRESS)
        adapter = await air.serve(f"tcp-server:127.0.0.1:{options.port}")
        _told(options, recorder.local_name, adapter)
        await asyncio.Event().wait()
    return int(ExitCode.DONE)


def _told(options: argparse.Namespace, name: str, adapter: str | None) -> None:
    facts = {"address": ADDRESS, "name": name, "driver": options.driver, "adapter": adapter}
    if options.json:
        print_json({"schema": "lsemvae-edge/simulated-recorder/1", **facts})
        return
    print(f"{facts['name']} ({options.driver}) at {facts['address']}", flush=True)
    if adapter is None:
        say("Enrol it from another machine. Its recordings are marked as simulated there.")
        return
    say(
        "In another terminal:\n"
        f"  export {_options.ADAPTER_VARIABLE}={adapter}\n"
        f"  lsemvae-edge devices enrol {facts['address']}\n"
        "  lsemvae-edge screen --device auto\n"
        "End with Ctrl-C."
    )
