import asyncio
import builtins

import pytest

pytest.importorskip("bleak", reason="Bluetooth needs the extra `device`")

from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakCharacteristicNotFoundError,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)
from bleak_retry_connector import BleakConnectionError, BleakNotFoundError

from lsemvae_edge.device import backend
from lsemvae_edge.device.errors import (
    BluetoothUnavailableError,
    ConnectionFailedError,
    NotInRangeError,
    PairingError,
    RefusedError,
    UnsupportedRecorderError,
)
from lsemvae_edge.errors import DeviceError, ExitCode, MissingExtraError, UsageError


def dbus(name):
    return BleakDBusError(name, ["details"])


def caused(outer, cause):
    outer.__cause__ = cause
    return outer


def unavailable(reason):
    return BleakBluetoothNotAvailableError("text", reason)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (dbus("org.bluez.Error.InProgress"), BluetoothUnavailableError, "under way"),
        (dbus("org.bluez.Error.NotReady"), BluetoothUnavailableError, "switched off"),
        (dbus("org.bluez.Error.NotPermitted"), PairingError, "permit"),
        (dbus("org.bluez.Error.AuthenticationFailed"), PairingError, "keys"),
        (dbus("org.bluez.Error.AuthenticationRejected"), PairingError, "refused"),
        (dbus("org.bluez.Error.AuthenticationTimeout"), PairingError, "in time"),
        (dbus("org.bluez.Error.Failed"), ConnectionFailedError, "details"),
        (dbus("org.freedesktop.DBus.Error.UnknownObject"), NotInRangeError, "not found"),
        (dbus("org.freedesktop.DBus.Error.ServiceUnknown"), BluetoothUnavailableError, "not running"),
        (dbus("org.freedesktop.DBus.Error.AccessDenied"), BluetoothUnavailableError, "may not"),
        (dbus("org.freedesktop.DBus.Error.NoReply"), BluetoothUnavailableError, "died"),
        *(
            (unavailable(reason), BluetoothUnavailableError, "Bluetooth cannot be used")
            for reason in BleakBluetoothNotAvailableReason
        ),
        *((BleakGATTProtocolError(code), PairingError, "bonded link") for code in (0x05, 0x08, 0x0C, 0x0F)),
        (BleakGATTProtocolError(0x13), RefusedError, "Value Not Allowed"),
        (BleakCharacteristicNotFoundError("2a00"), UnsupportedRecorderError, "2a00"),
        (BleakDeviceNotFoundError("x", "gone"), NotInRangeError, "within 3 s"),
        (TimeoutError(), NotInRangeError, "within 3 s"),
        (BleakError("Not connected"), ConnectionFailedError, "in 2 attempts: Not connected"),
        (BleakError("adapter 'hci9' not found"), BluetoothUnavailableError, "no such adapter"),
        (FileNotFoundError(2, "x"), BluetoothUnavailableError, "system bus"),
        (BrokenPipeError(32, "x"), BluetoothUnavailableError, "went away"),
        (EOFError(), BluetoothUnavailableError, "went away"),
        (AttributeError("'NoneType' object has no attribute 'call'"), BluetoothUnavailableError, "went away"),
        (caused(BleakConnectionError("long"), dbus("org.bluez.Error.NotReady")), BluetoothUnavailableError, "off"),
        (caused(BleakNotFoundError("long"), TimeoutError()), NotInRangeError, "not found"),
    ],
    ids=lambda value: value.args[0] if isinstance(value, BleakDBusError) else None,
)
def test_errors_below_become_ours_and_say_what_to_do(error, kind, words):
    with pytest.raises(DeviceError) as raised, backend.typed("Tiny", waited_s=3.0, attempts=2):
        raise error
    assert type(raised.value) is kind
    assert words in raised.value.message
    assert raised.value.next_step
    assert raised.value.code is ExitCode.DEVICE
    assert raised.value.__cause__ is error


def test_a_cancellation_and_our_own_errors_pass_untouched():
    for error in (asyncio.CancelledError(), DeviceError("ours"), ValueError("a fault of ours")):
        with pytest.raises(type(error)) as raised, backend.typed("Tiny"):
            raise error
        assert raised.value is error


@pytest.mark.parametrize("name", ["bleak", "bumble"])
def test_a_package_that_is_not_installed_is_named_by_its_extra(monkeypatch, name):
    import_it = builtins.__import__

    def without(module, *arguments, **named):
        if module.split(".")[0] == name:
            raise ImportError(module)
        return import_it(module, *arguments, **named)

    import sys

    for module in [m for m in sys.modules if m.startswith("lsemvae_edge.device.virtual.") and "air" in m]:
        monkeypatch.delitem(sys.modules, module)
    if "lsemvae_edge.device.virtual" in sys.modules:
        monkeypatch.delattr(sys.modules["lsemvae_edge.device.virtual"], "air", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError) as raised:
        asyncio.run(backend.open_backend("tcp:127.0.0.1:1"))
    assert raised.value.extra == {"bleak": "device", "bumble": "simulator"}[name]


def test_the_named_adapter_is_the_one_that_bleak_is_told():
    assert asyncio.run(backend.open_backend("hci1")).options == {"bluez": {"adapter": "hci1"}}
    assert asyncio.run(backend.open_backend()).options == {}
    assert not backend.system().virtual


@pytest.mark.parametrize("spec", ["", "hci0;rm", "../x", "ftp:x"])
def test_a_name_that_is_no_adapter_is_refused(spec):
    with pytest.raises(UsageError):
        asyncio.run(backend.open_backend(spec))
