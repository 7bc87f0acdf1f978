import asyncio, subprocess, time
from guest import check, fact, run
from stage import ADDRESS, enrolled, open_recorder, stage
from lsemvae_edge.device import bluez
from lsemvae_edge.errors import DeviceError


async def scenario():
    async with stage() as on:
        recorder, feed = open_recorder()
        host, known = await enrolled(on, recorder)
        await host.forget_bonds()
        mon = subprocess.Popen(["btmon", "-t"], stdout=open("/exchange/btmon", "w"), stderr=subprocess.STDOUT)
        await asyncio.sleep(1)

        async def watch():
            for _ in range(80):
                await asyncio.sleep(0.5)
                fact(
                    t=time.monotonic(),
                    connected=host.connected,
                    adv=host.device.is_advertising,
                    ctl=[str(c.le_connections)[:150] for c in on.air.medium.controllers],
                )

        w = asyncio.create_task(watch())
        try:
            async with await on.radio.connect(known):
                fact(x="connected")
        except DeviceError as e:
            fact(e=repr(e))
        await asyncio.sleep(2)
        check("ok", True)
        mon.terminate()


run(scenario)
