"""A peer made with bumble alone, for scenarios about pairing; and what they do with it by bleak alone."""

import asyncio
from collections.abc import Awaitable

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakError
from bumble import hci
from bumble.core import AdvertisingData
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, Service
from bumble.keys import MemoryKeyStore
from bumble.pairing import PairingConfig, PairingDelegate

from lsemvae_edge.device.virtual.medium import FixedController, Medium
from lsemvae_edge.errors import DeviceError

SERVICE, SECRET = "5fdd5f1c-2a49-41ec-8a5e-0e7c4a0d8d01", "5fdd5f1c-2a49-41ec-8a5e-0e7c4a0d8d02"


class Peer:
    """A peripheral with one value that is read over an encrypted link alone."""

    def __init__(self, medium: Medium, address: str) -> None:
        self.address = address
        controller = FixedController(address, medium)
        self.device = Device.with_hci(address, hci.Address(address), controller, controller)
        permissions = Characteristic.READABLE | Characteristic.READ_REQUIRES_ENCRYPTION
        secret = Characteristic(SECRET, Characteristic.Properties.READ, permissions, b"secret")
        self.device.add_services([Service(SERVICE, [secret])])
        delegate = PairingDelegate(PairingDelegate.IoCapability.NO_OUTPUT_NO_INPUT)
        self.device.pairing_config_factory = lambda _: PairingConfig(
            sc=True, mitm=False, bonding=True, delegate=delegate
        )

    async def on(self) -> "Peer":
        """Power up and advertise."""
        await self.device.power_on()
        self.forget()
        await self.advertise()
        return self

    def forget(self) -> None:
        """Forget every bond."""
        self.device.keystore = MemoryKeyStore()

    async def advertise(self) -> None:
        """Advertise until connected."""
        data = bytes(AdvertisingData([(AdvertisingData.FLAGS, bytes([6]))]))
        await self.device.start_advertising(
            auto_restart=False, advertising_data=data, advertising_interval_min=30, advertising_interval_max=30
        )

    @property
    def link(self) -> Connection:
        """The connection."""
        return next(iter(self.device.connections.values()))

    async def connected(self) -> BleakClient:
        """Connect to it by BlueZ."""
        found = await BleakScanner.find_device_by_address(self.address, 15)
        assert found is not None, self.address
        client = BleakClient(found, timeout=15)
        await client.connect()
        return client

    async def leave(self, client: BleakClient) -> None:
        """Disconnect, and let it advertise again."""
        await client.disconnect()
        for _ in range(50):
            if not self.device.connections:
                break
            await asyncio.sleep(0.1)
        await self.advertise()


async def tried(what: Awaitable[object]) -> str:
    """Return "done", or the error."""
    try:
        await asyncio.wait_for(what, 15)
    except (BleakError, DeviceError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
    return "done"
