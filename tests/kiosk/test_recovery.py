"""After a power cut: what was being recorded is an attempt again."""

from dataclasses import replace

import pytest

from lsemvae_edge.device.journal import JournalWriter
from lsemvae_edge.kiosk import recovery
from lsemvae_edge.visit import Visit

pytest.importorskip("bleak", reason="recorders need the extra `device`")

VISIT = Visit("a" * 32, "ABCD1", "AB", "40-64", False, True)


@pytest.fixture
def written(stores):
    """Function that writes the journal of a recording through the virtual recorder, and leaves it as a cut would."""
    from lsemvae_edge.device.drivers.open6l import Open6L
    from lsemvae_edge.device.virtual import shelf
    from lsemvae_edge.device.virtual.wire import MTU, Wire

    def write(seconds=3.0):
        sealed = stores["clinic"].journal(VISIT, 1)
        journal = JournalWriter(sealed)
        wire = Wire(shelf.make("open-6l", seed=1), Open6L())
        # As a person's recorder: what is simulated does not belong in a clinic's store.
        journal.header({"driver": "open-6l", "device": "x", "id": "y", "origin": "live", "clock_set": False})
        journal.up(wire.stream, wire.reads, MTU, None)
        journal.part(1)
        journal.counting("counts")
        for arrival in wire.record(seconds):
            journal.write(int(arrival.at_s * 1e9) + 1, arrival.uuid, arrival.data)
        journal._sync()
        # A file that is being synced keeps its lock although it is closed.
        journal._syncing.result()
        sealed.release()
        return journal

    return write


@pytest.fixture
def again(stores):
    """The store as the next start of the kiosk opens it."""
    with stores["reopen"]("clinic") as store:
        yield store


def test_what_a_power_cut_ended_is_an_interrupted_attempt(again, written):
    written(3.0)
    store = again
    (entry,) = recovery.recover(store)
    attempt = store.read(entry.seq).attempt
    assert (attempt.visit, attempt.number, attempt.ended) == (VISIT, 1, "interrupted")
    assert attempt.result is None
    assert attempt.detail == recovery.CUT
    assert attempt.record.duration_s == pytest.approx(3.0, abs=0.2)
    assert attempt.record.leads == ("I", "II")
    assert recovery.recover(store) == []


def test_a_journal_that_cannot_be_decoded_is_still_an_attempt(stores, again):
    store = again
    sealed = stores["clinic"].journal(VISIT, 2)
    sealed.write(b"no journal")
    sealed.release()
    (entry,) = recovery.recover(store)
    attempt = store.read(entry.seq).attempt
    assert (attempt.number, attempt.ended, attempt.record) == (2, "interrupted", None)
    assert list(store.unfinished()) == []


def test_what_is_being_recorded_now_is_left_alone(stores, again):
    sealed = stores["clinic"].journal(replace(VISIT, id="b" * 32), 1)
    sealed.write(b"under way")
    assert recovery.recover(again) == []
    sealed.release()
