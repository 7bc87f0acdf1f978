"""What the scenarios share: bluetoothd as a child, a virtual controller that the kernel takes for an adapter, checks.

All that is heavy is imported at once: while a module is imported the controller does not answer the kernel, which
gives up on it after 2 s.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import bleak.backends.bluezdbus.client
import bleak.backends.bluezdbus.scanner  # noqa: F401
import bleak_retry_connector  # noqa: F401
import dbus_fast.aio  # noqa: F401
from bumble import hci
from bumble.transport import open_transport

from lsemvae_edge.device import bluez
from lsemvae_edge.device.errors import BluetoothUnavailableError
from lsemvae_edge.device.virtual.medium import FixedController, Medium

ADAPTER_ADDRESS = "00:AA:01:02:03:04"
_READY_S = 30.0
_SET_UP_S = 3.0

failed: list[str] = []


def check(name: str, ok: bool, **facts: Any) -> None:
    """Print how something came out."""
    if not ok:
        failed.append(name)
    print(json.dumps({"check": name, "ok": bool(ok), "at_s": _now(), **facts}, default=str), flush=True)


def fact(**facts: Any) -> None:
    """Print what was measured."""
    print(json.dumps({"fact": facts, "at_s": _now()}, default=str), flush=True)


def _now() -> float:
    return round(time.monotonic(), 2)


def run(scenario: Callable[[], Awaitable[None]], limit_s: float = 200.0) -> None:
    """Run a scenario; leaves the process, since threads of a stack that hangs would keep it."""

    async def bounded() -> None:
        try:
            await asyncio.wait_for(scenario(), limit_s)
        except BaseException:
            for task in asyncio.all_tasks():
                task.print_stack(file=sys.stderr)
            raise

    try:
        asyncio.run(bounded())
    except BaseException as error:  # noqa: BLE001  # whatever it is becomes a failed check
        import traceback

        traceback.print_exc()
        check("ends without an error", False, error=f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if failed else 0)


class Daemon:
    """bluetoothd, which may be killed and started again."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it has an adapter that is powered."""
        self.process = subprocess.Popen([os.environ["BLUETOOTHD"], "-n"], stdout=sys.stderr, stderr=sys.stderr)
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            with suppress(BluetoothUnavailableError):
                if await bluez.adapters():
                    break
            await asyncio.sleep(0.2)
        await self.power(True)

    async def power(self, on: bool) -> None:
        """Power the adapter on or off, as a person does with bluetoothctl."""
        for _ in range(20):
            with suppress(BluetoothUnavailableError):
                async with bluez._bus() as bus:
                    await bluez._set(bus, "/org/bluez/hci0", "Powered", on)
            if [adapter.powered for adapter in await bluez.adapters()] == [on]:
                return
            await asyncio.sleep(0.5)
        raise TimeoutError("the adapter did not change its power")

    def kill(self) -> None:
        """End it without warning."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


async def adapter(medium: Medium) -> FixedController:
    """Return the virtual controller of this machine's adapter, joined to the kernel."""
    transport = await open_transport("vhci")
    controller = FixedController("adapter", medium, transport.source, transport.sink)
    controller.public_address = hci.Address(ADAPTER_ADDRESS, hci.Address.PUBLIC_DEVICE_ADDRESS)
    # With these offered, Linux waits for LE Enhanced Connection Complete, which bumble's controller does not send.
    controller.le_features &= ~(hci.LeFeatureMask.LL_PRIVACY | hci.LeFeatureMask.LE_EXTENDED_ADVERTISING)
    # The kernel sets it up; it gives up on a controller that does not answer within 2 s.
    await asyncio.sleep(_SET_UP_S)
    return controller
