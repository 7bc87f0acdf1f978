"""A clock is set for a reason that can be named, or it is not set; once set it stays so until the next start."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.store import clock, clock_evidence
from lsemvae_edge.store.clock_evidence import ERROR_LIMIT_US, Sources

AT = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_start(tmp_path, monkeypatch):
    """A start of the machine of the test's own, which remembers nothing."""
    monkeypatch.setattr(clock, "boot", lambda: "b" * 32)
    monkeypatch.setattr(clock, "_known", {})
    monkeypatch.setenv(clock.VARIABLE, str(tmp_path / "state" / "clock.json"))


@pytest.fixture
def machine(tmp_path):
    """Function that builds what a machine says of its clock; by default nothing speaks for it."""

    def build(error_us=ERROR_LIMIT_US, timesync=False, hardware=(), offered="arch_sys_counter"):
        folder = tmp_path / f"machine-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for number, shown in enumerate(hardware):
            (folder / "rtc" / f"rtc{number}").mkdir(parents=True)
            if shown is not None:
                (folder / "rtc" / f"rtc{number}" / "since_epoch").write_text(f"{int(shown.timestamp())}\n")
        (folder / "offered").write_text(f"{offered} \n")
        if timesync:
            (folder / "synchronized").touch()
        return Sources(lambda: error_us, folder / "synchronized", folder / "rtc", folder / "offered")

    return build


def test_a_plausible_date_alone_is_no_set_clock(machine):
    """What systemd shows on a machine without a battery: the date of its release, or of the last switch-off."""
    told = clock.state(AT, machine())
    assert (told.is_set, told.by) == (False, None)
    assert "nothing has set it" in told.reason


@pytest.mark.parametrize(
    ("facts", "by"),
    [
        ({"error_us": 12_000}, "network"),
        ({"error_us": ERROR_LIMIT_US - 1}, "network"),
        ({"error_us": ERROR_LIMIT_US}, None),
        ({"error_us": None}, None),
        ({"error_us": None, "timesync": True}, "network"),
        ({"hardware": [AT + timedelta(minutes=2)]}, "hardware"),
        ({"hardware": [None, AT]}, "hardware"),
        ({"hardware": [None]}, None),
        ({"hardware": [AT - timedelta(minutes=6)]}, None),
        ({"hardware": [datetime(2000, 1, 1, tzinfo=UTC)]}, None),
        ({"offered": "tsc kvm-clock"}, "host"),
        ({"error_us": 12_000, "hardware": [AT], "offered": "tsc kvm-clock"}, "network"),
    ],
)
def test_what_speaks_for_a_clock_is_named(machine, facts, by):
    told = clock.state(AT, machine(**facts))
    assert told.by == by
    assert told.is_set is (by is not None)
    assert told.reason


@given(st.datetimes(max_value=datetime(2025, 1, 1), timezones=st.just(UTC)), st.booleans())
def test_a_time_before_this_software_is_never_right_whatever_speaks_for_it(at, is_known):
    sources = Sources(lambda: 0)
    clock._known.clear()
    if is_known:
        clock._known[clock.boot()] = "operator"
    told = clock.state(at, sources)
    assert not told.is_set
    assert str(at.year) in told.reason


@pytest.mark.parametrize("facts", [{"error_us": 12_000}, {"hardware": [AT]}])
def test_once_set_it_stays_set_until_the_next_start(machine, monkeypatch, facts):
    assert clock.state(AT, machine(**facts)).is_set
    # Nine hours without a network: the kernel says no more what it said. Also for a program that was started since.
    later = AT + timedelta(hours=9)
    assert clock.state(later, machine()).is_set
    monkeypatch.setattr(clock, "_known", {})
    told = clock.state(later, machine())
    assert told.by == ("network" if "error_us" in facts else "hardware")
    monkeypatch.setattr(clock, "_known", {})
    monkeypatch.setattr(clock, "boot", lambda: "c" * 32)
    assert not clock.state(later, machine()).is_set


def test_an_operators_word_counts_for_this_start_alone(machine, monkeypatch):
    assert not clock.state(AT, machine()).is_set
    assert clock.confirm(AT).by == "operator"
    assert clock.state(AT, machine()).by == "operator"
    monkeypatch.setattr(clock, "_known", {})
    assert clock.state(AT, machine()).by == "operator"
    monkeypatch.setattr(clock, "_known", {})
    monkeypatch.setattr(clock, "boot", lambda: "c" * 32)
    assert not clock.state(AT, machine()).is_set


def test_nobodys_word_makes_a_time_right_that_is_past(tmp_path):
    with pytest.raises(UsageError, match="1970-01-01, which is past") as error:
        clock.confirm(datetime(1970, 1, 1, 0, 5, tzinfo=UTC))
    assert "timedatectl set-time" in error.value.next_step
    assert clock.file() is not None
    assert not clock.file().exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"boot": 1}', b'{"boot": "B", "by": "magic"}', b"\xff", b'{"by": "operator"}']
)
def test_a_damaged_memory_is_none(machine, content):
    path = clock.file()
    path.parent.mkdir()
    path.write_bytes(content.replace(b"B", b"b" * 32))
    assert not clock.state(AT, machine()).is_set
    assert clock.confirm(AT).is_set, "and is replaced"


def test_where_nothing_can_be_written_the_clock_still_tells(machine, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv(clock.VARIABLE, str(tmp_path / "file" / "clock.json"))
    assert clock.state(AT, machine(error_us=12_000)).by == "network"
    with pytest.raises(StoreError, match="cannot be written down"):
        clock.confirm(AT)


def test_what_is_remembered_is_no_persons(machine):
    clock.state(AT, machine(error_us=12_000))
    assert json.loads(clock.file().read_text()) == {"boot": "b" * 32, "by": "network"}
    assert [path.name for path in clock.file().parent.iterdir()] == ["clock.json"]


def test_an_unset_clock_never_keeps_anything_from_being_stored(store, machine, monkeypatch):
    monkeypatch.setattr(clock, "_SOURCES", machine())
    monkeypatch.setattr(clock, "_known", {})
    entry = store.note("print", {})
    assert (entry.clock_set, entry.at) == (False, None)
    clock.confirm()
    after = store.note("print", {})
    assert after.clock_set
    assert after.at
    by_seq = {one.seq: one for one in store.entries()}
    assert by_seq[entry.seq].at is None, "what was made before stays without a time until it is corrected"
    assert store.verify().ok


def test_recordings_go_by_the_same_rule_and_say_the_reason(monkeypatch, machine):
    intake = pytest.importorskip("lsemvae_edge.device.intake")
    from types import SimpleNamespace

    driver = SimpleNamespace(description=SimpleNamespace(title="Six"))
    recorder = SimpleNamespace(serial="0007", name="")

    def facts(sources, **told):
        monkeypatch.setattr(clock, "_known", {})
        monkeypatch.setattr(clock, "_SOURCES", sources)
        return intake.Intake(driver, recorder, 1, None, 10.0, told.get("clock_set"))._facts()

    assert facts(machine())["clock_set"] is False
    assert "clock_set_by" not in facts(machine())
    assert facts(machine(), clock_set=True)["clock_set"] is True
    told = facts(machine(offered="kvm-clock"))
    assert (told["clock_set"], told["clock_set_by"]) == (True, "host")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's call is Linux's")
def test_the_kernel_answers_and_is_asked_without_a_privilege():
    """The true call; where `timedatectl` can be asked, both say the same."""
    error_us = clock_evidence.kernel_error_us()
    assert error_us is not None
    assert 0 <= error_us <= ERROR_LIMIT_US
    asked = subprocess.run(
        ["/usr/bin/env", "timedatectl", "show", "-p", "NTPSynchronized", "--value"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    if asked.returncode == 0 and asked.stdout.strip():
        assert (asked.stdout.strip() == "yes") == (error_us < ERROR_LIMIT_US)
    assert os.sysconf("SC_LONG_BIT") == 64
