"""The C stream against Python's preprocessing: resampler, band, gaps, segments, and the raw signal's measures."""

import ctypes
import itertools
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsemvae_edge import bundle as bundles
from lsemvae_edge import preprocess
from lsemvae_edge.quality.contact import measure_raw
from lsemvae_edge.quantize.firmware import generate
from lsemvae_edge.quantize.firmware.host import Library, Recorder
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate

RATES_HZ = (100, 125, 250, 300, 360, 500, 1000)
SPEC = preprocess.default_spec()
N = SPEC.window_samples
PV_PER_LSB = 476_837
"""24 bits over 8 V."""
DATA = os.environ.get("LSEMVAE_EDGE_DATA")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with more sampling rates than are usual."""
    place = tmp_path_factory.mktemp("rates")
    for name, content in generate.contents(generate.from_bundle(bundles.default(), RATES_HZ)).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place


@pytest.fixture(scope="module")
def library(folder) -> Library:
    return Library(folder, folder)


@pytest.fixture(scope="module")
def trapping(folder, tmp_path_factory) -> Library:
    """The same, which stops at undefined behaviour."""
    flags = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    return Library(folder, tmp_path_factory.mktemp("trapping"), flags=flags)


class Block(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("mean_nv", "low_nv", "high_nv", "mains_nv")),
        *((name, ctypes.c_uint16) for name in ("samples", "held", "on_low", "on_high")),
    )


class Window(ctypes.Structure):
    _fields_ = (
        ("lead", ctypes.c_int16 * N * 2),
        ("first_sample", ctypes.c_uint32),
        ("clipped", ctypes.c_uint32),
        ("blocks", Block * 14 * 2),
        ("n_blocks", ctypes.c_uint32),
    )


def window_of(recorder: Recorder) -> Window:
    made = Window()
    recorder.library.c.lsemvae_take_window(recorder._context, ctypes.byref(made))
    return made


def leads_of(window: Window) -> np.ndarray:
    return np.array(window.lead, dtype=np.int64)


def pushed(recorder: Recorder, samples: np.ndarray, gaps: np.ndarray | None = None) -> Recorder:
    """Push samples (2, n); gaps as status or by count, turn by turn."""
    gaps = np.zeros(samples.shape[1], dtype=bool) if gaps is None else gaps
    edges = sorted({0, *(np.flatnonzero(np.diff(gaps)) + 1).tolist(), gaps.size})
    for turn, (begin, end) in enumerate(itertools.pairwise(edges)):
        if not gaps[begin]:
            recorder.push(*samples[:, begin:end])
        elif turn % 4 < 2:
            recorder.gap(end - begin)
        else:
            recorder.push(*samples[:, begin:end], status=1 << turn % 3)
    return recorder


def expected(samples: np.ndarray, rate_hz: int, gaps: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, int]:
    """What Python makes of the same samples: half microvolts, excluded, first."""
    gaps = np.zeros(samples.shape[1], dtype=bool) if gaps is None else gaps
    filtered, excluded, first = preprocess.band_limit(samples * (PV_PER_LSB * 1e-9), gaps, float(rate_hz), SPEC)
    return 2000 * filtered, excluded, first


def assert_equal_but_for_rounding(got: np.ndarray, wanted: np.ndarray) -> int:
    """Differ by 1 at most, and only where the definition lies within 5 nV of the boundary; returns how often."""
    differs = got != np.rint(wanted)
    assert np.abs(got - np.rint(wanted)).max() <= 1
    assert np.abs(got - wanted).max() < 0.51
    return int(differs.sum())


@pytest.fixture(scope="module")
def recordings() -> np.ndarray:
    """Leads I and II (n, 2, 5000) in millivolts at 500 Hz."""
    if not DATA:
        pytest.skip("needs the real recordings in LSEMVAE_EDGE_DATA")
    with np.load(Path(DATA) / "ptbxl_12lead" / "lead_I_II_500hz_int16uV.npz") as file:
        return file["x"][[3, 400, 900, 1500, 2100, 2500]].astype(np.float64) / 1000


def at_rate(pair_mv: np.ndarray, rate_hz: int, offset_mv=(0.0, 0.0)) -> np.ndarray:
    """Resample from 500 Hz and digitize."""
    scipy_signal = pytest.importorskip("scipy.signal", reason="scipy makes the other rates")
    ratio = Fraction(rate_hz, 500)
    pair = scipy_signal.resample_poly(pair_mv, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return digitized(pair + np.asarray(offset_mv)[:, None])


def digitized(pair_mv: np.ndarray) -> np.ndarray:
    return np.rint(pair_mv / (PV_PER_LSB * 1e-9)).astype(np.int64)


def heart(rate_hz: int, duration_s: float = 10.0, seed: int = 3) -> np.ndarray:
    return digitized(simulate(Heart(), duration_s, float(rate_hz), seed, ("I", "II")).signal_mv.astype(np.float64))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_windows_of_real_recordings_are_pythons_rounded(library, recordings, rate_hz, record_property):
    compared = differing = 0
    for pair, offset in zip(recordings, (0, 300, -300, 0, 100, -5), strict=True):
        samples = at_rate(pair, rate_hz, (offset, -offset))
        wanted, _, first = expected(samples, rate_hz)
        recorder = Recorder(library, rate_hz, PV_PER_LSB)
        for k in range(samples.shape[1]):
            recorder.push(*samples[:, k : k + 1])
            if recorder.ready:
                break
        early = window_of(recorder)
        late = window_of(pushed(recorder, samples[:, k + 1 :]))
        assert early.first_sample == first
        assert late.first_sample == first + wanted.shape[1] - N
        differing += assert_equal_but_for_rounding(leads_of(early), wanted[:, :N])
        differing += assert_equal_but_for_rounding(leads_of(late), wanted[:, -N:])
        compared += 4 * N
    record_property("differing", f"{differing} of {compared}")
    assert differing < 0.01 * compared


def test_a_recording_in_microvolts_gives_what_condition_gives(library, recordings):
    microvolts = np.rint(recordings[0] * 1000).astype(np.int64)
    record = Record((microvolts / 1000).astype(np.float32), 500.0, ("I", "II"))
    wanted = 2000 * preprocess.condition(record, SPEC).pair
    got = leads_of(window_of(pushed(Recorder(library, 500, 1_000_000), microvolts)))
    assert_equal_but_for_rounding(got, wanted[:, -N:])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_short_gaps_are_bridged_as_in_python(library, rate_hz):
    samples, rng = heart(rate_hz), np.random.default_rng(rate_hz)
    longest = round(SPEC.max_bridge_s * rate_hz)
    gaps = np.zeros(samples.shape[1], dtype=bool)
    for begin in rng.integers(1, gaps.size - longest - 2, 30):
        length = int(rng.integers(1, longest + 1))
        if not gaps[begin - 1 : begin + length + 1].any():
            gaps[begin : begin + length] = True
    wanted, excluded, _ = expected(samples, rate_hz, gaps)
    assert gaps.sum() > longest
    assert not excluded.any()
    # What was sent in place of missing samples is not looked at.
    samples[:, gaps] = rng.integers(-(2**31), 2**31, (2, int(gaps.sum())))
    got = window_of(pushed(Recorder(library, rate_hz, PV_PER_LSB), samples, gaps))
    assert_equal_but_for_rounding(leads_of(got), wanted[:, -N:])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_one_sample_more_than_a_bridge_begins_a_new_segment(library, rate_hz):
    samples = heart(rate_hz, 12.0)
    longest, at = round(SPEC.max_bridge_s * rate_hz), 2 * rate_hz
    recorder = pushed(Recorder(library, rate_hz, PV_PER_LSB), samples[:, :at])
    recorder.gap(longest)
    recorder.gap(1)
    got = window_of(pushed(recorder, samples[:, at:]))
    wanted, _, first = expected(samples[:, at:], rate_hz)
    assert got.first_sample == first + wanted.shape[1] - N
    assert_equal_but_for_rounding(leads_of(got), wanted[:, -N:])


def test_a_window_after_a_long_gap_is_one_that_python_allows(library):
    """Where the segment begins on the model's grid, so that both have the same instants."""
    samples = heart(500, 13.0)
    gaps = np.zeros(samples.shape[1], dtype=bool)
    gaps[803:1200] = True
    wanted, excluded, first = expected(samples, 500, gaps)
    recorder = pushed(Recorder(library, 500, PV_PER_LSB), samples, gaps)
    got = window_of(recorder)
    begin = got.first_sample + 1200 // 4 - first
    assert begin + N == wanted.shape[1]
    assert not excluded[begin:].any()
    assert_equal_but_for_rounding(leads_of(got), wanted[:, begin:])


def test_a_window_is_ready_no_sooner_than_python_allows_one_but_for_one_sample(library):
    """Python's bound on what a gap touches is wider than the support by less than two samples of the model's rate."""
    samples = heart(500, 13.0)
    gaps = np.zeros(samples.shape[1], dtype=bool)
    gaps[803:1200] = True
    _, excluded, first = expected(samples, 500, gaps)
    recorder = pushed(Recorder(library, 500, PV_PER_LSB), samples[:, :1200], gaps[:1200])
    at = 1200
    while not recorder.ready:
        recorder.push(*samples[:, at : at + 1])
        at += 1
    begin = window_of(recorder).first_sample + 1200 // 4 - first
    assert np.flatnonzero(excluded)[-1] + 1 - begin in (0, 1)


@pytest.mark.parametrize("rate_hz", [125, 300])
def test_nothing_of_before_a_long_gap_is_used(trapping, rate_hz):
    after, rng = heart(rate_hz), np.random.default_rng(1)
    windows = []
    for before in (heart(rate_hz, 9.0, 5), rng.integers(-(2**31), 2**31, (2, 20 * rate_hz)), after[:, :0]):
        recorder = pushed(Recorder(trapping, rate_hz, PV_PER_LSB), before)
        recorder.gap(rate_hz)
        assert not recorder.ready
        windows.append(bytes(window_of(pushed(recorder, after))))
    assert windows[0] == windows[1] == windows[2]


def test_a_gap_before_the_first_sample_is_no_gap(library):
    samples = heart(250)
    one, other = Recorder(library, 250, PV_PER_LSB), Recorder(library, 250, PV_PER_LSB)
    one.gap(3)
    one.push(*samples[:, :7], status=2)
    assert bytes(pushed(one, samples)._context) == bytes(pushed(other, samples)._context)


@settings(max_examples=40)
@given(
    st.sampled_from(RATES_HZ),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 40), st.integers(0, 3), st.integers(0, 9)), max_size=9),
)
def test_the_size_of_chunks_changes_nothing(trapping, rate_hz, plan):
    longest = round(SPEC.max_bridge_s * rate_hz)
    one, other = (Recorder(trapping, rate_hz, PV_PER_LSB, 60) for _ in range(2))
    samples, at = heart(rate_hz, 11.0), 0
    for n, parts, kind, first in [*plan, (samples.shape[1], 7, 0, 0)]:
        chunk = samples[:, at : at + n]
        at += n
        one.push(*chunk)
        for part in np.array_split(chunk, parts, axis=1):
            other.push(*part)
        gap = (0, longest // 2, longest, longest + 1)[kind]
        one.gap(gap)
        other.gap(min(first, gap))
        other.push(*samples[:, : gap - min(first, gap)], status=4)
    assert bytes(one._context) == bytes(other._context)


@settings(max_examples=60)
@given(
    st.sampled_from(RATES_HZ),
    st.integers(1, 2**32 - 1),
    st.sampled_from([0, 50, 60]),
    st.lists(
        st.tuples(
            st.sampled_from(["noise", "rails", "held", "gap", "huge gap"]), st.integers(0, 4000), st.integers(0, 9)
        ),
        max_size=8,
    ),
)
def test_wild_samples_do_no_harm(trapping, rate_hz, pv_per_lsb, mains_hz, told):
    recorder = Recorder(trapping, rate_hz, pv_per_lsb, mains_hz)
    for kind, n, seed in told:
        rng = np.random.default_rng(seed)
        if kind == "gap":
            recorder.gap(n % 30)
        elif kind == "huge gap":
            recorder.gap(2**64 - 1 - n)
        else:
            values = {
                "noise": lambda: rng.integers(-(2**31), 2**31, (2, n)),  # noqa: B023  # called at once
                "rails": lambda: rng.choice([-(2**31), 2**31 - 1], (2, n)),  # noqa: B023
                "held": lambda: np.full((2, n), rng.choice([-(2**31), 2**31 - 1])),  # noqa: B023
            }[kind]()
            recorder.push(*values)
        if recorder.ready:
            assert 13 <= window_of(recorder).n_blocks <= 14


def test_what_leaves_int16_is_saturated_and_told_while_it_is_in_the_window(library):
    calm = heart(125, 20.0)
    strong = calm.copy()
    strong[:, 500:520] += digitized(np.full((2, 20), 45.0))
    wanted, _, _ = expected(strong, 125)
    recorder = pushed(Recorder(library, 125, PV_PER_LSB), strong[:, :1250])
    got = window_of(recorder)
    filtered = wanted[:, : wanted.shape[1] - 1250][:, -N:]
    assert filtered.max() > 32767
    assert got.clipped
    assert_equal_but_for_rounding(leads_of(got), np.clip(filtered, -32768, 32767))
    last = int(np.flatnonzero((np.rint(filtered) > 32767).any(axis=0) | (np.rint(filtered) < -32768).any(axis=0))[-1])
    pushed(recorder, strong[:, 1250 : 1250 + last])
    assert window_of(recorder).clipped
    pushed(recorder, strong[:, 1250 + last : 1251 + last])
    assert not window_of(recorder).clipped


def test_an_offset_far_beyond_any_electrode_is_held_at_the_end_of_the_scale(library):
    got = window_of(pushed(Recorder(library, 250, 4_000_000_000), np.full((2, 3000), 2**30)))
    assert not leads_of(got).any()
    assert got.blocks[0][0].high_nv == 2**31 - 1


# ---- the raw signal's measures ----


def blocks_of(window: Window, lead: int) -> list[Block]:
    return [window.blocks[lead][k] for k in range(window.n_blocks)]


def raw_of(samples: np.ndarray, rate_hz: int, window: Window) -> np.ndarray:
    """The raw samples in nanovolts that Python measures for this window."""
    begin = round(window.first_sample / SPEC.fs_hz * rate_hz)
    return samples[:, begin : begin + round(SPEC.window_s * rate_hz)] * (PV_PER_LSB / 1000)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("extra_s", [0.0, 0.31, 0.77])
def test_blocks_are_the_half_seconds_within_the_window(library, rate_hz, extra_s):
    samples = heart(rate_hz, 9.0 + extra_s)
    samples += np.rint(3 * np.cumsum(np.random.default_rng(0).normal(size=samples.shape), axis=1)).astype(np.int64)
    window = window_of(pushed(Recorder(library, rate_hz, PV_PER_LSB, 0), samples))
    length, n = round(rate_hz / 2), window.n_blocks
    begin_s, end_s = (window.first_sample / SPEC.fs_hz, (window.first_sample + N - 1) / SPEC.fs_hz)
    last = int((end_s * rate_hz + 1e-6 + 1) // length) - 1
    assert n in (13, 14)
    # No raw sample stands exactly where the window begins, and one block more would begin before it.
    assert (last - n + 1) * length / rate_hz > begin_s - 1 / rate_hz - 1 / SPEC.fs_hz
    assert (last - n) * length / rate_hz < begin_s
    nv = np.rint(samples * (PV_PER_LSB / 1000))
    for lead in range(2):
        for k, block in enumerate(blocks_of(window, lead), start=last - n + 1):
            part = nv[lead, k * length : (k + 1) * length]
            assert block.samples == length
            assert block.mean_nv == pytest.approx(part.mean(), abs=1)
            assert block.low_nv == pytest.approx(part.min(), abs=1)
            assert block.high_nv == pytest.approx(part.max(), abs=1)
            assert block.mains_nv == 0


@pytest.mark.parametrize("rate_hz", [125, 250, 300, 500, 1000])
@pytest.mark.parametrize("mains_hz", [50, 60])
@pytest.mark.parametrize("offset_mv", [0.0, 300.0])
def test_the_mains_tone_is_that_of_python(library, rate_hz, mains_hz, offset_mv):
    samples = heart(rate_hz)
    t = np.arange(samples.shape[1]) / rate_hz
    amplitudes_mv = np.array([0.8, 0.05])
    hum = amplitudes_mv[:, None] * np.sin(2 * np.pi * (mains_hz + 0.1) * t + 1)
    samples = samples + digitized(hum + offset_mv)
    window = window_of(pushed(Recorder(library, rate_hz, PV_PER_LSB, mains_hz), samples))
    for lead, amplitude_mv in enumerate(amplitudes_mv):
        got_mv = np.median([block.mains_nv for block in blocks_of(window, lead)]) / 1e6
        if rate_hz <= 2.2 * mains_hz:
            assert got_mv == 0
            continue
        *_, wanted_mv, _ = measure_raw(raw_of(samples, rate_hz, window)[lead] / 1e6, float(rate_hz), 1.0)
        assert got_mv == pytest.approx(amplitude_mv, rel=0.05, abs=0.02)
        assert got_mv == pytest.approx(wanted_mv, rel=0.03, abs=0.003)


@pytest.mark.parametrize(("rate_hz", "mains_hz"), [(125, 50), (300, 60), (500, 50)])
@pytest.mark.parametrize("hum_mv", [0.0, 0.3])
def test_one_block_of_the_tone_is_the_formula(library, rate_hz, mains_hz, hum_mv):
    """Nearly, where the block is known, and far from its first sample."""
    length = round(rate_hz / 2)
    t = np.arange(9 * rate_hz) / rate_hz
    samples = heart(rate_hz, 9.0) + digitized(hum_mv * np.sin(2 * np.pi * mains_hz * t) - 200.0)
    last = round((9 - SPEC.context_s) * rate_hz) // length - 1
    samples[:, last * length] += digitized(np.array([150.0, -150.0]))
    window = window_of(pushed(Recorder(library, rate_hz, PV_PER_LSB, mains_hz), samples))
    hann = np.hanning(length)
    wave = hann * np.exp(-2j * np.pi * mains_hz * np.arange(length) / rate_hz)
    for lead in range(2):
        part = samples[lead, last * length : (last + 1) * length] * (PV_PER_LSB / 1000)
        wanted = abs((part - part.mean()) @ wave) * 2 / hann.sum()
        assert blocks_of(window, lead)[-1].mains_nv == pytest.approx(wanted, rel=5e-4, abs=200)


@pytest.mark.parametrize("rate_hz", [125, 300, 500])
@pytest.mark.parametrize("held_s", [0.2, 0.45, 0.8, 1.6])
@pytest.mark.parametrize("from_s", [0.5, 2.0, 4.1, 7.9])
def test_the_longest_held_stretch_is_that_of_python(library, rate_hz, held_s, from_s):
    samples = heart(rate_hz)
    samples = samples + np.random.default_rng(2).integers(-9, 10, samples.shape)
    begin = round(from_s * rate_hz)
    samples[0, begin : begin + round(held_s * rate_hz)] = 77
    window = window_of(pushed(Recorder(library, rate_hz, PV_PER_LSB), samples))
    block_s = blocks_of(window, 0)[0].samples / rate_hz
    for lead in range(2):
        got_s = max(block.held for block in blocks_of(window, lead)) / rate_hz
        # Both ends of the window may cut a held stretch, and a block cuts it up to half a second earlier.
        wanted_s, *_ = measure_raw(raw_of(samples, rate_hz, window)[lead], float(rate_hz), 1.0)
        cut = lead == 0 and (from_s < window.first_sample / SPEC.fs_hz + block_s or from_s + held_s > 8.5)
        assert got_s == pytest.approx(wanted_s, abs=block_s if cut else 1e-9)


def test_a_stretch_held_before_the_window_is_not_of_it(library):
    samples = heart(500, 20.0) + np.random.default_rng(2).integers(-9, 10, (2, 10_000))
    begin = 10_000 - 504 - 4 * N
    samples[:, begin - 2000 : begin + 100] = 5
    window = window_of(pushed(Recorder(library, 500, PV_PER_LSB), samples))
    assert max(block.held for block in blocks_of(window, 0)) <= 250


@pytest.mark.parametrize("rate_hz", [125, 250, 500, 1000])
def test_time_on_the_rails_is_that_of_python(library, rate_hz):
    samples = 6 * heart(rate_hz)
    high, low = (int(np.quantile(samples[0], q)) for q in (0.96, 0.04))
    samples = np.clip(samples, low, high)
    window = window_of(pushed(Recorder(library, rate_hz, PV_PER_LSB), samples))
    blocks = blocks_of(window, 0)
    begin = round(window.first_sample / SPEC.fs_hz * rate_hz)
    # Of the samples of these blocks alone, so that both look at the same ones.
    length = round(rate_hz / 2)
    skip = -(-begin // length) * length
    part = samples[0, skip : skip + len(blocks) * length]
    _, wanted_s, *_ = measure_raw(part.astype(np.float64), float(rate_hz), 1.0)
    top, bottom = max(b.high_nv for b in blocks), min(b.low_nv for b in blocks)
    got = sum(b.on_high for b in blocks if b.high_nv == top) + sum(b.on_low for b in blocks if b.low_nv == bottom)
    assert wanted_s > 0.05
    assert got / rate_hz == pytest.approx(wanted_s, abs=2 * max(3, round(0.008 * rate_hz)) / rate_hz)


@pytest.mark.parametrize(("rate_hz", "least"), [(125, 3), (300, 3), (500, 4), (1000, 8)])
def test_a_rail_is_a_run_of_eight_milliseconds_or_of_three_samples(library, rate_hz, least):
    rng = np.random.default_rng(4)
    samples = rng.permutation(np.arange(2 * 10 * rate_hz)).reshape(2, -1)
    # In the middle of blocks, and across the boundary of two, where the run is counted once and whole.
    block, counted = round(rate_hz / 2), 0
    for k, length in enumerate((least - 1, least, least + 5, least, least + 4)):
        begin = (5 + 2 * k) * block + (block // 2 if k < 3 else 1 - least)
        samples[0, begin : begin + length] = 10**5
        samples[1, begin : begin + length] = -(10**5)
        counted += length if length >= least else 0
    window = window_of(pushed(Recorder(library, rate_hz, PV_PER_LSB), samples))
    nv = round(10**5 * PV_PER_LSB / 1000)
    assert sum(block.on_high for block in blocks_of(window, 0) if block.high_nv == nv) == counted
    assert sum(block.on_low for block in blocks_of(window, 1) if block.low_nv == -nv) == counted


def test_a_year_without_a_gap_begins_anew_and_wraps_nothing(library, folder, numbers_of_c):
    samples = heart(125, 12.0)
    recorder = pushed(Recorder(library, 125, PV_PER_LSB), samples)
    wanted = bytes(window_of(recorder))
    (at,) = numbers_of_c(folder, "offsetof(lsemvae_context, filtered_count)")
    count = ctypes.c_uint32.from_buffer(recorder._context, at)
    assert count.value == 1500 - 15 - 236
    count.value = 2**32 - N - 1
    recorder.push(*samples[:, :1])
    assert count.value == 2**32 - N
    recorder.push(*samples[:, :1])
    assert count.value == 0
    assert not recorder.ready
    recorder.gap(125)
    assert bytes(window_of(pushed(recorder, samples))) == wanted
