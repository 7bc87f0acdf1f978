"""Scans at the same time: those of one radio wait, a second radio is refused, other programs do not disturb."""

import asyncio
import subprocess

from bleak import BleakScanner
from guest import check, fact, run
from stage import ADDRESS, open_recorder, stage

from lsemvae_edge.device import backend
from lsemvae_edge.device.errors import BluetoothUnavailableError
from lsemvae_edge.device.radio import Radio


async def scenario() -> None:
    async with stage() as on:
        await on.air.add(open_recorder()[0], ADDRESS)
        found = await asyncio.gather(on.radio.scan(3.0), on.radio.scan(3.0))
        check("two scans of one radio both find it", all(ADDRESS in {one.address for one in seen} for seen in found))

        try:
            async with Radio(backend.system()):
                check("a second radio in one program is refused", False)
        except BluetoothUnavailableError as error:
            check("a second radio in one program is refused", True, error=str(error))

        other = await asyncio.create_subprocess_exec(
            "bluetoothctl", "--timeout", "8", "scan", "on", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await asyncio.sleep(2.0)
        seen = {one.address for one in await on.radio.scan(3.0)}
        check("another program's scan does not disturb", ADDRESS in seen)
        await other.wait()

        async with BleakScanner():
            outcome = await tried(on.radio.scan(2.0))
        fact(beside_a_scanner_of_ones_own=outcome)
        check(
            "beside a bare scanner it works or is refused by a typed error",
            outcome in ("found", "BluetoothUnavailableError"),
        )
        check("afterwards it works", await tried(on.radio.scan(4.0)) == "found")


async def tried(scan) -> str:
    try:
        return "found" if ADDRESS in {one.address for one in await scan} else "not found"
    except BluetoothUnavailableError as error:
        fact(refused=f"{error} {error.next_step}")
        return "BluetoothUnavailableError"


run(scenario)
