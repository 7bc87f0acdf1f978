"""Who may pair, by BlueZ itself: without an agent, with ours, by reading, by a device that asks for it."""

import asyncio

from guest import Daemon, adapter, check, fact, run
from peers import SECRET, Peer, tried

from lsemvae_edge.device import bluez
from lsemvae_edge.device.virtual.medium import Medium

RECORDER, STRANGER = "C0:11:22:33:44:77", "C0:11:22:33:44:88"


async def scenario() -> None:
    medium = Medium()
    _controller = await adapter(medium)
    daemon = Daemon()
    await daemon.start()
    recorder = await Peer(medium, RECORDER).on()
    fact(adapters=await bluez.adapters())

    client = await recorder.connected()
    outcome, bond = await tried(client.pair()), await bluez.bond(RECORDER)
    check("without an agent nothing is bonded", outcome != "done" and not bond.bonded, outcome=outcome, bond=bond)
    await recorder.leave(client)
    await bluez.forget(RECORDER)

    await bluez.lock()
    before = (await bluez.adapters())[0].pairable
    client = await recorder.connected()
    async with bluez.PairingAgent(RECORDER):
        during = (await bluez.adapters())[0].pairable
        outcome = await tried(client.pair())
    after = (await bluez.adapters())[0].pairable
    bond = await bluez.bond(RECORDER)
    check("with the agent it is bonded", outcome == "done" and bond.bonded, outcome=outcome, bond=bond)
    check("bonding is allowed only meanwhile", (before, during, after) == (False, True, False))
    check("the secret is read over the encrypted link", await client.read_gatt_char(SECRET) == b"secret")

    medium.drop_links()
    await recorder.leave(client)
    client = await recorder.connected()
    read = await tried(client.read_gatt_char(SECRET))
    check("after a lost link the bond still holds", read == "done" and bool(recorder.link.encryption), read=read)
    await recorder.leave(client)

    stranger = await Peer(medium, STRANGER).on()
    client = await stranger.connected()
    stranger.link.request_pairing()
    await asyncio.sleep(5)
    bond = await bluez.bond(STRANGER)
    refused = not bond.bonded and not stranger.link.encryption
    check("outside enrolment, a device that asks for pairing is refused", refused, bond=bond)
    read, bond = await tried(client.read_gatt_char(SECRET)), await bluez.bond(STRANGER)
    check("outside enrolment, reading what is encrypted makes no bond", read != "done" and not bond.bonded, read=read)
    await stranger.leave(client)

    client = await stranger.connected()
    async with bluez.PairingAgent(RECORDER) as agent:
        stranger.link.request_pairing()
        await asyncio.sleep(5)
        fact(asked_the_agent=agent.refused)
    bond = await bluez.bond(STRANGER)
    check("while another is enrolled, a connected device that asks is refused", not bond.bonded, bond=bond)
    await stranger.leave(client)
    await bluez.forget(STRANGER)

    check("a bond is forgotten, once", await bluez.forget(RECORDER) and not await bluez.forget(RECORDER))
    check("bluetoothd lives", daemon.process.poll() is None)


run(scenario)
