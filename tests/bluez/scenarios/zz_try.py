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
        try:
            async with await on.radio.connect(known): fact(x="connected")
        except DeviceError as e: fact(e=repr(e), cause=repr(e.__cause__))
        mon = subprocess.Popen(["btmon", "-t"], stdout=open("/exchange/btmon","w"), stderr=subprocess.STDOUT)
        await asyncio.sleep(1)
        for _ in range(20):
            await asyncio.sleep(0.5)
            if _ == 4: fact(forgot=await bluez.forget(ADDRESS))
            t = host._ticking
            fact(connected=host.connected, adv=host.device.is_advertising, conns=len(host.device.connections), ctl=[len(c.le_connections) for c in on.air.medium.controllers], task=t.done() and repr(t.exception()), stack=[str(f) for f in t.get_stack()][:2] , legacy=[c.le_legacy_advertiser.enabled for c in on.air.medium.controllers])
        fact(scan=[x.address for x in await on.radio.scan(5)])
        check("ok", True)
        mon.terminate()
run(scenario)
