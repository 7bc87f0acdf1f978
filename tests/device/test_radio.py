import asyncio
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("bumble", reason="virtual air needs the extra `simulator`")

from bleak.backends.scanner import BaseBleakScanner
from bleak.exc import BleakDBusError

from lsemvae_edge.device import backend as backends
from lsemvae_edge.device import bluez, drivers, enrolment
from lsemvae_edge.device import radio as radios
from lsemvae_edge.device.backend import Backend
from lsemvae_edge.device.driver import Write
from lsemvae_edge.device.errors import (
    BluetoothUnavailableError,
    LinkLostError,
    NoneEnrolledError,
    NotEnrolledError,
    NotInRangeError,
    NotOfferedError,
    PairingError,
    SeveralInRangeError,
    UnsupportedRecorderError,
    WrongRecorderError,
)
from lsemvae_edge.device.radio import Radio
from lsemvae_edge.device.virtual.air import VirtualAir
from lsemvae_edge.errors import DeviceError

FIRST, SECOND, THIRD = (f"C0:11:22:33:44:{k}" for k in (55, 66, 77))


def start(tiny, recording=9):
    return Write(tiny.control, bytes([1, 5, recording]), request=5)


def test_a_scan_lists_the_strongest_first_with_driver_and_enrolment(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            for address, rssi in ((FIRST, -80), (SECOND, -40), (THIRD, -60)):
                await air.add(tiny.Recorder(), address, rssi_dbm=rssi)
            return await radio.scan(0.3, [tiny.known(THIRD)])

    found = run(main())
    assert [(one.address, one.rssi_dbm) for one in found] == [(SECOND, -40), (THIRD, -60), (FIRST, -80)]
    assert [one.enrolled for one in found] == [False, True, False]
    assert {(one.name, one.driver, one.services) for one in found} == {("Tiny 1", "tiny", (tiny.service,))}


def test_two_scans_at_once_wait_for_each_other(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), FIRST)
            return await asyncio.gather(radio.scan(0.2), radio.scan(0.2), radio.find(FIRST))

    one, two, three = run(main())
    assert one[0].address == two[0].address == three.address == FIRST


@pytest.fixture
def quick(monkeypatch):
    """A second recorder is waited for no longer than a test is."""
    monkeypatch.setattr(radios, "SETTLE_S", 0.3)


@pytest.mark.usefixtures("quick")
def test_only_an_enrolled_recorder_is_chosen(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), FIRST)
            await air.add(tiny.Recorder(), SECOND, rssi_dbm=-20)
            with pytest.raises(NoneEnrolledError, match="No recorder is enrolled"):
                await radio.choose("auto", ())
            with pytest.raises(NotEnrolledError):
                await radio.choose(SECOND, [tiny.known(FIRST)])
            with pytest.raises(NoneEnrolledError, match="found within"):
                await radio.choose("auto", [tiny.known(THIRD)], 0.2)
            with pytest.raises(NotInRangeError):
                await radio.choose(THIRD, [tiny.known(THIRD)], 0.2)
            return await radio.choose("auto", [tiny.known(FIRST), tiny.known(THIRD)]), await radio.choose(
                FIRST.lower(), [tiny.known(FIRST)]
            )

    assert run(main()) == (tiny.known(FIRST), tiny.known(FIRST))


@pytest.mark.usefixtures("quick")
def test_of_two_in_range_none_is_chosen_however_strong_one_is(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), FIRST, rssi_dbm=-95)
            await air.add(tiny.Recorder(name="Tiny 2"), SECOND, rssi_dbm=-20)
            both = [tiny.known(FIRST), tiny.known(SECOND)]
            with pytest.raises(SeveralInRangeError) as refused:
                await radio.choose("auto", both)
            return refused.value.recorders, await radio.choose(SECOND, both)

    listed, chosen = run(main())
    assert listed == (f"Tiny 2 ({SECOND}, -20 dBm)", f"Tiny 1 ({FIRST}, -95 dBm)")
    assert chosen.address == SECOND


def test_a_link_knows_who_is_at_its_other_end(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), FIRST)
            host.recorder.battery_percent = 55
            async with await radio.connect(tiny.known()) as link:
                await link.identify()
                host.recorder.battery_percent = 12
                await until(lambda: link.battery == 12)
                return link.serial, link.mtu, link.stream.fs_hz, link.simulated, host.recorder.blinked

    assert run(main()) == ("T001", 247, tiny.fs_hz, True, 1)


def test_a_recorder_with_another_serial_is_refused_and_let_go(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(serial="EVIL"), FIRST)
            with pytest.raises(WrongRecorderError, match="EVIL"):
                await radio.connect(tiny.known())
            await until(lambda: not host.connected)
            assert not host.recorder.running

    run(main())


def test_a_packet_too_small_for_the_driver_is_refused(tiny, run, radio_on, monkeypatch):
    monkeypatch.setattr(tiny.Driver, "description", replace(tiny.Driver.description, min_mtu=100))

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), FIRST, max_mtu=23)
            await radio.connect(tiny.known())

    with pytest.raises(UnsupportedRecorderError, match="agree on 23 bytes"):
        run(main())


@pytest.mark.parametrize("side", ["machine", "recorder"])
def test_a_lost_bond_is_never_made_anew_in_silence(tiny, run, radio_on, enrolment_file, side):
    tiny.only("tiny-bonded")

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(encrypted=True), FIRST, clock=10.0)
            enrolled = await enrolment.enrol(radio, FIRST)
            assert enrolled.bonded
            async with await radio.connect(enrolled) as link:
                await link.write(start(tiny))
            await (radio.forget(FIRST) if side == "machine" else host.forget_bonds())
            with pytest.raises(PairingError):
                await radio.connect(enrolled)
            assert not host.connected
            again = await enrolment.pair(radio, FIRST)
            async with await radio.connect(again) as link:
                assert link.bonded

    run(main())


def test_an_absent_recorder_is_not_in_range(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), FIRST)
            with pytest.raises(NotInRangeError):
                await radio.connect(tiny.known(SECOND), within_s=0.2)
            await radio.find(FIRST)
            host.switch(False)
            with pytest.raises(NotInRangeError):
                await radio.connect(tiny.known(FIRST), within_s=0.3)
            host.switch(True)
            async with await radio.connect(tiny.known(FIRST)) as link:
                assert not link.lost.is_set()

    run(main())


def test_a_reader_too_slow_loses_notifications_and_knows_how_many(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air, backlog=4) as radio:
            fates = []
            await air.add(tiny.Recorder(), FIRST)
            async with await radio.connect(tiny.known()) as link:
                air.medium.seen = lambda _, fate: fates.append(fate)
                await link.write(start(tiny))
                await until(lambda: len(fates) >= 10)
                # One is the reply to the start, which is indicated.
                return len(fates) + 1 - link.overflow, link.notifications.qsize()

    kept, waiting = run(main())
    assert kept in (4, 5)  # the last one may still be on its way
    assert waiting == 4


def test_after_a_lost_link_each_notification_arrives_once_and_the_old_link_is_deaf(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), FIRST)
            old = await radio.connect(tiny.known())
            air.medium.drop_links()
            await until(old.lost.is_set)
            with pytest.raises(LinkLostError):
                await old.write(start(tiny))
            await old.close()
            while await old.next(0.0) is not None:
                pass
            sent = []
            async with await radio.connect(tiny.known()) as new:
                air.medium.seen = lambda value, _: sent.append(value)
                await new.write(start(tiny))
                await until(lambda: len(sent) > 8)
                await asyncio.sleep(0.01)
                arrived = []
                while (received := await new.next(0.0)) is not None:
                    arrived += [received.data] if received.uuid == tiny.data else []
            assert arrived[:8] == sent[:8]
            assert old.notifications.empty()

    run(main())


def test_a_link_that_is_lost_wakes_who_waits_for_it(tiny, run, radio_on):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), FIRST)
            async with await radio.connect(tiny.known()) as link:
                asyncio.get_running_loop().call_later(0.05, asyncio.ensure_future, host.drop())
                assert await link.next(60.0) is None
                assert link.lost.is_set()

    run(main(), 5.0)


def handles():
    return len(list(Path("/proc/self/fd").iterdir())) if os.name == "posix" else 0


def test_twenty_cycles_leave_nothing_behind(tiny, run, radio_on, until):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), FIRST)
            await radio.find(FIRST)
            central = radio.backend.client.central

            def left():
                return (
                    len(asyncio.all_tasks()),
                    dict(central.listeners),
                    {name: len(central.device.listeners(name)) for name in central.device.event_names()},
                    dict(host.device.gatt_server.subscribers),
                    len(central.device.connections),
                    handles(),
                )

            counts = []
            for _ in range(20):
                async with await radio.connect(tiny.known()) as link:
                    await link.write(start(tiny))
                    while (await link.next(2.0)).uuid != tiny.data:
                        pass
                await until(lambda: not host.connected and host.device.is_advertising)
                await asyncio.sleep(0.02)
                counts.append(left())
            return counts

    counts = run(main(), 20.0)
    assert counts[1:] == counts[1:2] * 19


def test_a_cancellation_at_any_moment_leaves_recorder_and_adapter_free(tiny, run, radio_on, until):
    rng = random.Random(11)

    async def once(radio, tiny):
        async with await radio.connect(tiny.known()) as link:
            await link.write(start(tiny))
            await link.next(1.0)
            await radio.scan(0.05)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            host = await air.add(tiny.Recorder(), FIRST)
            await radio.find(FIRST)
            ended = 0
            for _ in range(25):
                task = asyncio.create_task(once(radio, tiny))
                await asyncio.sleep(rng.uniform(0.0, 0.12))
                task.cancel()
                ended += (await asyncio.gather(task, return_exceptions=True))[0] is None
                await until(lambda: not host.connected)
            assert ended < 25
            await once(radio, tiny)

    run(main(), 25.0)


def test_an_adapter_that_keeps_failing_is_reset_once_every_three_times(run):
    calls = []

    class Broken(BaseBleakScanner):
        def __init__(self, callback, uuids, mode, **_):
            super().__init__(callback, uuids)

        async def start(self):
            raise BleakDBusError("org.bluez.Error.NotReady", ["Resource Not Ready"])

        async def stop(self):
            pass

    async def recover():
        calls.append("reset")
        return True

    async def main():
        async with Radio(Backend(scanner=Broken, virtual=True), recover) as radio:
            for _ in range(6):
                with pytest.raises(BluetoothUnavailableError, match="switched off"):
                    await radio.scan(0.1)

    run(main())
    assert calls == ["reset", "reset"]


def test_a_real_adapter_has_one_owner_in_a_process(run, monkeypatch):
    async def locked():
        pass

    monkeypatch.setattr(bluez, "lock", locked)

    async def main():
        async with Radio(Backend(adapter="hci7")):
            with pytest.raises(BluetoothUnavailableError, match="uses it already"):
                async with Radio(Backend(adapter="hci7")):
                    pass
        async with Radio(Backend(adapter="hci7")):
            pass

    run(main())


def test_what_a_recorder_cannot_is_said(tiny, run, radio_on, monkeypatch):
    monkeypatch.delattr(tiny.Driver, "identify")

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), FIRST)
            async with await radio.connect(tiny.known()) as link:
                await link.identify()

    with pytest.raises(NotOfferedError, match="show which one"):
        run(main())


def test_a_bond_over_a_served_adapter_outlives_the_process(tiny, run, enrolment_file, tmp_path):
    tiny.only("tiny-bonded")
    bonds = tmp_path / "bonds" / "keys.json"

    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(encrypted=True), FIRST, clock=10.0)
            spec = await air.serve("tcp-server:127.0.0.1:0")
            async with Radio(await backends.open_backend(spec, bonds=bonds)) as radio:
                enrolled = await enrolment.enrol(radio, FIRST)
            async with (
                Radio(await backends.open_backend(spec, bonds=bonds)) as radio,
                await radio.connect(enrolled) as link,
            ):
                await link.write(start(tiny))
                return (await link.next(2.0)).uuid

    assert run(main()) == tiny.control
    assert bonds.stat().st_mode & 0o777 == 0o600


def test_what_a_stranger_calls_himself_cannot_write_to_a_terminal(tiny, run, radio_on, enrolment_file):
    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(name="\x1b[2JTiny\n\u202e", serial="\x1b[1m"), FIRST, clock=10.0)
            return await radio.scan(0.2), await enrolment.enrol(radio, FIRST)

    (seen,), enrolled = run(main())
    assert seen.name == enrolled.name == "[2JTiny"
    assert enrolled.serial == "[1m"
    assert enrolment.read().recorders == (enrolled,)


def test_a_driver_that_cannot_be_loaded_is_an_error_of_the_scan(tiny, run, radio_on, monkeypatch):
    def broken(services, name):
        raise DeviceError("The driver x cannot be loaded.")

    monkeypatch.setattr(drivers, "match", broken)

    async def main():
        async with VirtualAir() as air, radio_on(air) as radio:
            await air.add(tiny.Recorder(), FIRST)
            await radio.scan(0.3)

    with pytest.raises(DeviceError, match="cannot be loaded"):
        run(main())


@pytest.mark.parametrize("content", ["", "[]", '{"F0:F1:F2:F3:F4:F5": 3}'])
def test_damaged_bonds_are_an_error(tiny, run, tmp_path, content):
    bonds = tmp_path / "keys.json"
    bonds.write_text(content)

    async def main():
        async with VirtualAir() as air:
            await backends.open_backend(await air.serve("tcp-server:127.0.0.1:0"), bonds=bonds)

    with pytest.raises(DeviceError, match="bonds"):
        run(main())


def test_over_bluez_stale_connections_are_dropped_and_an_agent_is_there_to_pair(tiny, run, enrolment_file, monkeypatch):
    tiny.only("tiny-bonded")
    calls = []

    async def noted(*arguments):
        calls.append(arguments)

    class Agent:
        def __init__(self, address):
            self.address = address

        async def __aenter__(self):
            calls.append(("agent", self.address))

        async def __aexit__(self, *_):
            calls.append(("agent left",))

    monkeypatch.setattr(bluez, "is_here", lambda: True)
    monkeypatch.setattr(bluez, "lock", noted)
    monkeypatch.setattr(bluez, "PairingAgent", Agent)
    monkeypatch.setattr("bleak_retry_connector.close_stale_connections_by_address", noted)

    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(encrypted=True), FIRST, clock=10.0)
            central = await air.adapter()
            real = Backend(central.scanner, central.client, False, "hci3", central.bonded, central.forget)
            async with Radio(real) as radio:
                enrolled = await enrolment.enrol(radio, FIRST)
                async with await radio.connect(enrolled):
                    await radio.choose(FIRST, [enrolled], 0.2)

    with pytest.raises(NotInRangeError):  # connected, so silent; and nobody broke that connection
        run(main())
    assert calls == [(), (FIRST,), ("agent", FIRST), ("agent left",)]


def test_a_recorder_that_says_it_is_simulated_is_so_on_a_real_radio_too(tiny, run, monkeypatch):
    async def locked():
        pass

    monkeypatch.setattr(bluez, "is_here", lambda: False)
    monkeypatch.setattr(bluez, "lock", locked)

    async def main():
        async with VirtualAir() as air:
            await air.add(tiny.Recorder(), FIRST)
            central = await air.adapter()
            async with (
                Radio(Backend(central.scanner, central.client, False, "hci4")) as radio,
                await radio.connect(tiny.known()) as link,
            ):
                return link.simulated

    assert run(main())
