from guest import check, fact, run
from stage import ADDRESS, enrolled, open_recorder, stage
from lsemvae_edge.device import bluez
import time
async def scenario():
    async with stage() as on:
        recorder, feed = open_recorder()
        t=time.monotonic()
        host, known = await enrolled(on, recorder)
        fact(enrol_s=time.monotonic()-t, known=known, bond=await bluez.bond(ADDRESS), identified=recorder.identified, enc=host._connection)
        check("ok", known.bonded)
        t=time.monotonic()
        async with await on.radio.connect(known) as link:
            fact(connect_s=time.monotonic()-t, mtu=link.mtu, stream=link.stream, battery=link.battery, serial=link.serial)
            for w in link.driver.start(link.stream, 7): await link.write(w)
            import asyncio; await asyncio.sleep(3)
            n=0
            while (x:=await link.next(0.5)) is not None and n<80: n+=1
            fact(n=n)
            for w in link.driver.stop(link.stream): await link.write(w)
        check("pairable closed", not (await bluez.adapters())[0].pairable)
run(scenario)
