"""Twenty recordings in a row leave nothing behind: no tasks, handles, match rules, subscriptions or buses."""

import asyncio
import gc
from pathlib import Path

from dbus_fast import Message, MessageType
from guest import check, fact, run
from stage import FS_HZ, Stage, enrolled, held, open_recorder, recorded, stage

from lsemvae_edge.device import bluez
from lsemvae_edge.device.live import LiveRecording

CYCLES, WARM = 20, 3
SECONDS = 1.0


async def scenario() -> None:
    async with stage() as on:
        recorder, feed = open_recorder()
        host, known = await enrolled(on, recorder)
        counted = []
        wrong = short = 0
        for _ in range(CYCLES):
            recorder.sent.clear()
            live = LiveRecording(on.radio, known, duration_s=SECONDS)
            async with live:
                await recorded(live)
            found = held(live.record(), feed, recorder.sent[:50])
            wrong += found["n_wrong"] + found["n_gap"]
            short += found["n_samples"] < SECONDS * FS_HZ
            del live
            while host.connected:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            counted.append(await left(on))
        check("every recording is whole", wrong == short == 0, wrong=wrong, short=short)
        first, last = counted[WARM - 1], counted[-1]
        fact(after_three=first, after_twenty=last)
        for name, before in first.items():
            check(f"no more {name} than before", last[name] <= before, before=before, after=last[name])


async def left(on: Stage) -> dict[str, int]:
    """Count what a recording could leave behind."""
    gc.collect()
    rules = await _asked("/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats", "GetAllMatchRules")
    statistics = await _asked("/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats", "GetStats")
    async with bluez._bus() as bus:
        notifying = [row for _, row in await bluez._all(bus, "org.bluez.GattCharacteristic1") if row.get("Notifying")]
        connected = [row for _, row in await bluez._all(bus, "org.bluez.Device1") if row["Connected"]]
    return {
        "tasks": len(asyncio.all_tasks()),
        "handles of ours": _handles("self"),
        "handles of bluetoothd": _handles(str(on.daemon.process.pid)),
        "match rules": sum(len(owned) for owned in rules.values()),
        "connections to the bus": statistics["ActiveConnections"].value,
        "subscriptions": len(notifying),
        "connected recorders": len(connected),
    }


async def _asked(path: str, interface: str, member: str):
    async with bluez._bus() as bus:
        reply = await bus.call(Message("org.freedesktop.DBus", path, interface, member))
        assert reply.message_type is MessageType.METHOD_RETURN, (member, reply.body)
        return reply.body[0]


def _handles(process: str) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


run(scenario, limit_s=500.0)
