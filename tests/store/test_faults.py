"""A disk that is full, read-only or damaged: told plainly, earlier records intact, usable again afterwards."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import contextmanager

import pytest

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import Store, StoreKey, schema
from lsemvae_edge.store.database import NAME

PAGE = 4096


@contextmanager
def mounted(folder, options):
    """A small file system of its own."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "disk", "size=1m,mode=700") as folder:
        yield folder


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            return


def test_a_full_disk_is_told_and_costs_nothing_that_was_stored(small_disk, key, make_attempt):
    with Store.create(small_disk / "clinic", key, kind="clinic") as store:
        stored = [store.append(make_attempt(seed=seed)) for seed in range(2)]
        fill(small_disk)
        for _ in range(3):
            with pytest.raises(StoreError, match="disk is full") as told:
                stored.extend(store.append(make_attempt(seed=seed)) for seed in range(500))
            assert "Free space" in told.value.next_step
        assert [entry.seq for entry in store.attempts(newest_first=False)] == [entry.seq for entry in stored]
        assert store.verify().ok
        (small_disk / "filler").unlink()
        stored.append(store.append(make_attempt(seed=9)))
        assert store.verify(stored[-1].head).ok
    with Store.open(small_disk / "clinic", key) as again:
        assert [entry.seq for entry in again.attempts(newest_first=False)] == [entry.seq for entry in stored]
        assert again.verify(stored[-1].head).ok


def test_each_write_on_a_full_disk_is_told(small_disk, key, make_attempt, make_visit):
    with Store.create(small_disk / "clinic", key, kind="clinic") as store:
        seqs = [store.append(make_attempt(seed=seed)).seq for seed in range(2)]
        fill(small_disk)
        acts = {
            "note": lambda: store.note("print", {"text": "x" * 9000}),
            "amend": lambda: store.amend(seqs[0], study_id="A" * 9000, reason="", operator=""),
            "journal": lambda: [store.journal(make_visit(note="x" * 9000), 1) for _ in range(200)],
            "rotate": lambda: [store.rotate(key) for _ in range(200)],
            "acknowledge": lambda: store.acknowledge("fhir", seqs[0], {"text": "x" * 9000}),
        }
        for name, act in acts.items():
            with pytest.raises(StoreError) as told:
                [act() for _ in range(200)]
            assert "ull" in told.value.message or "No space" in told.value.message, name
        assert store.verify().ok
        (small_disk / "filler").unlink()
        store.note("print", {})
        assert store.read(seqs[1]).attempt.record is not None
        assert store.verify().ok


def test_opening_on_a_full_disk_is_told_or_works(small_disk, key, make_attempt):
    with Store.create(small_disk / "clinic", key, kind="clinic") as store:
        store.append(make_attempt())
    fill(small_disk)
    try:
        with Store.open(small_disk / "clinic", key) as store:
            assert store.verify().ok
    except StoreError as told:
        assert "disk is full" in told.message
    (small_disk / "filler").unlink()
    with Store.open(small_disk / "clinic", key) as store:
        assert store.verify().n_entries == 2


def test_a_store_cannot_be_made_on_a_full_disk_and_leaves_nothing(small_disk, key):
    fill(small_disk)
    with pytest.raises(StoreError):
        Store.create(small_disk / "clinic", key, kind="clinic")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    with pytest.raises(StoreError):
        StoreKey.create(small_disk / "store.key")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_disk_that_can_only_be_read_is_told(tmp_path, key, make_attempt):
    with mounted(tmp_path / "disk", "size=4m,mode=700") as disk:
        with Store.create(disk / "clinic", key, kind="clinic") as store:
            store.append(make_attempt())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StoreError, match="only be read") as told, Store.open(disk / "clinic", key) as store:
            store.append(make_attempt())
        assert "can be written" in told.value.next_step
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        with Store.open(disk / "clinic", key) as store:
            assert store.verify().ok


def test_every_damaged_page_is_found_and_leaves_other_records(store, key, make_attempt, tmp_path):
    for seed in range(12):
        store.append(make_attempt(seed=seed))
    for _ in range(60):
        store.note("print", {})
    store.close()
    whole = (store.folder / NAME).read_bytes()
    n_pages = len(whole) // PAGE
    n_read = []
    for page in range(1, n_pages):
        folder = tmp_path / f"page-{page}"
        shutil.copytree(store.folder, folder)
        damaged = bytearray(whole)
        damaged[page * PAGE : (page + 1) * PAGE] = os.urandom(PAGE)
        (folder / NAME).write_bytes(damaged)
        found, n_of_page = [], 0
        try:
            with Store.open(folder, key) as again:
                found = list(again.verify().findings)
                for seq in range(2, 14):
                    try:
                        n_of_page += again.read(seq).attempt.record is not None
                    except StoreError:
                        continue
        except StoreError as error:
            found.append(error.message)
        assert found, f"page {page} of {n_pages}"
        n_read.append(n_of_page)
        shutil.rmtree(folder)
    n_read.sort()
    assert n_read[len(n_read) // 2] == 11, "a page within a record costs that record alone"
    assert sum(n == 0 for n in n_read) <= 4, "only pages that hold the table's root or the store's own row cost all"


def test_lists_go_on_around_a_damaged_page(store, key, make_attempt):
    for seed in range(6):
        store.append(make_attempt(seed=seed))
    for _ in range(200):
        store.note("print", {})
    store.close()
    path = store.folder / NAME
    content = bytearray(path.read_bytes())
    # Leaves of a table begin with 13; those of notes name their kind many times.
    leaves = [
        at // PAGE
        for at in range(PAGE, len(content), PAGE)
        if content[at] == 13 and content[at : at + PAGE].count(b"print") > 3
    ]
    assert len(leaves) > 5
    middle = leaves[len(leaves) // 2]
    content[middle * PAGE : (middle + 1) * PAGE] = bytes(PAGE)
    path.write_bytes(content)
    with Store.open(store.folder, key) as again:
        for newest_first in (False, True):
            listed = []
            with pytest.raises(StoreError, match="cannot be read"):
                listed.extend(entry.seq for entry in again.entries(newest_first=newest_first))
            assert listed == sorted(listed, reverse=newest_first)
            assert len(listed) > 150
            assert {1, 2, 207} <= set(listed)
        assert len(list(again.attempts(study_id="ZQXJ7KVW93"))) == 6
        again.append(make_attempt())


def test_a_file_that_is_no_store_is_refused(store, key):
    store.close()
    path = store.folder / NAME
    for content in (b"", b"text" * 2000, os.urandom(8192)):
        path.write_bytes(content)
        with pytest.raises(StoreError):
            Store.open(store.folder, key)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(StoreError, match="no store of this software"):
        Store.open(store.folder, key)


def test_a_store_of_newer_software_is_refused_and_left_as_it_is(store, key):
    store.close()
    connection = sqlite3.connect(store.folder / NAME)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    before = (store.folder / NAME).read_bytes()
    with pytest.raises(StoreError, match="newer software") as told:
        Store.open(store.folder, key)
    assert "Update" in told.value.next_step
    assert (store.folder / NAME).read_bytes() == before


def test_another_writer_is_waited_for_and_then_told(store, key, make_attempt):
    store.close()
    other = sqlite3.connect(store.folder / NAME, isolation_level=None)
    with Store.open(store.folder, key, wait_s=0.05) as impatient:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="Another program") as told:
            impatient.append(make_attempt())
        assert "not stored" in told.value.next_step
        assert len(list(impatient.entries())) == 1
        other.execute("ROLLBACK")
        impatient.append(make_attempt())
        assert impatient.verify().ok
    other.close()
