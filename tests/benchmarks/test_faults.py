"""The fault table: it sees what it is there to see, and a short form of it holds."""

import numpy as np
import pytest

pytest.importorskip("bumble", reason="virtual recorders need the extra `simulator`")

from lsemvae_edge.benchmarks import faults
from lsemvae_edge.record import Record


@pytest.fixture(params=["open-6l", "polar-h10"])
def played(request) -> tuple[str, Record, float]:
    record = faults.named_samples(request.param, 20.0)
    return request.param, record, faults.shelf.stream(request.param).mv_per_lsb


def counted(name: str, signal_mv: np.ndarray, like: Record) -> faults.Row:
    row = faults.Row("made by hand", name)
    faults._count(row, [Record(signal_mv, like.fs_hz, like.leads)])
    return row


def test_every_sample_names_itself(played):
    _, record, mv_per_lsb = played
    found, present = faults.identified(record, mv_per_lsb)
    assert present.all()
    np.testing.assert_array_equal(found, np.arange(record.n_samples))


def test_a_long_recording_still_names_its_samples():
    record = faults.named_samples("open-6l", 150.0)
    found, _ = faults.identified(record, faults.shelf.stream("open-6l").mv_per_lsb)
    np.testing.assert_array_equal(found, np.arange(record.n_samples))


def test_a_gap_is_counted_as_missing(played):
    name, record, _ = played
    signal_mv = record.signal_mv.copy()
    signal_mv[:, 500:520] = np.nan
    row = counted(name, signal_mv, record)
    assert (row.sent, row.received, row.missing) == (record.n_samples, record.n_samples - 20, 20)
    assert (row.false, row.misplaced) == (0, 0)


def test_a_sample_that_was_never_sent_is_counted_as_false(played):
    name, record, mv_per_lsb = played
    signal_mv = record.signal_mv.copy()
    signal_mv[0, 700] += 3 * mv_per_lsb
    assert counted(name, signal_mv, record).false == 1


def test_what_lies_elsewhere_is_counted_as_misplaced(played):
    name, record, _ = played
    signal_mv = record.signal_mv.copy()
    signal_mv[:, 900:] = np.roll(record.signal_mv, -5, axis=1)[:, 900:]
    row = counted(name, signal_mv[:, :-5], record)
    assert row.misplaced == min(900, record.n_samples - 905)


def test_drivers_with_index_and_integrity_keep_their_promise_through_loss_and_a_lost_link():
    figures = faults.measure(("open-6l", "lepu-6l"), 3, lambda _: None, ("loss 5 %", "supervision"))
    assert figures["broken"] == []
    rows = {(row["driver"], row["scenario"]): row for row in figures["rows"]}
    assert len(rows) == 4
    for row in rows.values():
        assert row["error"] is None
        assert row["received"] > 1000
        assert row["received"] + row["missing"] >= row["sent"]
    assert rows["open-6l", "loss 5 %"]["missing"] > 0
    assert rows["open-6l", "supervision time-out"]["recovery_s"] is not None
    assert faults.table(figures).count("\n") == 4
