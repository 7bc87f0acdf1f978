"""Recorders without an index: by their clock, or by nothing but arrival."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge.device.assembler import BARRIER_S, Assembler
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.device.events import Damaged, Frame

POLAR = Stream(130.0, ("chest",), 0.001, 73 / 130, clock_modulus_s=2**64 / 1e9)
MOVESENSE = Stream(512.0, ("chest",), 0.001, 16 / 512, clock_modulus_s=2**32 / 1000)
CLOCKED = {"polar": (POLAR, 73, 1e-9), "movesense": (MOVESENSE, 16, 1e-3)}
SILENT = Stream(300.0, ("I", "II"), 0.001, 9 / 300)
POLLED = Stream(125.0, ("I",), 0.001, 0.5)


def samples(stream, first, n):
    """Sample k is k, plus 1 so that no place is zero."""
    return np.tile(np.arange(first + 1, first + n + 1, dtype=np.float32), (len(stream.leads), 1))


def assembler_of(stream):
    assembler = Assembler(stream, keep_s=None, indexed=False)
    assembler.link_up(stream, 0.0)
    return assembler


def displaced(record):
    """How far each sample that is there stands from where it belongs, by the first one."""
    there = np.flatnonzero(~record.gaps[0])
    return there - (record.signal_mv[0][there] - record.signal_mv[0][there[0]]) - there[0]


def is_contiguous(record, first, n):
    """Whether the run of samples that begins with value ``first`` is whole."""
    at = np.flatnonzero(record.signal_mv[0] == first + 1)
    return at.size == 1 and np.array_equal(record.signal_mv[0][at[0] : at[0] + n], samples(POLAR, first, n)[0])


# By the recorder's clock ------------------------------------------------------------------------------


def stamped(kind, number, rate=1.0, begin_s=5000.0):
    stream, n, step_s = CLOCKED[kind]
    time_s = begin_s + number * n / (stream.fs_hz * rate)
    time_s = np.floor(time_s / step_s) * step_s if step_s > 1e-6 else time_s
    return Frame(samples(stream, number * n, n), device_time_s=time_s % stream.clock_modulus_s)


def run_clocked(kind, numbers, rate=1.0, **facts):
    stream, n, _ = CLOCKED[kind]
    assembler = assembler_of(stream)
    for number in numbers:
        assert assembler.add(stamped(kind, number, rate, **facts), 1.0 + (number + 1) * n / (stream.fs_hz * rate))
    return assembler


@pytest.mark.parametrize("kind", CLOCKED)
@pytest.mark.parametrize("rate", [0.98, 0.9995, 1.0, 1.0005, 1.02])
def test_a_rate_two_percent_off_is_no_gap(kind, rate):
    record = run_clocked(kind, range(600), rate).record()
    assert not record.gaps.any()
    assert not displaced(record).any()


@pytest.mark.parametrize("kind", CLOCKED)
@settings(max_examples=40)
@given(data=st.data())
def test_lost_packets_are_gaps_of_their_length(kind, data):
    rate = data.draw(st.sampled_from([0.98, 1.0, 1.02]))
    lost = data.draw(st.sets(st.integers(30, 117), max_size=30))
    assembler = run_clocked(kind, [number for number in range(120) if number not in lost], rate)
    record = assembler.record()
    n = CLOCKED[kind][1]
    assert record.n_samples == pytest.approx(120 * n, abs=2 + len(lost))
    assert assembler.counts["samples"] == (120 - len(lost)) * n
    assert np.abs(displaced(record)).max() <= len(lost)
    for number in set(range(120)) - lost:
        assert is_contiguous(record, number * n, n)


@pytest.mark.parametrize("kind", CLOCKED)
def test_repetitions_and_stragglers_change_nothing(kind):
    order = [*range(50), 49, 51, 50, 52, 52, 53, *range(54, 80)]
    assembler = run_clocked(kind, order)
    record = assembler.record()
    assert not record.gaps.any()
    assert not displaced(record).any()
    assert assembler.counts["duplicate"] == 2 * CLOCKED[kind][1]


@pytest.mark.parametrize("kind", CLOCKED)
@pytest.mark.parametrize("wrong_s", [-900.0, -1.5, 0.3, 2.0, 4e6])
def test_one_wild_stamp_costs_one_frame(kind, wrong_s):
    stream, n, _ = CLOCKED[kind]
    assembler = assembler_of(stream)
    for number in range(100):
        one = stamped(kind, number)
        if number == 60:
            one = replace(one, device_time_s=one.device_time_s + wrong_s)
        assert assembler.add(one, number * n / stream.fs_hz)
    record = assembler.record()
    assert record.n_samples == 100 * n
    assert record.gaps[0, 60 * n : 61 * n].all()
    assert record.gaps.sum() == n
    assert not displaced(record).any()


def test_a_clock_that_wraps_goes_on():
    record = run_clocked("movesense", range(100), begin_s=2**32 / 1000 - 1.0).record()
    assert not record.gaps.any()
    assert record.n_samples == 1600


def test_a_clock_that_begins_anew_ends_the_time_line():
    assembler = run_clocked("movesense", range(100))
    assert assembler.add(stamped("movesense", 0, begin_s=1.0), 5.0)
    assert not assembler.add(stamped("movesense", 1, begin_s=1.0), 5.03)


def test_over_a_lost_link_the_clock_goes_on():
    stream, n, _ = CLOCKED["movesense"]
    assembler = run_clocked("movesense", range(100))
    assembler.link_lost(4.2)
    assert assembler.link_up(stream, 10.0)
    for number in range(300, 400):
        assert assembler.add(stamped("movesense", number), 1.0 + (number + 1) * n / 512)
    record = assembler.record()
    assert record.gaps[0, 100 * n : 300 * n].all()
    assert record.gaps.sum() == 200 * n
    assert not displaced(record).any()


def test_a_lost_link_without_a_lost_sample_is_a_gap_all_the_same():
    stream, n, _ = CLOCKED["movesense"]
    assembler = run_clocked("movesense", range(100))
    assembler.link_lost(4.2)
    assert assembler.link_up(stream, 4.2)
    for number in range(100, 200):
        assert assembler.add(stamped("movesense", number), 1.0 + (number + 1) * n / 512)
    record = assembler.record()
    assert record.gaps.sum() == round(BARRIER_S * 512)
    assert not displaced(record).any()


# By arrival -------------------------------------------------------------------------------------------


def arriving(stream, duration_s, rate=1.0, interval_s=0.015, seed=0, lost=(), stalls=()):
    """Yield frames and when they arrive: at the next connection event, sometimes the one after, or after a stall."""
    rng = np.random.default_rng(seed)
    n = round(stream.frame_s * stream.fs_hz)
    last_s = 0.0
    for number in range(int(duration_s / stream.frame_s)):
        if number in lost:
            continue
        taken_s = (number + 1) * n / (stream.fs_hz * rate)
        arrived_s = (np.ceil(taken_s / interval_s) + rng.geometric(0.9)) * interval_s
        for begin_s, end_s in stalls:
            if begin_s <= arrived_s < end_s:
                arrived_s = end_s
        last_s = max(last_s + 0.0002, arrived_s)
        yield Frame(samples(stream, number * n, n)), last_s


def run_arrivals(stream, *args, **facts):
    assembler = assembler_of(stream)
    for one, at_s in arriving(stream, *args, **facts):
        assert assembler.add(one, at_s)
    return assembler


@pytest.mark.parametrize("stream", [SILENT, POLLED])
@pytest.mark.parametrize("rate", [0.98, 0.9995, 1.0005, 1.02])
def test_without_any_stamp_a_rate_off_is_no_loss(stream, rate):
    record = run_arrivals(stream, 80.0, rate).record()
    assert not record.gaps.any()
    assert record.n_samples == int(80.0 / stream.frame_s) * round(stream.frame_s * stream.fs_hz)


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_connection_is_no_loss(seed):
    assert not run_arrivals(SILENT, 60.0, interval_s=0.195, seed=seed).record().gaps[:, : 58 * 300].any()


@pytest.mark.parametrize("stall_s", [0.3, 2.0, 8.0])
def test_what_was_only_held_up_is_no_loss(stall_s):
    record = run_arrivals(SILENT, 60.0, stalls=[(20.0, 20.0 + stall_s), (40.0, 40.0 + stall_s)]).record()
    assert not record.gaps.any()


@pytest.mark.parametrize("n_lost", [5, 10, 100])
def test_a_loss_is_suspected_when_samples_stay_late_and_the_stretch_is_given_up(n_lost):
    lost = range(1000, 1000 + n_lost)
    assembler = run_arrivals(SILENT, 60.0, lost=lost)
    record = assembler.record()
    there = ~record.gaps[0]
    wrong = displaced(record)[np.cumsum(there)[there] > 9000]
    assert record.gaps[0, 9000 : 9000 + 9 * n_lost].all()
    assert np.abs(wrong).max() <= 0.05 * 300
    assert assembler.counts["blanked"] > 0
    begin, end = np.flatnonzero(record.gaps[0])[[0, -1]]
    assert record.gaps[0, begin : end + 1].all()
    assert begin > 9000 - 90
    assert end < 9000 + 9 * n_lost + 4 * 300


def test_an_unsettled_end_is_no_signal_yet():
    assembler = run_arrivals(SILENT, 30.0, lost=range(980, 990))
    record = assembler.record()
    assert record.gaps[0, -90:].all()
    assert not record.gaps[0, : 970 * 9].any()


@pytest.mark.parametrize("what", ["damaged", "dropped"])
def test_a_loss_that_is_told_is_a_gap_at_once(what):
    assembler = assembler_of(SILENT)
    for number, (one, at_s) in enumerate(arriving(SILENT, 30.0)):
        if number == 500:
            if what == "damaged":
                assembler.add(Damaged("length", 7), at_s)
            continue
        assembler.add(replace(one, dropped=number == 501 and what == "dropped"), at_s)
    record = assembler.record()
    edges = np.flatnonzero(np.diff(record.gaps[0].astype(int)))
    assert len(edges) == 2
    assert edges[1] - edges[0] >= round(BARRIER_S * 300)
    assert np.abs(displaced(record)).max() <= (0 if what == "damaged" else 9)


def test_over_a_lost_link_the_time_that_passed_is_a_gap():
    assembler = assembler_of(SILENT)
    for number, (one, at_s) in enumerate(arriving(SILENT, 60.0, lost=range(1000, 1200))):
        if number == 1000:
            assembler.link_lost(30.1)
            assert assembler.link_up(SILENT, 36.0)
        assert assembler.add(one, at_s)
    record = assembler.record()
    assert record.gaps.sum() == pytest.approx(2 * 1800, abs=60)
    assert np.abs(displaced(record)).max() <= 30


def test_the_same_packet_twice_counts_once_but_a_flat_line_is_signal():
    assembler = assembler_of(SILENT)
    for number, (one, at_s) in enumerate(arriving(SILENT, 20.0)):
        flat = replace(one, signal_mv=np.zeros((2, 9), np.float32)) if 300 <= number < 400 else one
        assembler.add(flat, at_s)
        if number == 200:
            assembler.add(flat, at_s + 0.0001)
    record = assembler.record()
    assert not record.gaps.any()
    assert record.n_samples == 666 * 9
    assert assembler.counts["duplicate"] == 9


def test_a_loss_thought_too_long_is_forgotten_again():
    assembler = assembler_of(SILENT)
    for one, at_s in arriving(SILENT, 90.0):
        assert assembler.add(one, at_s + (0.5 if 30 <= at_s < 36 else 0.0))
    record = assembler.record()
    assert record.n_samples == pytest.approx(90 * 300 + 150, abs=30)
    assert record.gaps[0, 30 * 300 : 33 * 300].all()
    assert not record.gaps[0, 38 * 300 :].any()
