"""Virtual air: recorders and an adapter on one medium, in this process or for another one."""

import asyncio
import json
import os
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from bumble import hci
from bumble.device import Device
from bumble.keys import JsonKeyStore, MemoryKeyStore
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport.common import StreamPacketSink, StreamPacketSource, Transport, TransportLostError
from bumble.transport.tcp_client import open_tcp_client_transport
from bumble.transport.unix import open_unix_client_transport

from lsemvae_edge.device.errors import BluetoothUnavailableError
from lsemvae_edge.device.virtual.bleak_backend import Central
from lsemvae_edge.device.virtual.host import MAX_MTU, Host
from lsemvae_edge.device.virtual.medium import Faults, FixedController, Medium
from lsemvae_edge.device.virtual.recorder import VirtualRecorder
from lsemvae_edge.errors import DeviceError, UsageError

CENTRAL_ADDRESS = "F0:F1:F2:F3:F4:F5"
"""Of every virtual adapter; bonds are kept under it."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
OPENING_S = 10.0


class VirtualAir:
    """One medium with recorders and an adapter on it, as an async context manager.

    Parameters
    ----------
    seed : int
        Of the faults, see `Medium`.
    supervision_s : float
        See `Medium`.
    """

    def __init__(self, seed: int = 0, supervision_s: float = 4.0) -> None:
        self.medium = Medium(seed, supervision_s)
        self._left = AsyncExitStack()

    @property
    def faults(self) -> Faults:
        """What happens on the way."""
        return self.medium.faults

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.medium.light()
        await self._left.aclose()
        self.medium.close()
        # What bumble and the transports have scheduled for this instant ends before the caller goes on.
        await asyncio.sleep(0)

    async def add(
        self,
        recorder: VirtualRecorder,
        address: str,
        *,
        clock: float = 1.0,
        max_mtu: int = MAX_MTU,
        rssi_dbm: int | None = None,
        pairing: bool = True,
    ) -> Host:
        """Put a recorder on the air.

        Parameters
        ----------
        recorder : VirtualRecorder
        address : str
            Random static address.
        clock, max_mtu, pairing
            See `Host`.
        rssi_dbm : int, optional
            How strongly it is heard.
        """
        if rssi_dbm is not None:
            self.medium.rssi_dbm[address] = rssi_dbm
        controller = FixedController(recorder.local_name, self.medium)
        device = Device.with_hci(recorder.local_name, hci.Address(address), controller, controller)
        return await self._left.enter_async_context(Host(device, recorder, clock, max_mtu, pairing))

    async def adapter(self) -> Central:
        """Put an adapter on the air, for bleak in this process."""
        controller = FixedController("adapter", self.medium)
        central = await _central(controller, controller, None)
        self._left.push_async_callback(central.close)
        return central

    async def serve(self, spec: str) -> str:
        """Put an adapter on the air for another process, one at a time.

        Parameters
        ----------
        spec : str
            ``tcp-server:127.0.0.1:PORT`` (0 picks a port) or ``unix-server:PATH``.

        Returns
        -------
        str
            What the other process opens, see `open_adapter`.

        Raises
        ------
        UsageError
            If it is anything but this machine's own loopback or a socket file.
        BluetoothUnavailableError
            If it cannot be opened.
        """
        kind, _, place = spec.partition(":")
        loop = asyncio.get_running_loop()
        try:
            if kind == "tcp-server":
                host, port = _loopback(place)
                server = await loop.create_server(lambda: _Served(self.medium), host, port)
                opened = f"tcp:{host}:{server.sockets[0].getsockname()[1]}"
            elif kind == "unix-server" and place:
                server = await loop.create_unix_server(lambda: _Served(self.medium), place)
                opened = f"unix:{place}"
            else:
                raise UsageError(
                    f"{spec!r} is no place to serve an adapter at.",
                    "Use tcp-server:127.0.0.1:PORT or unix-server:PATH.",
                )
        except OSError as error:
            raise BluetoothUnavailableError(f"{place} cannot be served ({error.strerror or error})") from error
        self._left.push_async_callback(_stop, server, self.medium)
        if kind == "unix-server":
            self._left.callback(Path(place).unlink, missing_ok=True)
        return opened


async def open_adapter(spec: str, bonds: Path | None) -> tuple[Central, Transport]:
    """Open an adapter that another process serves.

    Parameters
    ----------
    spec : str
        ``tcp:127.0.0.1:PORT`` or ``unix:PATH``.
    bonds : Path, optional
        File that keeps the keys of bonds; without one they end with this process.

    Raises
    ------
    UsageError
        If it is anything but this machine's own loopback or a socket file.
    BluetoothUnavailableError
        If nobody serves it.
    """
    kind, _, place = spec.partition(":")
    transport = None
    try:
        async with asyncio.timeout(OPENING_S):
            if kind == "tcp":
                host, port = _loopback(place)
                transport = await open_tcp_client_transport(f"{host}:{port}")
            elif kind == "unix" and place:
                transport = await open_unix_client_transport(place)
            else:
                raise UsageError(f"{spec!r} is no virtual adapter.", "Use tcp:127.0.0.1:PORT or unix:PATH.")
            central = await _central(transport.source, transport.sink, bonds)
    except (OSError, TransportLostError) as error:
        if transport is not None:
            await transport.close()
        raise BluetoothUnavailableError(
            f"no virtual adapter is served at {place}", "Run `lsemvae-edge devices simulate` in another window."
        ) from error
    except BaseException:
        if transport is not None:
            await transport.close()
        raise

    def gone(_: object) -> None:
        central.alive = False

    transport.source.terminated.add_done_callback(gone)
    return central, transport


class _Served(StreamPacketSource):
    """The controller that a process finds at the other end of a socket, and that goes when it goes."""

    def __init__(self, medium: Medium) -> None:
        super().__init__()
        self._medium = medium
        self._controller: FixedController | None = None
        self._socket: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        if any(isinstance(controller, _Remote) for controller in self._medium.controllers):
            # Two adapters with one address would take each other's packets.
            transport.abort()
            return
        self._controller = _Remote("served", self._medium, self, StreamPacketSink(transport))
        self._controller.socket = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._controller is not None:
            self._controller.quiet()
            self._controller.host = None
            self._medium.remove_controller(self._controller)
            self._controller = None


class _Remote(FixedController):
    """A controller whose host is another process."""

    socket: asyncio.Transport


async def _central(source: Any, sink: Any, bonds: Path | None) -> Central:
    device = Device.with_hci("adapter", hci.Address(CENTRAL_ADDRESS), source, sink)
    device.keystore = MemoryKeyStore() if bonds is None else await _bonds(bonds)
    device.pairing_config_factory = lambda _: PairingConfig(
        sc=True,
        mitm=False,
        bonding=True,
        delegate=PairingDelegate(PairingDelegate.IoCapability.NO_OUTPUT_NO_INPUT),
        identity_address_type=PairingConfig.AddressType.RANDOM,
    )
    await device.power_on()
    return Central(device)


class _Bonds(JsonKeyStore):
    """bumble's file of keys, readable by its owner alone."""

    async def save(self, db: dict[str, dict[str, dict[str, Any]]]) -> None:
        draft = self.filename.with_name(f".{self.filename.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(db, file, sort_keys=True, indent=1)
        draft.replace(self.filename)


async def _bonds(path: Path) -> JsonKeyStore:
    bonds = _Bonds(CENTRAL_ADDRESS, str(path))
    try:
        await bonds.get_all()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeviceError(
            f"The bonds in {path} cannot be read.",
            "Remove the file, then pair again: lsemvae-edge devices pair ADDRESS",
        ) from error
    return bonds


async def _stop(server: asyncio.Server, medium: Medium) -> None:
    server.close()
    for controller in list(medium.controllers):
        if isinstance(controller, _Remote):
            controller.socket.close()
    await server.wait_closed()


def _loopback(place: str) -> tuple[str, int]:
    """Split an address; what travels there is not encrypted and obeys everyone, so it stays on this machine."""
    match = re.fullmatch(r"(.+):(\d{1,5})", place)
    if match is None or match[1].strip("[]") not in LOOPBACK or int(match[2]) > 65535:
        raise UsageError(
            f"{place!r} is not on this machine's loopback.", "Use 127.0.0.1 and a port, or the path of a socket."
        )
    return match[1].strip("[]"), int(match[2])
