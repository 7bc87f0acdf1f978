"""Who may pair, and what BlueZ is told and asked, against a bus that holds a small BlueZ."""

import asyncio
import sys

import pytest

pytest.importorskip("dbus_fast", reason="BlueZ is on Linux alone, and dbus-fast with it")

from dbus_fast import Message, MessageType, Variant, aio
from dbus_fast.errors import AuthError, DBusError

from lsemvae_edge.device import bluez
from lsemvae_edge.device.agent import Agent, address_of
from lsemvae_edge.device.errors import BluetoothUnavailableError

RECORDER, OTHER = "C0:11:22:33:44:55", "C0:11:22:33:44:66"
ADAPTER = "/org/bluez/hci0"


def path_of(address):
    return f"{ADAPTER}/dev_{address.replace(':', '_')}"


class SmallBluez:
    """What bluetoothd holds, and everything it was asked for."""

    def __init__(self):
        self.adapters = {
            ADAPTER: {"Address": "00:AA:01:02:03:04", "Powered": True, "Pairable": False, "Discoverable": False}
        }
        self.devices = {}
        self.calls = []
        self.agent = None
        self.refuses = {}
        self.open_buses = 0

    def know(self, address, **properties):
        self.devices[path_of(address)] = {
            "Address": address, "Adapter": ADAPTER, "Paired": False, "Trusted": False, **properties
        }  # fmt: skip

    def answer(self, message):
        self.calls.append((message.member, list(message.body)))
        if message.member in self.refuses:
            name, text = self.refuses[message.member]
            return Message(message_type=MessageType.ERROR, error_name=name, reply_serial=1, signature="s", body=[text])
        return Message(message_type=MessageType.METHOD_RETURN, reply_serial=1, **self.obey(message))

    def obey(self, message):
        match message.member, message.body:
            case "GetManagedObjects", []:
                objects = {path: {"org.bluez.Adapter1": wrapped(row)} for path, row in self.adapters.items()}
                objects |= {path: {"org.bluez.Device1": wrapped(row)} for path, row in self.devices.items()}
                return {"signature": "a{oa{sa{sv}}}", "body": [objects]}
            case "Set", ["org.bluez.Adapter1", name, value]:
                self.adapters[message.path][name] = value.value
            case "RemoveDevice", [path]:
                del self.devices[path]
            case "RegisterAgent", [_, capability]:
                self.agent = capability
            case "UnregisterAgent", [_]:
                self.agent = None
        return {}


def wrapped(row):
    return {name: Variant("b" if isinstance(value, bool) else "s", value) for name, value in row.items()}


@pytest.fixture
def daemon(monkeypatch):
    """A small BlueZ that dbus-fast talks to."""
    known = SmallBluez()

    class Bus:
        def __init__(self, bus_type):
            known.open_buses += 1

        async def connect(self):
            await asyncio.sleep(0)
            return self

        async def call(self, message):
            await asyncio.sleep(0)
            return known.answer(message)

        def export(self, path, interface):
            known.exported = (path, interface)

        def disconnect(self):
            known.open_buses -= 1

    monkeypatch.setattr(aio, "MessageBus", Bus)
    monkeypatch.setattr(sys, "platform", "linux")
    return known


def asked_of(daemon):
    return [member for member, _ in daemon.calls if member != "GetManagedObjects"]


def test_a_path_holds_the_address():
    assert address_of("/org/bluez/hci0/dev_C0_11_22_33_44_55") == RECORDER


def test_only_the_one_device_is_authorised():
    agent = Agent(RECORDER.lower())
    agent.RequestAuthorization(path_of(RECORDER))
    assert agent.refused == 0
    for path in (path_of(OTHER), path_of(RECORDER) + "0", "/", path_of(RECORDER).replace("dev_", "")):
        with pytest.raises(DBusError) as refusal:
            agent.RequestAuthorization(path)
        assert refusal.value.type == "org.bluez.Error.Rejected"
    assert agent.refused == 4


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("RequestConfirmation", (123456,)),
        ("RequestPinCode", ()),
        ("RequestPasskey", ()),
        ("DisplayPinCode", ("0000",)),
        ("DisplayPasskey", (123456, 0)),
        ("AuthorizeService", ("0000180d-0000-1000-8000-00805f9b34fb",)),
    ],
)
def test_everything_but_just_works_is_rejected(method, arguments):
    agent = Agent(RECORDER)
    with pytest.raises(DBusError) as refusal:
        getattr(agent, method)(path_of(RECORDER), *arguments)
    assert refusal.value.type == "org.bluez.Error.Rejected"
    assert agent.refused == 1


def test_the_bus_sees_the_whole_interface():
    interface = Agent(RECORDER).introspect()
    methods = {method.name: method.in_signature for method in interface.methods}
    assert interface.name == "org.bluez.Agent1"
    # BlueZ, doc/org.bluez.Agent.rst
    assert methods == {
        "Release": "", "RequestPinCode": "o", "DisplayPinCode": "os", "RequestPasskey": "o", "DisplayPasskey": "ouq",
        "RequestConfirmation": "ou", "RequestAuthorization": "o", "AuthorizeService": "os", "Cancel": "",
    }  # fmt: skip


async def pairing(daemon, address=RECORDER):
    async with bluez.PairingAgent(address):
        assert daemon.open_buses == 1
        return daemon.agent, daemon.adapters[ADAPTER]["Pairable"]


def test_the_agent_is_there_and_bonding_open_only_meanwhile(daemon):
    assert asyncio.run(pairing(daemon)) == ("NoInputNoOutput", True)
    assert (daemon.agent, daemon.adapters[ADAPTER]["Pairable"], daemon.open_buses) == (None, False, 0)
    assert asked_of(daemon) == ["RegisterAgent", "RequestDefaultAgent", "Set", "Set", "UnregisterAgent"]
    assert daemon.exported[1].address == RECORDER


def test_what_was_refused_is_counted(daemon):
    async def asked_by_another():
        async with bluez.PairingAgent(RECORDER) as agent:
            with pytest.raises(DBusError):
                daemon.exported[1].RequestAuthorization(path_of(OTHER))
            return agent.refused

    assert asyncio.run(asked_by_another()) == 1
    assert bluez.PairingAgent(RECORDER).refused == 0


def test_an_adapter_that_was_open_stays_open(daemon):
    daemon.adapters[ADAPTER]["Pairable"] = True
    assert asyncio.run(pairing(daemon)) == ("NoInputNoOutput", True)
    assert daemon.adapters[ADAPTER]["Pairable"] is True


def test_a_failed_pairing_leaves_nothing_behind(daemon):
    async def failing():
        async with bluez.PairingAgent(RECORDER):
            raise ValueError("the recorder refused")

    with pytest.raises(ValueError, match="refused"):
        asyncio.run(failing())
    assert (daemon.agent, daemon.adapters[ADAPTER]["Pairable"], daemon.open_buses) == (None, False, 0)


@pytest.mark.parametrize("step", ["RegisterAgent", "RequestDefaultAgent", "Set"])
def test_an_agent_that_is_refused_leaves_nothing_behind(daemon, step):
    daemon.refuses[step] = ("org.bluez.Error.AlreadyExists", "Already Exists")
    with pytest.raises(BluetoothUnavailableError, match=f"refused {step}: Already Exists"):
        asyncio.run(pairing(daemon))
    assert (daemon.agent, daemon.adapters[ADAPTER]["Pairable"], daemon.open_buses) == (None, False, 0)


def test_a_daemon_that_dies_while_pairing_hides_no_error(daemon):
    async def dying():
        async with bluez.PairingAgent(RECORDER):
            gone = ("org.freedesktop.DBus.Error.ServiceUnknown", "not provided")
            daemon.refuses.update(Set=gone, UnregisterAgent=gone)
            raise ValueError("it died")

    with pytest.raises(ValueError, match="it died"):
        asyncio.run(dying())
    assert daemon.open_buses == 0


def test_locking_closes_what_is_open(daemon):
    daemon.adapters["/org/bluez/hci1"] = {**daemon.adapters[ADAPTER], "Pairable": True}
    asyncio.run(bluez.lock())
    assert not any(row["Pairable"] for row in daemon.adapters.values())
    assert asked_of(daemon) == ["Set"]


def test_bonds_are_told_by_address(daemon):
    daemon.know(RECORDER, Paired=True, Bonded=True, Trusted=True)
    daemon.know(OTHER)
    assert asyncio.run(bluez.bond(RECORDER.lower())) == bluez.Bond(True, True, True)
    assert asyncio.run(bluez.bond(OTHER)) == bluez.Bond(False, False, False)
    assert asyncio.run(bluez.bond("C0:11:22:33:44:77")) is None


def test_paired_without_keys_for_next_time_is_no_bond(daemon):
    daemon.know(RECORDER, Paired=True, Bonded=False)
    assert asyncio.run(bluez.bond(RECORDER)) == bluez.Bond(True, False, False)
    daemon.know(RECORDER, Paired=True)
    assert asyncio.run(bluez.bond(RECORDER)).bonded, "daemons before 5.65 say Paired alone"


def test_a_device_is_forgotten_once(daemon):
    daemon.know(RECORDER, Paired=True)
    daemon.know(OTHER)
    assert asyncio.run(bluez.forget(RECORDER.lower()))
    assert not asyncio.run(bluez.forget(RECORDER))
    assert list(daemon.devices) == [path_of(OTHER)]


def test_adapters_are_told(daemon):
    assert asyncio.run(bluez.adapters()) == [bluez.Adapter("hci0", "00:AA:01:02:03:04", True, False, False)]


@pytest.mark.parametrize(
    ("name", "reason", "step"),
    [
        ("org.freedesktop.DBus.Error.ServiceUnknown", bluez.NO_DAEMON, "systemctl"),
        ("org.freedesktop.DBus.Error.Spawn.ChildExited", bluez.NO_DAEMON, "systemctl"),
        ("org.freedesktop.DBus.Error.AccessDenied", bluez.MAY_NOT, "group bluetooth"),
        ("org.bluez.Error.Failed", "bluetoothd refused GetManagedObjects: Failed", "doctor bluetooth"),
    ],
)
def test_errors_of_the_bus_say_what_to_do(daemon, name, reason, step):
    daemon.refuses["GetManagedObjects"] = (name, "Failed")
    with pytest.raises(BluetoothUnavailableError) as error:
        asyncio.run(bluez.adapters())
    assert error.value.reason == reason
    assert step in error.value.next_step
    assert daemon.open_buses == 0


@pytest.mark.parametrize(
    ("raised", "reason"),
    [(AuthError("no"), bluez.MAY_NOT), (ConnectionRefusedError(), bluez.NO_BUS), (EOFError(), bluez.NO_BUS)],
)
def test_a_bus_that_does_not_take_us_is_let_go(daemon, monkeypatch, raised, reason):
    async def refuse(_):
        raise raised

    monkeypatch.setattr(aio.MessageBus, "connect", refuse)
    with pytest.raises(BluetoothUnavailableError) as error:
        asyncio.run(bluez.adapters())
    assert (error.value.reason, daemon.open_buses) == (reason, 0)


def test_a_daemon_that_hangs_is_not_waited_for(daemon, monkeypatch):
    async def hang(*_):
        await asyncio.sleep(60)

    monkeypatch.setattr(aio.MessageBus, "call", hang)
    monkeypatch.setattr(bluez, "REPLY_S", 0.01)
    with pytest.raises(BluetoothUnavailableError, match=bluez.NO_ANSWER):
        asyncio.run(bluez.adapters())
    assert daemon.open_buses == 0


def test_without_a_bus_there_is_no_bluetooth(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    for address in (f"unix:path={tmp_path}/absent", "nonsense"):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        with pytest.raises(BluetoothUnavailableError, match=bluez.NO_BUS):
            asyncio.run(bluez.adapters())


def test_other_systems_pair_by_themselves(daemon, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")

    async def through():
        await bluez.lock()
        async with bluez.PairingAgent(RECORDER):
            return True

    assert asyncio.run(through())
    assert daemon.calls == []
    with pytest.raises(BluetoothUnavailableError):
        asyncio.run(bluez.bond(RECORDER))
