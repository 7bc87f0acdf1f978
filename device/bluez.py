"""What BlueZ knows and must be told: bonds, and who may pair.

On Linux a central pairs by BlueZ, which asks an agent; a desktop brings one, a kiosk has none. `PairingAgent` is ours,
there only while one recorder is enrolled. Other systems pair by themselves: there `PairingAgent` and `lock` do nothing,
and what asks BlueZ raises `BluetoothUnavailableError`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lsemvae_edge.device.errors import BluetoothUnavailableError

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus
    from dbus_fast.message import Message

    from lsemvae_edge.device.agent import Agent

REPLY_S = 10.0
"""A daemon that has not answered by then hangs."""

_SERVICE = "org.bluez"
_ADAPTER = "org.bluez.Adapter1"
_DEVICE = "org.bluez.Device1"
_AGENTS = "org.bluez.AgentManager1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_OBJECTS = "org.freedesktop.DBus.ObjectManager"

NO_DAEMON = "bluetoothd is not running"
START_DAEMON = "Start it: systemctl enable --now bluetooth"
NO_ANSWER = "bluetoothd does not answer"
RESTART_DAEMON = "Restart it: systemctl restart bluetooth"
MAY_NOT = "this user may not talk to bluetoothd"
JOIN_GROUP = "Add the user to the group bluetooth, then log in again: usermod -aG bluetooth USER"
NO_BUS = "the system bus cannot be reached"
START_BUS = "Start dbus; in a container, mount /run/dbus/system_bus_socket."

UNAVAILABLE = {
    "org.freedesktop.DBus.Error.ServiceUnknown": (NO_DAEMON, START_DAEMON),
    "org.freedesktop.DBus.Error.NameHasNoOwner": (NO_DAEMON, START_DAEMON),
    "org.freedesktop.DBus.Error.NoReply": ("bluetoothd died as it was asked", START_DAEMON),
    "org.freedesktop.DBus.Error.AccessDenied": (MAY_NOT, JOIN_GROUP),
    # The bus starts the daemon when it is asked for; these tell that it could not.
    "org.freedesktop.DBus.Error.Spawn.ChildExited": (NO_DAEMON, START_DAEMON),
    "org.freedesktop.DBus.Error.TimedOut": (NO_DAEMON, START_DAEMON),
    "org.freedesktop.systemd1.UnitMasked": ("bluetoothd is masked", "Unmask it: systemctl unmask bluetooth"),
}
"""What the bus says instead of bluetoothd: reason and next step."""


@dataclass(frozen=True)
class Adapter:
    """An adapter as BlueZ has it."""

    name: str
    address: str
    powered: bool
    pairable: bool
    discoverable: bool


@dataclass(frozen=True)
class Bond:
    """How this machine stands with a recorder: ``bonded`` means that the keys are kept for next time."""

    paired: bool
    bonded: bool
    trusted: bool


def is_here() -> bool:
    """Whether Bluetooth goes by BlueZ on this system."""
    return sys.platform == "linux"


async def adapters() -> list[Adapter]:
    """Return the adapters that BlueZ has.

    Raises
    ------
    BluetoothUnavailableError
        If bluetoothd cannot be asked.
    """
    async with _bus() as bus:
        return [
            Adapter(
                path.rpartition("/")[2],
                known["Address"],
                bool(known["Powered"]),
                bool(known["Pairable"]),
                bool(known["Discoverable"]),
            )
            for path, known in await _all(bus, _ADAPTER)
        ]


async def bond(address: str) -> Bond | None:
    """Return how BlueZ stands with a device; None if it does not know it.

    Raises
    ------
    BluetoothUnavailableError
        If bluetoothd cannot be asked.
    """
    async with _bus() as bus:
        known = [row for _, row in await _all(bus, _DEVICE) if row["Address"] == address.upper()]
    if not known:
        return None
    # Daemons before 5.65 do not tell apart what is bonded from what is paired.
    return Bond(
        any(row["Paired"] for row in known),
        any(row.get("Bonded", row["Paired"]) for row in known),
        any(row["Trusted"] for row in known),
    )


async def forget(address: str) -> bool:
    """Remove a device and its keys from BlueZ; it is disconnected if it was connected.

    Returns
    -------
    bool
        Whether BlueZ knew it.

    Raises
    ------
    BluetoothUnavailableError
        If bluetoothd cannot be asked, or refuses.
    """
    async with _bus() as bus:
        found = [(path, row) for path, row in await _all(bus, _DEVICE) if row["Address"] == address.upper()]
        for path, row in found:
            await _call(bus, row["Adapter"], _ADAPTER, "RemoveDevice", "o", [path])
    return bool(found)


async def lock() -> None:
    """Make every adapter refuse to bond, until a `PairingAgent` allows it for a while.

    A recorder may ask for pairing whenever it is connected; without this, BlueZ bonds with it and asks nobody.

    Raises
    ------
    BluetoothUnavailableError
        If bluetoothd cannot be asked, or refuses.
    """
    if not is_here():
        return
    async with _bus() as bus:
        for path, known in await _all(bus, _ADAPTER):
            if known["Pairable"]:
                await _set(bus, path, "Pairable", False)


class PairingAgent:
    """While open, one device may pair, by Just Works; every other request is rejected.

    Parameters
    ----------
    address : str
        The recorder that is being enrolled.

    Raises
    ------
    BluetoothUnavailableError
        As it is opened, if bluetoothd cannot be asked, or refuses.

    Examples
    --------
    >>> async with PairingAgent(client.address):  # doctest: +SKIP
    ...     await client.pair()
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._agent: Agent | None = None
        self._open = AsyncExitStack()

    @property
    def refused(self) -> int:
        """Requests for pairing that were rejected so far."""
        return self._agent.refused if self._agent is not None else 0

    async def __aenter__(self) -> "PairingAgent":
        if is_here():
            async with AsyncExitStack() as stack:
                bus = await stack.enter_async_context(_bus())
                self._agent = await stack.enter_async_context(_registered(bus, self.address))
                await stack.enter_async_context(_pairable(bus))
                self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()


@asynccontextmanager
async def _registered(bus: "MessageBus", address: str) -> AsyncIterator["Agent"]:
    from lsemvae_edge.device import agent

    ours = agent.Agent(address)
    bus.export(agent.PATH, ours)
    await _call(bus, "/org/bluez", _AGENTS, "RegisterAgent", "os", [agent.PATH, agent.CAPABILITY])
    try:
        # bleak asks for pairing over a connection of its own, so only the default agent is asked.
        await _call(bus, "/org/bluez", _AGENTS, "RequestDefaultAgent", "o", [agent.PATH])
        yield ours
    finally:
        # A daemon that died has forgotten the agent already.
        with suppress(BluetoothUnavailableError):
            await _call(bus, "/org/bluez", _AGENTS, "UnregisterAgent", "o", [agent.PATH])


@asynccontextmanager
async def _pairable(bus: "MessageBus") -> AsyncIterator[None]:
    """Let every adapter bond; afterwards each is as it was."""
    closed = [path for path, known in await _all(bus, _ADAPTER) if not known["Pairable"]]
    try:
        for path in closed:
            await _set(bus, path, "Pairable", True)
        yield
    finally:
        for path in closed:
            with suppress(BluetoothUnavailableError):
                await _set(bus, path, "Pairable", False)


@asynccontextmanager
async def _bus() -> AsyncIterator["MessageBus"]:
    if not is_here():
        raise BluetoothUnavailableError("this system has no BlueZ", "Nothing to do: the system itself pairs.")
    from dbus_fast.aio import MessageBus
    from dbus_fast.constants import BusType
    from dbus_fast.errors import AuthError, InvalidAddressError

    try:
        bus = MessageBus(bus_type=BusType.SYSTEM)
    except (OSError, InvalidAddressError) as error:
        raise BluetoothUnavailableError(NO_BUS, START_BUS) from error
    try:
        try:
            await asyncio.wait_for(bus.connect(), REPLY_S)
        except AuthError as error:
            raise BluetoothUnavailableError(MAY_NOT, JOIN_GROUP) from error
        except (OSError, EOFError, TimeoutError) as error:
            raise BluetoothUnavailableError(NO_BUS, START_BUS) from error
        yield bus
    finally:
        # Also after a failed connect: the handles were made with the object.
        bus.disconnect()


async def _all(bus: "MessageBus", interface: str) -> list[tuple[str, dict[str, Any]]]:
    """Return path and properties of every object with this interface."""
    (objects,) = await _call(bus, "/", _OBJECTS, "GetManagedObjects")
    return [
        (path, {name: variant.value for name, variant in interfaces[interface].items()})
        for path, interfaces in objects.items()
        if interface in interfaces
    ]


async def _set(bus: "MessageBus", path: str, name: str, value: bool) -> None:
    from dbus_fast.signature import Variant

    await _call(bus, path, _PROPERTIES, "Set", "ssv", [_ADAPTER, name, Variant("b", value)])


async def _call(
    bus: "MessageBus", path: str, interface: str, member: str, signature: str = "", body: list[Any] | None = None
) -> list[Any]:
    from dbus_fast.constants import MessageType
    from dbus_fast.message import Message

    message = Message(
        destination=_SERVICE, path=path, interface=interface, member=member, signature=signature, body=body or []
    )
    try:
        reply = await asyncio.wait_for(bus.call(message), REPLY_S)
    except TimeoutError as error:
        raise BluetoothUnavailableError(
            "bluetoothd does not answer", "Restart it: systemctl restart bluetooth"
        ) from error
    except (OSError, EOFError) as error:
        raise BluetoothUnavailableError(NO_BUS, START_BUS) from error
    if reply.message_type is MessageType.ERROR:
        raise _refusal(reply, member)
    return list(reply.body)


def _refusal(reply: "Message", member: str) -> BluetoothUnavailableError:
    name = reply.error_name or ""
    if name in UNAVAILABLE:
        return BluetoothUnavailableError(*UNAVAILABLE[name])
    text = str(reply.body[0]) if reply.body else name
    return BluetoothUnavailableError(f"bluetoothd refused {member}: {text or name}")
