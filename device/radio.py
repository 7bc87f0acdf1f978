"""The one owner of scanner and adapter in this process: who is near, which one is meant, and the way to it.

Two scanners in one process block each other, on some machines until the adapter is reset; so all scanning and
connecting goes through one `Radio`, one thing at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from lsemvae_edge.device import bluez, drivers
from lsemvae_edge.device.backend import Backend, typed
from lsemvae_edge.device.driver import Driver
from lsemvae_edge.device.errors import (
    BluetoothUnavailableError,
    ConnectionFailedError,
    NoneEnrolledError,
    NotEnrolledError,
    NotInRangeError,
    PairingError,
    SeveralInRangeError,
    WrongRecorderError,
)
from lsemvae_edge.device.link import BACKLOG, Link, printable, surely
from lsemvae_edge.errors import DeviceError

if TYPE_CHECKING:
    from bleak import BleakClient
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

    from lsemvae_edge.device.enrolment import Enrolled

AUTO = "auto"
FIND_S = 15.0
CONNECT_S = 30.0
ATTEMPTS = 3
SETTLE_S = 1.5
"""After the first enrolled recorder was heard, so long is waited for a second one."""
START_S = 10.0
PAIR_S = 30.0
FAILURES_BEFORE_RECOVERY = 3

_OWNED: set[str] = set()
_ADAPTER = "The adapter"


@dataclass(frozen=True)
class Sighting:
    """A recorder, or something else, that advertises.

    Parameters
    ----------
    address : str
    name : str or None
    rssi_dbm : int
        Signal strength: it orders lists, and decides nothing.
    services : tuple of str
    driver : str or None
        Name of the driver that fits.
    enrolled : bool
    """

    address: str
    name: str | None
    rssi_dbm: int
    services: tuple[str, ...]
    driver: str | None
    enrolled: bool
    device: "BLEDevice" = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name or 'no name'} ({self.address}, {self.rssi_dbm} dBm)"


class Radio:
    """Scanner and adapter, as an async context manager; closes the backend.

    Parameters
    ----------
    backend : Backend
    recover : callable, optional
        Resets the adapter after several failures in a row, and returns whether it did; by default
        bluetooth-auto-recovery for a real adapter on Linux, nothing for a virtual one.
    backlog : int
        See `lsemvae_edge.device.link.BACKLOG`.
    """

    def __init__(
        self, backend: Backend, recover: Callable[[], Awaitable[bool]] | None = None, backlog: int = BACKLOG
    ) -> None:
        self.backend, self._backlog = backend, backlog
        if recover is None and not backend.virtual and bluez.is_here():
            recover = partial(_reset, backend.adapter)
        self._recover = recover
        self._adapter = asyncio.Lock()
        self._failures = 0
        self._known: dict[str, Sighting] = {}
        self._links: dict[str, Link] = {}

    async def __aenter__(self) -> Self:
        if not self.backend.virtual:
            key = self.backend.adapter or ""
            if key in _OWNED:
                raise BluetoothUnavailableError("this program uses it already", "Use the radio that is open.")
            await bluez.lock()
            _OWNED.add(key)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.backend.virtual:
            _OWNED.discard(self.backend.adapter or "")
        await surely(self.backend.close())

    async def scan(self, seconds: float, enrolled: "Sequence[Enrolled]" = ()) -> list[Sighting]:
        """Return everything that advertises, the strongest first.

        Raises
        ------
        BluetoothUnavailableError
            If the adapter cannot be used.
        """
        seen = await self._watch(seconds, lambda _: False)
        addresses = {recorder.address for recorder in enrolled}
        found = [replace(sighting, enrolled=address in addresses) for address, sighting in seen.items()]
        return sorted(found, key=lambda sighting: -sighting.rssi_dbm)

    async def find(self, address: str, within_s: float = FIND_S) -> Sighting:
        """Wait until a recorder is heard.

        Raises
        ------
        NotInRangeError
            If it is not heard in time.
        BluetoothUnavailableError
            If the adapter cannot be used.
        """
        address = address.upper()
        loop, heard_s = asyncio.get_running_loop(), None

        def enough(seen: dict[str, Sighting]) -> bool:
            nonlocal heard_s
            if address not in seen:
                return False
            heard_s = heard_s or loop.time()
            # Its name comes with the scan response, a little later.
            return bool(seen[address].driver and seen[address].name) or loop.time() >= heard_s + SETTLE_S

        await self._free([address])
        seen = await self._watch(within_s, enough)
        if address not in seen:
            raise NotInRangeError(address, within_s)
        return seen[address]

    async def choose(self, which: str, enrolled: "Sequence[Enrolled]", within_s: float = FIND_S) -> "Enrolled":
        """Return the enrolled recorder that is meant.

        Parameters
        ----------
        which : str
            An address, or ``auto`` for the single enrolled recorder in range.
        enrolled : sequence of Enrolled
        within_s : float

        Raises
        ------
        NotEnrolledError
            If the address is not enrolled.
        NoneEnrolledError
            If nothing is enrolled, or nothing enrolled is in range.
        SeveralInRangeError
            If several enrolled recorders are in range; signal strength never decides.
        NotInRangeError
            If the one that was named is not heard.
        """
        known = {recorder.address: recorder for recorder in enrolled}
        if which != AUTO:
            if which.upper() not in known:
                raise NotEnrolledError(which)
            await self.find(which, within_s)
            return known[which.upper()]
        if not known:
            raise NoneEnrolledError(())
        loop, heard_s = asyncio.get_running_loop(), None

        def enough(seen: dict[str, Sighting]) -> bool:
            nonlocal heard_s
            if not known.keys() & seen.keys():
                return False
            heard_s = heard_s or loop.time()
            return len(known) == 1 or loop.time() >= heard_s + SETTLE_S

        await self._free(known)
        seen = await self._watch(within_s, enough)
        near = sorted((seen[address] for address in known.keys() & seen.keys()), key=lambda one: -one.rssi_dbm)
        if not near:
            raise NoneEnrolledError([str(recorder) for recorder in enrolled], within_s)
        if len(near) > 1:
            raise SeveralInRangeError([str(sighting) for sighting in near])
        return known[near[0].address]

    async def connect(
        self,
        recorder: "Enrolled",
        *,
        fs_hz: float | None = None,
        within_s: float = CONNECT_S,
        attempts: int = ATTEMPTS,
        rescan: bool = False,
    ) -> Link:
        """Connect to an enrolled recorder, and make sure that it is the one.

        Parameters
        ----------
        recorder : Enrolled
        fs_hz : float, optional
            Rate wanted.
        within_s : float
            For everything together.
        attempts : int
        rescan : bool
            Look for it anew, even if it was heard before.

        Raises
        ------
        WrongRecorderError
            If it states another serial than the one enrolled.
        PairingError
            If the bond is gone on either side.
        NotInRangeError, ConnectionFailedError, BluetoothUnavailableError, UnsupportedRecorderError
        """
        if recorder.bonded and self.backend.bonded is not None and not await self.backend.bonded(recorder.address):
            # Reading what is encrypted would make some systems pair anew without a word.
            raise PairingError(str(recorder), "this machine has lost the bond with it")
        driver = drivers.get(recorder.driver)
        loop = asyncio.get_running_loop()
        end_s = loop.time() + within_s
        sighting = self._known.get(recorder.address)
        if sighting is None or rescan:
            sighting = await self.find(recorder.address, within_s)
        link = Link(str(recorder), driver, self._backlog)
        return await self._opened(link, sighting, max(end_s - loop.time(), 1.0), attempts, recorder, fs_hz)

    async def meet(self, sighting: Sighting, driver: Driver, within_s: float = CONNECT_S + PAIR_S) -> Link:
        """Connect to a recorder that is being enrolled, and pair where its driver needs a bond; for `enrolment.enrol`.

        Raises
        ------
        PairingError
            If it refuses.
        NotInRangeError, ConnectionFailedError, BluetoothUnavailableError, UnsupportedRecorderError
        """
        link = Link(f"{sighting.name or driver.description.title} ({sighting.address})", driver, self._backlog)
        return await self._opened(link, sighting, within_s, ATTEMPTS, None, None)

    async def forget(self, address: str) -> None:
        """Drop the bond with a recorder.

        Raises
        ------
        BluetoothUnavailableError
            If the system refuses.
        """
        if self.backend.forget is not None:
            await self.backend.forget(address.upper())
        self._known.pop(address.upper(), None)

    async def _opened(
        self,
        link: Link,
        sighting: Sighting,
        within_s: float,
        attempts: int,
        expected: "Enrolled | None",
        fs_hz: float | None,
    ) -> Link:
        try:
            async with self._adapter, asyncio.timeout(within_s):
                with typed(link.name, waited_s=within_s, attempts=attempts):
                    link.adopt(await self._connected(link, sighting, attempts))
                if expected is None and link.driver.description.needs_bond:
                    await self._pair(link, sighting.address)
                link.simulated = self.backend.virtual
                link.bonded = expected.bonded if expected else link.driver.description.needs_bond
                await link.begin(fs_hz)
                _check_identity(link, expected)
                await link.subscribe()
        except TimeoutError as error:
            await link.close()
            raise NotInRangeError(link.name, within_s) from error
        except BaseException as error:
            await link.close()
            if isinstance(error, BluetoothUnavailableError | ConnectionFailedError):
                await self._failed()
            raise
        self._failures = 0
        self._links[sighting.address] = link
        return link

    async def _connected(self, link: Link, sighting: Sighting, attempts: int) -> "BleakClient":
        from bleak_retry_connector import BleakClientWithServiceCache, establish_connection

        return await establish_connection(
            BleakClientWithServiceCache,
            sighting.device,
            link.name,
            disconnected_callback=lambda _: link.gone(),
            max_attempts=attempts,
            backend=self.backend.client,
            **self.backend.options,
        )

    async def _free(self, addresses: Iterable[str]) -> None:
        """Drop connections that a program which died left with BlueZ: a recorder in one does not advertise."""
        if self.backend.virtual or not bluez.is_here():
            return
        from bleak_retry_connector import close_stale_connections_by_address

        with typed(_ADAPTER):
            for address in addresses:
                link = self._links.get(address)
                if link is None or link.lost.is_set():
                    await close_stale_connections_by_address(address)

    async def _pair(self, link: Link, address: str) -> None:
        with typed(link.name, waited_s=PAIR_S):
            async with asyncio.timeout(PAIR_S), AsyncExitStack() as stack:
                if not self.backend.virtual:
                    await stack.enter_async_context(bluez.PairingAgent(address))
                try:
                    await link.pair()
                except NotImplementedError:
                    # macOS pairs by itself at the first read of something encrypted.
                    return

    async def _watch(self, seconds: float, enough: Callable[[dict[str, Sighting]], bool]) -> dict[str, Sighting]:
        """Scan until it is enough; one scan at a time, others wait."""
        from bleak import BleakScanner

        seen: dict[str, Sighting] = {}
        fresh: dict[str, tuple[BLEDevice, AdvertisementData]] = {}
        heard = asyncio.Event()

        def on_advertisement(device: "BLEDevice", data: "AdvertisementData") -> None:
            fresh[device.address.upper()] = device, data
            heard.set()

        def is_enough() -> bool:
            # Not in the callback, where an error would be lost.
            for address, (device, data) in fresh.items():
                seen[address] = _sighting(device, data, seen.get(address))
            fresh.clear()
            return enough(seen)

        try:
            async with self._adapter:
                with typed(_ADAPTER):
                    scanner = BleakScanner(on_advertisement, backend=self.backend.scanner, **self.backend.options)
                await _scan(scanner, seconds, heard, is_enough)
        except BluetoothUnavailableError:
            await self._failed()
            raise
        self._failures = 0
        self._known.update(seen)
        return seen

    async def _failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES_BEFORE_RECOVERY and self._recover is not None:
            self._failures = 0
            async with self._adapter:
                await self._recover()


async def _scan(scanner: Any, seconds: float, heard: asyncio.Event, enough: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    try:
        try:
            with typed(_ADAPTER):
                async with asyncio.timeout(START_S):
                    await scanner.start()
        except NotInRangeError as error:
            raise BluetoothUnavailableError("the scan did not begin") from error
        end_s = loop.time() + seconds
        while not enough() and (left_s := end_s - loop.time()) > 0:
            heard.clear()
            # Also woken when nothing is heard: `enough` may wait for time to pass.
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, 0.1)):
                    await heard.wait()
    finally:
        with typed(_ADAPTER):
            await surely(scanner.stop())


def _sighting(device: "BLEDevice", data: "AdvertisementData", before: Sighting | None) -> Sighting:
    name = printable(data.local_name or device.name) or (before.name if before else None)
    services = tuple(sorted({uuid.lower() for uuid in data.service_uuids} | set(before.services if before else ())))
    driver = drivers.match(services, name)
    return Sighting(
        device.address.upper(), name, data.rssi, services, driver.description.name if driver else None, False, device
    )


def _check_identity(link: Link, expected: "Enrolled | None") -> None:
    if expected is not None and link.serial != expected.serial:
        raise WrongRecorderError(
            link.name,
            f"serial {expected.serial}" if expected.serial else "no serial",
            f"serial {link.serial}" if link.serial else "no serial",
        )


async def _reset(adapter: str | None) -> bool:
    """Reset a real adapter (bluetooth-auto-recovery: management socket, then USB)."""
    from bluetooth_auto_recovery import recover_adapter

    try:
        found = [one for one in await bluez.adapters() if adapter in (None, one.name)]
    except DeviceError:
        return False
    if not found:
        return False
    return bool(await recover_adapter(int(found[0].name.removeprefix("hci")), found[0].address))
