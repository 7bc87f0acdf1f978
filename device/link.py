"""A connection to one recorder: what it said of itself, what it notifies, and an end that leaves nothing behind."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lsemvae_edge.device.backend import typed
from lsemvae_edge.device.driver import GATT_HEADER_BYTES, Driver, Stream, Write
from lsemvae_edge.device.errors import LinkLostError, UnsupportedRecorderError
from lsemvae_edge.device.virtual.recorder import MANUFACTURER
from lsemvae_edge.errors import DeviceError

if TYPE_CHECKING:
    from bleak import BleakClient

BACKLOG = 4096
"""Notifications kept for a reader that is behind; what comes on top is dropped and counted."""
READ_S = 5.0
WRITE_S = 5.0
CLOSE_S = 12.0
LONGEST_TEXT = 64
SERIAL_UUID = "00002a25-0000-1000-8000-00805f9b34fb"
MANUFACTURER_UUID = "00002a29-0000-1000-8000-00805f9b34fb"
BATTERY_UUID = "00002a19-0000-1000-8000-00805f9b34fb"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Notification:
    """What a recorder notified, and when it arrived on the monotonic clock."""

    at_ns: int
    uuid: str
    data: bytes


class Link:
    """A connected recorder, as an async context manager; made by `lsemvae_edge.device.radio.Radio`.

    Parameters
    ----------
    name : str
        How messages name the recorder.
    driver : Driver
    backlog : int
        See `BACKLOG`.

    Attributes
    ----------
    stream : Stream
        What its driver understood of ``reads`` and ``mtu``.
    notifications : asyncio.Queue of Notification or None
        What arrived and was not read yet; None where the link was lost.
    overflow : int
        Notifications dropped because the reader was too far behind.
    lost : asyncio.Event
        Set when the connection is gone.
    reads : dict of characteristic UUID to bytes
        What its driver asked for at the start.
    mtu : int
    serial, manufacturer : str or None
    battery : int or None
        Percent, as it last said.
    bonded, simulated : bool
    """

    stream: Stream

    def __init__(self, name: str, driver: Driver, backlog: int = BACKLOG) -> None:
        self.name, self.driver = name, driver
        self.notifications: asyncio.Queue[Notification | None] = asyncio.Queue(backlog)
        self.overflow = 0
        self.lost = asyncio.Event()
        self.mtu = 0
        self.reads: dict[str, bytes] = {}
        self.serial: str | None = None
        self.manufacturer: str | None = None
        self.battery: int | None = None
        self.bonded = self.simulated = False
        self._client: BleakClient | None = None
        self._subscribed: list[str] = []
        self._deaf = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def adopt(self, client: "BleakClient") -> None:
        """Take over a connected client; from here on `close` disconnects it."""
        self._client = client

    async def pair(self) -> None:
        """Bond with the recorder; bleak's errors come out as they are."""
        await self._connected().pair()

    async def begin(self, fs_hz: float | None) -> None:
        """Read what the recorder says of itself; nothing is subscribed to yet.

        Raises
        ------
        UnsupportedRecorderError
            If its driver cannot work with it.
        DeviceError
            If it cannot be read.
        """
        client, description = self._connected(), self.driver.description
        with typed(self.name, waited_s=READ_S):
            self.mtu = GATT_HEADER_BYTES + max(
                (row.max_write_without_response_size for row in client.services.characteristics.values()), default=20
            )
            self.manufacturer = _text(await self._read(MANUFACTURER_UUID))
            self.serial = _text(await self._read(SERIAL_UUID))
            battery = await self._read(BATTERY_UUID)
            self.reads = {uuid: value for uuid in description.reads if (value := await self._read(uuid)) is not None}
        self.battery = battery[0] if battery else None
        if self.mtu < description.min_mtu:
            raise UnsupportedRecorderError(
                f"{self.name} and this adapter agree on {self.mtu} bytes a packet; it needs {description.min_mtu}.",
                "Use another Bluetooth adapter.",
            )
        self.stream = self.driver.stream(self.reads, self.mtu, fs_hz)
        self.serial = printable(self.stream.serial) or self.serial
        self.simulated = self.simulated or self.manufacturer == MANUFACTURER

    async def subscribe(self) -> None:
        """Listen to what the driver wants, and to the battery.

        Raises
        ------
        DeviceError
            If the recorder refuses.
        """
        client = self._connected()
        wanted = list(self.driver.description.notifies)
        battery = client.services.get_characteristic(BATTERY_UUID)
        if battery is not None and "notify" in battery.properties and BATTERY_UUID not in wanted:
            wanted.append(BATTERY_UUID)
        with typed(self.name, waited_s=READ_S):
            for uuid in wanted:
                async with asyncio.timeout(READ_S):
                    await client.start_notify(uuid, self._arrived)
                self._subscribed.append(uuid)

    async def next(self, within_s: float) -> Notification | None:
        """Return the next notification; None if none came in time, or the link was lost."""
        with suppress(asyncio.QueueEmpty):
            return self.notifications.get_nowait()
        if self.lost.is_set():
            return None
        try:
            # Not `wait_for`: in Python 3.11 it swallows a cancellation that meets the arrival.
            async with asyncio.timeout(within_s):
                return await self.notifications.get()
        except TimeoutError:
            return None

    async def write(self, write: Write) -> None:
        """Write to a characteristic.

        Raises
        ------
        LinkLostError
            If the link is gone, or the recorder does not answer.
        DeviceError
            If the recorder refuses.
        """
        client = self._connected()
        try:
            with typed(self.name, waited_s=WRITE_S):
                async with asyncio.timeout(WRITE_S):
                    await client.write_gatt_char(write.uuid, write.data, response=write.response)
        except DeviceError as error:
            if self.lost.is_set() or isinstance(error.__cause__, TimeoutError):
                raise LinkLostError(self.name, WRITE_S) from error
            raise

    async def identify(self) -> None:
        """Let the recorder show which one it is.

        Raises
        ------
        NotOfferedError
            If it cannot.
        """
        for write in self.driver.identify():
            await self.write(write)

    async def close(self) -> None:
        """Disconnect, also when the link seems gone; what still arrives afterwards is ignored."""
        self._deaf = True
        client, self._client = self._client, None
        if client is not None:
            await surely(self._ended(client))

    def gone(self) -> None:
        """Take notice that the connection is gone."""
        self.lost.set()
        self._deaf = True
        with suppress(asyncio.QueueFull):
            self.notifications.put_nowait(None)

    async def _ended(self, client: "BleakClient") -> None:
        from bleak.exc import BleakError

        # A daemon that died answers with anything; whatever it is, the rest must still be undone.
        failures = (BleakError, OSError, EOFError, AttributeError, AssertionError, DeviceError)
        with suppress(*failures):
            async with asyncio.timeout(READ_S):
                for uuid in self._subscribed if client.is_connected else ():
                    await client.stop_notify(uuid)
        # bleak 3 keeps listening after a lost link until this is called (bleak#2002).
        with suppress(*failures):
            async with asyncio.timeout(CLOSE_S):
                await client.disconnect()
        self._subscribed.clear()
        self.lost.set()

    def _arrived(self, characteristic: Any, data: bytearray) -> None:
        if self._deaf:
            return
        if characteristic.uuid == BATTERY_UUID and data:
            self.battery = data[0]
            if BATTERY_UUID not in self.driver.description.notifies:
                return
        try:
            self.notifications.put_nowait(Notification(time.monotonic_ns(), characteristic.uuid, bytes(data)))
        except asyncio.QueueFull:
            self.overflow += 1

    async def _read(self, uuid: str) -> bytes | None:
        client = self._connected()
        characteristic = client.services.get_characteristic(uuid)
        if characteristic is None or "read" not in characteristic.properties:
            return None
        async with asyncio.timeout(READ_S):
            return bytes(await client.read_gatt_char(characteristic))

    def _connected(self) -> "BleakClient":
        if self._client is None or self.lost.is_set():
            raise LinkLostError(self.name, 0.0)
        return self._client


async def surely(ending: Coroutine[Any, Any, T]) -> T:
    """Wait for something that must be finished, also when the waiting is cancelled."""
    task = asyncio.ensure_future(ending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def printable(text: str | None) -> str | None:
    """Return what a stranger says of himself fit for a terminal and a file: no control characters, not too long."""
    kept = "".join(character for character in text or "" if character.isprintable()).strip()
    return kept[:LONGEST_TEXT] or None


def _text(value: bytes | None) -> str | None:
    return printable(value.decode(errors="replace")) if value else None
