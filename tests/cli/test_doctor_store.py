"""``doctor store``: what is found on machines of every kind."""

import json
import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lsemvae_edge.cli import _store_health as health
from lsemvae_edge.cli import main
from lsemvae_edge.errors import ExitCode, StoreError
from lsemvae_edge.store import StoreKey, places
from lsemvae_edge.store.database import NAME
from lsemvae_edge.store.journals import FOLDER, SUFFIX

HEADER = "Filename\tType\tSize\tUsed\tPriority\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of the test's own: 8 GB are free, and nothing is swapped out."""
    monkeypatch.setenv(places.FOLDER_VARIABLE, str(tmp_path / "stores"))
    monkeypatch.setenv(places.KEY_VARIABLE, str(tmp_path / "store.key"))
    monkeypatch.delenv(places.PASSPHRASE_VARIABLE, raising=False)
    (tmp_path / "swaps").write_text(HEADER)
    return health.Facts(tmp_path / "swaps", tmp_path / "blocks", lambda _: 8_000_000_000)


@pytest.fixture
def store(machine):
    """The store that `kiosk setup` makes."""
    with places.create_store() as made:
        yield made


def found(facts, name):
    (finding,) = [finding for finding in health.examine(facts) if finding.name == name]
    return finding


def test_a_new_machine_has_no_store(machine):
    findings = health.examine(machine)
    assert not health.usable(findings)
    assert "there is no store" in findings[0].sentence


def test_a_sound_store_is_usable_and_is_not_changed_by_looking(store, machine):
    store.note("verify", {"ok": True})
    head = store.head()
    findings = health.examine(machine)
    assert {finding.name: finding.state for finding in findings} == {
        "folder": "ok", "disk": "ok", "space": "ok", "key": "warn", "version": "ok", "file": "ok", "journals": "ok",
        "records": "ok", "verified": "ok", "swap": "ok",
    }  # fmt: skip
    assert health.usable(findings)
    assert store.head() == head


def test_a_key_beside_the_records_is_said_to_protect_nothing_and_one_under_a_passphrase_is_fine(
    store, machine, tmp_path
):
    assert "whoever takes the disk can read them" in found(machine, "key").sentence
    places.rotate(store, "four plain words here")
    assert found(machine, "key").state == "ok"
    records = found(machine, "records")
    assert (records.state, "passphrase" in records.sentence) == ("bad", True)


def test_a_key_that_is_gone_or_another_stores_is_found(store, machine, tmp_path):
    path = tmp_path / "store.key"
    path.rename(tmp_path / "kept")
    assert found(machine, "key").state == "bad"
    StoreKey.create(path)
    assert (found(machine, "key").state, found(machine, "records").state) == ("warn", "bad")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_folder_and_a_key_that_others_can_read_are_found(store, machine, tmp_path):
    store.folder.chmod(0o755)
    assert found(machine, "folder") == health.Finding(
        "folder", "bad", f"other users can enter {store.folder}", f"Run `chmod 700 {store.folder}`."
    )
    store.folder.chmod(0o700)
    (tmp_path / "store.key").chmod(0o644)
    assert found(machine, "key").state == "bad"


@pytest.mark.parametrize(("free", "state"), [(8_000_000_000, "ok"), (999_999_999, "warn"), (49_999_999, "bad")])
def test_space_is_judged_by_what_is_free(store, machine, free, state):
    assert found(replace(machine, free_bytes=lambda _: free), "space").state == state


def test_a_disk_that_can_only_be_read_is_found(store, machine, monkeypatch):
    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([*real(path)[:8], os.ST_RDONLY, *real(path)[9:]]))
    assert found(machine, "disk").state == "bad"


def test_a_newer_stores_version_is_refused_by_name(store, machine):
    store.close()
    with sqlite3.connect(store.folder / NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert (found(machine, "version").state, "99" in found(machine, "version").sentence) == ("bad", True)


def test_an_older_store_is_not_brought_up_to_date_by_looking(store, machine):
    store.close()
    with sqlite3.connect(store.folder / NAME) as connection:
        connection.execute("PRAGMA user_version = 1")
    assert found(machine, "version").state == "warn"
    assert "records" not in {finding.name for finding in health.examine(machine)}
    with sqlite3.connect(store.folder / NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_damaged_file_is_found(store, machine):
    store.close()
    path = store.folder / NAME
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    assert found(machine, "file").state == "bad"
    assert not health.usable(health.examine(machine))


def test_journals_that_a_power_cut_left_are_counted(store, machine):
    (store.folder / FOLDER).mkdir(exist_ok=True)
    (store.folder / FOLDER / f"{'0' * 32}{SUFFIX}").write_bytes(b"")
    assert found(machine, "journals").sentence.startswith("1 of recordings")


def test_when_the_store_was_last_verified_is_said(store, machine, monkeypatch):
    from lsemvae_edge.store import clock

    assert found(machine, "verified").sentence == "never"
    now = datetime.now(UTC)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now", lambda: now + timedelta(seconds=1))
        store.note("verify", {"ok": True})
    assert found(machine, "verified").state == "ok"
    store.note("verify", {"ok": False})
    assert "something was found" in found(machine, "verified").sentence


@pytest.mark.parametrize(
    ("lines", "uuid", "state"),
    [
        ("", None, "ok"),
        ("/dev/zram0 partition 1 0 5\n", None, "ok"),
        ("/var/swap file 102396 0 -2\n", None, "warn"),
        ("/dev/dm-7 partition 1 0 5\n", "CRYPT-PLAIN-swap", "ok"),
        ("/dev/dm-7 partition 1 0 5\n", "LVM-swap", "warn"),
        ("/dev/zram0 partition 1 0 5\n/dev/mmcblk0p3 partition 1 0 5\n", None, "warn"),
    ],
    ids=["off", "zram", "file", "encrypted", "plain volume", "one of two"],
)
def test_swap_in_clear_is_warned_of(machine, lines, uuid, state):
    machine.swaps.write_text(HEADER + lines)
    if uuid:
        (machine.blocks / "dm-7" / "dm").mkdir(parents=True)
        (machine.blocks / "dm-7" / "dm" / "uuid").write_text(uuid)
    assert found(machine, "swap").state == state


def test_swap_that_cannot_be_seen_is_warned_of(machine):
    assert found(replace(machine, swaps=machine.swaps / "absent"), "swap").state == "warn"


def test_the_command_prints_a_line_a_fact_and_fails_if_the_store_cannot_be_used(machine, capsys):
    assert main(["doctor", "store"]) == ExitCode.STORE
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("Store", "It cannot be used.")
    places.create_store().close()
    assert main(["doctor", "store", "--json"]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["usable"]) == ("lsemvae-edge/doctor/1", True)
    assert {"name", "state", "sentence", "next_step"} == set(told["store"][0])


def test_an_error_while_looking_is_a_finding(store, machine, monkeypatch):
    def broken(kind):
        raise StoreError("The disk does not read.", "Check it.")

    monkeypatch.setattr(places, "open_store", broken)
    assert found(machine, "records") == health.Finding("records", "bad", "the disk does not read", "Check it.")
