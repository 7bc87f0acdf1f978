"""Puts a virtual recorder on a bumble host: attribute table, security, advertising and the passing of time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Self

from bumble import att, gatt, hci
from bumble.core import UUID, AdvertisingData
from bumble.device import Connection, Device
from bumble.pairing import PairingConfig, PairingDelegate

from lsemvae_edge import __version__
from lsemvae_edge.device.virtual.recorder import MANUFACTURER, Message, VirtualRecorder
from lsemvae_edge.device.virtual.recorder import Characteristic as Row
from lsemvae_edge.errors import DeviceError

TICK_S = 0.02
ADVERTISING_MS = 50.0
MAX_MTU = 247
LEGACY_ADVERTISING_BYTES = 31
"""Bluetooth Core 5.4, Vol 6 Part B, 2.3.1: what a legacy advertisement or scan response holds."""

_Properties = gatt.Characteristic.Properties
_Permissions = gatt.Characteristic.Permissions
_logger = logging.getLogger(__name__)


class Host:
    """One recorder on one controller, as an async context manager.

    Parameters
    ----------
    device : bumble.device.Device
        Not yet powered on.
    recorder : VirtualRecorder
    clock : float
        Seconds that pass for the recorder in one of ours; may be changed at any time.
    max_mtu : int
        Largest attribute MTU it agrees to.
    pairing : bool
        Whether it takes part in pairing, as after a press of its button; may be changed at any time.
    """

    def __init__(
        self,
        device: Device,
        recorder: VirtualRecorder,
        clock: float = 1.0,
        max_mtu: int = MAX_MTU,
        pairing: bool = True,
    ) -> None:
        self.device, self.recorder, self.clock, self.pairing = device, recorder, clock, pairing
        self.on = self._living = True
        device.gatt_server.max_mtu = max_mtu
        device.pairing_config_factory = self._pairing_config
        self._rows: dict[str, tuple[Row, gatt.Characteristic[bytes]]] = {}
        self._connection: Connection | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._battery: gatt.Characteristic[bytes] = gatt.Characteristic(
            gatt.GATT_BATTERY_LEVEL_CHARACTERISTIC,
            _Properties.READ | _Properties.NOTIFY,
            _Permissions.READABLE,
            gatt.CharacteristicValue(read=lambda _: bytes([recorder.battery_percent])),
        )
        self._advertisement, self._response = _advertising(recorder)

    @property
    def address(self) -> str:
        """Address it advertises from."""
        return self.device.random_address.to_string(False)

    @property
    def connected(self) -> bool:
        """Whether someone is connected."""
        return self._connection is not None

    async def __aenter__(self) -> Self:
        self.device.add_services(self._table())
        self._protect_subscriptions()
        self.device.on("connection", self._joined)
        await self.device.power_on()
        self._ticking = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not cancelled: bumble may be at something that swallows it.
        self._living = False
        self._wake.set()
        if self._ticking is not None:
            await self._ticking
        await self.drop()
        await self.device.stop_advertising()
        await self.device.power_off()

    def switch(self, on: bool) -> None:
        """Switch the recorder on or off; off, it neither advertises nor answers."""
        self.on = on
        self._wake.set()

    async def drop(self) -> None:
        """End the connection from the recorder's side."""
        if self._connection is not None:
            await self._connection.disconnect()

    async def reboot(self) -> None:
        """Start the recorder anew, as after a watchdog reset."""
        await self.drop()
        self.recorder.reboot()

    async def forget_bonds(self) -> None:
        """Forget who was paired with it, as a factory reset does."""
        if self.device.keystore is not None:
            await self.device.keystore.delete_all()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        before_s, battery = loop.time(), self.recorder.battery_percent
        while self._living:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            if not self.on:
                await self._silence()
            elif self._connection is None and not self.device.is_advertising:
                await self._advertise()
            now_s = loop.time()
            self._send(self.recorder.advance((now_s - before_s) * self.clock))
            before_s = now_s
            if battery != self.recorder.battery_percent and self._connection is not None:
                battery = self.recorder.battery_percent
                await self.device.notify_subscriber(self._connection, self._battery, bytes([battery]))

    async def _advertise(self) -> None:
        await self.device.start_advertising(
            advertising_data=self._advertisement,
            scan_response_data=self._response,
            advertising_interval_min=ADVERTISING_MS,
            advertising_interval_max=ADVERTISING_MS,
        )

    async def _silence(self) -> None:
        if self.device.is_advertising:
            await self.device.stop_advertising()
        await self.drop()

    def _joined(self, connection: Connection) -> None:
        self._connection = connection
        connection.on("disconnection", self._left)
        connection.on("connection_att_mtu_update", lambda: self.recorder.connected(connection.att_mtu))
        self.recorder.connected(connection.att_mtu)

    def _left(self, _reason: int) -> None:
        self._connection = None
        for task in self._sending:
            task.cancel()
        self.recorder.disconnected()
        self._wake.set()

    def _send(self, messages: Iterable[Message]) -> None:
        for uuid, data in messages:
            connection = self._connection
            row, attribute = self._rows[uuid]
            if connection is None or (row.encrypted and not connection.is_encrypted):
                continue
            server = self.device.gatt_server
            sending = (server.notify_subscriber if "notify" in row.properties else server.indicate_subscriber)(
                connection, attribute, data
            )
            # Begun in order, and not waited for: an indication that nobody confirms must not stop the recorder.
            task = asyncio.create_task(sending)
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: "asyncio.Task[None]") -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.debug("not sent: %r", error)

    def _table(self) -> list[gatt.Service]:
        services = []
        for service in self.recorder.services:
            rows = []
            for row in service.characteristics:
                attribute: gatt.Characteristic[bytes] = gatt.Characteristic(
                    row.uuid, _properties(row), _permissions(row), self._value(row.uuid)
                )
                self._rows[row.uuid] = (row, attribute)
                rows.append(attribute)
            services.append(gatt.Service(service.uuid, rows))
        information = [
            gatt.Characteristic(uuid, _Properties.READ, _Permissions.READABLE, text.encode())
            for uuid, text in (
                (gatt.GATT_MANUFACTURER_NAME_STRING_CHARACTERISTIC, MANUFACTURER),
                (gatt.GATT_SERIAL_NUMBER_STRING_CHARACTERISTIC, self.recorder.serial),
                (gatt.GATT_FIRMWARE_REVISION_STRING_CHARACTERISTIC, __version__),
            )
        ]
        return [
            *services,
            gatt.Service(gatt.GATT_DEVICE_INFORMATION_SERVICE, information),
            gatt.Service(gatt.GATT_BATTERY_SERVICE, [self._battery]),
        ]

    def _value(self, uuid: str) -> "gatt.CharacteristicValue[bytes]":
        return gatt.CharacteristicValue(
            read=lambda _: self.recorder.read(uuid),
            write=lambda _, data: self._send(self.recorder.write(uuid, bytes(data))),
        )

    def _protect_subscriptions(self) -> None:
        """Demand encryption for the subscriptions to encrypted characteristics, which bumble leaves open."""
        for row, attribute in self._rows.values():
            descriptor = self.device.gatt_server.get_descriptor_attribute(
                *self._place(row.uuid), gatt.GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR
            )
            if row.encrypted and descriptor is not None:
                descriptor.permissions |= _Permissions.WRITE_REQUIRES_ENCRYPTION
                assert descriptor.handle > attribute.handle

    def _place(self, uuid: str) -> tuple[UUID, UUID]:
        for service in self.recorder.services:
            if any(row.uuid == uuid for row in service.characteristics):
                return UUID(service.uuid), UUID(uuid)
        raise KeyError(uuid)

    def _pairing_config(self, _connection: Connection) -> PairingConfig:
        return PairingConfig(
            sc=True,
            mitm=False,
            bonding=True,
            delegate=_Button(self),
            identity_address_type=PairingConfig.AddressType.RANDOM,
        )


@asynccontextmanager
async def on_controller(
    transport: str, recorder: VirtualRecorder, address: str, clock: float = 1.0
) -> AsyncIterator[Host]:
    """Put a recorder on a controller behind a bumble transport, such as ``usb:0``, and so on a real radio.

    Parameters
    ----------
    transport : str
        As bumble names it.
    recorder : VirtualRecorder
    address : str
        Random static address to advertise from.
    clock : float
        See `Host`.
    """
    from bumble.transport import open_transport

    async with await open_transport(transport) as (source, sink):
        device = Device.with_hci(recorder.local_name, hci.Address(address), source, sink)
        async with Host(device, recorder, clock) as host:
            yield host


class _Button(PairingDelegate):
    """A recorder without display or keys: all it can say is whether its button was pressed."""

    def __init__(self, host: Host) -> None:
        super().__init__(PairingDelegate.IoCapability.NO_OUTPUT_NO_INPUT)
        self._host = host

    async def accept(self) -> bool:
        return self._host.pairing


def _advertising(recorder: VirtualRecorder) -> tuple[bytes, bytes]:
    fields: list[tuple[int, bytes]] = [(AdvertisingData.Type.FLAGS, bytes([0x06]))]
    for text in recorder.advertised:
        uuid = UUID(text)
        is_short = len(uuid.to_pdu_bytes()) == 2
        kind = (
            AdvertisingData.Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS
            if is_short
            else AdvertisingData.Type.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS
        )
        fields.append((kind, uuid.to_pdu_bytes()))
    name = AdvertisingData([(AdvertisingData.Type.COMPLETE_LOCAL_NAME, recorder.local_name.encode())])
    advertisement, response = bytes(AdvertisingData(fields)), bytes(name)
    if max(len(advertisement), len(response)) > LEGACY_ADVERTISING_BYTES:
        raise DeviceError(
            f"{recorder.local_name} does not fit into an advertisement.", "Give it a shorter name, or fewer services."
        )
    return advertisement, response


def _properties(row: Row) -> gatt.Characteristic.Properties:
    properties = _Properties(0)
    for name in row.properties:
        properties |= {
            "read": _Properties.READ,
            "write": _Properties.WRITE,
            "write-without-response": _Properties.WRITE_WITHOUT_RESPONSE,
            "notify": _Properties.NOTIFY,
            "indicate": _Properties.INDICATE,
        }[name]
    return properties


def _permissions(row: Row) -> att.Attribute.Permissions:
    permissions = att.Attribute.Permissions(0)
    if "read" in row.properties:
        permissions |= _Permissions.READABLE
    if row.properties & {"write", "write-without-response"}:
        permissions |= _Permissions.WRITEABLE
    if row.encrypted:
        permissions |= _Permissions.READ_REQUIRES_ENCRYPTION | _Permissions.WRITE_REQUIRES_ENCRYPTION
    return permissions
