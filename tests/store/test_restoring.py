"""A kept copy takes the store's place whole, after it was read, and nothing that was there is lost."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.kiosk.updates import snapshots
from lsemvae_edge.store import Store, StoreKey, restoring
from lsemvae_edge.store.database import NAME


@pytest.fixture
def kept(store, make_attempt):
    """Function that makes a copy of a store with two attempts, as an update does, and then stores a third."""

    def make(name="clinic.before-2.0"):
        for seed in range(2):
            store.append(make_attempt(seed=seed))
        backup = snapshots.take(store.folder, store.folder.with_name(name))
        store.append(make_attempt(seed=2))
        return backup

    return make


def files(folder):
    """Return what a folder holds; SQLite's shared index and a log without entries come with every look."""
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: content for path, content in found.items() if content and not path.name.endswith("-shm")}


def restored(backup, folder, key, **told):
    planned = restoring.plan(backup, folder)
    return planned, restoring.restore(planned, key, **{"stamp": "1", "operator": "cli:root", **told})


def test_the_copy_is_the_store_and_the_store_lies_aside_as_it_was(store, kept, key):
    backup = kept()
    store.close()
    before, copy = files(store.folder), files(backup)
    planned, done = restored(backup, store.folder, key)
    assert planned.newer == 1
    assert files(backup) == copy
    assert done.aside.name == "clinic.aside-1"
    assert files(done.aside) == before
    with Store.open(store.folder, key) as again:
        assert [entry.kind for entry in again.entries()] == ["created", "attempt", "attempt", "restored"]
        (note,) = again.entries(kinds=("restored",))
        assert note.facts == {"copy": backup.name, "left_out": 1, "wiped_again": 0, "operator": "cli:root"}
        assert again.head() == done.head
        assert again.verify().ok
    for path in (store.folder, *store.folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    assert restoring.backups(store.folder) == [done.aside, backup]


def test_a_restoration_is_undone_by_another(store, kept, key):
    backup = kept()
    head = str(store.head())
    store.close()
    _, done = restored(backup, store.folder, key)
    restored(done.aside, store.folder, key, stamp="2")
    with Store.open(store.folder, key) as again:
        assert len(list(again.attempts())) == 3
        assert again.verify(type(again.head()).parse(head)).ok


def test_what_was_wiped_since_stays_wiped(store, kept, key):
    backup = kept()
    store.wipe(2, reason="asked", operator="op7")
    store.close()
    _, done = restored(backup, store.folder, key)
    assert done.wiped == 1
    with Store.open(store.folder, key) as again:
        assert [entry.seq for entry in again.attempts()] == [3]
        with pytest.raises(StoreError, match="was wiped"):
            again.read(2)
        assert again.verify().ok


def test_a_lost_store_is_restored_too(store, kept, key):
    backup = kept()
    store.close()
    shutil.rmtree(store.folder)
    planned, done = restored(backup, store.folder, key)
    assert (planned.newer, planned.wiped, done.aside) == (None, None, None)
    with Store.open(store.folder, key) as again:
        assert len(list(again.attempts())) == 2


def test_a_damaged_store_gives_way_and_is_kept(store, kept, key):
    backup = kept()
    store.close()
    (store.folder / NAME).write_bytes(b"no database at all" * 1000)
    for name in (f"{NAME}-wal", f"{NAME}-shm"):
        (store.folder / name).unlink(missing_ok=True)
    planned, done = restored(backup, store.folder, key)
    assert planned.newer is None
    assert (done.aside / NAME).read_bytes().startswith(b"no database")
    with Store.open(store.folder, key) as again:
        assert again.verify().ok


def test_a_store_of_newer_software_gives_way_with_its_wipes(store, kept, key):
    backup = kept()
    store.wipe(3, reason="asked", operator="op7")
    store.close()
    with closing(sqlite3.connect(store.folder / NAME)) as database:
        database.execute("PRAGMA user_version = 99")
    planned, done = restored(backup, store.folder, key)
    assert (planned.newer, done.wiped) == (2, 1)
    with Store.open(store.folder, key) as again:
        assert [entry.seq for entry in again.attempts()] == [2]


@pytest.mark.parametrize("harm", ["byte", "key", "other"])
def test_what_is_no_whole_copy_of_this_store_changes_nothing(harm, store, kept, key, tmp_path, make_attempt):
    backup = kept()
    store.close()
    if harm == "byte":
        with closing(sqlite3.connect(backup / NAME)) as database:
            database.execute("DROP TRIGGER entries_are_fixed")
            database.execute("UPDATE entries SET body = zeroblob(40) WHERE seq = 2")
            database.commit()
    if harm == "other":
        with Store.create(tmp_path / "elsewhere", key, kind="clinic") as other:
            other.append(make_attempt())
        backup = tmp_path / "elsewhere"
    before, names = files(store.folder), sorted(tmp_path.iterdir())
    told = {"byte": "is damaged", "key": "not that of the store", "other": "of another store"}[harm]
    with pytest.raises(StoreError, match=told):
        restored(backup, store.folder, StoreKey(bytes(32)) if harm == "key" else key)
    assert files(store.folder) == before
    assert sorted(tmp_path.iterdir()) == names


def test_there_must_be_a_copy(store, tmp_path):
    with pytest.raises(UsageError, match="no copy of a store"):
        restoring.plan(tmp_path / "nowhere", store.folder)
    with pytest.raises(UsageError, match="is the store itself"):
        restoring.plan(store.folder, store.folder)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_cut_before_the_last_step_leaves_the_store_in_use(can_exchange, store, kept, key, monkeypatch):
    backup = kept()
    store.close()
    before = files(store.folder)
    if not can_exchange:
        monkeypatch.setattr(restoring.ctypes, "CDLL", lambda *_, **__: object())

    class CutError(Exception):
        pass

    def cut(*_):
        raise CutError

    with monkeypatch.context() as patched:
        patched.setattr(restoring, "_into_place", cut)
        with pytest.raises(CutError):
            restored(backup, store.folder, key)
    assert files(store.folder) == before
    _, done = restored(backup, store.folder, key, stamp="2")
    assert files(done.aside) == before
    with Store.open(store.folder, key) as again:
        assert again.verify().ok
