"""What was altered in the file is found; what cannot be found is said."""

import sqlite3

import pytest

from lsemvae_edge.errors import StoreError
from lsemvae_edge.store import Head, Store
from lsemvae_edge.store.chain import Place
from lsemvae_edge.store.database import NAME

ENTRIES = (
    "seq, kind, boot, boot_seq, at, clock_set, previous, hash, body_sha256, signal_sha256, wrapped_key, body, signal"
)


@pytest.fixture
def filled(store, make_attempt):
    """Entries 1 created, 2 to 4 attempts, 5 note, 6 amendment."""
    for seed in range(3):
        store.append(make_attempt(seed=seed))
    store.note("export", {"seq": 2})
    store.amend(2, study_id="RIGHT1", reason="typed", operator="op7")
    store.close()
    return store.folder


@pytest.fixture
def tamper(filled):
    """Function that runs SQL on the file without what forbids it."""

    def run(*statements):
        with sqlite3.connect(filled / NAME) as connection:
            for trigger in ("entries_stay", "entries_are_fixed"):
                connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
            for statement, *values in statements:
                connection.execute(statement, values)
        connection.close()

    return run


@pytest.fixture
def verdict(filled, key):
    def verify(head=None):
        with Store.open(filled, key) as store:
            return store.verify(head)

    return verify


def test_a_whole_store_is_found_whole(verdict):
    found = verdict()
    assert found.ok
    assert (found.n_entries, found.n_wiped, found.head.seq, found.findings) == (6, 0, 6, ())
    assert "cut off at the end" in found.caveat


def test_the_file_itself_refuses_changes_and_deletions(filled):
    with sqlite3.connect(filled / NAME) as connection:
        for statement in (
            "DELETE FROM entries WHERE seq = 6",
            "UPDATE entries SET at = '2020-01-01T00:00:00.000+00:00' WHERE seq = 3",
            "UPDATE entries SET body = x'00' WHERE seq = 3",
            "UPDATE entries SET signal = x'00' WHERE seq = 3",
            "UPDATE entries SET hash = x'00' WHERE seq = 3",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "column", ["kind", "boot", "boot_seq", "at", "clock_set", "previous", "hash", "body_sha256", "signal_sha256"]
)
def test_an_edit_of_any_column_is_found(tamper, verdict, column):
    value = {"kind": "note", "boot": "f" * 32, "boot_seq": 99, "at": "2020-01-01T00:00:00.000+00:00", "clock_set": 0}
    tamper((f"UPDATE entries SET {column} = ? WHERE seq = 3", value.get(column, bytes(32))))
    found = verdict()
    assert not found.ok
    assert any("ntry 3 " in finding for finding in found.findings)


@pytest.mark.parametrize("column", ["wrapped_key", "body", "signal"])
def test_one_bit_of_a_ciphertext_is_found_and_costs_one_record(tamper, verdict, filled, key, column):
    connection = sqlite3.connect(filled / NAME)
    (value,) = connection.execute(f"SELECT {column} FROM entries WHERE seq = 3").fetchone()
    connection.close()
    tamper((f"UPDATE entries SET {column} = ? WHERE seq = 3", value[:40] + bytes([value[40] ^ 1]) + value[41:]))
    found = verdict()
    assert [finding for finding in found.findings if "ntry 3 " in finding]
    assert len(found.findings) == 1
    with Store.open(filled, key) as store:
        with pytest.raises(StoreError, match=r"damaged|decrypted"):
            store.read(3)
        assert [entry.damaged for entry in store.attempts()] == [False, column != "signal", False]
        assert store.read(2).attempt.record is not None
        assert store.read(4).attempt.record is not None


def test_a_whole_signal_of_another_record_is_found(tamper, verdict):
    tamper(("UPDATE entries SET signal = (SELECT signal FROM entries WHERE seq = 4) WHERE seq = 3",))
    assert any("ntry 3 cannot be decrypted" in finding for finding in verdict().findings)


def test_two_entries_that_changed_places_are_found(tamper, verdict):
    tamper(
        ("UPDATE entries SET seq = 100 WHERE seq = 3",),
        ("UPDATE entries SET seq = 3 WHERE seq = 4",),
        ("UPDATE entries SET seq = 4 WHERE seq = 100",),
    )
    found = verdict()
    assert any("ntry 3 " in finding for finding in found.findings)
    assert any("ntry 4 " in finding for finding in found.findings)


def test_an_entry_taken_out_is_found(tamper, verdict):
    tamper(("DELETE FROM entries WHERE seq = 3",))
    assert verdict().findings == ("Entries are missing: 3.",)
    tamper(("DELETE FROM entries WHERE seq = 1",), ("DELETE FROM entries WHERE seq = 2",))
    assert verdict().findings[0] == "Entries are missing: 1 to 3."


def test_an_entry_taken_out_and_numbers_closed_up_is_found(tamper, verdict):
    tamper(
        ("DELETE FROM entries WHERE seq = 3",),
        ("UPDATE entries SET seq = 3, boot_seq = boot_seq - 1 WHERE seq = 4",),
        ("UPDATE entries SET seq = 4, boot_seq = boot_seq - 1 WHERE seq = 5",),
        ("UPDATE entries SET seq = 5, boot_seq = boot_seq - 1 WHERE seq = 6",),
    )
    assert not verdict().ok


def rehashed(folder):
    """Every hash made anew, as somebody without the key can."""
    connection = sqlite3.connect(folder / NAME)
    (store_id,) = connection.execute("SELECT id FROM store").fetchone()
    previous = bytes(32)
    for values in connection.execute(f"SELECT {ENTRIES} FROM entries ORDER BY seq").fetchall():
        seq, kind, boot, boot_seq, at, clock_set, _, _, body_sha256, signal_sha256, *_ = values
        place = Place(seq, kind, boot, boot_seq, at, bool(clock_set), previous)
        after = place.hash(store_id, body_sha256, signal_sha256)
        connection.execute("UPDATE entries SET previous = ?, hash = ? WHERE seq = ?", (previous, after, seq))
        previous = after
    connection.commit()
    connection.close()


def test_a_chain_made_anew_without_the_key_is_found(tamper, verdict, filled):
    rehash_only = verdict()
    tamper(("UPDATE entries SET at = '2020-01-01T00:00:00.000+00:00' WHERE seq = 3",))
    rehashed(filled)
    found = verdict()
    assert rehash_only.ok
    assert set(found.findings) == {f"Entry {seq} cannot be decrypted." for seq in (3, 4, 5, 6)}


def test_a_cut_tail_is_found_against_a_head_alone(tamper, verdict):
    printed = Head.parse(str(verdict().head))
    assert verdict(printed).ok
    assert verdict(printed).caveat is None
    tamper(("DELETE FROM entries WHERE seq > 4",))
    assert verdict().ok
    assert verdict().caveat is not None
    found = verdict(printed)
    assert found.findings == ("Entries were cut off at the end: the store once had entry 6, and ends at 4.",)


def test_a_tail_that_was_cut_and_grew_again_is_found_against_a_head(tamper, verdict, filled, key):
    head = verdict().head
    tamper(("DELETE FROM entries WHERE seq > 4",))
    with Store.open(filled, key) as store:
        for _ in range(5):
            store.note("print", {})
    assert verdict().ok
    assert verdict(head).findings == ("Entry 6 is not the one of which the head is known.",)


def test_an_entry_emptied_without_a_wipe_is_found(tamper, verdict):
    tamper(("UPDATE entries SET wrapped_key = NULL, body = NULL, signal = NULL WHERE seq = 3",))
    assert verdict().findings == ("Entry 3 was emptied, and no entry says so.",)


def test_an_entry_brought_back_after_a_wipe_is_found(tamper, verdict, filled, key):
    connection = sqlite3.connect(filled / NAME)
    before = connection.execute("SELECT wrapped_key, body, signal FROM entries WHERE seq = 3").fetchone()
    connection.close()
    with Store.open(filled, key) as store:
        store.wipe(3, reason="asked for", operator="op7")
    assert verdict().ok
    tamper(("UPDATE entries SET wrapped_key = ?, body = ?, signal = ? WHERE seq = 3", *before))
    assert verdict().findings == ("Entry 3 should have been emptied.",)


def test_a_store_made_another_kind_is_refused(tamper, filled, key):
    tamper(("UPDATE store SET kind = 'demo'",))
    with pytest.raises(StoreError, match="not that of the store"):
        Store.open(filled, key)


def test_findings_are_bounded(tamper, verdict):
    tamper(*[("UPDATE entries SET body_sha256 = zeroblob(32)",)])
    many = verdict()
    assert len(many.findings) <= 101
    tamper(("UPDATE entries SET seq = 1000000000000000 WHERE seq = 6",))
    assert any("missing: 6 to 999999999999999" in finding for finding in verdict().findings)


def test_a_wipe_by_another_program_in_the_middle_is_no_finding(filled, key, monkeypatch):
    with Store.open(filled, key) as store, Store.open(filled, key, wait_s=0.05) as other:
        original, wiped = store._log.signal, []

        def then_wiped(row):
            found = original(row)
            if row.place.seq == 3:
                # The log cannot be emptied while it is read; the record is wiped all the same.
                with pytest.raises(StoreError, match="log file"):
                    other.wipe(3, reason="asked for", operator="op7")
                wiped.append(row.place.seq)
            return found

        monkeypatch.setattr(store._log, "signal", then_wiped)
        during = store.verify()
        monkeypatch.undo()
        assert wiped == [3]
        assert (during.findings, during.n_entries, during.n_wiped) == ((), 6, 0)
        after = store.verify()
        assert (after.findings, after.n_entries, after.n_wiped) == ((), 7, 1)
