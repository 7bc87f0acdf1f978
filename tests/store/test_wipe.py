"""What is wiped is gone: key, ciphertext, and what was said of it; the chain stays."""

import sqlite3
from datetime import timedelta

import pytest

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import Store, clock
from lsemvae_edge.store.database import NAME


def raw(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def sealed(folder, seq):
    connection = sqlite3.connect(folder / NAME)
    found = connection.execute("SELECT wrapped_key, body, signal FROM entries WHERE seq = ?", (seq,)).fetchone()
    connection.close()
    return [value for value in found if value is not None]


def pieces(value):
    """Stretches short enough to lie on one page."""
    return [value[at : at + 24] for at in range(0, len(value) - 24, 500)] or [value]


def test_key_and_bytes_are_gone_from_every_file_and_the_chain_verifies(store, make_attempt):
    seqs = [store.append(make_attempt(seed=seed)).seq for seed in range(3)]
    amendment = store.amend(seqs[1], study_id="RIGHT1", reason="", operator="")
    secrets = [value for seq in (seqs[1], amendment.seq) for value in sealed(store.folder, seq)]
    assert len(secrets) == 5
    assert any(piece in raw(store.folder) for value in secrets for piece in pieces(value))
    hash_before = store.read(seqs[1]).entry.hash
    wiped = store.wipe(seqs[1], reason="asked for", operator="op7")
    assert wiped.facts == {
        "seq": seqs[1],
        "emptied": [seqs[1], amendment.seq],
        "reason": "asked for",
        "operator": "op7",
    }
    content = raw(store.folder)
    assert not [piece for value in secrets for piece in pieces(value) if piece in content]
    verdict = store.verify()
    assert verdict.ok
    assert verdict.n_wiped == 2
    (tombstone,) = [entry for entry in store.attempts(wiped=True) if entry.wiped]
    assert (tombstone.seq, tombstone.hash, tombstone.facts) == (seqs[1], hash_before, {})
    assert [entry.seq for entry in store.attempts()] == [seqs[2], seqs[0]]
    assert not list(store.attempts(study_id="RIGHT1"))
    with pytest.raises(StoreError, match="was wiped"):
        store.read(seqs[1])
    with pytest.raises(StoreError, match="was wiped"):
        store.over_read(seqs[1], {}, operator="")
    assert seqs[1] not in [entry.seq for entry in store.pending("fhir")]


def test_another_program_sees_a_wipe(store, key, make_attempt):
    seq = store.append(make_attempt()).seq
    with Store.open(store.folder, key) as other:
        assert len(list(other.attempts(study_id="ZQXJ7KVW93"))) == 1
        store.wipe(seq, reason="", operator="")
        assert not list(other.attempts(study_id="ZQXJ7KVW93"))
        assert other.pending("fhir") == []


def test_a_wipe_that_a_reader_holds_up_is_said_and_done_again(store, key, make_attempt):
    store.close()
    with Store.open(store.folder, key, wait_s=0.05) as store:
        seq = store.append(make_attempt()).seq
        secret = sealed(store.folder, seq)[2]
        reader = sqlite3.connect(store.folder / NAME, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entries").fetchone()
        with pytest.raises(StoreError, match="log file") as told:
            store.wipe(seq, reason="", operator="")
        assert "once more" in told.value.next_step
        assert pieces(secret)[0] in raw(store.folder)
        reader.execute("COMMIT")
        reader.close()
        again = store.wipe(seq, reason="", operator="")
        assert again.kind == "wipe"
        assert not [piece for piece in pieces(secret) if piece in raw(store.folder)]
        assert len(list(store.entries(kinds=("wipe",)))) == 1
        assert store.verify().ok


def test_retention_wipes_what_is_old_and_leaves_what_it_cannot_date(store, make_attempt, monkeypatch):
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() - timedelta(days=100))
    old = [store.append(make_attempt(seed=seed)).seq for seed in range(2)]
    monkeypatch.setattr(clock, "now", lambda: real().replace(year=1970))
    monkeypatch.setattr(clock, "boot", lambda: "b" * 32)
    undated = store.append(make_attempt()).seq
    monkeypatch.setattr(clock, "now", real)
    new = store.append(make_attempt()).seq
    store.acknowledge("fhir", old[1], {})
    assert store.retain(365) == 0
    assert store.retain(90, unsent_to="fhir") == 1
    assert [entry.seq for entry in store.attempts()] == [new, undated, old[0]]
    assert store.retain(90, operator="op7") == 1
    assert [entry.seq for entry in store.attempts()] == [new, undated]
    store.correct_clock("b" * 32, 0.0, operator="op7")
    assert store.retain(90) == 1
    assert store.verify().ok


def test_retention_needs_a_clock(store, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: clock.SET_AFTER - timedelta(days=1))
    with pytest.raises(StoreError, match="clock is not set"):
        store.retain(30)
