"""A store of every earlier version opens, complete."""

import sqlite3

import pytest

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import Store, schema
from lsemvae_edge.store.database import NAME

# As version 1 made them: before recordings under way had sealed journals. Never changed again.
VERSION_1 = """
CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL, kind TEXT NOT NULL,
    key_check BLOB NOT NULL) STRICT;
CREATE TABLE entries (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, boot TEXT NOT NULL, boot_seq INTEGER NOT NULL,
    at TEXT NOT NULL, clock_set INTEGER NOT NULL, previous BLOB NOT NULL, hash BLOB NOT NULL,
    body_sha256 BLOB NOT NULL, signal_sha256 BLOB, wrapped_key BLOB, body BLOB, signal BLOB) STRICT;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
CREATE TRIGGER entries_are_fixed BEFORE UPDATE ON entries
    WHEN NEW.seq IS NOT OLD.seq OR NEW.kind IS NOT OLD.kind OR NEW.boot IS NOT OLD.boot
        OR NEW.boot_seq IS NOT OLD.boot_seq OR NEW.at IS NOT OLD.at OR NEW.clock_set IS NOT OLD.clock_set
        OR NEW.previous IS NOT OLD.previous OR NEW.hash IS NOT OLD.hash
        OR NEW.body_sha256 IS NOT OLD.body_sha256 OR NEW.signal_sha256 IS NOT OLD.signal_sha256
        OR (NEW.body IS NOT OLD.body AND NEW.body IS NOT NULL)
        OR (NEW.signal IS NOT OLD.signal AND NEW.signal IS NOT NULL)
        OR (OLD.wrapped_key IS NULL AND NEW.wrapped_key IS NOT NULL)
    BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
PRAGMA user_version = 1;
"""
EARLIER = {1: VERSION_1}


def tables(path):
    connection = sqlite3.connect(path)
    found = {
        (kind, name): " ".join(sql.split()).replace("( ", "(").replace(" )", ")")
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    }
    connection.close()
    return found


@pytest.fixture
def earlier(store, make_attempt):
    """Function that makes the folder one of an earlier version, with 3 attempts, one of them wiped."""

    def make(version):
        for seed in range(3):
            store.append(make_attempt(seed=seed))
        store.wipe(3, reason="", operator="")
        store.amend(2, study_id="RIGHT1", reason="", operator="")
        store.close()
        path = store.folder / NAME
        connection = sqlite3.connect(path)
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in ("store", "entries")}
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        connection.close()
        path.unlink()
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(EARLIER[version])
        for name, values in rows.items():
            connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(values[0]))})", values)
        connection.commit()
        connection.close()
        return store.folder

    return make


def version_of(folder):
    connection = sqlite3.connect(folder / NAME)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return version


def test_every_earlier_version_is_written_down():
    assert sorted(EARLIER) == list(range(1, schema.VERSION))
    assert len(schema.STEPS) == schema.VERSION


@pytest.mark.parametrize("version", sorted(EARLIER))
def test_a_store_of_an_earlier_version_opens_complete(earlier, key, version, make_attempt, make_visit, tmp_path):
    folder = earlier(version)
    assert version_of(folder) == version
    with Store.open(folder, key) as store:
        verdict = store.verify()
        assert verdict.ok
        assert (verdict.n_entries, verdict.n_wiped) == (6, 1)
        assert store.read(2).attempt.visit.study_id == "RIGHT1"
        visit = make_visit()
        store.journal(visit, 1).write(b"x")
        store.append(make_attempt(visit, 1))
        assert store.verify().ok
    assert version_of(folder) == schema.VERSION
    Store.create(tmp_path / "new", key, kind="clinic").close()
    assert tables(folder / NAME) == tables(tmp_path / "new" / NAME)


@pytest.mark.parametrize("version", sorted(EARLIER))
def test_a_step_that_is_cut_leaves_the_earlier_version(earlier, key, version, monkeypatch):
    folder = earlier(version)
    broken = (*schema.STEPS[version], "CREATE TABLE entries (a)")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS[:version], broken, *schema.STEPS[version + 1 :]))
    with pytest.raises(StoreError):
        Store.open(folder, key)
    assert version_of(folder) == version
    monkeypatch.undo()
    with Store.open(folder, key) as store:
        assert store.verify().ok


def test_a_wrong_key_migrates_nothing(earlier):
    from lsemvae_edge.store import StoreKey

    folder = earlier(1)
    with pytest.raises(StoreError, match="not that of the store"):
        Store.open(folder, StoreKey(bytes(32)))
    assert version_of(folder) == 1
