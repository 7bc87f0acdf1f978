from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsemvae_edge.device.assembler import BARRIER_S, LONGEST_SILENCE_S, Assembler
from lsemvae_edge.device.driver import Stream
from lsemvae_edge.device.events import Battery, ClockMark, Contact, Damaged, Frame

FS_HZ, N = 500.0, 20
FRAME_S = N / FS_HZ
BARRIER = round(BARRIER_S * FS_HZ)
INDEXED = Stream(FS_HZ, ("I", "II"), 0.001, FRAME_S, index_modulus=2**32, boot=7)
NO_CONTACT = frozenset({"LA"})


def frame(first, n=N, **facts):
    """Sample k is k in lead I and -k in lead II."""
    k = np.arange(first, first + n, dtype=np.float32)
    return Frame(np.stack([k, -k]), **{"index": first, **facts})


def started(stream=INDEXED, **options):
    assembler = Assembler(stream, **{"keep_s": None, **options})
    assert assembler.link_up(stream, 0.0)
    return assembler


def fed(frames, assembler=None, begin_s=0.0):
    """Add frames that arrive when their last sample is taken."""
    assembler = assembler or started()
    for one in frames:
        assert assembler.add(one, begin_s + (one.index + one.signal_mv.shape[1]) / FS_HZ)
    return assembler


def stands(record, first=0):
    """Whether every sample that is there stands in its place."""
    there = ~record.gaps[0]
    k = np.arange(first, first + record.n_samples)
    return np.array_equal(record.gaps[0], record.gaps[1]) and np.array_equal(record.signal_mv[0][there], k[there])


def missing(record):
    """Positions of gaps, as ranges."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], record.gaps[0], [False]]).astype(np.int8)))
    return [tuple(pair) for pair in edges.reshape(-1, 2).tolist()]


# By index -------------------------------------------------------------------------------------------


def test_samples_in_a_row_make_a_record_without_gaps():
    record = fed(frame(k) for k in range(0, 400, N)).record(meta={"id": "x"}, origin="simulated")
    assert record.n_samples == 400
    assert not record.gaps.any()
    assert stands(record)
    assert (record.fs_hz, record.leads, record.amplitude, record.origin) == (
        500.0,
        ("I", "II"),
        "calibrated",
        "simulated",
    )
    assert record.meta["id"] == "x"
    assert record.meta["clock"]["nominal_hz"] == 500.0


@given(st.data())
def test_any_loss_reordering_and_repetition_leaves_every_sample_in_its_place(data):
    n_frames = 40
    first = data.draw(st.sampled_from([0, 123, 2**32 - 400]))
    kept = sorted(data.draw(st.sets(st.integers(1, n_frames - 1)))) if n_frames else []
    order = [0, *kept]
    for at in data.draw(st.lists(st.integers(1, max(len(order) - 2, 1)), max_size=8)):
        if at + 1 < len(order):
            order[at], order[at + 1] = order[at + 1], order[at]
    for at in sorted(data.draw(st.lists(st.integers(0, len(order) - 1), max_size=5)), reverse=True):
        order.insert(at, order[at])
    assembler = started()
    for turn, number in enumerate(order):
        event = replace(frame(number * N), index=(first + number * N) % 2**32)
        assert assembler.add(event, 1.0 + turn * FRAME_S)
    record = assembler.record()
    expected = np.ones(record.n_samples, bool)
    for number in set(order):
        expected[number * N : (number + 1) * N] = False
    assert record.n_samples == (max(order) + 1) * N
    assert np.array_equal(record.gaps[0], expected)
    assert stands(record)
    counts = assembler.counts
    assert counts["samples"] == len(set(order)) * N
    assert counts["missing"] == expected.sum()
    assert counts["duplicate"] == (len(order) - len(set(order))) * N


def test_a_straggler_fills_its_place_as_long_as_that_is_kept():
    assembler = started(keep_s=1.0)
    for k in [0, *range(40, 400, N), 20, *range(400, 1200, N)]:
        assert assembler.add(frame(k), k / FS_HZ)
    assert assembler.counts["missing"] == 0
    assert assembler.add(frame(640), 2.4)
    assert assembler.counts["late"] == N
    record = assembler.record()
    assert record.n_samples == 500
    assert stands(record, 700)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_an_index_that_wraps_goes_on(bits):
    stream = replace(INDEXED, index_modulus=2**bits)
    assembler = started(stream)
    begin = 2**bits - 100
    for k in range(0, 300, N):
        assert assembler.add(replace(frame(k), index=(begin + k) % 2**bits), k / FS_HZ)
    assert stands(assembler.record())
    assert not assembler.record().gaps.any()


def test_a_short_index_that_wrapped_during_a_silence_is_placed_by_the_time_that_passed():
    stream = replace(INDEXED, index_modulus=2**16)
    assembler = started(stream)
    assembler.add(frame(0), FRAME_S)
    silence = 2 * 2**16 + 500
    assert assembler.add(replace(frame(silence), index=500), silence / FS_HZ + 0.3)
    record = assembler.record()
    assert missing(record) == [(N, silence)]
    assert stands(record)


def test_a_wild_index_is_dropped_and_harms_nothing():
    frames = [frame(k) for k in range(0, 400, N)]
    frames[7] = replace(frames[7], index=3_000_000_000)
    assembler = started()
    for at, one in enumerate(frames):
        assert assembler.add(one, at * FRAME_S)
    record = assembler.record()
    assert missing(record) == [(140, 160)]
    assert stands(record)
    assert assembler.counts["damaged"] == 1


def test_two_frames_that_agree_on_a_new_count_end_the_time_line():
    assembler = fed(frame(k) for k in range(100_000, 102_000, N))
    assert assembler.add(frame(0), 210.0)
    assert not assembler.add(frame(N), 210.04)


def test_a_new_count_over_places_that_are_taken_ends_the_time_line():
    assembler = fed(frame(k) for k in range(0, 1000, N))
    other = [replace(frame(k), signal_mv=frame(k).signal_mv + 5000) for k in (0, N)]
    assert assembler.add(other[0], 2.5)
    assert not assembler.add(other[1], 2.54)
    assert stands(assembler.record())
    assert assembler.counts["contradictory"] == 2 * N


def test_a_new_count_whose_samples_are_equal_is_found_by_its_lasting():
    flat = [replace(frame(k), signal_mv=np.zeros((2, N), np.float32)) for k in range(0, 1500, N)]
    assembler = fed(flat)
    answers = [assembler.add(one, 3.0 + one.index / FS_HZ) for one in flat]
    assert answers[:25] == [True] * 25
    assert not all(answers[:30])


def test_a_damaged_repetition_is_counted_and_the_first_one_stays():
    assembler = fed(frame(k) for k in range(0, 200, N))
    other = frame(100)
    other.signal_mv[0, 3] = 9.0
    assert assembler.add(other, 0.4)
    assert assembler.add(frame(200), 0.44)
    assert stands(assembler.record())
    assert assembler.counts["contradictory"] == 1


def test_an_absurd_jump_never_asks_for_memory():
    assembler = started(keep_s=10.0)
    assembler.add(frame(0), 0.0)
    for index in (2**31 - 1, 2**31 + 5_000_000, 77_777_777):
        assert assembler.add(frame(0, index=index), 0.1)
    assert assembler.seconds == FRAME_S
    assert not assembler.add(frame(N), LONGEST_SILENCE_S + 1)


def test_frames_of_another_recording_are_dropped_and_counted():
    assembler = started(recording=3)
    assert assembler.add(frame(0, recording=3), 0.0)
    assert assembler.add(frame(20, recording=4), 0.04)
    assert assembler.add(frame(40), 0.08)
    assert assembler.counts["foreign"] == 1
    assert missing(assembler.record()) == [(20, 40)]


def test_what_the_recorder_lost_is_noted():
    assembler = fed([frame(0), frame(60, dropped=True)])
    assert assembler.counts["dropped"] == 1
    assert missing(assembler.record()) == [(20, 60)]


def test_a_frame_without_an_index_where_there_should_be_one_is_damage():
    assembler = started()
    assert assembler.add(frame(0, index=None), 0.0)
    assert assembler.counts["damaged"] == 1
    assert assembler.record().n_samples == 0


# Links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 10, 49, 50, 51, 700])
def test_at_every_reconnect_a_tenth_of_a_second_is_a_gap(lost):
    assembler = fed(frame(k) for k in range(0, 1000, N))
    assembler.link_lost(2.01)
    assert assembler.link_up(INDEXED, 2.5)
    assembler = fed((frame(k) for k in range(1000 + lost, 2000 + lost, N)), assembler)
    record = assembler.record()
    assert missing(record) == [(min(1000, 1000 + lost - BARRIER), 1000 + lost)]
    assert stands(record)
    assert assembler.counts["reconnects"] == 1
    for late in (960, 1000 + lost - N):
        assembler.add(frame(late), 4.1)
    assert assembler.record().gaps[0, 1000 + lost - BARRIER : 1000 + lost].all()


def test_the_first_link_is_no_reconnect():
    assembler = started()
    assembler.link_lost(1.0)
    assert assembler.link_up(INDEXED, 2.0)
    assembler = fed([frame(0), frame(20)], assembler)
    assert assembler.counts["reconnects"] == 0
    assert not assembler.record().gaps.any()


@pytest.mark.parametrize(
    "other",
    [
        replace(INDEXED, boot=8),
        replace(INDEXED, fs_hz=250.0),
        replace(INDEXED, leads=("I",)),
        replace(INDEXED, mv_per_lsb=0.002),
        replace(INDEXED, amplitude="uncalibrated"),
    ],
)
def test_a_recorder_that_restarted_or_is_another_does_not_go_on(other):
    assembler = fed([frame(0)])
    assembler.link_lost(1.0)
    assert not assembler.link_up(other, 2.0)


def test_another_serial_does_not_go_on():
    stream = replace(INDEXED, serial="A1")
    assembler = fed([frame(0)], started(stream))
    assembler.link_lost(1.0)
    assert not assembler.link_up(replace(stream, serial="A2"), 2.0)
    assert assembler.link_up(replace(stream, serial=None), 2.0)


def test_after_a_long_silence_nothing_goes_on():
    assembler = fed([frame(0)])
    assembler.link_lost(1.0)
    assert not assembler.link_up(INDEXED, LONGEST_SILENCE_S + 1)


@pytest.mark.parametrize("index", [0, 260, 900, 1060])
def test_a_count_that_did_not_go_on_with_time_over_a_lost_link_ends_the_time_line(index):
    stream = replace(INDEXED, boot=None)
    assembler = fed((frame(k) for k in range(0, 1000, N)), started(stream))
    assembler.link_lost(2.0)
    assert assembler.link_up(stream, 9.0)
    assert assembler.add(frame(index), 9.1)
    assert not assembler.add(frame(index + N), 9.14)
    assert stands(assembler.record())
    assert assembler.record().n_samples == 1000


def test_silence_is_counted_from_the_newest_samples():
    assembler = started()
    assert assembler.silent_s(5.0) == 0.0
    assembler.add(frame(0), 5.0)
    assert assembler.silent_s(7.5) == 2.5


# Contact --------------------------------------------------------------------------------------------


def held(stretches, **facts):
    """Frames with contact lost between these positions."""
    return [
        frame(k, off=NO_CONTACT if any(a <= k < b for a, b in stretches) else frozenset(), **facts)
        for k in range(0, 5000, N)
    ]


def test_contact_lost_for_two_seconds_at_most_stays():
    assembler = fed(held([(500, 1500)]))
    assert not assembler.record().gaps.any()
    assert assembler.counts["blanked"] == 0


def test_contact_lost_for_longer_is_a_gap_from_its_beginning_until_contact_is_back():
    assembler = fed(held([(500, 1520)]))
    assert missing(assembler.record()) == [(500, 1520)]
    assert assembler.counts["blanked"] == 1020
    assert assembler.counts["missing"] == 0


def test_contact_still_lost_is_a_gap_up_to_now():
    assembler = fed(held([(3000, 9999)]))
    assert missing(assembler.record()) == [(3000, 5000)]
    assert assembler.no_contact_s == 4.0
    assert assembler.off == NO_CONTACT


def test_the_reference_electrode_is_not_needed():
    assembler = fed(frame(k, off=frozenset({"RL"})) for k in range(0, 5000, N))
    assert not assembler.record().gaps.any()
    assert assembler.off == {"RL"}


def test_a_loss_within_lost_contact_counts_as_lost_contact():
    frames = [one for one in held([(500, 1000)]) if not 1000 <= one.index < 2000]
    assert missing(fed(frames).record()) == [(500, 2000)]


def test_what_was_blanked_does_not_come_back_with_a_repetition():
    frames = held([(500, 2000)])
    assembler = fed(frames[:110])
    for one in frames[30:90]:
        if not assembler.add(one, 4.4):
            break
    assert missing(assembler.record()) == [(500, 2000)]


def test_contact_told_apart_from_samples_counts_as_well():
    assembler = fed(frame(k) for k in range(0, 500, N))
    assembler.add(Contact(NO_CONTACT), 1.0)
    assembler = fed((frame(k) for k in range(500, 1700, N)), assembler)
    assembler.add(Contact(frozenset()), 3.4)
    assembler = fed((frame(k) for k in range(1700, 2000, N)), assembler)
    assert missing(assembler.record()) == [(500, 1700)]
    assert assembler.no_contact_s == 0.0


# The rest -------------------------------------------------------------------------------------------


def test_only_the_newest_seconds_are_kept_and_memory_stays():
    assembler = started(keep_s=4.0)
    sizes = set()
    for k in range(0, 60_000, N):
        assembler.add(frame(k), k / FS_HZ)
        sizes.add(assembler._samples._kept.nbytes)
    assert len(sizes) == 1
    assert assembler.seconds == 120.0
    assert stands(assembler.record(), 58_000)
    assert stands(assembler.record(1.0), 59_500)
    assert assembler.record(1.0).n_samples == 500
    assert assembler.record(99.0).n_samples == 2000


def test_a_gap_longer_than_what_is_kept_leaves_nothing_old():
    assembler = fed([frame(0)], started(keep_s=1.0))
    assert assembler.add(frame(5000), 10.1)
    record = assembler.record()
    assert record.n_samples == 500
    assert missing(record) == [(0, 480)]
    assert stands(record, 4520)


def test_a_frame_longer_than_what_is_kept_leaves_its_end():
    assembler = started(keep_s=0.02)
    for k in range(0, 90_000, 9000):
        assembler.add(frame(k, 9000), k / FS_HZ)
    assert stands(assembler.record(), 89_990)
    assert assembler.record().n_samples == 10


def test_what_is_told_beside_samples_is_kept():
    assembler = started()
    assembler.add(Battery(64), 0.0)
    assembler.add(Damaged("length", 17), 0.0)
    assert assembler.battery == 64
    assert assembler.counts["damaged"] == 1
    assert assembler.counts["damaged_bytes"] == 17


def test_a_record_before_the_first_sample_is_empty():
    assert started().record().n_samples == 0
    assert started().seconds == 0.0


def test_the_start_is_passed_on():
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert fed([frame(0)]).record(started_at=moment).started_at == moment


def test_a_recorder_two_percent_fast_is_recorded_at_its_true_rate():
    assembler = started()
    for k in range(0, 20_000, N):
        assembler.add(frame(k), (k + N) / 510.0)
        if k % 510 == 0:
            assembler.add(ClockMark(k, k / 510.0), k / 510.0)
    record = assembler.record()
    assert record.fs_hz == 510.0
    assert not record.gaps.any()
    assert record.meta["clock"]["nominal_hz"] == 500.0
    assert record.meta["clock"]["measured_hz"] == pytest.approx(510.0, abs=0.01)
    assert record.meta["clock"]["by_its_own_clock_hz"] == pytest.approx(510.0, abs=0.5)


# For drawing ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.sets(st.integers(1, 40)))
def test_what_is_followed_for_drawing_is_each_sample_once_and_what_the_record_holds(steps, lost):
    assembler = started(keep_s=60.0)
    at, drawn = 0, []
    frames = [frame(N * k) for k in range(sum(steps)) if k not in lost]
    for step in steps:
        for one in frames[:step]:
            fed([one], assembler)
        del frames[:step]
        first, signal_mv = assembler.since(at)
        assert first == at
        drawn.append(signal_mv)
        at = first + signal_mv.shape[1]
    whole = assembler.record().signal_mv
    assert np.array_equal(np.concatenate(drawn, axis=1), whole, equal_nan=True)


def test_what_is_followed_too_late_begins_with_what_is_kept():
    assembler = fed([frame(N * k) for k in range(100)], started(keep_s=1.0))
    first, signal_mv = assembler.since(0)
    assert first == 2000 - 500
    assert signal_mv[0, 0] == first


def test_what_may_still_move_is_not_drawn():
    stream = replace(INDEXED, index_modulus=None)
    assembler = started(stream, indexed=False)
    for k in range(50):
        assembler.add(Frame(frame(N * k).signal_mv), N * (k + 1) / FS_HZ)
    _, signal_mv = assembler.since(0)
    assert 0 < signal_mv.shape[1] <= 1000
    assert np.isfinite(signal_mv).all()
