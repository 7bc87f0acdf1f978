"""What is found on machines that are built in a folder."""

import pytest

from lsemvae_edge.device import bluez, health
from lsemvae_edge.device.errors import BluetoothUnavailableError
from lsemvae_edge.device.health import Fault, Machine, examine, usable

PACKAGES = {name: tested[0] for name, tested in health.TESTED_PACKAGES.items()}


@pytest.fixture
def machine(tmp_path):
    """Function that builds a machine on which all is fine, but for what is asked for."""

    def build(
        adapters=("hci0",), powered=True, pairable=False, discoverable=False, soft="0", hard="0", bus=True, daemon=True,
        printed="bluetoothctl: 5.66\n", packages=PACKAGES, error=None, system="Linux",
        kernel="6.1.0-52-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.180-1 (2026-07-01)",
    ):  # fmt: skip
        if adapters:
            folder = tmp_path / "sys/class/bluetooth"
            folder.mkdir(parents=True)
            for name in adapters:
                (folder / name).mkdir()
        for number, (kind, name) in enumerate([("wlan", "phy0"), ("bluetooth", "hci0")]):
            switch = tmp_path / f"sys/class/rfkill/rfkill{number}"
            switch.mkdir(parents=True)
            blocked = {"soft": soft, "hard": hard} if kind == "bluetooth" else {"soft": "1", "hard": "1"}
            for field, text in {"type": kind, "name": name, **blocked}.items():
                (switch / field).write_text(text + "\n")
        for pid, command in (("1", "systemd"), ("77", "bluetoothd" if daemon else "bash")):
            (tmp_path / "proc" / pid).mkdir(parents=True)
            (tmp_path / "proc" / pid / "comm").write_text(command + "\n")
        if bus:
            (tmp_path / "run/dbus").mkdir(parents=True)
            (tmp_path / "run/dbus/system_bus_socket").touch()

        def answer():
            if error is not None:
                raise error
            return [bluez.Adapter(name, "00:AA:01:02:03:04", powered, pairable, discoverable) for name in adapters]

        return Machine(
            tmp_path, system, kernel, lambda command: printed if command[0] == "bluetoothctl" else None,
            packages.get, answer,
        )  # fmt: skip

    return build


def found(machine, name):
    return [finding for finding in examine(machine) if finding.name == name]


def test_a_machine_on_which_all_is_fine(machine):
    findings = examine(machine())
    assert {finding.state for finding in findings} == {"ok"}
    assert all(finding.next_step is None for finding in findings)
    assert usable(findings)
    assert [finding.name for finding in findings] == [
        "kernel", "adapter", "rfkill", "system bus", "bluetoothd", "bluez", "permission", "power", "pairing", *PACKAGES
    ]  # fmt: skip


def test_no_adapter(machine):
    findings = examine(machine(adapters=()))
    assert not usable(findings)
    (adapter,) = [finding for finding in findings if finding.name == "adapter"]
    assert adapter.state == "bad"
    assert "modprobe" in adapter.next_step


def test_a_connection_is_no_adapter(machine):
    (adapter,) = found(machine(adapters=("hci0:64",)), "adapter")
    assert adapter.state == "bad"
    assert "dmesg" in adapter.next_step


@pytest.mark.parametrize(
    ("blocked", "step"),
    [
        ({"soft": "1"}, "rfkill unblock bluetooth"),
        ({"hard": "1"}, "wireless switch"),
        ({"soft": "1", "hard": "1"}, "switch"),
    ],
)
def test_a_block_is_told_with_the_way_to_lift_it(machine, blocked, step):
    built = machine(**blocked)
    (block,) = found(built, "rfkill")
    assert (block.state, step in block.next_step) == ("bad", True)
    assert not usable(examine(built))


def test_a_blocked_adapter_beside_a_free_one_is_a_warning(machine, tmp_path):
    built = machine(soft="1")
    second = tmp_path / "sys/class/rfkill/rfkill2"
    second.mkdir()
    for field, text in {"type": "bluetooth", "name": "hci1", "soft": "0", "hard": "0"}.items():
        (second / field).write_text(text)
    assert [block.state for block in found(built, "rfkill")] == ["warn", "ok"]
    assert usable(examine(built))


def test_no_daemon(machine):
    built = machine(daemon=False, error=BluetoothUnavailableError(bluez.NO_DAEMON, bluez.START_DAEMON))
    findings = examine(built)
    assert not usable(findings)
    told = [finding for finding in findings if finding.sentence == bluez.NO_DAEMON]
    assert [finding.name for finding in told] == ["bluetoothd"], "the same fact is told once"
    assert told[0].next_step == bluez.START_DAEMON


def test_bluez_is_not_even_installed(machine):
    findings = examine(machine(daemon=False, printed=None, error=BluetoothUnavailableError(bluez.NO_DAEMON)))
    (daemon,) = [finding for finding in findings if finding.name == "bluetoothd"]
    assert "apt-get install bluez" in daemon.next_step
    assert [finding.state for finding in findings if finding.name == "bluez"] == ["warn"]


def test_no_bus(machine):
    findings = examine(machine(bus=False, error=BluetoothUnavailableError(bluez.NO_BUS, bluez.START_BUS)))
    assert [finding.name for finding in findings if finding.state == "bad"] == ["system bus"]


def test_no_permission(machine):
    findings = examine(machine(error=BluetoothUnavailableError(bluez.MAY_NOT, bluez.JOIN_GROUP)))
    (permission,) = [finding for finding in findings if finding.state == "bad"]
    assert permission.name == "permission"
    assert "usermod -aG bluetooth" in permission.next_step


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [
        ("5.50", "bad", "too old"),
        ("5.55", "ok", "untested; tested: 5.66"),
        ("5.64", "warn", "bluez#509"),
        ("5.66", "ok", "(tested)"),
        ("5.71", "warn", "bluez#686"),
        ("5.87", "warn", "bluez#2282"),
        ("5.88", "ok", "untested"),
    ],
)
def test_releases_of_bluez_are_judged(machine, version, state, words):
    (judged,) = found(machine(printed=f"bluetoothctl: {version}\n"), "bluez")
    assert judged.state == state
    assert words in judged.sentence
    assert (judged.next_step is None) == (state == "ok")


def test_every_known_fault_names_its_source():
    for fault in (*health.BLUEZ_FAULTS, *health.KERNEL_FAULTS):
        assert fault.first <= fault.last
        assert fault.source
        assert fault.covers(fault.first)
        assert fault.covers(fault.last)


def test_a_kernel_is_known_by_the_number_of_its_source(machine, monkeypatch):
    monkeypatch.setattr(health, "KERNEL_FAULTS", (Fault((6, 1, 180), (6, 1, 181), "warn", "it is slow", "a trial"),))
    built = machine()
    (kernel,) = found(built, "kernel")
    assert kernel.state == "warn"
    assert kernel.sentence == "Linux 6.1.0-52-amd64 (6.1.180): it is slow (a trial)"
    monkeypatch.setattr(health, "KERNEL_FAULTS", (Fault((6, 1, 0), (6, 1, 179), "bad", "it is slow", "a trial"),))
    assert found(built, "kernel")[0].state == "ok"


def test_a_kernel_without_a_number_of_its_own(machine):
    (kernel,) = found(machine(kernel="edge #1 SMP"), "kernel")
    assert (kernel.state, kernel.sentence) == ("ok", "Linux edge")


def test_switched_off(machine):
    findings = examine(machine(powered=False))
    (power,) = [finding for finding in findings if finding.state == "bad"]
    assert (power.name, power.next_step) == ("power", "Switch it on: bluetoothctl power on")


def test_bluetoothd_without_an_adapter_is_restarted(machine):
    built = machine()
    built = Machine(built.root, built.system, built.kernel, built.output, built.installed, list)
    (power,) = found(built, "power")
    assert (power.state, power.next_step) == ("bad", bluez.RESTART_DAEMON)


@pytest.mark.parametrize("open_to", ["pairable", "discoverable"])
def test_an_adapter_that_is_open_to_others_is_a_warning(machine, open_to):
    findings = examine(machine(**{open_to: True}))
    (pairing,) = [finding for finding in findings if finding.state == "warn"]
    assert pairing.next_step == f"Close it: bluetoothctl {open_to} off"
    assert usable(findings)


def test_packages_are_needed_useful_or_for_simulation_alone(machine):
    findings = {finding.name: finding for finding in examine(machine(packages={"bleak": "3.9.0"}))}
    assert "untested; tested: 3.1.0" in findings["bleak"].sentence
    states = {name: findings[name].state for name in PACKAGES}
    assert states == {
        "bleak": "ok", "bleak-retry-connector": "bad", "bluetooth-auto-recovery": "warn", "dbus-fast": "warn",
        "bumble": "ok",
    }  # fmt: skip


def test_other_systems_bring_their_own_bluetooth(machine):
    findings = examine(machine(system="Darwin"))
    assert [finding.name for finding in findings] == ["system", "bleak", "bleak-retry-connector", "bumble"]
    assert usable(findings)


def test_this_machine_can_be_examined():
    findings = examine()
    assert findings
    assert all((finding.next_step is None) == (finding.state == "ok") for finding in findings)
