"""A recorder is found, enrolled through our agent, and recorded from: every sample as it was sent, none missing."""

import asyncio

from guest import check, fact, run
from stage import ADDRESS, FS_HZ, held, open_recorder, recorded, stage

from lsemvae_edge.device import bluez, enrolment
from lsemvae_edge.device.live import LiveRecording

SECONDS = 10.0


async def scenario() -> None:
    async with stage() as on:
        recorder, feed = open_recorder()
        host = await on.air.add(recorder, ADDRESS)
        seen = {sighting.address: sighting for sighting in await on.radio.scan(4.0)}
        check(
            "it is found by its service",
            ADDRESS in seen and seen[ADDRESS].driver == "open-6l",
            seen=list(seen.values()),
        )
        check("it is found by its name", ADDRESS in seen and seen[ADDRESS].name == recorder.local_name)

        known = await enrolment.enrol(on.radio, ADDRESS)
        bond = await bluez.bond(ADDRESS)
        check("it is enrolled and bonded", known.bonded and bond.bonded, known=known, bond=bond)
        check("its serial is kept", known.serial == recorder.serial)
        check("it blinked", recorder.identified == 1)
        check("it is known to be simulated", known.simulated)
        check("bonding is closed again", not (await bluez.adapters())[0].pairable)
        host.pairing = False

        recorder.sent.clear()
        live = LiveRecording(on.radio, known, duration_s=SECONDS)
        async with live:
            task = asyncio.create_task(recorded(live))
            while live.progress().seconds < 1.0 and not task.done():
                await asyncio.sleep(0.1)
            mtu = recorder._mtu
            outcome = await task
        record = live.record()
        found = held(record, feed, recorder.sent[:50])
        check("it ends by itself", outcome == "done", outcome=outcome)
        check("it is as long as was asked for", found["n_samples"] >= SECONDS * FS_HZ, **found)
        check("every sample is as it was sent", found["n_wrong"] == 0, **found)
        check("none is missing", found["n_gap"] == found["late"] == 0, **found)
        check("it says that it is simulated", record.origin == "simulated")
        fact(mtu=mtu, received=record.meta["received"])


run(scenario)
