"""A recording under way is sealed as it grows, and never counted twice."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import Store, StoreKey, journals
from lsemvae_edge.store.journals import MAGIC, UNREADABLE


@pytest.fixture
def reopened(store, key):
    """Function that opens the store as the next start of the program does."""
    opened = []

    def again():
        store.close()
        for one in opened:
            one.close()
        opened.append(Store.open(store.folder, key))
        return opened[-1]

    yield again
    for one in opened:
        one.close()


def files(store):
    return sorted((store.folder / "journals").iterdir())


def test_what_was_appended_is_read_after_a_cut(store, reopened, make_visit):
    visit = make_visit()
    journal = store.journal(visit, 2)
    for part in (b"first ", b"", b"second"):
        journal.write(part)
    journal.sync()
    (found,) = reopened().unfinished()
    assert (found.visit, found.number, found.data, found.id) == (visit, 2, b"first second", journal.id)
    assert "first" not in repr(found)


def test_a_journal_under_way_is_nobody_elses(store, key, make_visit):
    journal = store.journal(make_visit(), 1)
    assert not list(store.unfinished())
    with Store.open(store.folder, key) as other:
        assert not list(other.unfinished())
        journal.close()
        assert not list(other.unfinished()), "it is not stored yet"
        journal.write(b"late")
    assert len(files(store)) == 1


def test_storing_the_attempt_destroys_its_journals_and_no_other(store, reopened, make_visit, make_attempt):
    visit, other = make_visit(), make_visit()
    for number in (1, 1, 2):
        store.journal(visit, number).write(b"x")
    kept = store.journal(other, 1)
    store.append(make_attempt(visit, 1))
    assert len(files(store)) == 2
    store.append(make_attempt(visit, 2))
    assert files(store) == [kept.path]
    assert [one.id for one in reopened().unfinished()] == [kept.id]


def test_an_interrupted_attempt_settles_what_was_unfinished(store, reopened, make_visit, make_attempt):
    visit = make_visit()
    store.journal(visit, 1).write(b"x")
    again = reopened()
    (found,) = again.unfinished()
    seq = again.append(make_attempt(found.visit, found.number, ended="interrupted", result=None)).seq
    assert again.read(seq).entry.facts["journals"] == [found.id]
    assert not files(again)
    again.settled(found)
    assert not list(reopened().unfinished())


def test_a_cut_between_the_commit_and_the_removal_leaves_no_second_attempt(
    store, reopened, make_visit, make_attempt, monkeypatch
):
    visit = make_visit()
    store.journal(visit, 1).write(b"x")
    monkeypatch.setattr(store._shelf, "remove", lambda ids: None)
    store.append(make_attempt(visit, 1))
    assert len(files(store)) == 1
    again = reopened()
    assert not list(again.unfinished())
    assert not files(again)
    assert len(list(again.attempts())) == 1


def test_a_cut_before_the_commit_leaves_the_journal(store, reopened, make_visit, make_attempt, monkeypatch):
    visit = make_visit()
    store.journal(visit, 1).write(b"x")

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store._shelf, "destroy", cut)
    with pytest.raises(KeyboardInterrupt):
        store.append(make_attempt(visit, 1))
    again = reopened()
    assert [one.data for one in again.unfinished()] == [b"x"]
    assert not list(again.attempts())


def test_what_nothing_is_kept_of_is_settled(store, reopened, make_visit):
    store.settled(store.journal(make_visit(), 1))
    assert not files(store)
    assert not list(reopened().unfinished())


def test_a_journal_whose_file_is_gone_is_told_as_empty(store, reopened, make_visit):
    store.journal(make_visit(), 1).path.unlink()
    (found,) = reopened().unfinished()
    assert found.data == b""


def test_every_torn_end_leaves_whole_chunks(store, reopened, make_visit):
    journal = store.journal(make_visit(), 1)
    for number in range(4):
        journal.write(bytes([number]) * 5)
    whole = journal.path.read_bytes()
    again = reopened()
    for size in range(len(whole) + 1):
        journal.path.write_bytes(whole[:size])
        (found,) = again.unfinished()
        n_chunks = max(size - len(MAGIC), 0) // ((len(whole) - len(MAGIC)) // 4)
        assert found.data == b"".join(bytes([number]) * 5 for number in range(n_chunks))


def test_chunks_altered_or_moved_do_not_open_and_cost_only_themselves(store, reopened, make_visit):
    journal = store.journal(make_visit(), 1)
    for number in range(4):
        journal.write(bytes([number]) * 5)
    whole, size = journal.path.read_bytes(), 4 + 5 + 16
    again = reopened()
    chunks = [whole[len(MAGIC) + number * size :][:size] for number in range(4)]
    altered = chunks[1][:-1] + bytes([chunks[1][-1] ^ 1])
    hidden = UNREADABLE * 5
    for order, expected in (
        ([chunks[0], altered, chunks[2]], b"\0" * 5 + hidden + b"\2" * 5),
        ([chunks[0], chunks[2], chunks[1], chunks[3]], b"\0" * 5 + 2 * hidden + b"\3" * 5),
        ([chunks[0], chunks[0]], b"\0" * 5 + hidden),
        ([chunks[0], chunks[2], chunks[3]], b"\0" * 5 + 2 * hidden),
    ):
        journal.path.write_bytes(MAGIC + b"".join(order))
        (found,) = again.unfinished()
        assert found.data == expected


def test_a_journal_under_another_name_does_not_open(store, reopened, make_visit):
    one, other = store.journal(make_visit(), 1), store.journal(make_visit(), 1)
    one.write(b"one")
    other.write(b"other")
    content = other.path.read_bytes()
    again = reopened()
    one.path.write_bytes(content)
    assert {found.id: found.data for found in again.unfinished()} == {one.id: UNREADABLE * 5, other.id: b"other"}


def test_a_journal_whose_key_is_damaged_is_found(store, reopened, make_visit):
    store.journal(make_visit(), 1)
    with store._log.writing() as connection:
        connection.execute("UPDATE journals SET body = zeroblob(99)")
    again = reopened()
    assert not list(again.unfinished())
    assert "unfinished recording cannot be read" in again.verify().findings[0]


def test_a_full_disk_leaves_whole_chunks_and_no_nonce_is_used_twice(store, reopened, make_visit, monkeypatch):
    journal = store.journal(make_visit(), 1)
    journal.write(b"before")
    nonces, original = [], journals.seal_with
    monkeypatch.setattr(
        journals, "seal_with", lambda key, nonce, *rest: nonces.append(nonce) or original(key, nonce, *rest)
    )
    write = os.write
    left = [10]

    def full(descriptor, data):
        if not left[0]:
            raise OSError(28, "No space left on device")
        done = write(descriptor, data[: left[0]])
        left[0] -= done
        return done

    monkeypatch.setattr(journals.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        journal.write(b"does not fit")
    monkeypatch.setattr(journals.os, "write", write)
    journal.write(b"after")
    monkeypatch.undo()
    assert len(set(nonces)) == len(nonces) == 2
    (found,) = reopened().unfinished()
    assert found.data.startswith(b"before")
    assert b"does not fit" not in found.data


def test_a_journal_that_cannot_begin_leaves_nothing(store, reopened, make_visit, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journals.SealedJournal, "_append", full)
    with pytest.raises(StoreError, match="cannot be kept") as told:
        store.journal(make_visit(), 1)
    assert "Free space" in told.value.next_step
    monkeypatch.undo()
    assert not files(store)
    assert not list(reopened().unfinished())


CHILD = """
import sys
from pathlib import Path
from lsemvae_edge.store import Store, StoreKey
from lsemvae_edge.visit import Visit
store = Store.open(Path(sys.argv[1]), StoreKey(bytes(range(32))))
journal = store.journal(Visit("0" * 32, "ZQXJ7KVW93", "op7", "40-64", None, True), 1)
number = 0
while True:
    number += 1
    journal.write(number.to_bytes(4, "little"))
    sys.stdout.buffer.write(number.to_bytes(4, "little"))
    sys.stdout.buffer.flush()
"""


def test_a_kill_leaves_an_unfinished_journal_with_all_that_was_written(store):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(store.folder)], stdout=subprocess.PIPE) as child:
        told = child.stdout.read(400)
        assert not list(store.unfinished())
        os.kill(child.pid, signal.SIGKILL)
        told += child.stdout.read()
    (found,) = store.unfinished()
    assert found.visit.study_id == "ZQXJ7KVW93"
    told = told[: len(told) // 4 * 4]
    assert found.data[: len(told)] == told


def test_the_recorders_journal_is_written_through_it_and_replayed(store, reopened, make_visit, tmp_path):
    pytest.importorskip("lsemvae_edge.device.journal")
    from lsemvae_edge.benchmarks.bluetooth import Session
    from lsemvae_edge.device.journal import JournalWriter
    from lsemvae_edge.device.replay import replay

    sealed = store.journal(make_visit(), 1)
    session = Session("open-6l", journal=JournalWriter(sealed, sync_s=0.0), keep_s=3600.0)
    session.run(4.0)
    live = session.end()
    (found,) = reopened().unfinished()
    (again,) = replay(found.data)
    assert again.sha256() == live.sha256()
    assert again.meta["id"] == live.meta["id"]
    # A power cut within the last entry.
    (part,) = replay(found.data[:-300])
    assert 0 < part.n_samples < live.n_samples
    assert part.meta["torn_bytes"]
    assert live.meta["device"].encode() not in sealed.path.read_bytes()


def test_a_sealed_journal_that_fails_is_told_once_and_then_dropped(store, make_visit, monkeypatch):
    from lsemvae_edge.device.journal import JournalWriter

    sealed = store.journal(make_visit(), 1)
    writer = JournalWriter(sealed)
    writer.header({"driver": "open-6l"})
    assert writer.path == sealed.path
    monkeypatch.setattr(sealed, "write", lambda data: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match="No space left"):
        writer.lost()
    assert writer.is_failed
    writer.lost()
    writer.end()
    writer.end()


def test_another_key_reads_no_journal(store, make_visit):
    journal = store.journal(replace(make_visit(), study_id="ZQXJ7KVW93"), 1)
    journal.write(b"a wave that can be known")
    raw = b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())
    assert b"ZQXJ7KVW93" not in raw
    assert b"a wave" not in raw
    store.close()
    with pytest.raises(StoreError, match="not that of the store"):
        Store.open(store.folder, StoreKey(bytes(32)))
