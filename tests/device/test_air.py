import asyncio
import struct
import sys
from itertools import pairwise

import pytest

pytest.importorskip("bumble", reason="virtual air needs the extra `simulator`")

from bleak import BleakClient, BleakScanner
from bleak.exc import BleakDBusError, BleakError, BleakGATTProtocolError

from lsemvae_edge.device.errors import BluetoothUnavailableError
from lsemvae_edge.device.virtual.air import VirtualAir, open_adapter
from lsemvae_edge.device.virtual.recorder import MANUFACTURER
from lsemvae_edge.errors import DeviceError, UsageError

ADDRESS = "C0:11:22:33:44:55"
MANUFACTURER_UUID, SERIAL_UUID = "00002a29-0000-1000-8000-00805f9b34fb", "00002a25-0000-1000-8000-00805f9b34fb"
BATTERY_UUID = "00002a19-0000-1000-8000-00805f9b34fb"
START, STOP = bytes([1, 5, 9]), bytes([2, 6, 0])


async def received(tiny, air, client, n, faults, until):
    """Return what was sent and its fate, and what arrived, after ``n`` frames were sent with these faults."""
    fates, arrived = [], []
    await client.start_notify(tiny.control, lambda *_: None)
    await client.start_notify(tiny.data, lambda _, value: arrived.append(bytes(value)))
    air.medium.seen = lambda value, fate: fates.append((value, fate))
    for name, value in faults.items():
        setattr(air.faults, name, value)
    await client.write_gatt_char(tiny.control, START, response=True)
    await until(lambda: len(fates) >= n)
    for name in faults:
        setattr(air.faults, name, 1 if name == "burst" else 0)
    await client.write_gatt_char(tiny.control, STOP, response=True)
    await asyncio.sleep(0.2)
    await client.stop_notify(tiny.data)
    return fates, arrived


def test_an_advertisement_tells_name_service_and_signal_strength(tiny, run):
    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(), ADDRESS, rssi_dbm=-61)
            central = await air.adapter()
            found = await BleakScanner.discover(0.2, return_adv=True, backend=central.scanner)
            data = found[ADDRESS][1]
            return data.local_name, data.service_uuids, data.rssi

    assert run(main()) == ("Tiny 1", [tiny.service], -61)


def test_a_virtual_recorder_says_that_it_is_one(tiny, run):
    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(serial="T042"), ADDRESS)
            async with BleakClient(ADDRESS, backend=(await air.adapter()).client) as client:
                return [bytes(await client.read_gatt_char(u)) for u in (MANUFACTURER_UUID, SERIAL_UUID, BATTERY_UUID)]

    assert run(main()) == [MANUFACTURER.encode(), b"T042", bytes([80])]


def test_a_name_too_long_to_advertise_is_refused(tiny, run):
    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(name="x" * 30), ADDRESS)

    with pytest.raises(DeviceError, match="does not fit"):
        run(main())


def test_faults_do_to_notifications_what_they_are_called(tiny, run, until):
    async def main():
        async with VirtualAir(seed=3) as air:
            await air.add(tiny.Recorder(), ADDRESS)
            async with BleakClient(ADDRESS, backend=(await air.adapter()).client) as client:
                return [
                    await received(tiny, air, client, 12, faults, until)
                    for faults in (
                        {"loss": 0.4},
                        {"loss": 0.2, "burst": 3},
                        {"duplicate": 0.4},
                        {"swap": 0.4},
                        {"corrupt": 0.4},
                        {"cut": 0.4},
                        {"silent": True},
                        {"interval_s": 0.05},
                    )
                ]

    lost, bursts, doubled, swapped, corrupted, cut, silent, paced = run(main())
    for fates, arrived in (lost, bursts):
        assert any(fate == "lost" for _, fate in fates)
        assert arrived == [value for value, fate in fates if fate == "carried"]
    ends = [k for k, (_, fate) in enumerate(bursts[0]) if fate == "carried"]
    assert all((b - a - 1) % 3 == 0 for a, b in pairwise(ends))
    assert doubled[1] == [value for value, fate in doubled[0] for _ in range(2 if fate == "doubled" else 1)]
    assert sorted(swapped[1]) == sorted(value for value, _ in swapped[0])
    assert swapped[1] != [value for value, _ in swapped[0]]
    for (value, fate), got in zip(corrupted[0], corrupted[1], strict=True):
        assert sum(a != b for a, b in zip(value, got, strict=True)) == (fate == "corrupted")
    for (value, fate), got in zip(cut[0], cut[1], strict=True):
        assert got == (value[: len(value) // 2] if fate == "cut" else value)
    assert [fate for _, fate in silent[0][:12]] == ["silent"] * 12
    assert silent[1] == [value for value, fate in silent[0] if fate != "silent"]
    assert paced[1] == [value for value, _ in paced[0]]


def test_the_same_seed_fails_alike(tiny, run, until):
    async def main():
        async with VirtualAir(seed=5) as air:
            await air.add(tiny.Recorder(), ADDRESS)
            async with BleakClient(ADDRESS, backend=(await air.adapter()).client) as client:
                fates, _ = await received(tiny, air, client, 20, {"loss": 0.5}, until)
                return [fate for _, fate in fates[:20]]

    first = run(main())
    assert first == run(main())
    assert {"lost", "carried"} <= set(first)


def test_a_recorder_is_told_the_mtu_that_was_agreed_on(tiny, run):
    async def main():
        async with VirtualAir() as air:
            host = await air.add(tiny.Recorder(), ADDRESS, max_mtu=23)
            async with BleakClient(ADDRESS, backend=(await air.adapter()).client) as client:
                return client.mtu_size, host.recorder.mtu

    assert run(main()) == (23, 23)


def test_the_clock_of_a_recorder_drifts_as_told(tiny, run, until):
    async def main():
        recorder, passed, at_s = tiny.Recorder(), [], []
        loop = asyncio.get_running_loop()

        def advance(seconds):
            passed.append(seconds)
            at_s.append(loop.time())
            return []

        recorder.advance = advance
        async with VirtualAir() as air:
            await air.add(recorder, ADDRESS, clock=3.0)
            await until(lambda: len(passed) > 5)
            return sum(passed[1:]) / (at_s[-1] - at_s[0])

    assert 2.0 < run(main()) < 4.0


def test_both_ends_learn_of_a_lost_link_and_meet_again(tiny, run, until):
    async def main():
        async with VirtualAir() as air:
            host = await air.add(tiny.Recorder(), ADDRESS)
            client = BleakClient(ADDRESS, backend=(await air.adapter()).client)
            await client.connect()
            air.medium.drop_links()
            await until(lambda: not client.is_connected and not host.connected)
            with pytest.raises(BleakError):
                await client.read_gatt_char(SERIAL_UUID)
            await client.connect()
            assert host.connected
            await client.disconnect()

    run(main())


def test_a_black_out_leaves_the_link_up_until_supervision_ends_it(tiny, run, until):
    async def main():
        async with VirtualAir(supervision_s=0.3) as air:
            host = await air.add(tiny.Recorder(), ADDRESS)
            client = BleakClient(ADDRESS, backend=(await air.adapter()).client)
            await client.connect()
            air.medium.black_out(0.1)
            await until(lambda: not air.medium.dark)
            assert client.is_connected
            assert host.connected
            air.medium.black_out(10.0)
            await until(lambda: not client.is_connected and not host.connected)
            air.medium.light()
            await client.connect()
            await client.disconnect()

    run(main())


def test_who_leaves_during_a_black_out_leaves_no_connection_behind(tiny, run, until):
    async def main():
        async with VirtualAir(supervision_s=60.0) as air:
            host = await air.add(tiny.Recorder(), ADDRESS)
            client = BleakClient(ADDRESS, backend=(await air.adapter()).client)
            await client.connect()
            air.medium.black_out(60.0)
            await client.disconnect()
            assert host.connected
            air.medium.light()
            await until(lambda: not host.connected)
            await client.connect()
            await client.disconnect()

    run(main())


def test_an_absent_recorder_is_a_time_out_and_the_next_connect_works(tiny, run):
    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(), ADDRESS)
            central = await air.adapter()
            with pytest.raises(TimeoutError):
                await BleakClient("C0:00:00:00:00:01", backend=central.client).connect(timeout=0.2)
            async with BleakClient(ADDRESS, backend=central.client) as client:
                assert client.is_connected

    run(main())


def test_a_switched_off_recorder_does_not_answer(tiny, run, until):
    async def main():
        async with VirtualAir() as air:
            host = await air.add(tiny.Recorder(), ADDRESS)
            central = await air.adapter()
            client = BleakClient(ADDRESS, backend=central.client)
            await client.connect()
            host.switch(False)
            await until(lambda: not client.is_connected)
            assert await BleakScanner.discover(0.2, backend=central.scanner) == []
            host.switch(True)
            await client.connect()
            await client.disconnect()

    run(main())


def test_a_second_scan_is_refused_as_bluez_does(tiny, run):
    async def main():
        async with VirtualAir() as air:
            central = await air.adapter()
            async with BleakScanner(backend=central.scanner):
                await BleakScanner(backend=central.scanner).start()

    with pytest.raises(BleakDBusError, match="InProgress"):
        run(main())


def test_callbacks_of_a_lost_link_live_on_until_disconnect_is_called(tiny, run, until):
    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(), ADDRESS)
            central = await air.adapter()
            old, new = (BleakClient(ADDRESS, backend=central.client) for _ in range(2))
            stale, fresh = [], []
            await old.connect()
            await old.start_notify(tiny.data, lambda _, value: stale.append(value))
            air.medium.drop_links()
            await until(lambda: not old.is_connected)
            await new.connect()
            await new.start_notify(tiny.data, lambda _, value: fresh.append(value))
            await new.write_gatt_char(tiny.control, START, response=True)
            await until(lambda: len(fresh) > 3)
            assert stale
            await old.disconnect()
            n = len(stale)
            await until(lambda: len(fresh) > 8)
            assert len(stale) == n
            await new.disconnect()

    run(main())


def test_encrypted_characteristics_answer_after_pairing_alone(tiny, run):
    async def main():
        async with VirtualAir() as air:
            host = await air.add(tiny.Recorder(encrypted=True), ADDRESS, pairing=False)
            async with BleakClient(ADDRESS, backend=(await air.adapter()).client) as client:
                for refused in (
                    client.write_gatt_char(tiny.control, START, response=True),
                    client.start_notify(tiny.data, lambda *_: None),
                ):
                    with pytest.raises(BleakGATTProtocolError):
                        await refused
                with pytest.raises(BleakDBusError, match="AuthenticationFailed"):
                    await client.pair()
                # bumble pairs once a connection.
                await client.disconnect()
                host.pairing = True
                await client.connect()
                await client.pair()
                connection = next(iter(host.device.connections.values()))
                assert connection.is_encrypted
                assert connection.sc
                await client.write_gatt_char(tiny.control, START, response=True)
                assert host.recorder.running

    run(main())


@pytest.mark.parametrize(
    "spec", ["tcp-server:0.0.0.0:0", "tcp-server:example.org:80", "tcp-server:127.0.0.1", "usb:0", "unix-server:"]
)
def test_an_adapter_is_served_on_this_machine_alone(run, spec):
    async def main():
        async with VirtualAir() as air:
            await air.serve(spec)

    with pytest.raises(UsageError):
        run(main())


@pytest.mark.parametrize("spec", ["tcp:192.0.2.1:80", "tcp:127.0.0.1:99999", "tcp:127.0.0.1", "file:/x", "unix:"])
def test_an_adapter_is_opened_on_this_machine_alone(run, spec):
    with pytest.raises(UsageError):
        run(open_adapter(spec, None))


def test_an_adapter_that_nobody_serves_is_unavailable(run, tmp_path):
    with pytest.raises(BluetoothUnavailableError, match="no virtual adapter"):
        run(open_adapter(f"unix:{tmp_path / 'none'}", None))


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_served_adapter_has_one_user_and_forgets_him(tiny, run, tmp_path, kind, until):
    async def main():
        place = "tcp-server:127.0.0.1:0" if kind == "tcp" else f"unix-server:{tmp_path / 'hci'}"
        async with VirtualAir() as air:
            host = await air.add(tiny.Recorder(), ADDRESS)
            spec = await air.serve(place)
            for _ in range(2):
                central, transport = await open_adapter(spec, None)
                await BleakClient(ADDRESS, backend=central.client).connect()
                with pytest.raises(BluetoothUnavailableError):
                    await open_adapter(spec, None)
                await transport.close()
                await until(lambda: not host.connected)
                assert not central.alive

    run(main())


CLIENT = """
import asyncio, sys
from bleak import BleakClient
from lsemvae_edge.device.backend import open_backend

async def main():
    backend = await open_backend(sys.argv[1])
    arrived = []
    async with BleakClient(sys.argv[2], backend=backend.client) as client:
        await client.start_notify(sys.argv[3], lambda _, value: arrived.append(bytes(value)))
        await client.write_gatt_char(sys.argv[4], bytes([1, 5, 9]), response=True)
        while len(arrived) < 20:
            await asyncio.sleep(0.01)
    await backend.close()
    print(b"".join(arrived[:20]).hex())

asyncio.run(main())
"""


def test_another_process_records_over_a_served_adapter(tiny, run):
    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(), ADDRESS)
            spec = await air.serve("tcp-server:127.0.0.1:0")
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CLIENT, spec, ADDRESS, tiny.data, tiny.control, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await child.communicate()
            return bytes.fromhex(out.decode())

    frames = run(main(), 20.0)
    size = len(frames) // 20
    indices = [struct.unpack_from("<I", frames, k * size)[0] for k in range(20)]
    assert indices == list(range(indices[0], indices[0] + 200, 10))
