"""Which Bluetooth is used, this machine's or a virtual one, and its errors in our words."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsemvae_edge.device import bluez
from lsemvae_edge.device.errors import (
    BluetoothUnavailableError,
    ConnectionFailedError,
    NotInRangeError,
    PairingError,
    RefusedError,
    UnsupportedRecorderError,
)
from lsemvae_edge.errors import DeviceError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from bleak.backends.client import BaseBleakClient
    from bleak.backends.scanner import BaseBleakScanner

    from lsemvae_edge.device.virtual.bleak_backend import Central


@dataclass(frozen=True)
class Backend:
    """How bleak reaches an adapter.

    Parameters
    ----------
    scanner, client : class, optional
        Backend classes for bleak; None for those of this system.
    virtual : bool
        Nothing on it is real: what is recorded is simulated.
    adapter : str, optional
        Name of the adapter; None for the system's default.
    bonded, forget : callable, optional
        Tell whether there is a bond with an address, and drop it; None where the system keeps that to itself.
    closing : callable, optional
        Awaited by `close`.
    """

    scanner: "type[BaseBleakScanner] | None" = None
    client: "type[BaseBleakClient] | None" = None
    virtual: bool = False
    adapter: str | None = None
    bonded: Callable[[str], Awaitable[bool]] | None = None
    forget: Callable[[str], Awaitable[object]] | None = None
    closing: Callable[[], Awaitable[None]] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of bleak that choose the adapter."""
        return {} if self.virtual or self.adapter is None else {"bluez": {"adapter": self.adapter}}

    async def close(self) -> None:
        """Let go of the adapter."""
        if self.closing is not None:
            await self.closing()


def system(adapter: str | None = None) -> Backend:
    """Return this machine's own Bluetooth.

    Parameters
    ----------
    adapter : str, optional
        Such as ``hci1``; None for the system's default.

    Raises
    ------
    MissingExtraError
        If bleak is not installed.
    """
    check_installed()
    if not bluez.is_here():
        return Backend(adapter=adapter)
    return Backend(adapter=adapter, bonded=_is_bonded, forget=bluez.forget)


async def open_backend(spec: str | None = None, *, bonds: Path | None = None) -> Backend:
    """Open the Bluetooth that a command or a configuration names.

    Parameters
    ----------
    spec : str, optional
        An adapter's name; ``tcp:127.0.0.1:PORT`` or ``unix:PATH`` for one that `lsemvae-edge devices simulate`
        serves; None for the system's default.
    bonds : Path, optional
        File that keeps bonds made over a virtual adapter, which has no system to keep them.

    Raises
    ------
    MissingExtraError
        If packages are not installed.
    UsageError
        If the name makes no sense.
    BluetoothUnavailableError
        If nobody serves the virtual adapter.
    """
    if spec is None or ":" not in spec:
        if spec is not None and not spec.isalnum():
            raise UsageError(f"{spec!r} is no adapter.", "Name one such as hci0, or tcp:127.0.0.1:PORT.")
        return system(spec)
    check_installed()
    try:
        from lsemvae_edge.device.virtual import air
    except ImportError as error:
        raise MissingExtraError("A virtual adapter", "simulator") from error
    if bonds is not None:
        bonds.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    central, transport = await air.open_adapter(spec, bonds)

    async def close() -> None:
        await central.close()
        central.alive = False
        await transport.close()

    return virtual(central, spec, close)


def virtual(central: "Central", adapter: str, closing: Callable[[], Awaitable[None]] | None = None) -> Backend:
    """Return a virtual adapter as a backend; see `lsemvae_edge.device.virtual.air`."""
    return Backend(central.scanner, central.client, True, adapter, central.bonded, central.forget, closing)


def check_installed() -> None:
    """Raise `MissingExtraError` if bleak or its helpers are not installed."""
    try:
        import bleak  # noqa: F401
        import bleak_retry_connector  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Recording from a recorder over Bluetooth", "device") from error


@contextmanager
def typed(recorder: str, *, waited_s: float = 0.0, attempts: int = 1) -> Iterator[None]:
    """Turn errors of bleak, D-Bus and the system into this package's.

    Parameters
    ----------
    recorder : str
        How messages name the recorder.
    waited_s : float
        How long it was waited for.
    attempts : int
        How often connecting was tried.
    """
    from bleak.exc import BleakError

    try:
        yield
    except (BleakError, OSError, EOFError, AttributeError, AssertionError) as error:
        # AttributeError and AssertionError are how bleak's BlueZ backend shows that the daemon went away under it.
        raise translated(error, recorder, waited_s, attempts) from error


def translated(error: BaseException, recorder: str, waited_s: float = 0.0, attempts: int = 1) -> DeviceError:
    """Return this package's error for one of bleak, D-Bus or the system; arguments as of `typed`."""
    from bleak import exc
    from bleak_retry_connector import BleakConnectionError, BleakNotFoundError

    if isinstance(error, BleakConnectionError | BleakNotFoundError | exc.BleakDeviceNotFoundError) and (
        isinstance(error.__cause__, exc.BleakError | OSError | EOFError)
    ):
        return translated(error.__cause__, recorder, waited_s, attempts)
    match error:
        case exc.BleakBluetoothNotAvailableError():
            return BluetoothUnavailableError(*_UNAVAILABLE.get(error.reason.name, (str(error.args[0]), None)))
        case exc.BleakDBusError():
            return _of_dbus(error.dbus_error, error.dbus_error_details or "", recorder, waited_s, attempts)
        case exc.BleakGATTProtocolError():
            words = str(error.args[1]).removeprefix("GATT Protocol Error: ")
            if int(error.code) in _ASKS_FOR_BOND:
                return PairingError(recorder, f"it answers over a bonded link alone ({words})")
            return RefusedError(recorder, "answer", words)
        case exc.BleakCharacteristicNotFoundError():
            return UnsupportedRecorderError(f"{recorder} lacks the characteristic {error.char_specifier}.")
        case exc.BleakDeviceNotFoundError() | BleakNotFoundError() | asyncio.TimeoutError():
            return NotInRangeError(recorder, waited_s)
        case exc.BleakError():
            if "dapter" in str(error) and "not found" in str(error).lower():
                return BluetoothUnavailableError("there is no such adapter")
            return ConnectionFailedError(recorder, attempts, str(error) or type(error).__name__)
        case FileNotFoundError() | ConnectionRefusedError() | PermissionError():
            return BluetoothUnavailableError(bluez.NO_BUS, bluez.START_BUS)
        case _:
            return BluetoothUnavailableError("the Bluetooth service went away", bluez.START_DAEMON)


async def _is_bonded(address: str) -> bool:
    bond = await bluez.bond(address)
    return bond is not None and bond.bonded


def _of_dbus(name: str, details: str, recorder: str, waited_s: float, attempts: int) -> DeviceError:
    if name in bluez.UNAVAILABLE:
        return BluetoothUnavailableError(*bluez.UNAVAILABLE[name])
    kind = name.rpartition(".")[2]
    if kind in _DBUS_UNAVAILABLE:
        return BluetoothUnavailableError(*_DBUS_UNAVAILABLE[kind])
    if kind in _DBUS_PAIRING:
        return PairingError(recorder, _DBUS_PAIRING[kind])
    if kind in ("UnknownObject", "DoesNotExist"):
        return NotInRangeError(recorder, waited_s)
    return ConnectionFailedError(recorder, attempts, details or kind)


_SWITCH_ON = "Switch it on: bluetoothctl power on"
_BUSY = "another scan or connection is under way"
_ONE_OWNER = "Close other programs that use Bluetooth, then try again."

_UNAVAILABLE = {
    "NO_BLUETOOTH": ("this machine has no adapter", None),
    "NO_BLE_CENTRAL_ROLE": ("the adapter knows no Low Energy", None),
    "POWERED_OFF": ("the adapter is switched off", _SWITCH_ON),
    "DENIED_BY_USER": ("this program may not use it", "Allow it in the system's privacy settings."),
    "DENIED_BY_SYSTEM": ("the system's administrator forbids it", None),
    "DENIED_BY_UNKNOWN": ("this program may not use it", None),
    "UNKNOWN": ("the system does not say why", None),
}

_DBUS_UNAVAILABLE = {
    "InProgress": (_BUSY, _ONE_OWNER),
    "NotReady": ("the adapter is switched off", _SWITCH_ON),
    "Blocked": ("the adapter is blocked", "Unblock it: rfkill unblock bluetooth"),
}

_DBUS_PAIRING = {
    "NotPermitted": "it does not permit this without a bond",
    "NotAuthorized": "this machine is not authorised",
    "AuthenticationFailed": "it refused the keys, or to make any",
    "AuthenticationCanceled": "it broke off",
    "AuthenticationRejected": "it refused",
    "AuthenticationTimeout": "it did not answer in time",
}

_ASKS_FOR_BOND = frozenset({0x05, 0x08, 0x0C, 0x0F})
"""ATT errors: insufficient authentication, authorization, key size, encryption (Core 5.4, Vol 3 Part F, 3.4.1.1)."""
