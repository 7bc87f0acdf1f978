"""From a recording to the model's input: scipy and neurokit2 as oracles, and what holds of every step."""

from dataclasses import replace

import numpy as np
import pytest

from lsemvae_edge import preprocess
from lsemvae_edge.beats import align_beats, average_beat
from lsemvae_edge.errors import BadInputError, ExitCode, UnusableRecordingError
from lsemvae_edge.leads import LIMB_LEADS, derive_limb_leads
from lsemvae_edge.preprocess import Conditioned, bridge_gaps, condition, cut, frequency_response, resample
from lsemvae_edge.record import Record
from lsemvae_edge.synthetic.heart import Heart, simulate

RATES_HZ = (500.0, 250.0, 300.0, 1000.0, 360.0, 100.0, 125.0)


@pytest.fixture(scope="module")
def spec():
    return preprocess.default_spec()


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).normal(size=(2, n_samples))


def record_of(pair, fs_hz=500.0, leads=("I", "II"), **more):
    return Record(pair.astype(np.float32), fs_hz, leads, **more)


def heart(duration_s=10.0, fs_hz=500.0):
    return simulate(Heart(), duration_s, fs_hz, 3, ("I", "II"))


def interleaved_taps(fs_hz, spec):
    """The resampler's filter on the upsampled grid, from the formula in `ResamplerSpec` alone: up, down, taps."""
    scipy_special = pytest.importorskip("scipy.special", reason="scipy is the oracle")
    up, down = {
        500.0: (1, 4), 250.0: (1, 2), 300.0: (5, 12), 1000.0: (1, 8), 360.0: (25, 72), 100.0: (5, 4), 125.0: (1, 1),
    }[fs_hz]  # fmt: skip
    reach = int(np.ceil(spec.half_width_s * fs_hz))
    offset_s = (reach * up - np.arange(2 * reach * up)) / (up * fs_hz)
    inside = np.abs(offset_s) < spec.half_width_s
    kaiser = scipy_special.i0(
        spec.kaiser_beta * np.sqrt(np.where(inside, 1 - (offset_s / spec.half_width_s) ** 2, 0))
    ) / scipy_special.i0(spec.kaiser_beta)
    taps = np.sinc(min(fs_hz, spec.fs_hz) * offset_s) * kaiser * inside
    for phase in range(up):
        taps[phase::up] /= taps[phase::up].sum()
    return up, down, taps


@pytest.mark.parametrize("fs_hz", RATES_HZ)
def test_the_resampler_equals_scipys_polyphase_filter(spec, fs_hz):
    scipy_signal = pytest.importorskip("scipy.signal", reason="scipy is the oracle")
    up, down, taps = interleaved_taps(fs_hz, spec.resampler)
    signal = noise(round(4 * fs_hz))
    resampled, first = resample(signal, fs_hz, spec.resampler)
    # Zeros before the taps make their centre fall on an output sample.
    centre = taps.size // 2
    padded = np.concatenate([np.zeros(-centre % down), taps])
    skip = (centre + -centre % down) // down
    expected = scipy_signal.upfirdn(padded, signal, up, down, axis=1)[:, skip + first :][:, : resampled.shape[1]]
    assert resampled.shape[1] > 4 * spec.fs_hz - 2 * spec.resampler.half_width_s * spec.fs_hz - 3
    np.testing.assert_allclose(resampled, expected, atol=1e-5)


@pytest.mark.parametrize("fs_hz", RATES_HZ)
def test_a_resampled_wave_is_the_wave_at_the_new_instants(spec, fs_hz):
    def wave(t):
        return np.stack([np.sin(2 * np.pi * 8.0 * t + 0.3), np.cos(2 * np.pi * 25.0 * t)])

    resampled, first = resample(wave(np.arange(round(3 * fs_hz)) / fs_hz), fs_hz, spec.resampler)
    expected = wave((first + np.arange(resampled.shape[1])) / spec.fs_hz)
    np.testing.assert_allclose(resampled, expected, atol=2e-3)


@pytest.mark.parametrize("fs_hz", RATES_HZ)
def test_a_constant_stays_the_same_constant(spec, fs_hz):
    resampled, _ = resample(np.full((1, 400), 3.5), fs_hz, spec.resampler)
    np.testing.assert_allclose(resampled, 3.5, rtol=1e-12)


def test_frequencies_above_half_the_models_rate_do_not_fold_back(spec):
    t = np.arange(2000) / 500
    for frequency_hz in (90.0, 110.0, 200.0):
        resampled, _ = resample(np.sin(2 * np.pi * frequency_hz * t)[None], 500.0, spec.resampler)
        assert np.abs(resampled).max() < 0.01


def test_a_signal_shorter_than_the_filter_gives_no_sample(spec):
    resampled, _ = resample(np.ones((2, 20)), 500.0, spec.resampler)
    assert resampled.shape == (2, 0)


def test_the_band_filter_equals_scipys(spec):
    scipy_signal = pytest.importorskip("scipy.signal", reason="scipy is the oracle")
    pair = noise(5000)
    taps = np.array(spec.band.taps)
    conditioned = condition(record_of(pair), spec)
    resampled, first = resample(pair.astype(np.float32).astype(np.float64), 500.0, spec.resampler)
    by_lfilter = scipy_signal.lfilter(taps, [1.0], resampled, axis=1)[:, taps.size - 1 :]
    np.testing.assert_allclose(conditioned.pair, by_lfilter, atol=1e-5)
    by_fft = np.stack([scipy_signal.convolve(lead, taps, mode="valid", method="fft") for lead in resampled])
    np.testing.assert_allclose(conditioned.pair, by_fft, atol=1e-5)
    assert conditioned.first == first + taps.size // 2


def test_the_band_has_the_stated_corners_ripple_and_rejection(spec):
    assert np.sum(spec.band.taps) == pytest.approx(0, abs=1e-12)
    assert frequency_response(spec, np.array([0.0]))[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(frequency_response(spec, np.array([0.5, 30.0])), 0.5, atol=0.01)
    flat = frequency_response(spec, np.linspace(2, 20, 500))
    assert np.abs(flat - 1).max() <= 0.01
    stopped = frequency_response(spec, np.linspace(36.0, 62.5, 500))
    assert np.abs(stopped).max() < 0.01  # -40 dB
    assert np.abs(frequency_response(spec, np.array([50.0, 60.0]))).max() < 0.005


def test_the_stated_response_is_the_measured_one(spec):
    scipy_signal = pytest.importorskip("scipy.signal", reason="scipy is the oracle")
    frequency_hz = np.linspace(0, 62, 100)
    _, response = scipy_signal.freqz(spec.band.taps, worN=frequency_hz, fs=spec.fs_hz)
    np.testing.assert_allclose(np.abs(frequency_response(spec, frequency_hz)), np.abs(response), atol=1e-9)


def test_the_taps_are_symmetric_to_the_last_bit(spec):
    assert spec.band.taps == spec.band.taps[::-1]
    assert len(spec.band.taps) % 2 == 1


@pytest.mark.parametrize("fs_hz", RATES_HZ)
def test_a_wave_stays_where_it_was(spec, fs_hz):
    at_s = 5.0
    t = np.arange(round(10 * fs_hz)) / fs_hz
    conditioned = condition(record_of(np.tile(np.exp(-(((t - at_s) / 0.03) ** 2)), (2, 1)), fs_hz), spec)
    lead = conditioned.pair[0]
    peak = int(np.argmax(lead))
    assert conditioned.seconds(peak) == pytest.approx(at_s, abs=1e-9)
    np.testing.assert_allclose(lead[peak - 50 : peak], lead[peak + 50 : peak : -1], atol=1e-6)


@pytest.mark.parametrize(
    ("fs_hz", "whole"), [(500.0, 4), (250.0, 2), (300.0, 12), (1000.0, 8), (360.0, 72), (100.0, 4)]
)
def test_a_stream_gives_the_numbers_of_the_whole_file(spec, fs_hz, whole):
    pair = noise(round(21 * fs_hz))
    file = condition(record_of(pair, fs_hz), spec)
    for multiple in (0, 1, 3, 50):
        skipped = multiple * whole
        part = condition(record_of(pair[:, skipped : skipped + round(10 * fs_hz)], fs_hz), spec)
        shift = round(skipped * spec.fs_hz / fs_hz)
        at = part.first + shift - file.first
        assert part.first == file.first
        np.testing.assert_allclose(part.pair, file.pair[:, at : at + part.pair.shape[1]], atol=1e-10)


@pytest.mark.parametrize("gain", [0.5, 2.0])
@pytest.mark.parametrize("fs_hz", [500.0, 300.0])
def test_a_common_gain_gives_exactly_the_same_input(spec, gain, fs_hz):
    record = heart(10.0, fs_hz)
    louder = replace(record, signal_mv=record.signal_mv * np.float32(gain), amplitude="uncalibrated")
    before, after = preprocess.apply(record, spec), preprocess.apply(louder, spec)
    np.testing.assert_array_equal(after.signal, before.signal)
    assert after.scale == gain * before.scale


def test_one_factor_scales_all_leads(spec):
    conditioned = condition(heart(), spec)
    made = cut(conditioned, spec, 20)
    window = conditioned.pair[:, 20 : 20 + spec.window_samples]
    np.testing.assert_array_equal(made.beat_at, align_beats(window, spec.fs_hz, spec.beat))
    beat = derive_limb_leads(*average_beat(window, made.beat_at, spec.beat))
    assert made.scale == pytest.approx(np.sqrt(np.mean(beat**2)))
    np.testing.assert_allclose(made.signal, np.clip(beat / made.scale, -spec.clip, spec.clip), atol=1e-5)
    assert made.signal.dtype == np.float32
    assert made.signal.shape == (6, spec.beat.n_samples)
    assert made.window_start_s == pytest.approx(conditioned.seconds(20))


def test_outliers_are_clipped_to_the_stated_bound(spec):
    pair = 0.01 * noise(5000)
    for at in range(500, 4700, 400):
        pair[:, at : at + 12] += np.array([[100.0], [20.0]])
    made = preprocess.apply(record_of(pair), replace(spec, clip=3.0))
    assert np.abs(made.signal).max() == 3.0
    assert np.abs(preprocess.apply(record_of(pair), replace(spec, clip=100.0)).signal).max() > 3.0


def test_filtering_then_deriving_equals_deriving_then_filtering(spec):
    pair = heart().signal_mv.astype(np.float64)
    derived_after = derive_limb_leads(*condition(record_of(pair), spec).pair)
    six, taps = derive_limb_leads(*pair), np.array(spec.band.taps)
    filtered = [np.convolve(lead, taps, mode="valid") for lead in resample(six, 500.0, spec.resampler)[0]]
    np.testing.assert_allclose(derived_after, filtered, atol=1e-9)


@pytest.mark.parametrize("names", [("aVL", "III"), ("aVR", "I"), ("II", "aVF"), LIMB_LEADS, ("V1", "aVF", "aVR")])
def test_whichever_leads_were_measured_the_input_is_the_same(spec, names):
    record = simulate(Heart(qrs_axis_deg=100), 10.0, 500.0, 3)
    expected = preprocess.apply(simulate(Heart(qrs_axis_deg=100), 10.0, 500.0, 3, ("I", "II")), spec).signal
    rows = record.signal_mv[[record.leads.index(name) for name in names]]
    np.testing.assert_allclose(preprocess.apply(record_of(rows, leads=names), spec).signal, expected, atol=1e-4)


def test_a_short_gap_is_bridged_by_a_straight_line():
    pair = np.array([[0.0, 1.0, 9.0, 9.0, 4.0, 5.0], [2.0, 2.0, 9.0, 9.0, 8.0, 2.0]])
    gaps = np.array([False, False, True, True, False, False])
    filled, long_gap = bridge_gaps(pair, gaps, max_bridge=2)
    np.testing.assert_allclose(filled, [[0, 1, 2, 3, 4, 5], [2, 2, 4, 6, 8, 2]])
    assert not long_gap.any()
    _, long_gap = bridge_gaps(pair, gaps, max_bridge=1)
    np.testing.assert_array_equal(long_gap, gaps)


@pytest.mark.parametrize("end", [slice(0, 1), slice(-1, None)])
def test_a_gap_at_either_end_is_never_bridged(end):
    gaps = np.zeros(50, dtype=bool)
    gaps[end] = True
    filled, long_gap = bridge_gaps(noise(50), gaps, max_bridge=10)
    np.testing.assert_array_equal(long_gap, gaps)
    assert np.isfinite(filled).all()


def test_a_recording_of_nothing_but_gaps_is_refused(spec):
    with pytest.raises(UnusableRecordingError, match="No sample"):
        condition(record_of(np.full((2, 5000), np.nan)), spec)


@pytest.mark.parametrize(("length", "excluded"), [(20, False), (21, True)])
def test_forty_milliseconds_are_bridged_and_more_are_not(spec, length, excluded):
    gaps = np.zeros(6000, dtype=bool)
    gaps[3000 : 3000 + length] = True
    assert condition(record_of(noise(6000), gaps=gaps), spec).excluded.any() == excluded


@pytest.mark.parametrize("fs_hz", [500.0, 300.0])
@pytest.mark.parametrize("place", ["inside", "start", "end"])
def test_exactly_what_a_long_gap_touches_is_excluded(spec, fs_hz, place):
    n_samples = round(14 * fs_hz)
    begin = {"inside": round(6 * fs_hz), "start": 0, "end": n_samples - 60}[place]
    gaps = np.zeros(n_samples, dtype=bool)
    gaps[begin : begin + 60] = True
    whole = condition(record_of(noise(n_samples), fs_hz), spec)
    gappy = condition(record_of(noise(n_samples), fs_hz, gaps=gaps), spec)
    clean = ~gappy.excluded
    np.testing.assert_allclose(gappy.pair[:, clean], whole.pair[:, clean], atol=1e-12)
    gap_s = 60 / fs_hz
    most = (gap_s + 2 * spec.context_s) if place == "inside" else gap_s
    assert most * spec.fs_hz - 3 <= gappy.excluded.sum() <= most * spec.fs_hz + 3 + (place != "inside")


def test_a_window_that_touches_a_long_gap_is_refused_and_others_are_not(spec):
    gaps = np.zeros(10000, dtype=bool)
    gaps[1500:1600] = True
    conditioned = condition(replace(heart(20.0), gaps=gaps), spec)
    past = int(np.flatnonzero(conditioned.excluded)[-1]) + 1
    assert cut(conditioned, spec, past).signal.shape == (6, spec.beat.n_samples)
    for start in (0, past - 1, past - spec.window_samples):
        with pytest.raises(UnusableRecordingError, match="wholly inside clean signal"):
            cut(conditioned, spec, start)


def test_gaps_of_any_measured_limb_lead_count_and_those_of_chest_leads_do_not(spec):
    record = simulate(Heart(), 10.0, 500.0, 0, (*LIMB_LEADS, "V1"))
    for lead, excluded in (("aVF", True), ("V1", False)):
        gaps = np.zeros(record.signal_mv.shape, dtype=bool)
        gaps[record.leads.index(lead), 2000:2200] = True
        assert condition(replace(record, gaps=gaps), spec).excluded.any() == excluded


def test_windows_outside_the_signal_are_refused(spec):
    conditioned = condition(heart(), spec)
    last = conditioned.pair.shape[1] - spec.window_samples
    cut(conditioned, spec, last)
    for start in (-1, last + 1):
        with pytest.raises(UnusableRecordingError):
            cut(conditioned, spec, start)


@pytest.mark.parametrize("signal", [np.zeros((2, 1000)), noise(1000)], ids=["flat", "noise"])
def test_a_window_without_beats_that_resemble_each_other_is_refused(spec, signal):
    with pytest.raises(UnusableRecordingError, match="too few heartbeats that resemble each other"):
        cut(Conditioned(signal, np.zeros(1000, dtype=bool), 0, 125.0), spec)


def test_the_input_does_not_depend_on_where_in_the_window_the_beats_lie(spec):
    conditioned = condition(heart(), spec)
    inputs = [cut(conditioned, spec, start).signal for start in (0, 17, 60)]
    for other in inputs[1:]:
        assert np.corrcoef(inputs[0].ravel(), other.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("fs_hz", [99.9, 50.0, 1.0])
def test_below_100_hz_the_input_is_bad(spec, fs_hz):
    with pytest.raises(BadInputError, match="100 are needed") as caught:
        condition(record_of(noise(2000), fs_hz), spec)
    assert caught.value.code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("duration_s", "next_step"),
    [(9.0, "Record 1 more second."), (8.2, "Record 2 more seconds."), (1.0, "Record 9 more seconds.")],
)
def test_a_short_recording_says_how_many_seconds_more(spec, duration_s, next_step):
    with pytest.raises(UnusableRecordingError) as caught:
        condition(record_of(noise(round(500 * duration_s))), spec)
    assert caught.value.next_step == next_step
    assert caught.value.code == ExitCode.UNUSABLE_RECORDING


@pytest.mark.parametrize("fs_hz", RATES_HZ)
def test_the_seconds_asked_for_are_enough(spec, fs_hz):
    n_samples = int(np.ceil(spec.required_s * fs_hz))
    made = preprocess.apply(heart(n_samples / fs_hz, fs_hz), spec)
    assert made.signal.shape == (6, spec.beat.n_samples)


def test_a_ten_second_file_is_long_enough(spec):
    assert spec.required_s <= 9.5


@pytest.mark.parametrize("names", [("I",), ("aVR",), ("V1", "V2"), ("II", "V1")])
def test_fewer_than_two_limb_leads_are_unusable(spec, names):
    with pytest.raises(UnusableRecordingError, match="two that were measured"):
        condition(record_of(noise(5000)[: len(names)], leads=names), spec)


@pytest.mark.parametrize("seed", range(3))
def test_between_1_and_8_hz_the_signal_is_neurokits(spec, seed):
    neurokit = pytest.importorskip("neurokit2", reason="neurokit2 is the oracle")
    scipy_signal = pytest.importorskip("scipy.signal", reason="scipy is the oracle")
    record = simulate(Heart(rate_bpm=60 + 15 * seed, wander_mv=0.2), 12.0, 500.0, seed, ("I", "II"))
    conditioned = condition(record, spec)
    at = (conditioned.first + np.arange(conditioned.pair.shape[1])) * 4
    band = scipy_signal.butter(3, [1.0, 8.0], "bandpass", fs=spec.fs_hz, output="sos")
    for lead, ours in zip(record.signal_mv, conditioned.pair, strict=True):
        cleaned = neurokit.ecg_clean(lead.astype(np.float64), sampling_rate=500, method="neurokit")
        theirs = scipy_signal.sosfiltfilt(band, cleaned[at])
        mine = scipy_signal.sosfiltfilt(band, ours)
        best = max(
            np.corrcoef(mine[20:-20], theirs[20 + delay : theirs.size - 20 + delay])[0, 1] for delay in range(-15, 16)
        )
        assert best > 0.99
