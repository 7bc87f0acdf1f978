"""Which recorders this machine records from: enrolled once, under control, and known by serial ever after.

They lie in a small file of the operator. A recorder that is not in it is never connected to, except to enrol it.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsemvae_edge import strict_json
from lsemvae_edge.device import drivers
from lsemvae_edge.device.driver import Driver
from lsemvae_edge.device.errors import (
    NotEnrolledError,
    RefusedError,
    SelfTestError,
    UnknownRecorderError,
    WrongRecorderError,
)
from lsemvae_edge.device.events import Frame, Reply
from lsemvae_edge.errors import BundleError, DeviceError
from lsemvae_edge.operator_file import OperatorFile
from lsemvae_edge.spec import from_dict

if TYPE_CHECKING:
    from lsemvae_edge.device.link import Link
    from lsemvae_edge.device.radio import Radio

SCHEMA = "lsemvae-edge/recorders/1"
VARIABLE = "LSEMVAE_EDGE_RECORDERS"
"""Environment variable that names the file."""
TEST_S = 1.6
"""How much of the test signal is judged."""
TEST_LIMIT_S = 6.0
REPLY_S = 3.0
_TEST_RECORDING = 255
_REPAIR = "Restore the file from a copy, or remove it and enrol your recorders again."


@dataclass(frozen=True)
class Enrolled:
    """A recorder that this machine records from.

    Parameters
    ----------
    address : str
    driver : str
        Name of its driver.
    name : str
        As it advertised.
    serial : str, optional
        As it stated; None if it states none, so that only its address and bond vouch for it.
    bonded : bool
        It was paired, and is refused without that bond.
    enrolled_at : str
        ISO 8601, UTC.
    simulated : bool
        It is no real recorder.
    """

    address: str
    driver: str
    name: str
    serial: str | None
    bonded: bool
    enrolled_at: str
    simulated: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


@dataclass(frozen=True)
class Enrolment:
    """Content of the file."""

    schema: str = SCHEMA
    recorders: tuple[Enrolled, ...] = ()

    def get(self, address: str) -> Enrolled:
        """Return a recorder by its address.

        Raises
        ------
        NotEnrolledError
            If it is not enrolled.
        """
        for recorder in self.recorders:
            if recorder.address == address.upper():
                return recorder
        raise NotEnrolledError(address)


def store_path() -> Path:
    """Return where the file lies: where `VARIABLE` says, else in the user's configuration.

    Raises
    ------
    DeviceError
        If there is neither.
    """
    return _FILE.path()


def bonds_path() -> Path:
    """Return the file that keeps bonds over virtual adapters; real ones are kept by the system."""
    return store_path().with_suffix(".virtual-bonds.json")


def read() -> Enrolment:
    """Read the file; an absent one is empty.

    Raises
    ------
    DeviceError
        If it is damaged, or can be written by others.
    """
    return _FILE.read() or Enrolment()


def update(change: Callable[[Enrolment], Enrolment]) -> Enrolment:
    """Change the file, one writer at a time; it is whole at every moment.

    Raises
    ------
    DeviceError
        If it is damaged, or cannot be written.
    """
    return _FILE.update(lambda enrolment: change(enrolment or Enrolment()))


async def enrol(radio: "Radio", address: str, driver: str | None = None, *, replace: bool = False) -> Enrolled:
    """Enrol a recorder: connect, pair, read its serial, let it test and show itself, and keep it.

    This is the one place that connects to a recorder that is not enrolled.

    Parameters
    ----------
    radio : Radio
    address : str
    driver : str, optional
        Name of the driver; by default the one that fits what is advertised.
    replace : bool
        Take it also if another recorder is enrolled under this address.

    Raises
    ------
    UnknownRecorderError
        If no driver fits.
    WrongRecorderError
        If this address is enrolled with another serial.
    SelfTestError
        If its test signal does not come back as it should.
    PairingError, NotInRangeError, ConnectionFailedError, BluetoothUnavailableError
        See `Radio.connect`.
    """
    address = address.upper()
    if replace:
        # The other recorder under this address had keys of its own.
        await radio.forget(address)
    sighting = await radio.find(address)
    name = driver or sighting.driver
    if name is None:
        raise UnknownRecorderError(f"{sighting.name or 'The recorder'} ({address})", drivers.names())
    chosen = drivers.get(name)
    async with await radio.meet(sighting, chosen) as link:
        _check_known(address, link.serial, replace)
        if chosen.description.can_test:
            await _test(link, chosen)
        if chosen.description.can_identify:
            await link.identify()
        enrolled = Enrolled(
            address,
            name,
            sighting.name or chosen.description.title,
            link.serial,
            link.bonded,
            datetime.now(UTC).isoformat(timespec="seconds"),
            link.simulated,
        )
    update(lambda now: dataclasses.replace(now, recorders=(*_without(now, address), enrolled)))
    return enrolled


def remove(address: str) -> Enrolled:
    """Take a recorder from the list, and return it.

    Raises
    ------
    NotEnrolledError
        If it is not on it.
    """
    removed = read().get(address)
    update(lambda now: dataclasses.replace(now, recorders=_without(now, removed.address)))
    return removed


async def pair(radio: "Radio", address: str) -> Enrolled:
    """Pair anew with an enrolled recorder whose bond was lost; it must still be the same one.

    Raises
    ------
    NotEnrolledError
        If it is not enrolled.
    WrongRecorderError, PairingError, DeviceError
        See `enrol`.
    """
    known = read().get(address)
    await radio.forget(known.address)
    return await enrol(radio, known.address, known.driver)


def _check_known(address: str, serial: str | None, replace: bool) -> None:
    for known in read().recorders:
        if known.address == address and known.serial != serial and not replace:
            raise WrongRecorderError(str(known), _serial(known.serial), _serial(serial))


def _serial(serial: str | None) -> str:
    return f"serial {serial}" if serial else "no serial"


def _without(enrolment: Enrolment, address: str) -> tuple[Enrolled, ...]:
    return tuple(recorder for recorder in enrolment.recorders if recorder.address != address)


async def _test(link: "Link", driver: Driver) -> None:
    """Record the recorder's own test signal, and let its driver judge it."""
    decoder = driver.decoder(link.stream)
    pieces: list[np.ndarray] = []
    open_requests: set[int] = set()
    needed = int(TEST_S * link.stream.fs_hz)
    try:
        async with asyncio.timeout(TEST_LIMIT_S):
            for write in driver.test(link.stream, _TEST_RECORDING):
                await link.write(write)
                if write.request is not None:
                    open_requests.add(write.request)
            while sum(piece.shape[1] for piece in pieces) < needed:
                received = await link.next(REPLY_S)
                for event in decoder.feed(received.uuid, received.data) if received else ():
                    if isinstance(event, Reply):
                        open_requests.discard(event.request)
                        if event.error is not None:
                            raise RefusedError(link.name, "test itself", event.error)
                    elif isinstance(event, Frame) and not open_requests:
                        pieces.append(event.signal_mv)
    except TimeoutError as error:
        raise SelfTestError(link.name, "no test signal came") from error
    finally:
        with suppress(DeviceError):
            for write in driver.stop(link.stream):
                await link.write(write)
    complaint = driver.judge_test(link.stream, np.concatenate(pieces, axis=1))
    if complaint is not None:
        raise SelfTestError(link.name, complaint)


def _parsed(raw: bytes, path: Path) -> Enrolment:
    what = f"The list of recorders {path}"
    try:
        enrolment = from_dict(Enrolment, strict_json.parse(raw, what, _REPAIR), what)
    except BundleError as error:
        raise DeviceError(error.message, _REPAIR) from error
    if enrolment.schema != SCHEMA:
        raise DeviceError(f"{what} is {enrolment.schema!r}, not {SCHEMA!r}.", _REPAIR)
    addresses = [recorder.address for recorder in enrolment.recorders]
    if len(set(addresses)) != len(addresses) or any(address != address.upper() for address in addresses):
        raise DeviceError(f"{what} names an address twice, or not in capitals.", _REPAIR)
    return enrolment


_FILE: OperatorFile[Enrolment] = OperatorFile(
    "The list of recorders", "recorders.json", VARIABLE, DeviceError, _REPAIR, _parsed
)
