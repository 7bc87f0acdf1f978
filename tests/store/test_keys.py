"""Nobody reads a store without its key, and a key can be changed."""

import json
import sqlite3

import pytest

from lsemvae_edge.errors import StoreError, UsageError
from lsemvae_edge.store import Store, StoreKey, log
from lsemvae_edge.store import key as keys
from lsemvae_edge.store.database import NAME
from lsemvae_edge.store.key import is_protected
from lsemvae_edge.store.sealing import BrokenSealError, seal, unseal


def test_a_key_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "new" / "store.key"
    key = StoreKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert StoreKey.read(path).secret == key.secret
    assert not is_protected(path)
    assert key.secret.hex() not in repr(key)
    assert StoreKey.create(tmp_path / "other").secret != key.secret
    path.chmod(0o640)
    with pytest.raises(StoreError, match="Other users can read") as refused:
        StoreKey.read(path)
    assert "chmod 600" in refused.value.next_step


def test_a_key_is_never_written_over(tmp_path):
    path = tmp_path / "store.key"
    key = StoreKey.create(path)
    with pytest.raises(StoreError, match="already"):
        StoreKey.create(path)
    assert StoreKey.read(path).secret == key.secret


def test_a_passphrase_protects_the_file(tmp_path):
    path = tmp_path / "store.key"
    key = StoreKey.create(path, "seven wet dogs ré")
    assert is_protected(path)
    assert key.secret.hex() not in path.read_text()
    # Typed on a keyboard that composes the letter.
    assert StoreKey.read(path, "seven wet dogs re\u0301").secret == key.secret
    with pytest.raises(StoreError, match="not the passphrase"):
        StoreKey.read(path, "seven wet dogs")
    with pytest.raises(StoreError, match="needs a passphrase") as refused:
        StoreKey.read(path)
    assert "LSEMVAE_EDGE_PASSPHRASE_FILE" in refused.value.next_step
    with pytest.raises(UsageError, match="empty"):
        StoreKey.create(tmp_path / "other", "")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"schema": "lsemvae-edge/store-key/1"}',
        '{"schema": "lsemvae-edge/store-key/1", "key": 3}',
        '{"schema": "lsemvae-edge/store-key/1", "key": "abcd"}',
        '{"schema": "lsemvae-edge/store-key/2", "key": "' + "00" * 32 + '"}',
        '{"schema": "lsemvae-edge/store-key/1", "sealed": "00", "salt": "00", "n": 3, "r": 8, "p": 1}',
        '{"schema": "lsemvae-edge/store-key/1", "sealed": "00", "salt": "00", "n": 1e99, "r": 8, "p": 1}',
        "[" * 4000,
        '{"schema": "lsemvae-edge/store-key/1", "key": "' + "00" * 3000 + '"}',
    ],
)
def test_a_damaged_key_file_is_named(tmp_path, content):
    path = tmp_path / "store.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="damaged"):
        StoreKey.read(path, "anything")


def test_a_key_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match="no key") as refused:
        StoreKey.read(tmp_path / "absent")
    assert "without it no record can be read" in refused.value.next_step
    with pytest.raises(StoreError, match="not a plain file"):
        StoreKey.read(tmp_path)


def test_a_wrong_key_is_refused_before_anything_is_read_or_changed(store, make_attempt):
    store.append(make_attempt())
    store.close()
    before = (store.folder / NAME).read_bytes()
    with pytest.raises(StoreError, match="not that of the store") as refused:
        Store.open(store.folder, StoreKey(bytes(32)))
    assert "without it no record can be read" in refused.value.next_step
    assert (store.folder / NAME).read_bytes() == before


def test_a_seal_holds_its_place():
    sealed = seal(bytes(32), b"text", b"here")
    assert unseal(bytes(32), sealed, b"here") == b"text"
    assert seal(bytes(32), b"text", b"here") != sealed
    for broken in (b"", sealed[:20], sealed[:-1], sealed[:-1] + b"\0"):
        with pytest.raises(BrokenSealError):
            unseal(bytes(32), broken, b"here")
    with pytest.raises(BrokenSealError):
        unseal(bytes(32), sealed, b"there")
    with pytest.raises(BrokenSealError):
        unseal(b"\1" * 32, sealed, b"here")


def wraps(folder):
    connection = sqlite3.connect(folder / NAME)
    found = [wrapped for (wrapped,) in connection.execute("SELECT wrapped_key FROM entries")]
    connection.close()
    return found


def test_a_new_key_opens_everything_and_the_old_one_nothing(store, key, make_attempt, make_visit):
    seq = store.append(make_attempt()).seq
    gone = store.append(make_attempt(seed=1)).seq
    store.wipe(gone, reason="", operator="")
    journal = store.journal(make_visit(), 1)
    journal.write(b"part of a recording")
    old_wraps = wraps(store.folder)
    new = StoreKey(b"n" * 32)
    assert store.rotate(new) == 4
    assert not set(filter(None, wraps(store.folder))) & set(old_wraps)
    store.note("print", {})
    assert store.read(seq).attempt.record is not None
    store.close()
    with pytest.raises(StoreError, match="not that of the store"):
        Store.open(store.folder, key)
    with Store.open(store.folder, new) as again:
        assert again.verify().ok
        assert again.read(seq).attempt.visit.study_id == "ZQXJ7KVW93"
        assert [one.data for one in again.unfinished()] == [b"part of a recording"]


def test_a_cut_in_the_middle_of_a_change_leaves_the_old_key(store, key, make_attempt, monkeypatch):
    seqs = [store.append(make_attempt(seed=seed)).seq for seed in range(3)]
    new, calls = StoreKey(b"n" * 32), []
    original = StoreKey.wrap

    def failing(self, plain, bound):
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, plain, bound)

    monkeypatch.setattr(StoreKey, "wrap", failing)
    with pytest.raises(KeyboardInterrupt):
        store.rotate(new)
    monkeypatch.undo()
    assert store.verify().ok
    store.close()
    with Store.open(store.folder, key) as again:
        assert again.verify().ok
        assert again.read(seqs[2]).attempt.record is not None
    with pytest.raises(StoreError, match="not that of the store"):
        Store.open(store.folder, new)


def test_a_program_with_the_old_key_is_told(store, key, make_attempt):
    seq = store.append(make_attempt()).seq
    with Store.open(store.folder, key) as other:
        store.rotate(StoreKey(b"n" * 32))
        with pytest.raises(StoreError, match="another key"):
            other.append(make_attempt())
        with pytest.raises(StoreError, match="another key"):
            other.read(seq)
    assert store.verify().ok


def test_a_record_whose_key_is_damaged_does_not_stop_a_change(store, make_attempt):
    seqs = [store.append(make_attempt(seed=seed)).seq for seed in range(2)]
    connection = sqlite3.connect(store.folder / NAME)
    connection.execute("UPDATE entries SET wrapped_key = zeroblob(60) WHERE seq = ?", (seqs[0],))
    connection.commit()
    connection.close()
    assert store.rotate(StoreKey(b"n" * 32)) == 2
    assert store.read(seqs[1]).attempt.record is not None
    store.wipe(seqs[0], reason="damaged", operator="op7")
    assert store.verify().ok


def test_every_record_has_a_key_of_its_own(store, make_attempt):
    for _ in range(3):
        store.append(make_attempt())
    found = [
        store._log.key.unwrap(row.wrapped_key, row.place.bound(store._log.id) + log._KEY) for row in store._log.rows()
    ]
    assert len(set(found)) == len(found) == 4


def test_the_work_to_try_a_passphrase_is_written_in_the_file(tmp_path):
    path = tmp_path / "store.key"
    StoreKey.create(path, "word")
    told = json.loads(path.read_text())
    assert (told["n"], told["r"], told["p"]) == (keys.SCRYPT_N, keys.SCRYPT_R, keys.SCRYPT_P)
    assert keys.SCRYPT_N * keys.SCRYPT_R * 128 >= 32 * 2**20
