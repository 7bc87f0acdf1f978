"""What answers under a bonded recorder's address without its keys is not read, and makes no new bond."""

from guest import Daemon, adapter, check, fact, run
from peers import SECRET, Peer, tried

from lsemvae_edge.device import bluez
from lsemvae_edge.device.virtual.medium import Medium

RECORDER = "C0:11:22:33:44:77"


async def scenario() -> None:
    medium = Medium()
    _controller = await adapter(medium)
    daemon = Daemon()
    await daemon.start()
    await bluez.lock()
    recorder = await Peer(medium, RECORDER).on()
    client = await recorder.connected()
    async with bluez.PairingAgent(RECORDER):
        await client.pair()
    check("it is bonded", (await bluez.bond(RECORDER)).bonded)
    await recorder.leave(client)

    recorder.forget()
    outcome = await tried(read(recorder))
    check("without the keys it is not read", outcome != "done", outcome=outcome)
    check(
        "without the keys the link is not encrypted",
        not any(c.encryption for c in recorder.device.connections.values()),
    )
    fact(bond=await bluez.bond(RECORDER))
    check("bluetoothd lives", daemon.process.poll() is None)


async def read(peer: Peer) -> None:
    client = await peer.connected()
    try:
        await client.read_gatt_char(SECRET)
    finally:
        await client.disconnect()


run(scenario)
