"""The bond is lost on either side: a typed error and no new pairing behind the operator's back; `pair` mends it."""

import time

from guest import check, fact, run
from stage import ADDRESS, Stage, enrolled, open_recorder, stage

from lsemvae_edge.device import bluez, enrolment
from lsemvae_edge.device.enrolment import Enrolled
from lsemvae_edge.errors import DeviceError


async def scenario() -> None:
    async with stage() as on:
        recorder, _ = open_recorder()
        host, known = await enrolled(on, recorder)
        check("with the bond it is connected", await connected(on, known) == "done")

        await bluez.forget(ADDRESS)
        began_s = time.monotonic()
        outcome = await connected(on, known)
        fact(this_side_refused_after_s=round(time.monotonic() - began_s, 2))
        check("without this side's bond it is not connected", outcome.startswith("PairingError"), outcome=outcome)
        check("no bond was made", await bluez.bond(ADDRESS) is None or not (await bluez.bond(ADDRESS)).bonded)

        host.pairing = True
        again = await enrolment.pair(on.radio, ADDRESS)
        host.pairing = False
        check("pairing anew mends it", again.bonded and await connected(on, again) == "done")

        await host.forget_bonds()
        began_s = time.monotonic()
        outcome = await connected(on, again)
        fact(other_side_refused_after_s=round(time.monotonic() - began_s, 2), outcome=outcome)
        check("without the recorder's bond it is not recorded from", outcome.endswith("Error"), outcome=outcome)

        host.pairing = True
        again = await enrolment.pair(on.radio, ADDRESS)
        check("pairing anew mends that too", again.bonded and await connected(on, again) == "done")
        check("bluetoothd lives", on.daemon.process.poll() is None)


async def connected(on: Stage, known: Enrolled) -> str:
    try:
        async with await on.radio.connect(known):
            return "done"
    except DeviceError as error:
        fact(refused=str(error))
        return type(error).__name__


run(scenario)
