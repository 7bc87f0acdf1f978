"""Traces made of characters: a sweep keeps what is new, forgets what is old, and invents nothing in a gap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.device.progress import Traces
from lsemvae_edge.kiosk.terminal.strip import SWEEP_S, Sweep

FS_HZ = 250.0
LEADS = ("I", "II")
COLUMNS = 75
PER_COLUMN = round(SWEEP_S * FS_HZ / COLUMNS)


def add(sweep, signal_mv, first=0, *, recording="one", part=0):
    signal_mv = np.asarray(signal_mv, np.float32)
    return sweep.add(recording, Traces(part, first, FS_HZ, LEADS, signal_mv, "calibrated"), LEADS, signal_mv)


def level(n, mv=0.0):
    return np.full((2, n), mv, np.float32)


def shown(sweep, lead=0):
    return ~np.isnan(sweep.low[lead])


def test_what_came_stands_on_the_strip_and_a_bar_goes_ahead():
    sweep = Sweep(COLUMNS)
    assert add(sweep, level(10 * PER_COLUMN))
    assert shown(sweep)[:10].all()
    assert not shown(sweep)[10:].any()
    assert sweep.next == 10 * PER_COLUMN


def test_the_bar_erases_what_the_last_sweep_left():
    sweep = Sweep(COLUMNS)
    total = round(1.5 * SWEEP_S * FS_HZ)
    for first in range(0, total, 25):
        add(sweep, level(25), first)
    here = (total - 1) // PER_COLUMN % COLUMNS
    assert shown(sweep)[: here + 1].all()
    assert not shown(sweep)[here + 1 : here + 3].any()
    assert shown(sweep)[here + 4 :].all()


def test_in_pieces_or_at_once_the_strip_is_the_same():
    signal_mv = np.random.default_rng(0).normal(size=(2, 20 * PER_COLUMN)).astype(np.float32)
    whole, pieces = Sweep(COLUMNS), Sweep(COLUMNS)
    add(whole, signal_mv)
    for first in range(0, signal_mv.shape[1], 7):
        add(pieces, signal_mv[:, first : first + 7], first)
    np.testing.assert_array_equal(whole.low, pieces.low)
    np.testing.assert_array_equal(whole.high, pieces.high)


def test_a_stretch_that_was_drawn_is_not_new():
    sweep = Sweep(COLUMNS)
    add(sweep, level(100))
    assert not add(sweep, level(100))


def test_a_gap_stays_empty():
    sweep, signal_mv = Sweep(COLUMNS), level(10 * PER_COLUMN)
    signal_mv[:, 3 * PER_COLUMN : 5 * PER_COLUMN] = np.nan
    add(sweep, signal_mv)
    assert shown(sweep)[:10].tolist() == [True] * 3 + [False] * 2 + [True] * 5
    lines = sweep.draw(0, 3, "blocks")
    assert all(line[3:5] == "  " for line in lines)


def test_of_another_recording_nothing_stays():
    sweep = Sweep(COLUMNS)
    add(sweep, level(30 * PER_COLUMN))
    add(sweep, level(2 * PER_COLUMN), recording="two")
    assert shown(sweep).sum() == 2


def test_of_another_part_nothing_stays():
    sweep = Sweep(COLUMNS)
    add(sweep, level(30 * PER_COLUMN))
    add(sweep, level(2 * PER_COLUMN), part=1)
    assert shown(sweep).sum() == 2


def test_one_scale_holds_for_all_leads_and_nothing_leaves_the_strip():
    sweep, signal_mv = Sweep(COLUMNS), level(20 * PER_COLUMN)
    signal_mv[0, 50], signal_mv[1, 60] = 0.3, 1.3
    add(sweep, signal_mv)
    assert sweep.scale_mv() == pytest.approx(0.7)
    heights = [sum(line[at] != " " for line in sweep.draw(lead, 5, "blocks")) for lead, at in ((0, 5), (1, 6))]
    assert heights == [2, 5]


@pytest.mark.parametrize("cells", ["braille", "blocks"])
def test_a_beat_is_one_connected_line(cells):
    sweep, signal_mv = Sweep(COLUMNS), level(20 * PER_COLUMN)
    signal_mv[:, 10 * PER_COLUMN : 11 * PER_COLUMN] = np.linspace(0, 1, PER_COLUMN)
    add(sweep, signal_mv)
    lines = sweep.draw(0, 5, cells)
    at = 10 if cells == "blocks" else 5
    column = [line[at] != " " for line in lines]
    first, last = column.index(True), 4 - column[::-1].index(True)
    assert last - first >= 3
    assert all(column[first : last + 1])


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=12),
    st.floats(-30, 30, width=32),
    st.sampled_from(["braille", "blocks"]),
    st.integers(1, 6),
)
def test_any_signal_is_drawn_inside_its_strip(sizes, mv, cells, rows):
    sweep, first = Sweep(37), 0
    for size in sizes:
        add(sweep, level(size, mv), first)
        first += size
    if sweep.leads:
        lines = sweep.draw(0, rows, cells)
        assert len(lines) == rows
        assert {len(line) for line in lines} == {37 if cells == "blocks" else 19}
