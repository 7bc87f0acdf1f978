"""A bleak backend on a bumble host: `BleakScanner` and `BleakClient` run unchanged, without a radio of this machine.

It behaves as BlueZ does where that matters to whoever uses it: a second scan is refused, an absent recorder ends in a
time-out, and callbacks of a lost link live on until `disconnect` is called (bleak#2002).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from bleak.args import SizedBuffer
from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakError,
    BleakGATTProtocolError,
)
from bleak.uuids import normalize_uuid_str
from bumble import hci
from bumble.att import ATT_Error
from bumble.core import UUID, AdvertisingData, BaseBumbleError, PhysicalTransport
from bumble.device import Advertisement, Connection, Device, Peer

PREFERRED_MTU = 517
"""What BlueZ asks for."""


T = TypeVar("T")
_Types = AdvertisingData.Type


class Central:
    """A bumble host that bleak drives.

    Parameters
    ----------
    device : bumble.device.Device
        Powered on.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.alive = True
        self.listeners: dict[tuple[str, int], dict[VirtualClient, NotifyCallback]] = {}
        self.scanner: type[VirtualScanner] = type("BumbleScanner", (VirtualScanner,), {"central": self})
        self.client: type[VirtualClient] = type("BumbleClient", (VirtualClient,), {"central": self})

    def check(self) -> None:
        """Raise bleak's error for an adapter that is gone."""
        if not self.alive:
            raise BleakBluetoothNotAvailableError(
                "The virtual adapter is gone", BleakBluetoothNotAvailableReason.POWERED_OFF
            )

    async def close(self) -> None:
        """Leave every connection."""
        for connection in list(self.device.connections.values()):
            if self.alive:
                await connection.disconnect()
        self.listeners.clear()

    async def bonded(self, address: str) -> bool:
        """Whether there are keys of an earlier pairing."""
        keystore = self.device.keystore
        return keystore is not None and await keystore.get(str(hci.Address(address))) is not None

    async def forget(self, address: str) -> None:
        """Drop the keys of an earlier pairing."""
        if self.device.keystore is not None and await self.bonded(address):
            await self.device.keystore.delete(str(hci.Address(address)))

    def deliver(self, address: str, handle: int, value: bytes) -> None:
        """Pass a notification to everyone who still listens."""
        for callback in list(self.listeners.get((address, handle), {}).values()):
            callback(bytearray(value))

    def ignore(self, client: "VirtualClient", handle: int | None = None) -> None:
        """Stop passing notifications to a client."""
        for (address, at), callbacks in list(self.listeners.items()):
            if handle in (None, at):
                callbacks.pop(client, None)
            if not callbacks:
                del self.listeners[address, at]


class VirtualScanner(BaseBleakScanner):
    """bleak's scanner over bumble; use the subclass that a `Central` makes."""

    central: Central

    def __init__(self, detection_callback: Any, service_uuids: Any, scanning_mode: str, **_: Any) -> None:
        super().__init__(detection_callback, service_uuids)
        self._active = scanning_mode != "passive"

    async def start(self) -> None:
        """See `bleak.BleakScanner.start`."""
        self.central.check()
        self.seen_devices = {}
        if self.central.device.is_scanning:
            raise BleakDBusError("org.bluez.Error.InProgress", ["Operation already in progress"])
        self.central.device.on("advertisement", self._heard)
        try:
            await apart(self.central.device.start_scanning(legacy=True, active=self._active))
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """See `bleak.BleakScanner.stop`."""
        if self._heard in self.central.device.listeners("advertisement"):
            self.central.device.remove_listener("advertisement", self._heard)
            if self.central.alive:
                await apart(self.central.device.stop_scanning(legacy=True))

    def _heard(self, advertisement: Advertisement) -> None:
        data = advertisement.data
        name = data.get(_Types.COMPLETE_LOCAL_NAME) or data.get(_Types.SHORTENED_LOCAL_NAME)
        uuids = [
            _uuid(uuid)
            for kind in (
                _Types.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
                _Types.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS,
                _Types.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
                _Types.INCOMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
            )
            for uuid in data.get(kind) or ()
        ]
        if not self.is_allowed_uuid(uuids):
            return
        found = AdvertisementData(name, {}, {}, uuids, None, advertisement.rssi, (advertisement,))
        address = advertisement.address.to_string(False)
        self.call_detection_callbacks(self.create_or_update_device(address, address, name, advertisement, found), found)


class VirtualClient(BaseBleakClient):
    """bleak's client over bumble; use the subclass that a `Central` makes."""

    central: Central

    def __init__(self, address_or_ble_device: BLEDevice | str, services: set[str] | None = None, **kwargs: Any) -> None:
        super().__init__(
            address_or_ble_device,
            disconnected_callback=kwargs["disconnected_callback"],
            timeout=kwargs["timeout"],
        )
        self._requested = services
        self._name = address_or_ble_device.name if isinstance(address_or_ble_device, BLEDevice) else None
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._gone = asyncio.Event()
        self._loose: set[asyncio.Future[Any]] = set()

    @property
    def name(self) -> str:
        """See `bleak.BleakClient.name`."""
        return self._name or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """See `bleak.BleakClient.mtu_size`; unlike BlueZ's it is true."""
        return self._connection.att_mtu if self._connection else 23

    @property
    def is_connected(self) -> bool:
        """See `bleak.BleakClient.is_connected`."""
        return self._connection is not None

    async def connect(self, pair: bool, **kwargs: Any) -> None:
        """Connect, encrypt where there is a bond, and discover; see `bleak.BleakClient.connect`."""
        self.central.check()
        if self._connection:
            raise BleakError("Client is already connected")
        try:
            async with asyncio.timeout(kwargs.get("timeout", self._timeout)):
                await self._connect(pair)
        except BaseException as error:
            await asyncio.shield(self._abandon())
            if isinstance(error, BaseBumbleError):
                raise BleakError(f"failed to connect: {error}") from error
            raise

    async def disconnect(self) -> None:
        """See `bleak.BleakClient.disconnect`."""
        self.central.ignore(self)
        if self._connection and self.central.alive:
            await apart(self._connection.disconnect())
        await self._settle()

    async def pair(self, *_: Any, **__: Any) -> None:
        """Bond, unless there is a bond; see `bleak.BleakClient.pair`."""
        connection = self._connected()
        if await self._bond():
            return
        try:
            await self._while_connected(connection.pair())
        except BleakError as error:
            self._connected()  # a link that is gone says nothing of keys
            raise BleakDBusError("org.bluez.Error.AuthenticationFailed", [str(error)]) from error

    async def unpair(self) -> None:
        """Forget the bond; see `bleak.BleakClient.unpair`."""
        await self.central.forget(self.address)
        await self.disconnect()

    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, *, use_cached: bool = False, **_: Any
    ) -> bytearray:
        """See `bleak.BleakClient.read_gatt_char`."""
        return bytearray(await self._while_connected(characteristic.obj.read_value()))

    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, *, use_cached: bool = False, **_: Any
    ) -> bytearray:
        """See `bleak.BleakClient.read_gatt_descriptor`."""
        return bytearray(await self._while_connected(descriptor.obj.read_value()))

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """See `bleak.BleakClient.write_gatt_char`."""
        await self._while_connected(characteristic.obj.write_value(bytes(data), with_response=response))

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """See `bleak.BleakClient.write_gatt_descriptor`."""
        await self._while_connected(descriptor.obj.write_value(bytes(data), with_response=True))

    async def start_notify(self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **_: Any) -> None:
        """See `bleak.BleakClient.start_notify`."""
        handle, address, central = characteristic.handle, self.address, self.central
        central.listeners.setdefault((address, handle), {})[self] = callback
        await self._while_connected(characteristic.obj.subscribe(lambda value: central.deliver(address, handle, value)))

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """See `bleak.BleakClient.stop_notify`."""
        self.central.ignore(self, characteristic.handle)
        await self._while_connected(characteristic.obj.unsubscribe())

    async def _connect(self, pair: bool) -> None:
        self._gone = asyncio.Event()
        self._connecting = asyncio.create_task(
            self.central.device.connect(hci.Address(self.address), transport=PhysicalTransport.LE, timeout=None)
        )
        await asyncio.wait({self._connecting})
        if self._connecting.cancelled():
            raise BleakError("The virtual adapter is gone")
        self._connection = self._connecting.result()
        self._connection.on("disconnection", self._lost)
        peer = Peer(self._connection)
        await self._while_connected(peer.request_mtu(PREFERRED_MTU))
        if not await self._bond() and pair:
            await self.pair()
        self.services = await self._while_connected(self._discovered(peer))

    async def _abandon(self) -> None:
        """Undo a connect that failed or was cancelled, also when the controller connected meanwhile."""
        connecting, device = self._connecting, self.central.device
        if connecting is not None and self.central.alive:
            if not connecting.done():
                # bumble's own connect must not be cancelled: the controller would connect, and its host not know.
                await device.send_command(hci.HCI_LE_Create_Connection_Cancel_Command())
                await asyncio.wait({connecting})
            if not connecting.cancelled() and connecting.exception() is None:
                connection = connecting.result()
                if connection.handle in device.connections:
                    await connection.disconnect()
        self._connection = self.services = None
        await self._settle()

    async def _settle(self) -> None:
        """End what nobody waits for any more; without a connection no late answer can meet it."""
        for operation in list(self._loose):
            operation.cancel()
        await asyncio.gather(*self._loose, return_exceptions=True)

    async def _bond(self) -> bool:
        """Encrypt with the keys of an earlier pairing; return False if there are none."""
        connection = self._connected()
        if connection.is_encrypted:
            return True
        if not await self.central.bonded(self.address):
            return False
        try:
            await self._while_connected(connection.encrypt())
        except BleakError as error:
            self._connected()  # a link that is gone says nothing of keys
            raise BleakDBusError("org.bluez.Error.AuthenticationFailed", [str(error)]) from error
        return True

    async def _discovered(self, peer: Peer) -> BleakGATTServiceCollection:
        found = BleakGATTServiceCollection()
        for service in await peer.discover_services():
            uuid = _uuid(service.uuid)
            if self._requested and uuid not in self._requested:
                continue
            kept = BleakGATTService(service, service.handle, uuid)
            found.add_service(kept)
            for row in await service.discover_characteristics():
                properties = list(gatt_char_props_to_strs(int(row.properties)))
                characteristic = BleakGATTCharacteristic(
                    row, row.handle, _uuid(row.uuid), properties, lambda: self.mtu_size - 3, kept
                )
                found.add_characteristic(characteristic)
                for descriptor in await row.discover_descriptors():
                    found.add_descriptor(
                        BleakGATTDescriptor(descriptor, descriptor.handle, _uuid(descriptor.type), characteristic)
                    )
        return found

    def _lost(self, _reason: int) -> None:
        self._connection = self.services = None
        self._gone.set()
        if self._disconnected_callback:
            self._disconnected_callback()

    def _ended(self, operation: "asyncio.Future[Any]") -> None:
        self._loose.discard(operation)
        if not operation.cancelled():
            operation.exception()  # nobody waits for it any more

    def _connected(self) -> Connection:
        if self._connection is None:
            raise BleakError("Not connected")
        return self._connection

    async def _while_connected(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation; a connection that ends meanwhile is bleak's error, never a cancellation."""
        if self._connection is None:
            operation.close()
            raise BleakError("Not connected")
        running = asyncio.ensure_future(operation)
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done() or running.cancelled():
                raise BleakError("Not connected")
            return running.result()
        except ATT_Error as error:
            raise BleakGATTProtocolError(int(error.error_code or 0)) from error
        except BaseBumbleError as error:
            raise BleakError(str(error) or type(error).__name__) from error
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            if not running.done():
                # An attribute request has no cancel: it ends with its answer, or with the connection.
                self._loose.add(running)
                running.add_done_callback(self._ended)


async def apart(operation: Coroutine[Any, Any, T]) -> T:
    """Run a short operation of bumble to its end, also when this is cancelled meanwhile.

    bumble waits with `asyncio.wait_for`, which in Python 3.11 swallows a cancellation that meets the result; and of a
    command that was cancelled nobody knows whether the controller obeyed.
    """
    task = asyncio.ensure_future(operation)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
    finally:
        if task.done() and not task.cancelled():
            task.exception()  # seen, also where a cancellation goes first
    if task.cancelled():
        raise BleakError("The virtual adapter is gone")
    try:
        return task.result()
    except BaseBumbleError as error:
        raise BleakError(str(error) or type(error).__name__) from error


def _uuid(uuid: UUID) -> str:
    return normalize_uuid_str(uuid.to_hex_str("-").lower())
