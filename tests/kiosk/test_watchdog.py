"""systemd is told what it asked to be told, and nothing else happens where it did not ask."""

import os
import socket

import pytest

from lsemvae_edge.kiosk import watchdog


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


@pytest.fixture(autouse=True)
def unasked(monkeypatch):
    """No service manager, whatever runs the tests."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


def test_without_systemd_nothing_is_sent():
    assert not watchdog.ready()
    assert not watchdog.alive()
    assert watchdog.period_s() is None


def test_ready_alive_and_stopping_arrive_as_datagrams(systemd):
    assert watchdog.ready("serves\nthe page")
    assert systemd.recv(200) == b"READY=1\nSTATUS=serves the page"
    assert watchdog.alive()
    assert systemd.recv(200) == b"WATCHDOG=1"
    assert watchdog.stopping()
    assert systemd.recv(200) == b"STOPPING=1"


def test_an_abstract_address_is_understood(monkeypatch):
    name = f"lsemvae-edge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert watchdog.alive()
        assert listening.recv(200) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "relative/path", "/nowhere/at/all", "vsock:2:1"])
def test_an_address_that_does_not_answer_is_no_error(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not watchdog.alive()


def test_a_full_queue_does_not_halt_the_loop_that_reports(systemd):
    sent = sum(watchdog.alive() for _ in range(5000))
    assert 0 < sent < 5000


def test_the_period_is_half_of_what_systemd_waits(monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    assert watchdog.period_s() == 10.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog.period_s() == 10.0


@pytest.mark.parametrize(("usec", "process"), [("20000000", "1"), ("0", ""), ("soon", ""), ("5", "me")])
def test_a_watchdog_of_others_or_of_no_number_is_none_of_ours(monkeypatch, usec, process):
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", process)
    assert watchdog.period_s() is None
